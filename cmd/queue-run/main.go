// Command queue-run takes messages from the spool to the delivery programs; queue-run(8).
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/urfave/cli/v2"

	"pennypost/internal/config"
	"pennypost/internal/confine"
	"pennypost/internal/durable"
	"pennypost/internal/maillog"
	"pennypost/queue/run"
)

func main() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1) // one loop does the work; a second processor only adds wake-ups
	}
	durable.ClearUmask()
	app := &cli.App{Name: "queue-run", Usage: "take messages from the spool to the delivery programs", HideHelpCommand: true, Flags: []cli.Flag{
		&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
		&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"}, &cli.BoolFlag{Name: "log-time", Usage: "time stamps in the log"},
		&cli.BoolFlag{Name: "once", Usage: "deliver what is due and leave"},
		&cli.BoolFlag{Name: "dry-run", Usage: "say what would be done, do nothing"},
	}, Action: start}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "queue-run:", err)
		if errors.Is(err, run.ErrLocked) {
			os.Exit(75) // EX_TEMPFAIL
		}
		os.Exit(78) // EX_CONFIG
	}
}

func start(c *cli.Context) error {
	conf, err := config.Load(c.Path("config"), run.Sections...)
	if err != nil || c.Bool("check") {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	opt := run.Options{Once: c.Bool("once"), Times: c.Bool("log-time")}
	if c.Bool("dry-run") {
		opt.DryRun = os.Stdout
	}
	log := &maillog.Log{Program: "queue-run", Times: c.Bool("log-time") || conf.Log.Times, Gather: true}
	runner, err := run.FromConfig(conf, opt, log)
	if err = confine.Unless(err, "queue-run", conf, log); err != nil {
		return err
	}
	runner.Alive = func() { daemon.SdNotify(false, "READY=1\nWATCHDOG=1") }
	return runner.Run(ctx)
}

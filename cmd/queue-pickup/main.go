// Command queue-pickup adopts what users put into the drop directory; queue-pickup(8).
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/urfave/cli/v2"

	"pennypost/internal/config"
	"pennypost/internal/confine"
	"pennypost/internal/durable"
	"pennypost/internal/maillog"
	"pennypost/queue"
	"pennypost/queue/drop"
)

func main() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
	durable.ClearUmask()
	app := &cli.App{Name: "queue-pickup", Usage: "adopt messages of local users", UsageText: "queue-pickup [--once]", HideHelpCommand: true, Action: run, Flags: []cli.Flag{
		&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
		&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"}, &cli.BoolFlag{Name: "log-time", Usage: "time stamps in the log"},
		&cli.BoolFlag{Name: "once", Usage: "adopt what is there and leave"},
	}}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "queue-pickup:", err)
		if durable.IsDisk(err) {
			os.Exit(75) // EX_TEMPFAIL
		}
		os.Exit(78) // EX_CONFIG
	}
}

func run(c *cli.Context) error {
	conf, err := config.Load(c.Path("config"), "sendmail")
	if err != nil || c.Bool("check") {
		return err
	}
	spool, err := queue.Open(conf.Spool)
	if err != nil {
		return err
	}
	defer spool.Close()
	log := &maillog.Log{Program: "queue-pickup", Times: c.Bool("log-time") || conf.Log.Times}
	if err := confine.Program("queue-pickup", conf, log); err != nil {
		return err
	}
	pickup := &drop.Pickup{Spool: spool, Hostname: conf.Hostname, Origin: conf.Origin, MaxSize: conf.Submit.MaxSize, Rate: conf.Submit.Rate, Log: log}
	if c.Bool("once") {
		_, err := pickup.Once()
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	return pickup.Run(ctx)
}

// Command deliver-local puts messages into the Maildirs of virtual users; deliver-local(8).
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/urfave/cli/v2"

	"pennypost/deliver/local"
	"pennypost/internal/config"
	"pennypost/internal/confine"
	"pennypost/internal/durable"
	"pennypost/internal/maillog"
)

func main() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1) // it waits for the disk; a second processor only adds wake-ups
	}
	durable.ClearUmask()
	app := &cli.App{Name: "deliver-local", Usage: "put messages into Maildirs", UsageText: "deliver-local --worker\ndeliver-local -s SENDER USER ADDRESS <message", HideHelpCommand: true, Flags: []cli.Flag{
		&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
		&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"}, &cli.BoolFlag{Name: "log-time", Usage: "time stamps in the log"},
		&cli.BoolFlag{Name: "worker", Usage: "obey queue-run on descriptor 0"},
		&cli.PathFlag{Name: "listen", Usage: "obey queue-run at this socket"},
		&cli.StringFlag{Name: "sender", Aliases: []string{"s"}, Usage: "reverse-path"},
	}, Action: run}
	if err := app.Run(os.Args); err != nil {
		var exit cli.ExitCoder
		if !errors.As(err, &exit) { // cli has left with the others
			fmt.Fprintln(os.Stderr, "deliver-local:", err)
			os.Exit(78) // EX_CONFIG
		}
	}
}

func run(c *cli.Context) error {
	conf, err := config.Load(c.Path("config"), local.Sections...)
	if err != nil || c.Bool("check") {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	worker, path := c.Bool("worker"), c.Path("listen")
	log := &maillog.Log{Program: "deliver-local", Times: c.Bool("log-time") || conf.Log.Times, Gather: worker || path != ""}
	agent := local.FromConfig(conf, log)
	if (worker || path != "") && agent.Unix == nil { // a Unix user's commands may do what that user may
		if err := confine.Program("deliver-local", conf, log, path); err != nil {
			return err
		}
	}
	switch {
	case path != "":
		return agent.Listen(ctx, path)
	case worker:
		return agent.WorkFd(ctx, 0)
	}
	return cli.Exit("", agent.Once(c.String("sender"), c.Args().Slice(), os.Stdin, os.Stdout))
}

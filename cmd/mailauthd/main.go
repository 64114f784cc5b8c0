// Command mailauthd checks passwords for the servers; mailauthd(8).
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"pennypost/internal/config"
	"pennypost/internal/confine"
	"pennypost/internal/durable"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/login"
)

func main() {
	durable.ClearUmask()
	app := &cli.App{Name: "mailauthd", Usage: "check passwords for the servers", UsageText: "mailauthd [--listen unix:PATH]...\nmailauthd <connection", HideHelpCommand: true, Flags: []cli.Flag{
		&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
		&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"},
		&cli.BoolFlag{Name: "log-time", Usage: "time stamps in the log"},
		&cli.StringSliceFlag{Name: "listen", Usage: "unix:PATH, instead of what mail.toml says"},
	}, Action: run}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "mailauthd:", err)
		os.Exit(78) // EX_CONFIG
	}
}

func run(c *cli.Context) error {
	conf, err := config.Load(c.Path("config"), login.ServiceSections...)
	if err != nil {
		return err
	}
	log := &maillog.Log{Program: "mailauthd", Times: c.Bool("log-time") || conf.Log.Times}
	service, err := login.NewService(conf, log)
	if err != nil || c.Bool("check") {
		return err
	}
	if err := confine.Program("mailauthd", conf, log, c.StringSlice("listen")...); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if conn, logIsPeer, inherited := listen.Inherited(); inherited {
		if logIsPeer {
			log.Out = listen.Syslog("mailauthd")
		}
		service.Handle(ctx, conn)
		return nil
	}
	return service.Listen(ctx, conf, c.StringSlice("listen"))
}

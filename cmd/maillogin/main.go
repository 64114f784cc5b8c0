// Command maillogin does TLS and login in front of imapd and pop3d; maillogin(8).
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/urfave/cli/v2"

	"pennypost/internal/config"
	"pennypost/internal/confine"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/maillogin"
)

func main() {
	app := &cli.App{Name: "maillogin", Usage: "TLS and login in front of imapd and pop3d", UsageText: "maillogin [--listen SERVICE=ADDRESS]...\nmaillogin --service SERVICE <connection", HideHelpCommand: true, Flags: []cli.Flag{
		&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
		&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"},
		&cli.BoolFlag{Name: "log-time", Usage: "time stamps in the log"},
		&cli.StringFlag{Name: "service", Value: "imaps", Usage: "what a connection on descriptor 0 gets: imap imaps pop3 pop3s"},
		&cli.StringSliceFlag{Name: "listen", Usage: "SERVICE=ADDRESS, instead of what mail.toml says"},
	}, Action: run}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "maillogin:", err)
		os.Exit(78) // EX_CONFIG
	}
}

func run(c *cli.Context) error {
	conf, err := config.Load(c.Path("config"), maillogin.Sections...)
	if err != nil || c.Bool("check") {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // as imapd: memory of idle connections is dearer than the collector's time
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	log := &maillog.Log{Program: "maillogin", Times: c.Bool("log-time") || conf.Log.Times}
	srv, certs, err := maillogin.FromConfig(conf, log)
	if err = confine.Unless(err, "maillogin", conf, log, c.StringSlice("listen")...); err != nil {
		return err
	}
	if conn, logIsPeer, inherited := listen.Inherited(); inherited {
		if logIsPeer {
			log.Out = listen.Syslog("maillogin")
		}
		srv.One(ctx, conn, c.String("service"))
		return nil
	}
	go certs.ReloadOn(syscall.SIGHUP)
	return srv.Listen(ctx, &conf.Maillogin, c.StringSlice("listen"))
}

// Command smtpd takes mail by SMTP and LMTP and puts it into the spool; smtpd(8).
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
	"pennypost/internal/maillog"
	"pennypost/smtpd"
)

func main() {
	durable.ClearUmask()
	app := &cli.App{Name: "smtpd", Usage: "take mail by SMTP and LMTP", UsageText: "smtpd [--listen SERVICE=ADDRESS]...\nsmtpd --service SERVICE <connection", HideHelpCommand: true, Flags: []cli.Flag{
		&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
		&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"},
		&cli.BoolFlag{Name: "log-time", Usage: "time stamps in the log"},
		&cli.StringFlag{Name: "service", Value: "mx", Usage: "what a connection on descriptor 0 gets: mx submission submissions lmtp"},
		&cli.StringSliceFlag{Name: "listen", Usage: "SERVICE=ADDRESS, instead of what mail.toml says"},
	}, Action: run}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "smtpd:", err)
		os.Exit(78) // EX_CONFIG
	}
}

func run(c *cli.Context) error {
	conf, err := config.Load(c.Path("config"), smtpd.Sections...)
	if err != nil || c.Bool("check") {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	conn, out := smtpd.Inherited(c.IsSet("service"), c.IsSet("listen"))
	log := &maillog.Log{Program: "smtpd", Out: out, Times: c.Bool("log-time") || conf.Log.Times}
	srv, certs, err := smtpd.FromConfig(conf, log)
	if err = confine.Unless(err, "smtpd", conf, log, c.StringSlice("listen")...); err != nil {
		return err
	}
	if conn != nil {
		return srv.ServeConn(ctx, c.String("service"), conn)
	}
	listeners, err := smtpd.Listeners(&conf.SMTPD, c.StringSlice("listen"))
	if err != nil {
		return err
	}
	go srv.ReloadOn(syscall.SIGHUP, c.Path("config"), certs)
	return srv.Serve(ctx, listeners)
}

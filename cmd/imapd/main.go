// Command imapd serves mailboxes by IMAP; imapd(8).
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/urfave/cli/v2"

	"pennypost/imapd"
	"pennypost/internal/config"
	"pennypost/internal/confine"
	"pennypost/internal/durable"
	"pennypost/internal/maillog"
	"pennypost/internal/packet"
)

func main() {
	durable.ClearUmask()
	app := &cli.App{Name: "imapd", Usage: "serve mailboxes by IMAP", UsageText: "imapd [--listen SERVICE=ADDRESS]...\nimapd --service SERVICE <connection\nimapd --user NAME | --maildir DIRECTORY", HideHelpCommand: true, Flags: []cli.Flag{
		&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
		&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"}, &cli.BoolFlag{Name: "log-time", Usage: "time stamps in the log"},
		&cli.StringFlag{Name: "service", Value: "imap", Usage: "what a connection on descriptor 0 gets: imap imaps"},
		&cli.StringSliceFlag{Name: "listen", Usage: "SERVICE=ADDRESS, instead of what mail.toml says"},
		&cli.StringFlag{Name: "user", Usage: "serve descriptors 0 and 1, logged in as this account"},
		&cli.PathFlag{Name: "maildir", Usage: "serve descriptors 0 and 1, with this Maildir"},
	}, Action: run}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "imapd:", err)
		os.Exit(78) // EX_CONFIG
	}
}

func run(c *cli.Context) error {
	conf, err := config.Load(c.Path("config"), imapd.Sections...)
	if err != nil || c.Bool("check") {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // thousands of idle connections are what it is made of: memory is dearer than the collector's time
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	log := &maillog.Log{Program: "imapd", Times: c.Bool("log-time") || conf.Log.Times}
	srv, certs, err := imapd.FromConfig(conf, log)
	if err = confine.Unless(err, confine.Mailboxes("imapd", c.IsSet("maildir") || packet.OnZero()), conf, log, c.StringSlice("listen")...); err != nil {
		return err
	}
	if served, err := srv.Inherited(ctx, conf, c.String("service"), c.String("user"), c.Path("maildir")); served || err != nil {
		return err
	}
	go certs.ReloadOn(syscall.SIGHUP)
	return srv.Listen(ctx, &conf.IMAPD, c.StringSlice("listen"))
}

// Command pop3d serves mailboxes by POP3; pop3d(8).
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
	"pennypost/internal/packet"
	"pennypost/pop3d"
)

func main() {
	durable.ClearUmask()
	app := &cli.App{Name: "pop3d", Usage: "serve mailboxes by POP3", UsageText: "pop3d [--listen SERVICE=ADDRESS]...\npop3d --service SERVICE <connection", HideHelpCommand: true, Flags: []cli.Flag{
		&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
		&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"}, &cli.BoolFlag{Name: "log-time", Usage: "time stamps in the log"},
		&cli.StringFlag{Name: "service", Value: "pop3", Usage: "what a connection on descriptor 0 gets: pop3 pop3s"},
		&cli.StringSliceFlag{Name: "listen", Usage: "SERVICE=ADDRESS, instead of what mail.toml says"},
	}, Action: run}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "pop3d:", err)
		os.Exit(78) // EX_CONFIG
	}
}

func run(c *cli.Context) error {
	conf, err := config.Load(c.Path("config"), pop3d.Sections...)
	if err != nil || c.Bool("check") {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	log := &maillog.Log{Program: "pop3d", Times: c.Bool("log-time") || conf.Log.Times}
	conn, logIsPeer, inherited := listen.Inherited()
	if logIsPeer {
		log.Out = listen.Syslog("pop3d")
	}
	srv, certs, err := pop3d.FromConfig(conf, log)
	if err = confine.Unless(err, confine.Mailboxes("pop3d", packet.OnZero()), conf, log, c.StringSlice("listen")...); err != nil {
		return err
	}
	if inherited {
		srv.One(ctx, conn, c.String("service"))
		return nil
	}
	go certs.ReloadOn(syscall.SIGHUP)
	return srv.Listen(ctx, &conf.POP3D, c.StringSlice("listen"))
}

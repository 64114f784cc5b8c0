// Command mailwebd serves MTA-STS policies and settings for mail programs by HTTPS; mailwebd(8).
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
	"pennypost/mailwebd"
)

func main() {
	durable.ClearUmask()
	app := &cli.App{Name: "mailwebd", Usage: "serve MTA-STS policies and settings for mail programs", UsageText: "mailwebd [--listen SERVICE=ADDRESS]...\nmailwebd --static DIRECTORY\nmailwebd --names", HideHelpCommand: true, Flags: []cli.Flag{
		&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
		&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"},
		&cli.BoolFlag{Name: "log-time", Usage: "time stamps in the log"},
		&cli.StringSliceFlag{Name: "listen", Usage: "SERVICE=ADDRESS, instead of https=:443; the other service is http"},
		&cli.PathFlag{Name: "static", Usage: "write the pages below this directory, and leave"},
		&cli.BoolFlag{Name: "names", Usage: "print the names that a certificate must be for, and leave"},
	}, Action: run}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "mailwebd:", err)
		os.Exit(78) // EX_CONFIG
	}
}

func run(c *cli.Context) error {
	conf, err := config.Load(c.Path("config"), mailwebd.Sections...)
	if err != nil || c.Bool("check") {
		return err
	}
	log := &maillog.Log{Program: "mailwebd", Times: c.Bool("log-time") || conf.Log.Times}
	if dir := c.Path("static"); dir != "" || c.Bool("names") {
		return mailwebd.Write(conf, log, os.Stdout, dir)
	}
	srv, certs, err := mailwebd.New(conf, log)
	if err = confine.Unless(err, "mailwebd", conf, log, c.StringSlice("listen")...); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	go srv.ReloadOn(certs, syscall.SIGHUP)
	return srv.Listen(ctx, c.StringSlice("listen"))
}

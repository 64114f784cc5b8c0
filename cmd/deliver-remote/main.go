// Command deliver-remote takes messages to other hosts by SMTP and LMTP; deliver-remote(8).
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

	"pennypost/deliver/remote"
	"pennypost/internal/config"
	"pennypost/internal/confine"
	"pennypost/internal/maillog"
)

func main() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1) // it waits for peers; a second processor only adds wake-ups
	}
	app := &cli.App{Name: "deliver-remote", Usage: "take messages to other hosts", UsageText: "deliver-remote --worker\ndeliver-remote SITE SENDER RCPT... <message", HideHelpCommand: true, Flags: []cli.Flag{
		&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
		&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"}, &cli.BoolFlag{Name: "log-time", Usage: "time stamps in the log"},
		&cli.BoolFlag{Name: "worker", Usage: "obey queue-run on descriptor 0"}, &cli.PathFlag{Name: "listen", Usage: "obey queue-run at this socket"},
	}, Action: run}
	if err := app.Run(os.Args); err != nil {
		var exit cli.ExitCoder
		if !errors.As(err, &exit) {
			fmt.Fprintln(os.Stderr, "deliver-remote:", err)
			os.Exit(78) // EX_CONFIG
		}
	}
}

func run(c *cli.Context) error {
	conf, err := config.Load(c.Path("config"), "remote", "dns", "tls", "route", "sender", "site", "smtpd")
	if err != nil {
		return err
	}
	log := &maillog.Log{Program: "deliver-remote", Times: c.Bool("log-time")}
	client, err := remote.New(conf, log)
	if err != nil || c.Bool("check") {
		return err
	}
	defer client.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	listen := c.Path("listen")
	if listen == "" && !c.Bool("worker") { // by hand it is not confined: it goes to ports that mail.toml does not name
		return cli.Exit("", client.OneShot(ctx, c.Args().Slice(), os.Stdin, remote.EnvelopeFile(), os.Stdout, os.Stderr))
	}
	if err := confine.Program("deliver-remote", conf, log, listen); err != nil {
		return err
	}
	if listen != "" {
		return remote.Listen(ctx, client, listen)
	}
	return remote.Serve(ctx, client, 0)
}

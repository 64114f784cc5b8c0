package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"pennypost/deliver/local"
	"pennypost/internal/config"
	"pennypost/internal/maillog"
)

func newApp() *cli.App {
	return &cli.App{Name: "deliver-local", Usage: "put messages into Maildirs", UsageText: "deliver-local --worker\ndeliver-local -s SENDER USER ADDRESS <message", HideHelpCommand: true, Flags: []cli.Flag{
		&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
		&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"}, &cli.BoolFlag{Name: "log-time", Usage: "time stamps in the log"},
		&cli.BoolFlag{Name: "worker", Usage: "obey queue-run on descriptor 0"},
		&cli.PathFlag{Name: "listen", Usage: "obey queue-run at this socket"},
		&cli.StringFlag{Name: "sender", Aliases: []string{"s"}, Usage: "reverse-path"},
	}, Action: func(c *cli.Context) error {
		if !c.Bool("check") && (c.Bool("worker") || c.Path("listen") != "") {
			return obey(c.Path("config"), c.Path("listen"), c.Bool("log-time"))
		}
		conf, err := config.Load(c.Path("config"), local.Sections...)
		if err != nil || c.Bool("check") {
			return err
		}
		agent := local.FromConfig(conf, &maillog.Log{Program: "deliver-local", Times: c.Bool("log-time") || conf.Log.Times})
		return cli.Exit("", agent.Once(c.String("sender"), c.Args().Slice(), os.Stdin, os.Stdout))
	}}
}

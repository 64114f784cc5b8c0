// Command become starts programs as Unix users, for mailauthd and queue-run; become(8).
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"pennypost/become"
)

func main() {
	app := &cli.App{Name: "become", Usage: "start programs as Unix users", UsageText: "become\nbecome <connection", HideHelpCommand: true, Flags: []cli.Flag{
		&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
		&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"},
	}, Action: run}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "become:", err)
		os.Exit(78) // EX_CONFIG
	}
}

func run(c *cli.Context) error {
	server, err := become.Load(c.Path("config"))
	if err != nil || c.Bool("check") {
		return err
	}
	return server.Listen(context.Background()) // SIGTERM ends us at once: nothing lies on disk, and what runs goes on
}

// Command mailgetent says who is a Unix user, for the programs that are not to start others; mailgetent(8).
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"pennypost/internal/passwd/serve"
)

func main() {
	app := &cli.App{Name: "mailgetent", Usage: "say who is a Unix user", UsageText: "mailgetent\nmailgetent <connection", HideHelpCommand: true, Flags: []cli.Flag{
		&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
		&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"},
	}, Action: run}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "mailgetent:", err)
		os.Exit(78) // EX_CONFIG
	}
}

func run(c *cli.Context) error {
	server, err := serve.Load(c.Path("config"))
	if err != nil || c.Bool("check") {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	return server.Listen(ctx)
}

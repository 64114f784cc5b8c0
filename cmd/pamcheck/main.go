// Command pamcheck checks passwords of Unix users by PAM; pamcheck(8).
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"pennypost/pamcheck"
)

func main() {
	app := &cli.App{Name: "pamcheck", Usage: "check passwords of Unix users by PAM", UsageText: "pamcheck\npamcheck <connection\npamcheck --once [--account] [PROGRAM ARGUMENT...] 3<credentials", HideHelpCommand: true, Flags: []cli.Flag{
		&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
		&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"},
		&cli.BoolFlag{Name: "once", Usage: "be a checkpassword program"},
		&cli.BoolFlag{Name: "account", Usage: "with --once: ask whether the account is good, not about the password"},
	}, Action: run}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "pamcheck:", err)
		os.Exit(78) // EX_CONFIG
	}
}

func run(c *cli.Context) error {
	if c.Bool("once") {
		os.Exit(pamcheck.Once(c.Args().Slice(), c.Bool("account")))
	}
	server, err := pamcheck.Load(c.Path("config"))
	if err != nil || c.Bool("check") {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	return server.Listen(ctx)
}

// Command mailq shows the queue and steers it; mailq(8).
package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"pennypost/queue/mailq"
)

func main() {
	flags := []cli.Flag{
		&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
		&cli.PathFlag{Name: "spool", Usage: "the spool, instead of mail.toml's"},
		&cli.BoolFlag{Name: "json", Aliases: []string{"j"}, Usage: "one JSON object a line"},
		&cli.StringFlag{Name: "reason", Aliases: []string{"r"}, Usage: "why, for hold, bounce and pause"},
		&cli.StringFlag{Name: "until", Usage: "end of a pause or limit: a time or a span"},
	}
	app := &cli.App{Name: "mailq", Usage: "show the queue and steer it", Flags: flags, HideHelpCommand: true, Action: func(c *cli.Context) error {
		return run(c, mailq.Commands[0], c.Args().Slice())
	}}
	for _, command := range mailq.Commands {
		app.Commands = append(app.Commands, &cli.Command{Name: command.Name, Usage: command.About, ArgsUsage: command.Args, Flags: flags,
			HideHelpCommand: true, Action: func(c *cli.Context) error { return run(c, command, c.Args().Slice()) }})
	}
	if err := app.Run(os.Args); err != nil { // run ends the process itself: this is about flags
		os.Exit(64)
	}
}

// option is a flag's value, whether it stands before the command or behind it.
func option(c *cli.Context, name string) string {
	for _, c := range c.Lineage() {
		if c != nil && c.IsSet(name) {
			return fmt.Sprint(c.Value(name))
		}
	}
	return ""
}

func run(c *cli.Context, command mailq.Command, args []string) error {
	t := &mailq.Tool{Out: os.Stdout, Notes: os.Stderr, JSON: option(c, "json") == "true", Reason: option(c, "reason"), Until: option(c, "until")}
	if ws, err := unix.IoctlGetWinsize(1, unix.TIOCGWINSZ); err == nil {
		t.Width = int(ws.Col)
	}
	err := t.Open(option(c, "config"), option(c, "spool"))
	if err == nil {
		err = command.Run(t, args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mailq:", err)
		os.Exit(mailq.ExitCode(err))
	}
	return nil
}

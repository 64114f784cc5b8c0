// Command maildircheck looks at Maildirs and puts them right; maildircheck(1).
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"pennypost/internal/durable"
	"pennypost/maildir/check"
)

func main() {
	durable.ClearUmask()
	app := &cli.App{Name: "maildircheck", Usage: "look at Maildirs and put them right", UsageText: "maildircheck [--fix] [--json] MAILDIR...\nmaildircheck --restored MAILDIR...\nmaildircheck --purge [--days N] MAILDIR...\nmaildircheck --all ...", HideHelpCommand: true, Flags: []cli.Flag{
		&cli.BoolFlag{Name: "fix", Usage: "do what would be done"},
		&cli.BoolFlag{Name: "restored", Usage: "the Maildir comes from a backup"},
		&cli.BoolFlag{Name: "purge", Usage: "remove what was expunged long ago"},
		&cli.IntFlag{Name: "days", Value: 14, Usage: "how long expunged mail is kept"},
		&cli.BoolFlag{Name: "all", Usage: "the Maildirs of all accounts of mail.toml"}, &cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
		&cli.BoolFlag{Name: "json", Usage: "a JSON object a line"},
		&cli.StringFlag{Name: "layout", Value: check.Layouts[0], Usage: "of folders: maildir++ or fs"},
	}, Action: run}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "maildircheck:", err)
		if errors.Is(err, check.ErrFound) {
			os.Exit(1)
		}
		os.Exit(74) // EX_IOERR
	}
}

func run(c *cli.Context) error {
	if (c.NArg() == 0) != c.Bool("all") || !slices.Contains(check.Layouts, c.String("layout")) || c.Int("days") < 0 {
		cli.ShowAppHelpAndExit(c, 64) // EX_USAGE
	}
	job := &check.Check{Fix: c.Bool("fix"), Restored: c.Bool("restored"), Purge: c.Bool("purge"), Days: c.Int("days"), JSON: c.Bool("json"), Layout: c.String("layout"), Out: os.Stdout}
	roots, failed := c.Args().Slice(), error(nil)
	if c.Bool("all") {
		roots, failed = accounts(c.Path("config"))
	}
	found := false
	for _, root := range roots {
		err := job.Maildir(c.Context, root)
		if errors.Is(err, check.ErrFound) {
			found = true
		} else {
			failed = errors.Join(failed, err)
		}
	}
	if failed == nil && found {
		return check.ErrFound
	}
	return failed
}

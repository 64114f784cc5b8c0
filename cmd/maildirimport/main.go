// Command maildirimport brings mail into a Maildir: from the server before us, from mbox files, from another host; maildirimport(1).
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"pennypost/internal/durable"
	"pennypost/maildir/importer"
)

func main() {
	durable.ClearUmask()
	app := &cli.App{Name: "maildirimport", Usage: "bring mail into a Maildir", UsageText: "maildirimport [-n] [--to-dovecot | --uidl FORMAT] MAILDIR\nmaildirimport [--folder NAME] [--quoting KIND] MBOX... MAILDIR\nmaildirimport [-n] [--password-file FILE] imaps://USER@HOST[/MAILBOX] MAILDIR", HideHelpCommand: true, Flags: []cli.Flag{
		&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "say what there is, change nothing"},
		&cli.BoolFlag{Name: "to-dovecot", Usage: "hand the Maildir to Dovecot"},
		&cli.StringFlag{Name: "folder", Value: "INBOX", Usage: "where the mail of an mbox goes"},
		&cli.StringFlag{Name: "quoting", Usage: "mboxo mboxrd mboxcl mboxcl2; else it is found out"},
		&cli.PathFlag{Name: "password-file", Usage: "the password is the first line of this file, else of standard input"},
		&cli.PathFlag{Name: "ca-file", Usage: "trust the authorities in this file, and no others"},
		&cli.StringSliceFlag{Name: "skip", Usage: "a mailbox there that is not wanted"},
		&cli.BoolFlag{Name: "clear", Usage: "no TLS, to this machine only: for tunnels"},
		&cli.StringFlag{Name: "layout", Value: "maildir++", Usage: "of folders: maildir++ or fs"},
		&cli.StringFlag{Name: "uidl", Usage: "how the server before us made unique-ids of POP3, as pop3_uidl_format: %08Xu%08Xv is Dovecot's default"},
	}, Action: run}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := app.RunContext(ctx, os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "maildirimport:", err)
		os.Exit(1)
	}
}

func run(c *cli.Context) error {
	args := c.Args().Slice()
	if len(args) == 0 {
		cli.ShowAppHelpAndExit(c, 64) // EX_USAGE
	}
	job := &importer.Job{Dry: c.Bool("dry-run"), ToDovecot: c.Bool("to-dovecot"), Folder: c.String("folder"), Quoting: c.String("quoting"),
		PasswordFile: c.Path("password-file"), CAFile: c.Path("ca-file"), Skip: c.StringSlice("skip"), Clear: c.Bool("clear"), Layout: c.String("layout"), UIDL: c.String("uidl"),
		In: os.Stdin, Out: os.Stdout}
	return job.Run(c.Context, args[:len(args)-1], args[len(args)-1])
}

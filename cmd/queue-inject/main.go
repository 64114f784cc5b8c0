// Command queue-inject puts a finished message into the drop directory; queue-inject(8).
package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"pennypost/internal/config"
	"pennypost/queue"
	"pennypost/queue/drop"
)

func main() {
	app := &cli.App{Name: "queue-inject", Usage: "put a message into the spool", UsageText: "queue-inject [--wait] <envelope-and-message\nqueue-inject --from ADDRESS --rcpt ADDRESS … [--hold-until TIME] [--wait] <message",
		HideHelpCommand: true, DisableSliceFlagSeparator: true, Action: run, Flags: []cli.Flag{
			&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
			&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"},
			&cli.BoolFlag{Name: "log-time", Usage: "ignored: it logs nothing"},
			&cli.StringFlag{Name: "from", Aliases: []string{"f"}, Usage: "reverse-path; '<>' is the null sender"},
			&cli.StringSliceFlag{Name: "rcpt", Aliases: []string{"r"}, Usage: "forward-path; may be repeated"},
			&cli.StringFlag{Name: "hold-until", Usage: "not to be sent before, as 2026-11-22T08:00:00Z"},
			&cli.BoolFlag{Name: "wait", Aliases: []string{"w"}, Usage: "return when queue-pickup has it"},
		}}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "queue-inject:", err)
		if drop.Refused(err) && !errors.Is(err, drop.ErrWaited) {
			os.Exit(65) // EX_DATAERR
		}
		os.Exit(75) // EX_TEMPFAIL
	}
}

func run(c *cli.Context) error {
	conf, err := config.Load(c.Path("config"), "sendmail")
	var env *queue.Envelope
	switch {
	case err != nil:
		return cli.Exit("queue-inject: "+err.Error(), 78) // EX_CONFIG
	case c.Bool("check"):
		return nil
	case c.IsSet("from") || c.IsSet("rcpt"):
		if env, err = drop.Envelope(c.String("from"), append(c.StringSlice("rcpt"), c.Args().Slice()...), c.String("hold-until")); err != nil {
			return err
		}
	}
	spool, err := queue.Open(conf.Spool)
	if err != nil {
		return err
	}
	defer spool.Close()
	file, err := drop.Inject(spool, os.Stdin, env, conf.Submit.MaxSize)
	if err != nil || !c.Bool("wait") {
		return err
	}
	return file.Wait(max(conf.Submit.Wait, time.Minute))
}

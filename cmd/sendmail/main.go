// Command sendmail takes a message from standard input and puts it into the drop directory; sendmail(8).
package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"pennypost/internal/config"
	"pennypost/queue"
	"pennypost/queue/sendmail"
)

func main() {
	app := &cli.App{Name: "sendmail", SkipFlagParsing: true, HideHelp: true, Action: run} // its flags are older than cli
	err := app.Run(append([]string{"sendmail"}, os.Args...))
	if err != nil {
		fmt.Fprintln(os.Stderr, "sendmail:", err)
	}
	os.Exit(sendmail.Code(err))
}

func run(c *cli.Context) error {
	args := c.Args().Slice()
	flags, err := sendmail.Parse(args[0], args[1:])
	if err != nil {
		return err
	}
	if flags.Mode == 'p' {
		return sendmail.Mailq(flags)
	}
	conf, err := config.Load(flags.Config, "sendmail")
	if err != nil {
		return &sendmail.Error{Code: 78, Err: err} // EX_CONFIG
	}
	if flags.Check || flags.Mode == 'i' {
		return nil
	}
	spool, err := queue.Open(conf.Spool)
	if err != nil {
		return err
	}
	defer spool.Close()
	command := &sendmail.Command{Spool: spool, Hostname: conf.Hostname, Origin: conf.Origin,
		MaxSize: conf.Submit.MaxSize, Wait: conf.Submit.Wait, In: os.Stdin, Out: os.Stdout}
	return command.Run(flags)
}

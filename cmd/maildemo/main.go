// Maildemo runs two mail hosts on this machine, maildemo(1).
package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"pennypost/test/demo"
)

func main() {
	dir := &cli.PathFlag{Name: "dir", Value: "demo", Usage: "where its files are"}
	base := &cli.IntFlag{Name: "base", Value: 10000, Usage: "added to every port number"}
	detach := &cli.BoolFlag{Name: "detach", Usage: "return when every port answers, and go on in the background"}
	quiet := &cli.BoolFlag{Name: "quiet", Usage: "send no mail"}
	app := &cli.App{
		Name:            "maildemo",
		Usage:           "two mail hosts on this machine",
		HideHelpCommand: true,
		Commands: []*cli.Command{
			{Name: "up", Usage: "bring it up, until Ctrl-C", Flags: []cli.Flag{dir, base, detach, quiet}, Action: with(demo.Up)},
			{Name: "down", Usage: "end what runs in the background", Flags: []cli.Flag{dir}, Action: with(demo.Down)},
			{Name: "env", Usage: "print addresses, files and pids as shell assignments", Flags: []cli.Flag{dir}, Action: with(demo.Env)},
			{Name: "check", Usage: "bring up another one, see whether all is well, and end it", Flags: []cli.Flag{
				&cli.BoolFlag{Name: "keep", Usage: "leave its files where they are"}}, Action: func(c *cli.Context) error {
				return demo.Check(os.Stdout, c.Bool("keep"))
			}},
		},
	}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintf(os.Stderr, "maildemo: %v\n", err)
		os.Exit(1)
	}
}

func with(run func(demo.Options) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.Args().Present() {
			return fmt.Errorf("%s: one word too many: %q", c.Command.Name, c.Args().First())
		}
		return run(demo.Options{Dir: c.Path("dir"), Base: c.Int("base"), Detach: c.Bool("detach"), Quiet: c.Bool("quiet"), Out: os.Stdout})
	}
}

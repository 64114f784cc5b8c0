// Command mailverify shows why a message passes SPF, DKIM, ARC and DMARC, or fails; mailverify(1).
package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"pennypost/cmd/internal/argv"
	"pennypost/internal/dns"
	"pennypost/msgauth"
	"pennypost/msgauth/mailverify"
)

func main() {
	app := &cli.App{Name: "mailverify", Usage: "show why a message passes or fails", HideHelpCommand: true, Action: run,
		ArgsUsage: "spf IP HELO MAIL-FROM | dkim | arc | dmarc | all   (the message on standard input)",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "json", Aliases: []string{"j"}, Usage: "one JSON object"},
			&cli.StringFlag{Name: "dns", Usage: "the resolver, HOST:PORT; else DNS_SERVER of the environment, else resolv.conf"},
			&cli.StringFlag{Name: "ip", Usage: "the client's address, for dmarc and all"},
			&cli.StringFlag{Name: "helo", Usage: "what it said in HELO or EHLO"},
			&cli.StringFlag{Name: "from", Usage: "the reverse-path"},
			&cli.StringFlag{Name: "name", Value: "localhost", Usage: "authserv-id of the header"},
			&cli.StringSliceFlag{Name: "trust", Usage: "a domain whose ARC-Seals are believed; may be repeated"},
			&cli.TimestampFlag{Name: "at", Layout: time.RFC3339, Usage: "verify as if it were then"},
		}}
	if err := app.Run(argv.Sort(app, os.Args)); err != nil {
		os.Exit(64)
	}
}

func run(c *cli.Context) error {
	resolver := &dns.Resolver{}
	if server := cmp.Or(c.String("dns"), os.Getenv("DNS_SERVER")); server != "" {
		resolver.Servers = []string{server}
	}
	trusted := func(d string) bool { return slices.Contains(c.StringSlice("trust"), d) }
	checker := &msgauth.Checker{DNS: resolver, Name: c.String("name"), Sealers: trusted}
	if at := c.Timestamp("at"); at != nil {
		checker.Now = func() time.Time { return *at }
	}
	tool := &mailverify.Tool{Checker: checker, In: os.Stdin, Out: os.Stdout, JSON: c.Bool("json"),
		IP: c.String("ip"), HELO: c.String("helo"), From: c.String("from")}
	verdict, err := tool.Run(c.Context, c.Args().Slice())
	if err != nil {
		fmt.Fprintln(os.Stderr, "mailverify:", err)
	}
	os.Exit(mailverify.ExitCode(verdict, err))
	return nil
}

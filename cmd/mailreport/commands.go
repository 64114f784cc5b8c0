package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"pennypost/internal/config"
	"pennypost/internal/confine"
	"pennypost/internal/dns"
	"pennypost/internal/escape"
	"pennypost/mailreport"
)

// usage is a mistake on the command line.
type usage string

func (u usage) Error() string { return string(u) }

var (
	errCrossed = errors.New("a threshold was passed")
	errUnread  = errors.New("some could not be read") // and was said already
)

// confined gives up what reading a report does not need; tests, which are one process, keep it.
var confined = confine.Tool

// tool is what a command works with.
type tool struct {
	*cli.Context
	conf  *config.Config
	store *mailreport.Store
}

func newApp() *cli.App {
	asJSON := &cli.BoolFlag{Name: "json", Aliases: []string{"j"}, Usage: "one JSON object a line"}
	days := &cli.IntFlag{Name: "days", Value: 30, Usage: "the last so many days"}
	most := func(what string) cli.Flag {
		return &cli.Float64Flag{Name: "most", Value: -1, Usage: "exit 1 when there are more " + what}
	}
	return &cli.App{
		Name: "mailreport", Usage: "read reports about our mail, say what they add up to, and send such reports", HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
			&cli.PathFlag{Name: "dir", Aliases: []string{"d"}, Usage: "where reports are kept, instead of STATE/reports/in"},
			&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"},
		},
		Commands: []*cli.Command{
			command("read", "[MAILDIR]...", 1000, read, asJSON),
			command("senders", "[DOMAIN]", 1, senders, asJSON, days, &cli.BoolFlag{Name: "names", Usage: "ask DNS for the names of addresses"},
				&cli.StringFlag{Name: "dns", Usage: "the resolver, HOST:PORT; else DNS_SERVER, else that of mail.toml"},
				&cli.Float64Flag{Name: "least", Usage: "exit 1 when a smaller percentage passes"}),
			command("tls", "[DOMAIN]", 1, reach, asJSON, days, most("percent of sessions that failed")),
			command("complaints", "[DOMAIN]", 1, complaints, asJSON, days, most("complaints")),
			command("bounces", "", 0, bounces, asJSON, days, most("recipients that failed")),
			command("ready", "[DOMAIN]", 1, ready, asJSON, days, &cli.Float64Flag{Name: "percent", Usage: "of mail that must pass"},
				&cli.IntFlag{Name: "reported", Usage: "days of which there must be reports"}),
			sendCommand(asJSON),
		},
		Action: func(c *cli.Context) error {
			if c.Bool("check") {
				_, err := config.Load(c.Path("config"))
				return err
			}
			return usage("say read, senders, tls, complaints, bounces, ready or send; mailreport --help tells more")
		},
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   badFlag,
	}
}

func badFlag(_ *cli.Context, err error, _ bool) error { return usage(err.Error()) }

// command is one verb: it opens the store and counts the arguments.
func command(name, args string, most int, do func(*tool) error, flags ...cli.Flag) *cli.Command {
	return &cli.Command{Name: name, ArgsUsage: args, Flags: flags, HideHelpCommand: true, OnUsageError: badFlag, Action: func(c *cli.Context) error {
		if c.NArg() > most {
			return usage(strings.TrimSpace("write: mailreport " + name + " " + args))
		}
		t := &tool{Context: c, conf: &config.Config{}}
		dir := c.Path("dir")
		conf, err := config.Load(c.Path("config"), "dns")
		switch {
		case err == nil:
			t.conf = conf
		case dir == "" || c.IsSet("config"): // with --dir it works without a configuration
			return err
		}
		if dir == "" {
			dir = filepath.Join(t.conf.State, "reports", "in")
			if err := os.MkdirAll(dir, 0o750); err != nil {
				return err
			}
		}
		if t.store, err = mailreport.Open(dir); err != nil {
			return err
		}
		defer t.store.Close()
		return do(t)
	}}
}

func (t *tool) span() mailreport.Days { return mailreport.Last(t.Int("days"), time.Now()) }

// domain is the domain a command is about, "" for all.
func (t *tool) domain() string { return strings.ToLower(strings.TrimSuffix(t.Args().First(), ".")) }

func read(t *tool) error {
	r := &mailreport.Reader{Store: t.store, Now: time.Now, Bad: func(name string, err error) {
		fmt.Fprintf(os.Stderr, "mailreport: %s: %s\n", escape.Terminal(name), escape.Terminal(err.Error()))
	}}
	var err error
	if t.NArg() == 0 {
		if err := confined(t.conf, t.store.Dir); err != nil {
			return err
		}
		err = r.Message("standard input", os.Stdin)
	}
	for _, dir := range t.Args().Slice() {
		if err == nil {
			err = r.Maildir(dir)
		}
	}
	if err = errors.Join(err, r.Flush()); err != nil {
		return err
	}
	if t.Bool("json") {
		err = mailreport.PrintJSON(os.Stdout, []mailreport.Reading{r.Reading})
	} else {
		_, err = fmt.Printf("%d messages: %d reports, %d of them new; %d without one, %d unreadable\n", r.Messages, r.Reports, r.Added, r.Others, r.Unread)
	}
	if err == nil && r.Unread > 0 {
		err = errUnread
	}
	return err
}

func senders(t *tool) error {
	list, err := t.store.Senders(t.span(), t.domain())
	if err != nil {
		return err
	}
	if t.Bool("names") {
		t.names(list)
	}
	if t.Bool("json") {
		err = mailreport.PrintJSON(os.Stdout, list)
	} else {
		err = mailreport.PrintSenders(os.Stdout, list)
	}
	return crossed(err, slices.ContainsFunc(list, func(d *mailreport.Domain) bool {
		return mailreport.Percent(d.Pass, d.Messages) < t.Float64("least")
	}))
}

// maxNames is how many addresses of a domain DNS is asked about: those with most messages.
const maxNames = 50

func (t *tool) names(list []*mailreport.Domain) {
	ctx, cancel := context.WithTimeout(t.Context.Context, 30*time.Second)
	defer cancel()
	resolver := &dns.Resolver{Servers: t.conf.DNS.Servers, Timeout: t.conf.DNS.Timeout}
	for _, server := range []string{os.Getenv("DNS_SERVER"), t.String("dns")} {
		if server != "" {
			resolver.Servers = []string{server}
		}
	}
	for _, d := range list {
		for i := range d.Senders[:min(len(d.Senders), maxNames)] {
			addr, err := netip.ParseAddr(d.Senders[i].Source)
			if err != nil {
				continue
			}
			if names, err := resolver.PTR(ctx, addr); err == nil && len(names) > 0 {
				d.Senders[i].Name = escape.Terminal(strings.TrimSuffix(names[0], "."))
			}
		}
	}
}

func reach(t *tool) error {
	list, err := t.store.Reach(t.span(), t.domain())
	if err != nil {
		return err
	}
	if t.Bool("json") {
		err = mailreport.PrintJSON(os.Stdout, list)
	} else {
		err = mailreport.PrintReach(os.Stdout, list)
	}
	most := t.Float64("most")
	return crossed(err, most >= 0 && slices.ContainsFunc(list, func(d *mailreport.Reach) bool {
		return 100-mailreport.Percent(d.Successes, d.Successes+d.Failures) > most
	}))
}

func complaints(t *tool) error {
	list, err := t.store.Complaints(t.span(), t.domain())
	if err != nil {
		return err
	}
	if t.Bool("json") {
		err = mailreport.PrintJSON(os.Stdout, list)
	} else {
		err = mailreport.PrintComplaints(os.Stdout, list)
	}
	var n int64
	for _, c := range list {
		if c.Type != "not-spam" {
			n += c.Count
		}
	}
	return crossed(err, t.Float64("most") >= 0 && float64(n) > t.Float64("most"))
}

func bounces(t *tool) error {
	list, err := t.store.Bounces(t.span())
	if err != nil {
		return err
	}
	if t.Bool("json") {
		err = mailreport.PrintJSON(os.Stdout, list)
	} else {
		err = mailreport.PrintBounces(os.Stdout, list)
	}
	var n int64
	for _, b := range list {
		if b.Action == "failed" {
			n += b.Count
		}
	}
	return crossed(err, t.Float64("most") >= 0 && float64(n) > t.Float64("most"))
}

func ready(t *tool) error {
	dmarc, sts := mailreport.DMARCBar, mailreport.STSBar
	if t.IsSet("percent") {
		dmarc.Percent, sts.Percent = t.Float64("percent"), t.Float64("percent")
	}
	if t.IsSet("reported") {
		dmarc.Days, sts.Days = t.Int("reported"), t.Int("reported")
	}
	domains, err := t.store.Senders(t.span(), t.domain())
	if err != nil {
		return err
	}
	reaches, err := t.store.Reach(t.span(), t.domain())
	if err != nil {
		return err
	}
	var list []mailreport.Advice
	for _, d := range domains {
		list = append(list, d.Advice(dmarc))
	}
	for _, d := range reaches {
		list = append(list, d.Advice(sts))
	}
	if t.Bool("json") {
		err = mailreport.PrintJSON(os.Stdout, list)
	} else {
		err = mailreport.PrintAdvice(os.Stdout, list)
	}
	return crossed(err, len(list) == 0 || slices.ContainsFunc(list, func(a mailreport.Advice) bool {
		return a.State == mailreport.Wait || a.State == mailreport.Look
	}))
}

func crossed(err error, is bool) error {
	if err == nil && is {
		return errCrossed
	}
	return err
}

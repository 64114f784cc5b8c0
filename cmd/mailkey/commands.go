package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"pennypost/internal/config"
	"pennypost/internal/confine"
	"pennypost/internal/dns"
	"pennypost/internal/escape"
	"pennypost/mailkey"
)

// usage is a mistake on the command line.
type usage string

func (u usage) Error() string { return string(u) }

var (
	errSaid  = errors.New("something is not as it should be") // and was said already
	errLater = errors.New("DNS did not answer")
)

// tool is what a command works with.
type tool struct {
	*cli.Context
	conf  *config.Config
	store *mailkey.Store
}

func newApp() *cli.App {
	asJSON := &cli.BoolFlag{Name: "json", Aliases: []string{"j"}}
	resolver := &cli.StringFlag{Name: "dns", Usage: "the resolver, HOST:PORT; else DNS_SERVER, else that of mail.toml"}
	host := []cli.Flag{
		&cli.StringFlag{Name: "host", Usage: "the mail host; else hostname of mail.toml"},
		&cli.StringSliceFlag{Name: "address", Usage: "an address it sends from; may be repeated"},
		&cli.StringFlag{Name: "certificate", Usage: "for TLSA; else the first of mail.toml"},
		&cli.StringFlag{Name: "key", Usage: "of the certificate"},
	}
	return &cli.App{
		Name: "mailkey", Usage: "DKIM keys, and the records a domain needs", HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
			&cli.PathFlag{Name: "domains", Usage: "the directory of domains, instead of mail.toml's"},
			&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"},
		},
		Commands: []*cli.Command{
			command("create", "DOMAIN", 1, 1, create, asJSON, &cli.StringFlag{Name: "algorithm", Usage: "rsa or ed25519; else both"}, &cli.StringFlag{Name: "selector"}),
			command("list", "[DOMAIN]", 0, 1, list, asJSON),
			command("rotate", "[DOMAIN]", 0, 1, rotate, asJSON, resolver, &cli.BoolFlag{Name: "now", Usage: "make the next key, however young the last is"},
				&cli.DurationFlag{Name: "every"}, &cli.DurationFlag{Name: "wait"}, &cli.DurationFlag{Name: "keep"}),
			command("remove", "DOMAIN SELECTOR", 2, 2, remove),
			command("dns", "DOMAIN", 1, 1, records, append(host, asJSON, &cli.BoolFlag{Name: "lines"}, &cli.BoolFlag{Name: "zone"})...),
			command("check", "DOMAIN", 1, 1, check, append(host, asJSON, resolver)...),
			command("sign", "[DOMAIN]", 0, 1, sign, &cli.PathFlag{Name: "listen", Usage: "answer deliver-remote at this socket"}),
		},
		Action: func(c *cli.Context) error {
			if c.Bool("check") {
				_, err := config.Load(c.Path("config"))
				return err
			}
			return usage("say create, list, rotate, remove, dns, check or sign; mailkey --help tells more")
		},
		ExitErrHandler: func(*cli.Context, error) {},
	}
}

// command is one verb: it opens the store and counts the arguments.
func command(name, args string, least, most int, do func(*tool) error, flags ...cli.Flag) *cli.Command {
	return &cli.Command{Name: name, ArgsUsage: args, Flags: flags, HideHelpCommand: true, Action: func(c *cli.Context) error {
		if n := c.NArg(); n < least || n > most {
			return usage("write: mailkey " + name + " " + args)
		}
		t := &tool{Context: c, conf: &config.Config{}}
		dir := c.Path("domains")
		conf, err := config.Load(c.Path("config"), "dns", "tls")
		switch {
		case err == nil:
			t.conf = conf
		case dir == "" || c.IsSet("config"): // with --domains it works without a configuration
			return err
		}
		if t.store, err = mailkey.Open(cmp.Or(dir, t.conf.Domains)); err != nil {
			return err
		}
		return do(t)
	}}
}

// names are the domains a command is about: the one it names, or all.
func (t *tool) names() ([]mailkey.Name, error) {
	if t.NArg() == 0 {
		return t.store.Domains()
	}
	n, err := t.store.Domain(t.Args().First())
	return []mailkey.Name{n}, err
}

func (t *tool) resolver() *dns.Resolver {
	r := &dns.Resolver{Servers: t.conf.DNS.Servers, TrustAD: t.conf.DNS.TrustAD, Timeout: t.conf.DNS.Timeout}
	if server := cmp.Or(t.String("dns"), os.Getenv("DNS_SERVER")); server != "" {
		r.Servers = []string{server}
	}
	return r
}

// host is the machine the records are about.
func (t *tool) host() (h mailkey.Host, err error) {
	if h.Name = cmp.Or(t.String("host"), t.conf.Hostname); !strings.Contains(h.Name, ".") {
		return h, usage(fmt.Sprintf("which host is the mail for? %q is no full name: say --host, or hostname in mail.toml", h.Name))
	}
	for _, a := range t.StringSlice("address") {
		addr, err := netip.ParseAddr(a)
		if err != nil {
			return h, usage(fmt.Sprintf("%q is no address", a))
		}
		h.Addresses = append(h.Addresses, addr.Unmap())
	}
	certificate, key := t.String("certificate"), t.String("key")
	if certificate == "" && len(t.conf.TLS.Certificates) > 0 {
		certificate, key = t.conf.TLS.Certificates[0], t.conf.TLS.Keys[0]
	}
	if certificate != "" {
		h.TLSA, err = mailkey.TLSA(certificate, key)
	}
	return h, err
}

func create(t *tool) error {
	n, err := t.store.Domain(t.Args().First())
	if err != nil {
		return err
	}
	algorithms := mailkey.Algorithms
	if a := t.String("algorithm"); a != "" {
		algorithms = []string{a}
	} else if t.String("selector") != "" {
		return usage("a selector is for one key: say --algorithm, too")
	}
	made := []mailkey.Key{}
	for _, a := range algorithms {
		k, err := t.store.Create(n, a, t.String("selector"))
		if err != nil {
			return err
		}
		made = append(made, k)
		if !t.Bool("json") {
			fmt.Printf("; %s, state %s\n%s._domainkey.%s.\t3600\tIN\tTXT\t%s\n", k.File, k.State, k.Selector, n.ASCII, mailkey.ZoneText(k.Record))
		}
	}
	if t.Bool("json") {
		return mailkey.PrintJSON(os.Stdout, made)
	}
	return nil
}

func list(t *tool) error {
	names, err := t.names()
	if err != nil {
		return err
	}
	type row struct {
		Domain string `json:"domain"`
		mailkey.Key
	}
	rows := []row{}
	for _, n := range names {
		keys, err := t.store.Keys(n)
		if err != nil {
			return err
		}
		for _, k := range keys {
			rows = append(rows, row{n.ASCII, k})
		}
	}
	if t.Bool("json") {
		return mailkey.PrintJSON(os.Stdout, rows)
	}
	for _, r := range rows {
		fmt.Printf("%-24s %-12s %-8s %4d  %-8s created %s\n", r.Domain, r.Selector, r.Algorithm, r.Bits, r.State, r.Created.Format(time.DateOnly))
	}
	return nil
}

func rotate(t *tool) error {
	names, err := t.names()
	if err != nil {
		return err
	}
	type row struct {
		Domain string `json:"domain"`
		mailkey.Step
	}
	rows := []row{}
	resolver := t.resolver()
	for _, n := range names {
		if t.NArg() == 0 { // a domain without keys has no use for the timer
			if keys, err := t.store.Keys(n); err != nil || len(keys) == 0 {
				failure(n, err)
				continue
			}
		}
		steps, e := t.store.Rotate(t.Context.Context, n, resolver, mailkey.Rotation{Every: t.Duration("every"), Wait: t.Duration("wait"), Keep: t.Duration("keep"), Now: t.Bool("now")})
		for _, s := range steps {
			rows = append(rows, row{n.ASCII, s})
		}
		if e != nil {
			failure(n, e)
			err = errSaid
		}
	}
	if t.Bool("json") {
		return errors.Join(mailkey.PrintJSON(os.Stdout, rows), err)
	}
	for _, r := range rows {
		fmt.Printf("%s %s: %s: %s\n", r.Domain, r.Selector, r.What, escape.Terminal(r.Text))
		if r.Record != "" {
			fmt.Printf("%s._domainkey.%s.\t3600\tIN\tTXT\t%s\n", r.Selector, r.Domain, mailkey.ZoneText(r.Record))
		}
	}
	return err
}

func failure(n mailkey.Name, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "mailkey: %s: %v\n", n.ASCII, err)
	}
}

func remove(t *tool) error {
	n, err := t.store.Domain(t.Args().First())
	if err != nil {
		return err
	}
	return t.store.Remove(n, t.Args().Get(1))
}

func (t *tool) records() ([]mailkey.Record, error) {
	n, err := t.store.Domain(t.Args().First())
	if err != nil {
		return nil, err
	}
	h, err := t.host()
	if err != nil {
		return nil, err
	}
	return t.store.Records(n, h)
}

func records(t *tool) error {
	list, err := t.records()
	switch {
	case err != nil:
		return err
	case t.Bool("json"):
		return mailkey.PrintJSON(os.Stdout, list)
	case t.Bool("lines"):
		return mailkey.PrintLines(os.Stdout, list)
	}
	return mailkey.PrintZone(os.Stdout, list)
}

func check(t *tool) error {
	list, err := t.records()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context.Context, 2*time.Minute)
	defer cancel()
	found := mailkey.Check(ctx, t.resolver(), list)
	if t.Bool("json") {
		if err := mailkey.PrintJSON(os.Stdout, found); err != nil {
			return err
		}
	} else {
		for _, f := range found {
			printFinding(f)
		}
	}
	is := func(states ...string) bool {
		return slices.ContainsFunc(found, func(f mailkey.Finding) bool { return slices.Contains(states, f.State) })
	}
	switch {
	case is(mailkey.Missing, mailkey.Wrong):
		return errSaid
	case is(mailkey.Unknown):
		return errLater
	}
	return nil
}

func printFinding(f mailkey.Finding) {
	fmt.Printf("%-7s %-6s %s %s", f.State, f.Level, f.Name, f.Type)
	if f.State == mailkey.OK {
		fmt.Println()
		return
	}
	fmt.Printf(": %s\n        want    %s\n", escape.Terminal(f.Text), f.Value)
	if len(f.Found) > 0 {
		fmt.Printf("        found   %s\n", escape.Terminal(strings.Join(f.Found, "  ")))
	}
	fmt.Printf("        why     %s\n        without %s\n", f.Why, f.Without)
}

func sign(t *tool) error {
	s := &mailkey.Signer{Store: t.store}
	if t.NArg() == 0 && t.conf.File != "" { // what it reads, deliver-remote passed on from everybody
		t.conf.Domains = t.store.Dir
		if err := confine.Program("mailkey", t.conf, nil, t.Path("listen")); err != nil {
			return err
		}
	}
	if path := t.Path("listen"); path != "" {
		ctx, stop := signal.NotifyContext(t.Context.Context, syscall.SIGTERM, os.Interrupt)
		defer stop()
		return s.Listen(ctx, path, func(err error) { failure(mailkey.Name{ASCII: path}, err) })
	}
	if t.NArg() == 0 {
		return s.Serve(os.Stdin, os.Stdout)
	}
	return s.Filter(t.Args().First(), os.Stdin, os.Stdout)
}

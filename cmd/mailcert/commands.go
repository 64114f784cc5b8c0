package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"pennypost/internal/config"
	"pennypost/internal/confine"
	"pennypost/internal/dns"
	"pennypost/mailcert"
)

// usage is a mistake on the command line.
type usage string

func (u usage) Error() string { return string(u) }

var (
	errSaid  = errors.New("something is not as it should be") // and was said already
	errLater = errors.New("try again later")                  // likewise
)

// tool is what a command works with.
type tool struct {
	*cli.Context
	conf  *config.Config
	pairs []*mailcert.Pair // of mail.toml, or the one of --certificate
}

func newApp() *cli.App {
	asJSON := &cli.BoolFlag{Name: "json", Aliases: []string{"j"}, Usage: "one JSON object a line"}
	resolver := &cli.StringFlag{Name: "dns", Usage: "the resolver, HOST:PORT; else DNS_SERVER, else that of mail.toml"}
	algorithm := &cli.StringFlag{Name: "algorithm", Usage: "of a key that is made: ecdsa or rsa"}
	return &cli.App{
		Name: "mailcert", Usage: "get certificates, renew them, and show when they end", HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.PathFlag{Name: "config", Aliases: []string{"c"}, Usage: "mail.toml"},
			&cli.PathFlag{Name: "certificate", Usage: "the chain, instead of those of mail.toml"},
			&cli.PathFlag{Name: "key", Usage: "its key"},
			&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the configuration and leave"},
		},
		Commands: []*cli.Command{
			command("self", "[NAME]...", self, algorithm),
			command("show", "", show, asJSON, &cli.IntFlag{Name: "days", Value: 14, Usage: "exit 1 when fewer are left"}),
			command("obtain", "NAME...", obtain, resolver, algorithm, &cli.BoolFlag{Name: "agree", Usage: "to the terms of the ACME server"},
				&cli.StringFlag{Name: "contact", Usage: "an address it may write to"}, &cli.StringFlag{Name: "directory", Usage: "its URL; else Let's Encrypt's"},
				&cli.StringFlag{Name: "challenge", Usage: "http-01, tls-alpn-01 or dns-01"}, &cli.StringFlag{Name: "listen", Usage: "for http-01 and tls-alpn-01"},
				&cli.StringFlag{Name: "hook", Usage: "for dns-01"}, &cli.StringFlag{Name: "profile", Usage: "of the certificate"},
				&cli.StringFlag{Name: "root", Usage: "PEM file of who vouches for the server"}),
			command("renew", "", renew, resolver, asJSON, &cli.BoolFlag{Name: "now", Usage: "and do not wait until it is time"}),
			command("next", "", next, algorithm),
			command("roll", "", roll, resolver, &cli.DurationFlag{Name: "wait", Value: mailcert.RollWait, Usage: "how old the next key must be"}),
		},
		Action: func(c *cli.Context) error {
			if c.Bool("check") {
				_, err := config.Load(c.Path("config"), "tls", "dns")
				return err
			}
			return usage("say self, show, obtain, renew, next or roll; mailcert --help tells more")
		},
		ExitErrHandler: func(*cli.Context, error) {}, OnUsageError: badFlag,
	}
}

func badFlag(_ *cli.Context, err error, _ bool) error { return usage(err.Error()) }

// command is one verb: it opens the pairs, and all but show hold them against other calls.
func command(name, args string, do func(*tool) error, flags ...cli.Flag) *cli.Command {
	return &cli.Command{Name: name, ArgsUsage: args, Flags: flags, HideHelpCommand: true, OnUsageError: badFlag, Action: func(c *cli.Context) error {
		if args == "" && c.NArg() > 0 {
			return usage("write: mailcert " + name)
		}
		t := &tool{Context: c, conf: &config.Config{}}
		conf, err := config.Load(c.Path("config"), "tls", "dns")
		switch {
		case err == nil:
			t.conf = conf
		case c.Path("certificate") == "" || c.IsSet("config"): // with --certificate it works without a configuration
			return err
		}
		if err := t.open(); err != nil {
			return err
		}
		locked := map[string]bool{}
		for _, p := range t.pairs {
			defer p.Close()
			if name == "show" || locked[p.Dir] {
				continue
			}
			lock, err := p.Lock()
			if err != nil {
				return err
			}
			defer lock.Close()
			locked[p.Dir] = true
		}
		return do(t)
	}}
}

func (t *tool) open() error {
	chains, keys := t.conf.TLS.Certificates, t.conf.TLS.Keys
	if c := t.Path("certificate"); c != "" {
		chains, keys = []string{c}, []string{cmp.Or(t.Path("key"), strings.TrimSuffix(c, ".pem")+".key")}
	}
	if len(chains) == 0 {
		return usage("which certificate? say tls.certificates and tls.keys in mail.toml, or --certificate and --key")
	}
	for i, chain := range chains {
		p, err := mailcert.Open(chain, keys[i])
		if err != nil {
			return err
		}
		t.pairs = append(t.pairs, p)
	}
	return nil
}

// one is the pair of the commands that are about one: the first.
func (t *tool) one() *mailcert.Pair { return t.pairs[0] }

func (t *tool) resolver() *dns.Resolver {
	r := &dns.Resolver{Servers: t.conf.DNS.Servers, TrustAD: t.conf.DNS.TrustAD, Timeout: t.conf.DNS.Timeout}
	if server := cmp.Or(t.String("dns"), os.Getenv("DNS_SERVER")); server != "" {
		r.Servers = []string{server}
	}
	return r
}

// confine leaves us our certificates and what the settings name; a hook is anybody's program, and needs what it needs.
func (t *tool) confine(settings ...*mailcert.Settings) error {
	conf, name := *t.conf, "mailcert"
	for _, p := range t.pairs {
		conf.ConfinePaths = append(conf.ConfinePaths, p.Dir)
	}
	for _, s := range settings {
		switch {
		case s == nil:
		case s.Hook != "":
			name = "mailcert with a hook"
		case s.Root != "":
			conf.ConfinePaths = append(conf.ConfinePaths, filepath.Dir(s.Root))
		}
	}
	return confine.Program(name, &conf, nil)
}

// work ends with a signal, so that a hook can take its record away.
func work() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

func self(t *tool) error {
	names := t.Args().Slice()
	if len(names) == 0 && strings.Contains(t.conf.Hostname, ".") {
		if _, err := os.Stat(t.one().Path()); errors.Is(err, fs.ErrNotExist) {
			names = []string{t.conf.Hostname}
		}
	}
	if err := t.one().Self(names, t.String("algorithm")); err != nil {
		return err
	}
	return t.one().State().Print(os.Stdout)
}

func show(t *tool) error {
	bad := false
	for _, p := range t.pairs {
		s := p.State()
		bad = bad || s.Problem != "" || s.Days < t.Int("days")
		if err := print(t, s, func() error { return s.Print(os.Stdout) }); err != nil {
			return err
		}
	}
	if bad {
		return errSaid
	}
	return nil
}

func print(t *tool, v any, words func() error) error {
	if !t.Bool("json") {
		return words()
	}
	e := json.NewEncoder(os.Stdout)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func obtain(t *tool) error {
	p := t.one()
	s := &mailcert.Settings{Directory: t.String("directory"), Agreed: t.Bool("agree"), Contact: t.String("contact"), Names: t.Args().Slice(),
		Challenge: t.String("challenge"), Listen: t.String("listen"), Hook: t.String("hook"), Profile: t.String("profile"), Root: t.String("root"),
		Algorithm: t.String("algorithm")}
	if err := s.Check(); err != nil {
		return usage(err.Error())
	}
	if err := t.confine(s); err != nil {
		return err
	}
	ctx, stop := work()
	defer stop()
	if err := p.Obtain(ctx, s, t.resolver()); err != nil {
		return err
	}
	return p.State().Print(os.Stdout)
}

func renew(t *tool) error {
	var all []*mailcert.Settings
	for _, p := range t.pairs {
		if s, err := p.Settings(); err == nil { // Renew says what is wrong
			all = append(all, s)
		}
	}
	if err := t.confine(all...); err != nil {
		return err
	}
	ctx, stop := work()
	defer stop()
	failed := false
	for _, p := range t.pairs {
		r, err := p.Renew(ctx, t.resolver(), t.Bool("now"))
		if err != nil {
			failed = true
			fmt.Fprintf(os.Stderr, "mailcert: %s: %v\n", p.Path(), err)
			if !r.Until.IsZero() {
				fmt.Fprintf(os.Stderr, "mailcert: %s: what is there is good until %s\n", p.Path(), r.Until.Format(time.RFC3339))
			}
			continue
		}
		err = print(t, r, func() error {
			_, err := fmt.Printf("%s: %s, good until %s", r.File, r.What, r.Until.Format(time.RFC3339))
			if r.What == "waits" {
				fmt.Printf("; renewed after %s: %s", r.Due.Format(time.RFC3339), r.Why)
			} else if r.What == "unmanaged" {
				fmt.Printf("; %s", r.Why)
			}
			fmt.Println()
			return err
		})
		if err != nil {
			return err
		}
	}
	if failed {
		return errLater
	}
	return nil
}

func next(t *tool) error {
	value, err := t.one().Next(t.String("algorithm"))
	if err == nil {
		tell(t.one(), value)
	}
	return err
}

// tell prints the records that are to be in DNS beside those of now.
func tell(p *mailcert.Pair, value string) {
	for _, name := range p.State().Names {
		fmt.Printf("_25._tcp.%s.\t3600\tIN\tTLSA\t%s\n", name, value)
	}
}

func roll(t *tool) error {
	ctx, stop := work()
	defer stop()
	if err := t.one().Roll(ctx, t.resolver(), t.Duration("wait")); err != nil {
		return err
	}
	s := t.one().State()
	err := s.Print(os.Stdout)
	fmt.Println("; the records to have now")
	tell(t.one(), s.TLSA)
	tell(t.one(), s.Next)
	return err
}

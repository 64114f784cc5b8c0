package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"pennypost/internal/config"
	"pennypost/internal/confine"
	"pennypost/internal/dns"
	"pennypost/internal/escape"
	"pennypost/mailreport"
	"pennypost/mailreport/send"
	"pennypost/msgauth"
)

// errLeft says that some reports wait for the next run.
var errLeft = errors.New("some reports were not sent")

func sendCommand(asJSON cli.Flag) *cli.Command {
	return &cli.Command{Name: "send", HideHelpCommand: true, OnUsageError: badFlag, Action: tellOthers, Flags: []cli.Flag{asJSON,
		&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "say what would be sent, and send nothing"},
		&cli.BoolFlag{Name: "wait", Usage: "send each report when it is due, within report.delay, and not at once"},
		&cli.StringFlag{Name: "dns", Usage: "the resolver, HOST:PORT; else DNS_SERVER, else that of mail.toml"},
		&cli.PathFlag{Name: "sendmail", Usage: "the program that takes mail; else the one beside this"},
	}}
}

// confinedSend gives up what sending does not need; tests, which are one process, keep it.
var confinedSend = func(conf *config.Config, anothers bool) error {
	name := "mailreport send"
	if anothers {
		name = "mailreport send by another program"
	}
	return confine.Program(name, conf, nil)
}

// sender is what mail.toml says.
func sender(c *cli.Context) (*send.Sender, error) {
	conf, err := config.Load(c.Path("config"), "report", "dns", "remote", "tls")
	if err == nil {
		err = confinedSend(conf, c.Path("sendmail") != "")
	}
	if err != nil {
		return nil, err
	}
	roots, err := send.Roots(conf.TLS.CA)
	if err != nil {
		return nil, err
	}
	resolver := &dns.Resolver{Servers: conf.DNS.Servers, TrustAD: conf.DNS.TrustAD, Timeout: conf.DNS.Timeout}
	if server := cmp.Or(c.String("dns"), os.Getenv("DNS_SERVER")); server != "" {
		resolver.Servers = []string{server}
	}
	program := c.Path("sendmail")
	if self, err := os.Executable(); err == nil && program == "" {
		program = filepath.Join(filepath.Dir(self), "sendmail")
	}
	refused := func(a netip.Addr) bool {
		return a.IsUnspecified() || a.IsMulticast() || slices.ContainsFunc(conf.Remote.RefuseNetworks, func(n netip.Prefix) bool { return n.Contains(a.Unmap()) })
	}
	s := &send.Sender{
		State: conf.State, Host: conf.Hostname, Organization: cmp.Or(conf.Report.Organization, conf.Origin),
		From: cmp.Or(conf.Report.From, "postmaster@"+conf.Origin), Contact: conf.Report.Contact,
		NoReport: filepath.Join(filepath.Dir(conf.File), "noreport"), DMARC: conf.Report.DMARC, TLS: conf.Report.TLS, Delay: conf.Report.Delay,
		Now: time.Now, DryRun: c.Bool("dry-run"), DNS: resolver, Organizer: (&msgauth.Checker{DNS: resolver}).Organization,
		Mail: send.Sendmail(program, conf.File), Post: send.Post(resolver, refused, roots),
	}
	if c.Bool("wait") {
		s.Wait = until
	}
	return s, nil
}

// until waits.
func until(ctx context.Context, due time.Time) error {
	select {
	case <-time.After(time.Until(due)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func tellOthers(c *cli.Context) error {
	if c.NArg() > 0 {
		return usage("write: mailreport send")
	}
	s, err := sender(c)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM, os.Interrupt)
	defer stop()
	silent := 0 // domains that ask for nothing: of TLS, most
	later, err := s.Run(ctx, func(o send.Outcome) {
		if c.Bool("json") {
			mailreport.PrintJSON(os.Stdout, []send.Outcome{o})
			return
		}
		if o.Text == send.AsksForNone {
			silent++
			return
		}
		line := fmt.Sprintf("%s %s %s %s rows=%d", o.State, o.Kind, o.Day, o.Domain, o.Rows)
		if o.To != "" {
			line += " to=" + o.To
		}
		if o.Bytes > 0 {
			line += fmt.Sprintf(" bytes=%d", o.Bytes)
		}
		if o.Text != "" {
			line += ": " + o.Text
		}
		fmt.Println(escape.Terminal(strings.TrimSpace(line)))
	})
	if silent > 0 {
		fmt.Printf("%d domains ask for no reports\n", silent)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return nil // begun again by the next run
	case err == nil && later:
		return errLeft
	}
	return err
}

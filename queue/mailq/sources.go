package mailq

import (
	"cmp"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"pennypost/internal/config"
	"pennypost/internal/sources"
)

// service is who is connected to one. Its JSON keys are those of mailq(8) and stay.
type service struct {
	Program string         `json:"program"`
	Service string         `json:"service"`
	Open    int            `json:"open"`
	Most    int            `json:"most"`
	Sources []sourceOfOpen `json:"sources"`
}

type sourceOfOpen struct {
	Source string `json:"source"`
	Open   int    `json:"open"`
}

// busiest is how many sources of a service are listed in words.
const busiest = 10

// sources lists the services and who has most connections to them.
func (t *Tool) sources(args []string) error {
	if t.Conf == nil {
		return usage("sources are not in the spool: leave --spool out, or give --config")
	}
	files, err := filepath.Glob(filepath.Join(t.Conf.Run, "sources", "*", "*"))
	if err != nil {
		return err
	}
	n := 0
	for _, file := range files {
		s := service{Program: filepath.Base(filepath.Dir(file)), Service: filepath.Base(file), Sources: []sourceOfOpen{}}
		if len(args) > 0 && !slices.Contains(args, s.Service) && !slices.Contains(args, s.Program) {
			continue
		}
		seen, err := sources.Look(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.note("%v", err)
			continue
		}
		n++
		s.Most = limitOf(t.Conf, s.Program)
		s.count(seen)
		if err := t.service(s); err != nil {
			return err
		}
	}
	if _, err := os.ReadDir(filepath.Join(t.Conf.Run, "sources")); err != nil && n == 0 {
		return err
	}
	if n == 0 && !t.JSON {
		t.printf("No such services")
	}
	return nil
}

// count sorts what a table says; the zero Addr is who is exempt.
func (s *service) count(seen map[netip.Addr]int) {
	for a, n := range seen {
		name := "exempt"
		if a.Is6() {
			name = netip.PrefixFrom(a, 64).String()
		} else if a.IsValid() {
			name = a.String()
		}
		s.Open += n
		s.Sources = append(s.Sources, sourceOfOpen{name, n})
	}
	slices.SortFunc(s.Sources, func(a, b sourceOfOpen) int { return cmp.Or(b.Open-a.Open, cmp.Compare(a.Source, b.Source)) })
}

func (t *Tool) service(s service) error {
	if t.JSON {
		return t.object(s)
	}
	t.printf("%s %s: %d of %d", s.Program, s.Service, s.Open, s.Most)
	for i, one := range s.Sources {
		if i == busiest {
			t.printf("    … and %d more", len(s.Sources)-busiest)
			break
		}
		t.printf("    %s %d", pad(one.Source, idColumn), one.Open)
	}
	return nil
}

// limitOf is max_connections of a program.
func limitOf(c *config.Config, program string) int {
	switch program {
	case "smtpd":
		return c.SMTPD.MaxConnections
	case "imapd":
		return c.IMAPD.MaxConnections
	case "pop3d":
		return c.POP3D.MaxConnections
	case "maillogin":
		return c.Maillogin.MaxConnections
	}
	return 0
}

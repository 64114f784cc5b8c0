/*
Package mailwebd serves what must be at a URL, and nothing else: mailwebd(8).

	https://mta-sts.DOMAIN/.well-known/mta-sts.txt                       the MTA-STS policy (RFC 8461)
	https://autoconfig.DOMAIN/mail/config-v1.1.xml                       settings for Thunderbird and others
	https://autoconfig.DOMAIN/.well-known/autoconfig/mail/config-v1.1.xml
	https://DOMAIN/.well-known/autoconfig/mail/config-v1.1.xml

	files of a domain ─┐
	                   ├─▶ Site: a page for each host and path ─┬─▶ Server
	mail.toml ─────────┘   made anew every minute, when asked   └─▶ a tree of files, for another web server

A request is two words looked up in a table: nothing of it names a file, is followed, or is kept. There are no redirects, and no
page has more than 64 KiB, which is what those who fetch a policy read at most (S041).
*/
package mailwebd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pennypost/internal/config"
	"pennypost/mailkey"
)

// maxPage is what the readers of policies read (S041).
const maxPage = 64 << 10

// every is how old the table may be.
const every = time.Minute

// Site makes the pages of all domains.
type Site struct {
	Store    *mailkey.Store
	Host     string // the mail host
	Services []Service
	Warn     func(what string, err error)

	now  atomic.Pointer[table]
	mu   sync.Mutex
	made time.Time
}

// FromConfig is the site of the domains and services of mail.toml.
func FromConfig(conf *config.Config, warn func(string, error)) (*Site, error) {
	if !strings.Contains(conf.Hostname, ".") {
		return nil, fmt.Errorf("hostname is %q: mail programs need a full name, see mail.toml(5)", conf.Hostname)
	}
	store, err := mailkey.Open(conf.Domains)
	if err != nil {
		return nil, err
	}
	return &Site{Store: store, Host: strings.ToLower(strings.TrimSuffix(conf.Hostname, ".")), Services: services(conf), Warn: warn}, nil
}

// Page is what is at a URL.
type Page struct {
	Host, Path string
	Type       string // Content-Type
	Text       string
}

// table has the pages by host and path.
type table struct {
	pages map[[2]string]Page
	names []mailkey.Name
}

// find is the page at a URL.
func (s *Site) find(host, path string) (Page, bool) {
	p, ok := s.table().pages[[2]string{host, path}]
	return p, ok
}

// table is the present one. One request in a minute makes it anew; the others do not wait for that, but for the first.
func (s *Site) table() *table {
	t := s.now.Load()
	if t == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
	} else if !s.mu.TryLock() {
		return t
	} else {
		defer s.mu.Unlock()
	}
	if s.now.Load() == nil || time.Since(s.made) > every {
		s.make()
	}
	return s.now.Load()
}

// Reload makes the pages now.
func (s *Site) Reload() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.make()
}

// make makes the table. What cannot be read stays what it was: a slip of an editor takes no policy away.
func (s *Site) make() {
	s.made = time.Now()
	old := s.now.Load()
	if old == nil {
		old = &table{}
	}
	names, err := s.Store.Domains()
	if err != nil {
		s.Warn("domains", err)
		names = old.names
	}
	t := &table{pages: map[[2]string]Page{}, names: names}
	for _, n := range names {
		pages, err := s.pages(n)
		if err != nil {
			s.Warn(n.ASCII, err)
			for _, where := range places(n.ASCII) {
				if p, ok := old.pages[where]; ok {
					pages = append(pages, p)
				}
			}
		}
		for _, p := range pages {
			t.pages[[2]string{p.Host, p.Path}] = p
		}
	}
	s.now.Store(t)
}

// Paths.
const (
	stsPath       = "/.well-known/mta-sts.txt"
	configPath    = "/mail/config-v1.1.xml"
	wellKnownPath = "/.well-known/autoconfig/mail/config-v1.1.xml"
)

// places are all hosts and paths of a domain.
func places(domain string) [][2]string {
	return [][2]string{{"mta-sts." + domain, stsPath}, {"autoconfig." + domain, configPath}, {"autoconfig." + domain, wellKnownPath}, {domain, wellKnownPath}}
}

// pages are those of a domain: a policy where it has one, settings where we serve mail programs.
func (s *Site) pages(n mailkey.Name) (list []Page, err error) {
	policy, err := s.Store.STS(n, mailkey.Host{Name: s.Host})
	if err != nil {
		return nil, err
	}
	for _, where := range places(n.ASCII) {
		p := Page{Host: where[0], Path: where[1], Type: "application/xml; charset=utf-8"}
		if where[1] == stsPath {
			if policy == "" {
				continue
			}
			p.Type, p.Text = "text/plain; charset=utf-8", string(policy)
		} else if len(s.Services) == 0 {
			continue // settings without a server help nobody
		} else {
			p.Text = clientConfig(n.ASCII, s.Host, s.Services)
		}
		if len(p.Text) > maxPage {
			return nil, fmt.Errorf("%s%s: more than %d octets", p.Host, p.Path, maxPage)
		}
		list = append(list, p)
	}
	return list, nil
}

// Names are what a certificate must be for: the mail host, and the hosts of pages that are ours alone. A domain itself may have its
// web server somewhere else.
func (s *Site) Names() ([]string, error) {
	names, err := s.Store.Domains()
	list := []string{s.Host}
	for _, n := range names {
		pages, e := s.pages(n)
		err = errors.Join(err, e)
		for _, p := range pages {
			if p.Host != n.ASCII && !slices.Contains(list, p.Host) {
				list = append(list, p.Host)
			}
		}
	}
	return list, err
}

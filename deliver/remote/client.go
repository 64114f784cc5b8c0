package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pennypost/deliver/remote/downgrade"
	"pennypost/deliver/remote/sts"
	"pennypost/internal/address"
	"pennypost/internal/config"
	"pennypost/internal/dns"
	"pennypost/internal/durable"
	"pennypost/internal/maillog"
	"pennypost/internal/tlsrpt"
)

// Bounds that are no matter of taste and so not in mail.toml.
const (
	maxHosts     = 10               // of one domain (S043)
	maxAddresses = 6                // of one host
	findTime     = 3 * time.Minute  // to find a host that talks to us, all together
	helloTime    = 5 * time.Minute  // for greeting, EHLO, STARTTLS and AUTH of one host together
	tlsTime      = 30 * time.Second // for a handshake
	maxAge       = 5 * time.Minute  // of a connection that is used again
	maxRcpts     = 100              // in a transaction, where LIMITS says nothing: RFC 5321 section 4.5.3.1.8
)

// Client is what all deliveries of a process share. It is safe for concurrent use.
type Client struct {
	conf    *config.Config
	dns     *dns.Resolver
	log     *maillog.Log
	helo    string
	roots   *x509.CertPool
	tickets tls.ClientSessionCache
	sources [2]net.Addr         // for IPv4 and IPv6, or nil
	self    map[netip.Addr]bool // our own listeners' addresses
	memory  memory
	pool    pool
	signs   *signs

	opened     sync.Once // openState
	validation validation
	sts        *sts.Cache // nil: remote.mta_sts is off
	seen       downgrade.Memory
	reports    string      // directory of TLSRPT results
	silent     atomic.Bool // it was said that they cannot be kept
}

// New makes a client from the sections [remote], [dns], [tls], [route], [sender], [site] and [smtpd] of mail.toml, and the state.
func New(conf *config.Config, log *maillog.Log) (*Client, error) {
	c := &Client{
		conf:    conf,
		dns:     &dns.Resolver{Servers: conf.DNS.Servers, TrustAD: conf.DNS.TrustAD, Timeout: conf.DNS.Timeout},
		log:     log,
		helo:    conf.Remote.HELO,
		tickets: tls.NewLRUClientSessionCache(512),
		self:    ownAddresses(conf),
	}
	if c.helo == "" {
		c.helo = conf.Hostname
	}
	for _, source := range conf.Remote.Sources {
		addr, err := netip.ParseAddr(source)
		if err != nil {
			return nil, fmt.Errorf("remote.sources: %w", err)
		}
		c.sources[family(addr)] = &net.TCPAddr{IP: addr.AsSlice()}
	}
	if conf.TLS.CA != "" {
		pem, err := os.ReadFile(conf.TLS.CA)
		if err != nil {
			return nil, err
		}
		if c.roots, err = x509.SystemCertPool(); err != nil {
			c.roots = x509.NewCertPool()
		}
		if !c.roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in it", conf.TLS.CA)
		}
	}
	c.pool.idle = make(map[string][]*session)
	c.signs = newSigns(conf)
	return c, nil
}

// openState uses the directories below state, when the first mail comes: a mere check of the configuration makes none. What cannot be used is said, and done without.
func (c *Client) openState() {
	c.reports = filepath.Join(c.conf.State, tlsrpt.Dir)
	for _, dir := range []string{filepath.Dir(c.reports), c.reports} { // as below; who cannot write there will say so
		os.Mkdir(dir, 0o755)
	}
	warn := func(what string, err error) { c.log.Warn(what, err) }
	open := func(name string) durable.Disk {
		dir := filepath.Join(c.conf.State, name)
		err := os.Mkdir(dir, 0o755) // mailsetup has made it, but for who runs all under one uid
		if err == nil || errors.Is(err, fs.ErrExist) {
			var disk durable.Disk
			if disk, err = durable.Open(dir); err == nil {
				return disk
			}
		}
		warn("without "+dir, err)
		return nil
	}
	if c.conf.Remote.MTASTS {
		f := &sts.Fetcher{DNS: c.dns, Refused: c.refused, Roots: c.roots, Port: c.conf.Remote.STSPort}
		c.sts = &sts.Cache{DNS: c.dns, Fetch: f.Get, Failed: c.notFetched, Warn: warn}
		if disk := open("sts"); disk != nil {
			c.sts.Open(disk)
		}
	}
	c.seen.Wait, c.seen.Warn = c.conf.Remote.DowngradeWait, warn
	if c.seen.Wait > 0 {
		if disk := open("tls"); disk != nil {
			c.seen.Open(disk)
		}
	}
}

// Background does until ctx ends what no delivery waits for: it asks whether the resolver validates, so that a warning comes at the
// start, and keeps policies fresh.
func (c *Client) Background(ctx context.Context) {
	c.opened.Do(c.openState)
	c.validated(ctx)
	if c.sts != nil {
		c.sts.Keep(ctx, time.Hour)
	}
}

// Close says QUIT on all idle connections, and ends what is being written.
func (c *Client) Close() {
	c.pool.close()
	c.seen.Close()
	c.signs.close()
}

// family is 0 for IPv4 and 1 for IPv6.
func family(a netip.Addr) int {
	if a.Unmap().Is4() {
		return 0
	}
	return 1
}

// ownAddresses are those where mail sent to remote.port would come back to our own smtpd: a loop (RFC 5321 section 5.1).
func ownAddresses(conf *config.Config) map[netip.Addr]bool {
	self := make(map[netip.Addr]bool)
	for _, listen := range conf.SMTPD.MX {
		at, err := netip.ParseAddrPort(listen)
		host, port, _ := net.SplitHostPort(listen)
		switch {
		case err == nil && int(at.Port()) != conf.Remote.Port:
		case err == nil && !at.Addr().IsUnspecified():
			self[at.Addr().Unmap()] = true
		case err == nil || host == "" && port == fmt.Sprint(conf.Remote.Port):
			own, _ := net.InterfaceAddrs()
			for _, a := range own {
				if prefix, err := netip.ParsePrefix(a.String()); err == nil {
					self[prefix.Addr().Unmap()] = true
				}
			}
		}
	}
	return self
}

// refused reports whether we never connect to addr (S042). Zero addresses mean this host.
func (c *Client) refused(addr netip.Addr) bool {
	if addr.IsUnspecified() || addr.IsMulticast() {
		return true
	}
	for _, network := range c.conf.Remote.RefuseNetworks {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

// login is how we are to talk to the hosts of a destination.
type login struct {
	tls          string // may verify none
	stated       bool   // by a [route] or [sender]: policies of the domain do not count
	user         string
	passwordFile string
}

// loginFor finds the [sender] or [route] section that sends mail from and to these domains to site. Both are looked up as
// queue-run does: the domain, .SUFFIX from the longest on, then "*".
func (c *Client) loginFor(site string, from address.Path, domain string) login {
	found := login{tls: c.conf.Remote.TLS}
	r, ok := lookup(c.conf.Senders, from.Domain, site)
	if !ok {
		r, ok = lookup(c.conf.Routes, domain, site)
	}
	if ok {
		found.user, found.passwordFile = r.User, r.PasswordFile
		if r.TLS != "" {
			found.tls, found.stated = r.TLS, true
		}
	}
	if found.tls == "" {
		found.tls = "may"
	}
	return found
}

func lookup(routes map[string]config.Route, domain, site string) (config.Route, bool) {
	leads := func(key string) (config.Route, bool) {
		r, ok := routes[key]
		for _, next := range r.Next {
			if next == site || next == "mx" && !strings.Contains(site, ":") {
				return r, ok
			}
		}
		return r, false
	}
	domain = address.Unicode(domain)
	if r, ok := leads(domain); ok {
		return r, true
	}
	for rest := domain; ; {
		dot := strings.IndexByte(rest, '.')
		if dot < 0 {
			return leads("*")
		}
		if rest = rest[dot:]; len(rest) > 1 {
			if r, ok := leads(rest); ok {
				return r, true
			}
		}
		rest = rest[1:]
	}
}

package remote

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"pennypost/internal/address"
)

// destination is where one group of recipients goes, and how.
type destination struct {
	site        string // as logs name it
	key         string // of its idle connections
	name        string // host of a smtp: or lmtp: site, "" for MX
	port        int
	unix        string
	lmtp        bool
	implicitTLS bool // port 465, RFC 8314
	login       login
	policy      policy
}

// fixed reads a site that needs no MX: smtp://HOST:PORT, lmtp:PATH, lmtp:HOST:PORT. ok is false for the key of an MX set.
func (c *Client) fixed(site string, from address.Path, domain string) (d *destination, ok bool, err error) {
	d = &destination{site: site, login: c.loginFor(site, from, domain)}
	at, isSMTP := strings.CutPrefix(site, "smtp://")
	if !isSMTP {
		if at, d.lmtp = strings.CutPrefix(site, "lmtp:"); !d.lmtp {
			d.key = site + "\x00" + d.login.tls + "\x00" + d.login.user
			return d, false, nil
		}
		at = strings.TrimPrefix(at, "//")
		at = strings.TrimPrefix(at, "unix:")
	}
	d.key = site + "\x00" + d.login.tls + "\x00" + d.login.user + "\x00" + d.login.passwordFile
	if d.lmtp && strings.HasPrefix(at, "/") {
		d.unix = at
		return d, true, nil
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		host, port = strings.Trim(at, "[]"), strconv.Itoa(c.conf.Remote.Port)
		if d.lmtp {
			port = "24" // RFC 2033 section 5 has none; 24 is "any private mail system"
		}
	}
	d.name = strings.ToLower(host)
	if d.port, err = net.LookupPort("tcp", port); err != nil || host == "" {
		return nil, true, fmt.Errorf("site %s: no HOST:PORT", site)
	}
	d.implicitTLS = d.port == 465 && isSMTP && d.login.tls != "none"
	return d, true, nil
}

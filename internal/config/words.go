package config

import (
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"pennypost/internal/address"
)

// oneLine accepts any text without control characters.
func oneLine(s string) (string, error) {
	for _, r := range s {
		if r < ' ' || r == 0x7f {
			return "", errors.New("holds a control character")
		}
	}
	return s, nil
}

// path is a file name, made absolute.
func (c *Config) path(name string, p *string) key {
	return word(name, p, c.file)
}

func (c *Config) paths(name string, p *[]string) key {
	return words(name, p, func(s string) (string, error) {
		if s == "" {
			return "", errors.New("holds an empty file name")
		}
		return c.file(s)
	})
}

func (c *Config) file(s string) (string, error) {
	if _, err := oneLine(s); err != nil {
		return "", err
	}
	if s == "" {
		return "", nil
	}
	return filepath.Clean(c.resolve(s)), nil
}

// hostname is a domain name, or nothing.
func hostname(name string, p *string) key {
	return word(name, p, func(s string) (string, error) {
		if s == "" {
			return "", nil
		}
		return domain(s)
	})
}

// domain is a domain name of RFC 5321 section 4.1.2 in lower case, A-labels or U-labels.
func domain(s string) (string, error) {
	s = strings.TrimSuffix(s, ".")
	p, err := address.Parse("postmaster@" + s)
	if err != nil || strings.HasPrefix(s, "[") {
		return "", errorf("holds %q, which is no domain name", s)
	}
	return p.Domain, nil
}

// domainPattern is a domain, or .DOMAIN for all below it; in the form domains are compared in.
func domainPattern(s string) (string, error) {
	rest, sub := strings.CutPrefix(s, ".")
	d, err := domain(rest)
	if err != nil {
		return "", err
	}
	d = address.Path{Local: "x", Domain: d}.DomainUnicode()
	if sub {
		return "." + d, nil
	}
	return d, nil
}

// node is the letters that make ids of this host unique.
func node(s string) (string, error) {
	if s == "" || len(s) > 8 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return "", errorf("is %q, and may be one to eight of a-z and 0-9", s)
	}
	return s, nil
}

// mailPath is a pattern: %d the domain, %n the name, %u both.
func mailPath(s string) (string, error) {
	if !filepath.IsAbs(s) {
		return "", errorf("is %q: write a full path, since it is not below the configuration", s)
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		if i++; i == len(s) || !strings.Contains("dnu%", s[i:i+1]) {
			return "", errors.New("may hold %d (domain), %n (name), %u (name@domain) and %%")
		}
	}
	if !strings.Contains(s, "%u") && !strings.Contains(s, "%n") {
		return "", errorf("is %q, which is the same for every account: it needs %%d and %%n, or %%u", s)
	}
	return oneLine(s)
}

// homePath is a mailPath, or one below the user's home: ~/Maildir.
func homePath(s string) (string, error) {
	rest, ok := strings.CutPrefix(s, "~/")
	switch {
	case !ok:
		return mailPath(s)
	case rest == "" || filepath.Clean(rest) != rest || strings.HasPrefix(rest, "..") || strings.Contains(rest, "%"):
		return "", errorf("is %q, and may be ~/ and what is below the home directory, such as ~/Maildir", s)
	}
	return oneLine(s)
}

func separators(s string) (string, error) {
	if strings.Trim(s, "+-=_.#!$&~^*|") != "" {
		return "", errorf("is %q, and may be any of + - = _ . # ! $ & ~ ^ * |", s)
	}
	return s, nil
}

func folder(s string) (string, error) {
	if s == "" || strings.HasPrefix(s, ".") || strings.Contains(s, "..") {
		return "", errorf("holds %q, which is no folder name", s)
	}
	return oneLine(s)
}

// folderOrNone is a folder, or nothing.
func folderOrNone(s string) (string, error) {
	if s == "" {
		return s, nil
	}
	return folder(s)
}

// stamp is a file name without directory, or a full path, or nothing.
func stamp(s string) (string, error) {
	if filepath.IsAbs(s) {
		s = filepath.Clean(s)
	} else if strings.Contains(s, "/") || s == "." || s == ".." {
		return "", errorf("is %q: write a file name without directory, or a full path", s)
	}
	return oneLine(s)
}

// mailboxPrefix is what mailbox names begin with, or nothing: INBOX and the delimiter.
func mailboxPrefix(s string) (string, error) {
	if s != "" && s != "INBOX." && s != "INBOX/" {
		return "", errorf("is %q, and may be empty, \"INBOX.\" or \"INBOX/\"", s)
	}
	return s, nil
}

// mailbox is an address, or nothing.
func mailbox(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	p, err := address.Parse(s)
	if err != nil {
		return "", errorf("is %q, which is no address: %w", s, err)
	}
	if p.Domain == "" {
		return "", errorf("is %q: write the address with its domain", s)
	}
	return p.String(), nil
}

func ipAddress(s string) (string, error) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return "", errorf("holds %q, which is no IP address", s)
	}
	return addr.String(), nil
}

// listener is what a server listens on: HOST:PORT, :PORT, unix:PATH.
func (c *Config) listener(s string) (string, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return c.unix("unix:", path)
	}
	return hostPort(s, true)
}

func (c *Config) unix(scheme, path string) (string, error) {
	path, err := c.file(path)
	switch {
	case err != nil:
		return "", err
	case path == "":
		return "", errorf("holds %q without a path", scheme)
	case len(path) > 107: // sun_path of unix(7)
		return "", errorf("holds %q, and the path of a socket has at most 107 octets", path)
	}
	return scheme + path, nil
}

// hostPort is HOST:PORT with a number for the port.
func hostPort(s string, emptyHost bool) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", errorf("holds %q: write HOST:PORT, [IPv6]:PORT or unix:PATH", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 && !emptyHost {
		return "", errorf("holds %q, and %q is no port number", s, port)
	}
	if host == "" && emptyHost {
		return s, nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return s, nil
	}
	host, err = domain(host)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(host, port), nil
}

// dnsServer is ADDRESS:PORT, or the address alone for port 53.
func dnsServer(s string) (string, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(addr, 53).String(), nil
	}
	server, err := netip.ParseAddrPort(s)
	if err != nil || server.Port() == 0 {
		return "", errorf("holds %q: write ADDRESS:PORT", s)
	}
	return server.String(), nil
}

// worker is a program, beside queue-run or with its path, or the socket of one that runs already.
func (c *Config) worker(s string) (string, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return c.unix("unix:", path)
	}
	switch {
	case s == "" || s == "." || s == "..":
		return "", errors.New("needs a program or unix:PATH")
	case !strings.Contains(s, "/"):
		return oneLine(s)
	}
	return c.file(s)
}

// workerOrNone is a worker, or nothing.
func (c *Config) workerOrNone(s string) (string, error) {
	if s == "" {
		return s, nil
	}
	return c.worker(s)
}

// nextHop is one step of a route.
func (c *Config) nextHop(s string) (string, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	switch {
	case s == "mx":
		return s, nil
	case !ok:
	case scheme == "smtp" && strings.HasPrefix(rest, "//"):
		host := rest[2:]
		if _, _, err := net.SplitHostPort(host); err != nil { // no port: 25
			host = net.JoinHostPort(strings.Trim(host, "[]"), "25")
		}
		host, err := hostPort(host, false)
		return "smtp://" + host, err
	case scheme == "lmtp" && strings.Contains(rest, "/"):
		return c.unix("lmtp:", rest)
	case scheme == "lmtp":
		host, err := hostPort(rest, false)
		return "lmtp:" + host, err
	case scheme == "command":
		name, err := transportName(rest)
		return "command:" + name, err
	case scheme == "error":
		return errorHop(s, rest)
	}
	return "", errorf("holds %q: write mx, smtp://HOST:PORT, lmtp:PATH, lmtp:HOST:PORT, command:NAME or error:5.1.2 text", s)
}

// errorHop checks error:CODE TEXT; the code is one of RFC 3463, class 4 or 5.
func errorHop(s, rest string) (string, error) {
	code, text, _ := strings.Cut(rest, " ")
	parts := strings.Split(code, ".")
	good := len(parts) == 3 && (parts[0] == "4" || parts[0] == "5") && text != ""
	for _, p := range parts {
		n, err := strconv.ParseUint(p, 10, 16)
		good = good && err == nil && n < 1000
	}
	if !good {
		return "", errorf("holds %q: write a code of RFC 3463 and a text, such as error:5.1.2 this domain has moved", s)
	}
	return oneLine(s)
}

// routeName is DOMAIN, .SUFFIX or *.
func routeName(s string) (string, error) {
	if s == "*" {
		return s, nil
	}
	return domainPattern(s)
}

func transportName(s string) (string, error) {
	if s == "" || len(s) > 32 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" || s[0] == '-' {
		return "", errorf("has the name %q, and names are a-z, 0-9, - and _", s)
	}
	return s, nil
}

// siteName is a site's key, a domain or the name of an MX host.
func siteName(s string) (string, error) {
	if s == "" || strings.ContainsAny(s, "/ ") {
		return "", errorf("has the name %q, which is no site, domain or host", s)
	}
	s, err := oneLine(s)
	return strings.ToLower(s), err
}

func argument(s string) (string, error) {
	if strings.ContainsRune(s, 0) {
		return "", errors.New("holds a NUL")
	}
	return s, nil
}

// client is a user that asks mailauthd, and behind a colon the services it may ask about.
func client(s string) (string, error) {
	name, services, limited := strings.Cut(s, ":")
	for service := range strings.SplitSeq(services, ",") {
		if limited && !slices.Contains([]string{"smtp", "imap", "pop3"}, service) {
			return "", errorf("holds %q: write NAME, or NAME:SERVICE,SERVICE of smtp, imap and pop3", s)
		}
	}
	if name == "" {
		return "", errorf("holds %q, which names nobody", s)
	}
	return argument(s)
}

// variable is the name of an environment variable.
func variable(s string) (string, error) {
	if s == "" || strings.ContainsAny(s, "= ") || strings.HasPrefix(s, "LD_") {
		return "", errorf("holds %q, which may not be passed on", s)
	}
	return oneLine(s)
}

// rate is COUNT/UNIT: 100/m.
func rate(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	count, unit, _ := strings.Cut(s, "/")
	n, err := strconv.ParseUint(count, 10, 31)
	if err != nil || n == 0 || !strings.Contains("smhd", unit) || len(unit) != 1 {
		return "", errorf("is %q: write a number and a unit, such as 100/m (s m h d)", s)
	}
	return s, nil
}

// mechanism is one of login.All.
func mechanism(s string) (string, error) {
	name := strings.ToUpper(s)
	if !slices.Contains(Default().Login.Mechanisms, name) {
		return "", errorf("holds %q, and may hold %s", s, strings.Join(Default().Login.Mechanisms, ", "))
	}
	return name, nil
}

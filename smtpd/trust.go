package smtpd

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/address"
	"pennypost/internal/config"
	"pennypost/internal/domains"
)

// Trust are the exceptions from what msgauth(7) says, in files that the admin writes, one exception a line:
//
//	DIR/networks    192.0.2.0/24                    its clients are not judged; without this file, those of this host
//	DIR/senders     example.org 192.0.2.7           nothing is refused or marked that is from there; from these networks only
//	DIR/sealers     lists.example.net               the ARC-Seals of this domain are believed
//
// .example.org is everything below example.org. A # begins a comment. A file that changed is read again within a second; while
// it has a mistake in it, what it said before counts. The zero Trust has no files.
type Trust struct {
	Dir  string
	Warn func(error) // a mistake, once

	mu      sync.Mutex
	checked time.Time
	files   [3]trustFile
	now     *trusted
	err     error
}

// trustFile is what stat(2) said of a file when it was read.
type trustFile struct {
	mtime unix.Timespec
	inode uint64
	size  int64
}

// trusted is what the files say.
type trusted struct {
	networks []netip.Prefix
	senders  map[string][]netip.Prefix
	sealers  map[string]bool
}

var trustNames = [3]string{"networks", "senders", "sealers"}

// maxTrust is the largest such file.
const maxTrust = 8 << 20

// home is whose clients are not judged where no file says: programs of this host.
var home = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// noFiles is what holds where there is no directory.
var noFiles = &trusted{networks: home}

// look is what the files say, at most a second old. With an error it is what they said before.
func (t *Trust) look() (*trusted, error) {
	if t == nil || t.Dir == "" {
		return noFiles, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now != nil && time.Since(t.checked) < time.Second {
		return t.now, t.err
	}
	t.checked = time.Now()
	files, err := t.stat()
	if err == nil && t.now != nil && t.err == nil && files == t.files {
		return t.now, nil
	}
	var said *trusted
	if err == nil {
		said, err = t.read()
	}
	if err == nil {
		t.now, t.files = said, files
	} else if t.now == nil {
		t.now = &trusted{networks: home}
	}
	if t.Warn != nil && err != nil && (t.err == nil || t.err.Error() != err.Error()) {
		t.Warn(err)
	}
	t.err = err
	return t.now, err
}

func (t *Trust) stat() (files [3]trustFile, err error) {
	for i, name := range trustNames {
		var st unix.Stat_t
		path := filepath.Join(t.Dir, name)
		err := unix.Stat(path, &st)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return files, &fs.PathError{Op: "stat", Path: path, Err: err}
		}
		files[i] = trustFile{st.Mtim, st.Ino, st.Size}
	}
	return files, nil
}

func (t *Trust) read() (*trusted, error) {
	said := &trusted{networks: home, senders: map[string][]netip.Prefix{}, sealers: map[string]bool{}}
	for i, take := range []func(words []string) error{said.network, said.sender, said.sealer} {
		path := filepath.Join(t.Dir, trustNames[i])
		text, err := domains.ReadFile(path, maxTrust)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if i == 0 {
			said.networks = nil
		}
		n := 0
		for line := range strings.Lines(text) {
			n++
			line, _, _ = strings.Cut(line, "#")
			words := strings.Fields(line)
			if len(words) == 0 {
				continue
			}
			if err := take(words); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, n, err)
			}
		}
	}
	return said, nil
}

func (said *trusted) network(words []string) error {
	for _, w := range words {
		p, err := config.Network(w)
		if err != nil {
			return err
		}
		said.networks = append(said.networks, p)
	}
	return nil
}

func (said *trusted) sender(words []string) error {
	name, err := trustedDomain(words[0])
	if err != nil {
		return err
	}
	list := []netip.Prefix{}
	for _, w := range words[1:] {
		p, err := config.Network(w)
		if err != nil {
			return err
		}
		list = append(list, p)
	}
	said.senders[name] = list
	return nil
}

func (said *trusted) sealer(words []string) error {
	if len(words) > 1 {
		return errors.New("one domain a line")
	}
	name, err := trustedDomain(words[0])
	said.sealers[name] = true
	return err
}

// trustedDomain is DOMAIN or .DOMAIN, as an A-label.
func trustedDomain(word string) (string, error) {
	name, below := strings.CutPrefix(word, ".")
	p, err := address.Make("x", name)
	if err == nil {
		name, err = p.DomainASCII()
	}
	if err != nil || name == "" || p.IsLiteral() || !below && !strings.Contains(name, ".") {
		return "", fmt.Errorf("%q is no domain", word)
	}
	if below {
		name = "." + name
	}
	return strings.ToLower(name), nil
}

// under finds the entry for a domain: its own, or one for all below a domain above it.
func under[T any](entries map[string]T, domain string) (value T, ok bool) {
	if value, ok = entries[domain]; ok || domain == "" {
		return value, ok
	}
	for {
		i := strings.IndexByte(domain, '.')
		if i < 0 {
			return value, false
		}
		if value, ok = entries[domain[i:]]; ok {
			return value, true
		}
		domain = domain[i+1:]
	}
}

// network reports whether a client is not judged.
func (t *Trust) network(client netip.Addr) bool {
	said, _ := t.look() // with an error: as it was
	return contains(said.networks, client)
}

// sender is which of the domains of a message excuses it, "" none.
func (t *Trust) sender(client netip.Addr, found ...string) (string, error) {
	said, err := t.look()
	for _, domain := range found {
		if a, err := (address.Path{Local: "x", Domain: domain}).DomainASCII(); err == nil {
			domain = strings.ToLower(a)
		}
		if nets, ok := under(said.senders, domain); ok && (len(nets) == 0 || contains(nets, client)) {
			return domain, nil
		}
	}
	return "", err
}

// Sealer reports whether the ARC-Seals of a domain are believed.
func (t *Trust) Sealer(domain string) bool {
	said, _ := t.look()
	_, ok := under(said.sealers, domain)
	return ok
}

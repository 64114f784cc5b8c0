package remote

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"pennypost/internal/config"
	"pennypost/msgauth"
	"pennypost/msgauth/signer"
)

// signs is what signs our mail, and what it said lately. The keys are in another process (mailkey sign): this one parses what strangers say.
//
// What our users, our programs and our lists wrote is signed for the domain in From, or for the nearest above it that has keys: that is aligned,
// and covers the bounces of mx.example.org. What came by mx and goes on is sealed (RFC 8617) for the domain of this host, with the
// Authentication-Results that smtpd put on top. Mail of a domain without keys goes as it is, and is not even hashed.
type signs struct {
	ask  *signer.Client // nil: nothing is signed
	host string         // whose Authentication-Results are ours
	near []netip.Prefix // relay_networks: what came from there is ours

	mu    sync.Mutex
	keys  map[string]keyed  // domain → the one that has keys for it
	lines map[string]fields // id of a message → what goes on top of it
}

// keyed is the domain that has keys, "" where there is none.
type keyed struct {
	domain string
	until  time.Time
}

// fields are those of a message that goes to several sites: it is signed once.
type fields struct {
	text  string
	until time.Time
}

// Bounds of what is remembered, and how long a signature may take.
const (
	maxKeyed = 4096
	keyedFor = 5 * time.Second // a new key signs after this time
	maxLines = 512
	linesFor = 5 * time.Minute
	signTime = 30 * time.Second
)

// newSigns finds the process: one that listens, or a program beside our own, that is started with the first message.
func newSigns(conf *config.Config) *signs {
	s := &signs{host: conf.Hostname, near: conf.SMTPD.RelayNetworks, keys: map[string]keyed{}, lines: map[string]fields{}}
	program := conf.Remote.Sign
	if program == "" {
		return s
	}
	if socket, ok := strings.CutPrefix(program, "unix:"); ok {
		s.ask = &signer.Client{Socket: socket}
		return s
	}
	if self, err := os.Executable(); err == nil && !strings.Contains(program, "/") {
		program = filepath.Join(filepath.Dir(self), program)
	}
	s.ask = &signer.Client{Path: program, Args: []string{"-c", conf.File, "sign"}}
	return s
}

func (s *signs) close() {
	if s.ask != nil {
		s.ask.Close()
	}
}

// ours reports whether the message was written here, by its via: line.
func (s *signs) ours(via string) bool {
	producer, rest, _ := strings.Cut(via, " ")
	switch producer {
	case "submit", "pickup", "local", "list", "bounce":
		return true
	case "mx":
		for word := range strings.FieldsSeq(rest) {
			if ip, ok := strings.CutPrefix(word, "ip="); ok {
				addr, err := netip.ParseAddr(ip)
				return err == nil && within(addr.Unmap(), s.near)
			}
		}
	}
	return false
}

func within(addr netip.Addr, networks []netip.Prefix) bool {
	for _, n := range networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// sign makes what goes on top of the message, once. A signer that does not answer is a reason to wait: mail of a domain that signs is not to go
// unsigned, or DMARC refuses it.
func (c *Client) sign(m *message) *trouble {
	if m.signed || c.signs.ask == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), signTime)
	defer cancel()
	top, err := c.signs.top(ctx, m)
	if file := (*fileError)(nil); errors.As(err, &file) {
		return ours(err)
	}
	if err != nil {
		c.log.Warn("sign "+m.id, err)
		return &trouble{Result: later(451, "4.3.0", "the message could not be signed")}
	}
	m.signed, m.top = true, top
	m.topWire = int64(len(top) + bytes.Count(top, []byte{'\n'}))
	return nil
}

// top is the fields for a message.
func (s *signs) top(ctx context.Context, m *message) ([]byte, error) {
	q := signer.Request{Lifetime: msgauth.Lifetime}
	var err error
	if s.ours(m.via) {
		q.Domain, err = s.signer(ctx, m)
	} else if strings.HasPrefix(m.via, "mx") && bytes.Contains(bytes.ToLower(m.header()), []byte("authentication-results:")) {
		q.Seal, q.Host = true, s.host
		q.Domain, err = s.having(ctx, strings.ToLower(s.host))
	}
	if err != nil || q.Domain == "" {
		return nil, err
	}
	key := m.id + " " + q.Domain
	if text, ok := s.before(key); ok && m.id != "" {
		return []byte(text), nil
	}
	if q.Digest, err = m.digest(); err != nil {
		return nil, err
	}
	top, err := s.ask.Ask(ctx, q)
	if errors.Is(err, signer.ErrNone) {
		top, err = nil, nil
	}
	if err == nil && m.id != "" {
		s.mu.Lock()
		if len(s.lines) >= maxLines {
			s.lines = map[string]fields{}
		}
		s.lines[key] = fields{string(top), time.Now().Add(linesFor)}
		s.mu.Unlock()
	}
	return top, err
}

func (s *signs) before(key string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.lines[key]
	return f.text, ok && time.Now().Before(f.until)
}

// signer is the domain that signs what we wrote: that of the author; and where the author is of another domain, as in a list, that of the list.
func (s *signs) signer(ctx context.Context, m *message) (string, error) {
	author, err := msgauth.Digest{Header: m.header()}.Author()
	if err != nil {
		author.Domain = "" // two authors, or none: there is nobody to sign for
	}
	domain, err := s.having(ctx, author.Domain)
	if err != nil || domain != "" || !strings.HasPrefix(m.via, "list") {
		return domain, err
	}
	sender, err := m.from.DomainASCII()
	if err != nil {
		return "", nil
	}
	return s.having(ctx, strings.ToLower(sender))
}

// having is the domain itself or the nearest above it that has keys, "" where there is none.
func (s *signs) having(ctx context.Context, domain string) (string, error) {
	if domain == "" {
		return "", nil
	}
	s.mu.Lock()
	k, ok := s.keys[domain]
	s.mu.Unlock()
	if ok && time.Now().Before(k.until) {
		return k.domain, nil
	}
	found := ""
	for above, n := domain, 0; found == "" && strings.Contains(above, ".") && n < 5; n++ {
		_, err := s.ask.Ask(ctx, signer.Request{Keys: true, Domain: above})
		switch {
		case err == nil:
			found = above
		case !errors.Is(err, signer.ErrNone):
			return "", err
		}
		_, above, _ = strings.Cut(above, ".")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys) >= maxKeyed {
		s.keys = map[string]keyed{}
	}
	s.keys[domain] = keyed{found, time.Now().Add(keyedFor)}
	return found, nil
}

// digest hashes the message as it will be on the wire, less the dots that are doubled there: each lone CR is a space already. It is read block by
// block, however large it is, and measured by the way.
func (m *message) digest() (msgauth.Digest, error) {
	d := msgauth.NewDigester()
	var w wire
	buf := blocks.Get().(*[]byte)
	defer blocks.Put(buf)
	err := m.pass(func(part []byte) {
		if m.raw || !w.cr && bytes.IndexByte(part, '\r') < 0 {
			d.Write(part)
			w.inside = len(part) > 0 && part[len(part)-1] != '\n'
			return
		}
		*buf = w.append((*buf)[:0], part)
		d.Write(*buf)
	})
	if err != nil {
		return msgauth.Digest{}, err
	}
	if !m.raw {
		d.Write(w.end(nil))
	}
	return d.Digest()
}

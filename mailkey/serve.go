package mailkey

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"pennypost/msgauth"
	"pennypost/msgauth/signer"
)

// Signer answers what pennypost/msgauth/signer asks. It remembers keys, and looks every second whether their directory changed.
type Signer struct {
	Store *Store

	mu    sync.Mutex
	known map[string]*known
}

// known are the keys of a domain as they were seen.
type known struct {
	keys    []msgauth.Key
	looked  time.Time
	changed time.Time // of the directory
	path    string
}

// maxKnown is how many domains are remembered.
const maxKnown = 10000

// keys are those that sign for a domain; none is ErrNone.
func (s *Signer) keys(domain string) ([]msgauth.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	k := s.known[domain]
	if k != nil && now.Sub(k.looked) < time.Second {
		return k.some(domain)
	}
	if k != nil {
		if k.looked = now; k.path != "" && modified(k.path).Equal(k.changed) {
			return k.some(domain)
		}
	}
	n, err := s.Store.Domain(domain)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is not ours", signer.ErrNone, domain)
	}
	k = &known{looked: now, path: filepath.Join(s.Store.Dir, n.Dir, "dkim")}
	k.changed = modified(k.path)
	if now.Sub(k.changed) < 2*time.Second {
		k.changed = time.Time{} // it may change again within the same tick of the clock
	}
	if k.keys, err = s.Store.signers(n); err != nil {
		return nil, err
	}
	if s.known == nil || len(s.known) >= maxKnown {
		s.known = make(map[string]*known)
	}
	s.known[domain] = k
	return k.some(domain)
}

func (k *known) some(domain string) ([]msgauth.Key, error) {
	if len(k.keys) == 0 {
		return nil, fmt.Errorf("%w: %s has no key that signs", signer.ErrNone, domain)
	}
	return k.keys, nil
}

func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// Answer signs or seals.
func (s *Signer) Answer(r signer.Request) ([]byte, error) {
	domain := r.Domain
	if domain == "" {
		author, err := r.Digest.Author()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", signer.ErrNone, err)
		}
		domain = author.Domain
	}
	keys, err := s.keys(domain)
	if err != nil || r.Keys {
		return nil, err
	}
	now := time.Now()
	if !r.Seal {
		return msgauth.Sign(r.Digest, keys, now, r.Lifetime)
	}
	fields, err := msgauth.Seal(r.Digest, keys[0], r.Host, now) // one seal a hop; RSA is what everybody can verify
	if errors.Is(err, msgauth.ErrUnsealed) {
		err = fmt.Errorf("%w: %w", signer.ErrNone, err)
	}
	return fields, err
}

// Serve answers requests until r ends.
func (s *Signer) Serve(r io.Reader, w io.Writer) error { return signer.Serve(r, w, s.Answer) }

// Filter copies one message from r to w with signatures of domain on top.
func (s *Signer) Filter(domain string, r io.Reader, w io.Writer) error {
	message, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	d, err := msgauth.ReadDigest(bytes.NewReader(message))
	if err != nil {
		return err
	}
	fields, err := s.Answer(signer.Request{Domain: domain, Lifetime: msgauth.Lifetime, Digest: d})
	if err != nil {
		return err
	}
	if i := bytes.IndexByte(message, '\n'); i > 0 && message[i-1] == '\r' {
		fields = bytes.ReplaceAll(fields, []byte("\n"), []byte("\r\n"))
	}
	if _, err := w.Write(fields); err != nil {
		return err
	}
	_, err = w.Write(message)
	return err
}

package mailkey

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pennypost/msgauth"
	"pennypost/msgauth/signer"
)

// A signer at a socket answers as one at a pipe does, and ends when it is told to; a socket that was left behind is in nobody's way.
func TestListen(t *testing.T) {
	s := open(t)
	n, err := s.Domain("example.org")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(n, "ed25519", ""); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sign")
	if l, err := net.Listen("unix", path); err != nil {
		t.Fatal(err)
	} else {
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		l.Close()
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- (&Signer{Store: s}).Listen(ctx, path, func(err error) { t.Error(err) }) }()
	c := &signer.Client{Socket: path}
	d, err := msgauth.ReadDigest(strings.NewReader("From: alice@example.org\nSubject: hi\n\nhi\n"))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 { // until it listens
		if _, err = c.Ask(ctx, signer.Request{Keys: true, Domain: "example.org"}); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	got, err := c.Ask(ctx, signer.Request{Digest: d})
	if err != nil || !strings.HasPrefix(string(got), "DKIM-Signature: ") {
		t.Errorf("%q %v", got, err)
	}
	if _, err := c.Ask(ctx, signer.Request{Keys: true, Domain: "bücher.example"}); !errors.Is(err, signer.ErrNone) {
		t.Error(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Error(info.Mode(), err)
	}
	c.Close()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Who is to get our reports elsewhere must agree in his zone.
func TestReportsElsewhere(t *testing.T) {
	for dmarc, want := range map[string][]string{
		"v=DMARC1; p=none; rua=mailto:postmaster@example.org":                                nil,
		"v=DMARC1; p=none; rua=mailto:a@sub.example.org,mailto:b@other.example!10m":          {"other.example"},
		"v=DMARC1; p=none; rua = mailto:a@x.example , mailto:b@X.example,mailto:c@y.example": {"x.example", "y.example"},
		"v=DMARC1; p=none": nil,
	} {
		if got := elsewhere("example.org", dmarc); !slices.Equal(got, want) {
			t.Errorf("%q: %q", dmarc, got)
		}
	}
	if got := elsewhere("sub.example.org", "v=DMARC1; rua=mailto:a@example.org"); got != nil {
		t.Errorf("%q", got)
	}
}

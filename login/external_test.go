package login

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// S034: a certificate opens the accounts whose credentials list its key, by the name that was said, and nothing else.
func TestS034External(t *testing.T) {
	dir := house(t)
	key := sha256.Sum256([]byte("alice's key"))
	write := func(user, text string) {
		path := filepath.Join(dir, "example.org/users", user, "credentials")
		must(t, os.MkdirAll(path, 0o750))
		must(t, os.WriteFile(filepath.Join(path, "laptop"), []byte(text), 0o640))
	}
	write("alice", "certificate: sha256:"+hex.EncodeToString(key[:])+"\nscope: imap\n")
	c, _ := checker(dir)
	if strings.Contains(strings.Join(c.Offers(true, true), " "), "EXTERNAL") {
		t.Error("offered though nobody wants it")
	}
	c.Certificates = true
	socket := filepath.Join(t.TempDir(), "s")
	serve(t, c, socket)
	for _, v := range []Verifier{c, &Client{Socket: socket, Domains: c.Domains}} {
		try := func(service, authzid string, key []byte) string {
			p := Peer{Service: service, Remote: here.Remote, Certificate: key}
			x, ok := v.Start("EXTERNAL", p)
			if !ok {
				return "not offered"
			}
			_, done, r, err := x.Next([]byte(authzid))
			if err != nil || !done {
				return "malformed"
			}
			id, err := v.Check(context.Background(), r)
			if err != nil {
				return err.Error()
			}
			return id.Account.User + " by " + id.Credential
		}
		other := sha256.Sum256([]byte("another key"))
		no := ErrCredentials.Error()
		for _, k := range []struct {
			service, authzid string
			key              []byte
			want             string
		}{
			{"imap", "alice", key[:], "alice by laptop"},
			{"imap", "Alice@example.org", key[:], "alice by laptop"},
			{"smtp", "alice", key[:], no}, // scope
			{"imap", "alice", other[:], no},
			{"imap", "bob", key[:], no},
			{"imap", "nobody", key[:], no},
			{"imap", "", key[:], "malformed"},
			{"imap", "alice\x00", key[:], "malformed"},
			{"imap", "alice", nil, "not offered"},
		} {
			if got := try(k.service, k.authzid, k.key); got != k.want {
				t.Errorf("%s %q: %s, want %s", k.service, k.authzid, got, k.want)
			}
		}
	}
	for _, password := range []string{"", "x", "sha256:" + hex.EncodeToString(key[:])} { // no password fits a certificate
		if id, err := c.Check(context.Background(), request("imap", "alice", password)); err != ErrCredentials {
			t.Errorf("%q: %+v %v", password, id, err)
		}
	}
	must(t, os.Remove(filepath.Join(dir, "example.org/users/alice/credentials/main")))
	if id, err := c.Check(context.Background(), request("imap", "alice", "x")); err != ErrCredentials {
		t.Errorf("%+v %v", id, err)
	}
	for _, bad := range []string{"x", "sha256:", "sha256:00", "md5:" + strings.Repeat("0", 64)} {
		if _, err := parseCertificate(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

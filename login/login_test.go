package login

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"pennypost/internal/domains"
)

// cheap costs next to nothing.
var cheap = Params{Memory: 8, Passes: 1, Lanes: 1, Iterations: 1}

// house is a directory of domains: alice with two credentials, bob with none, carol whose only one is over.
func house(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write := func(user, name string, k Credential) {
		t.Helper()
		path := filepath.Join(dir, "example.org/users", user, "credentials")
		must(t, os.MkdirAll(path, 0o750))
		must(t, os.WriteFile(filepath.Join(path, name), []byte(k.String()), 0o640))
	}
	write("alice", "main", credential(t, "main", "wonderland"))
	phone := credential(t, "phone", "looking glass")
	phone.Scope = []string{"imap", "pop3"}
	phone.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	write("alice", "phone", phone)
	must(t, os.MkdirAll(filepath.Join(dir, "example.org/users/bob"), 0o750))
	old := credential(t, "main", "notes")
	old.Expires = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	write("carol", "main", old)
	one := credential(t, "main", "second")
	one.SCRAM, one.SCRAM1 = "", ""
	write("dave", "a", func() Credential { k := credential(t, "a", "first"); k.SCRAM, k.SCRAM1 = "", ""; return k }())
	write("dave", "b", one)
	write("erin", "scram", func() Credential { k := credential(t, "x", "scram only"); k.Argon2id = ""; return k }())
	return dir
}

func credential(t testing.TB, name, password string) Credential {
	t.Helper()
	k, err := New(name, password, cheap)
	must(t, err)
	return k
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// checker counts its argon2id runs.
func checker(dir string) (*Checker, *atomic.Int64) {
	var runs atomic.Int64
	c := &Checker{
		Domains: domains.Open(dir, domains.Settings{DefaultDomain: "example.org", MailPath: "/mail/%u"}),
		Params:  cheap,
		pad:     1,
		runs: func(phc, password string) bool {
			runs.Add(1)
			return verifySlow(phc, password)
		},
	}
	return c, &runs
}

func request(service, name, password string) Request {
	return Request{Service: service, Authcid: name, Password: password, Remote: netip.MustParseAddr("192.0.2.9")}
}

func TestCheck(t *testing.T) {
	c, _ := checker(house(t))
	for _, k := range []struct {
		r    Request
		want string // credential; "" is refused
	}{
		{request("smtp", "alice", "wonderland"), "main"},
		{request("smtp", "Alice@EXAMPLE.org", "wonderland"), "main"},
		{request("smtp", "alice", "Wonderland"), ""},
		{request("smtp", "alice", ""), ""},
		{request("imap", "alice", "looking glass"), "phone"},
		{request("smtp", "alice", "looking glass"), ""}, // out of scope
		{Request{Service: "imap", Authcid: "alice", Password: "looking glass", Remote: netip.MustParseAddr("198.51.100.1")}, ""},
		{Request{Service: "imap", Authcid: "alice", Password: "looking glass", Remote: netip.MustParseAddr("::ffff:192.0.2.1")}, "phone"},
		{request("imap", "bob", "wonderland"), ""},
		{request("imap", "carol", "notes"), ""}, // expired
		{request("imap", "dave", "first"), "a"},
		{request("imap", "dave", "second"), "b"},
		{request("imap", "erin", "scram only"), "scram"},
		{request("imap", "erin", "no"), ""},
		{request("imap", "nobody", "wonderland"), ""},
		{request("imap", "alice@example.net", "wonderland"), ""},
		{Request{Service: "smtp", Authzid: "alice@example.org", Authcid: "alice", Password: "wonderland"}, "main"},
	} {
		for range 2 { // the second from what is known
			id, err := c.Check(context.Background(), k.r)
			got := ""
			if err == nil {
				got = id.Credential
			}
			if got != k.want || err != nil && err != ErrCredentials {
				t.Errorf("%+v: %q %v", k.r, got, err)
			}
		}
	}
}

// S111: whatever is wrong, one run of argon2id and one comparison are done, and the answer is the same.
func TestS111OneRunForEverybody(t *testing.T) {
	c, runs := checker(house(t))
	for _, name := range []string{"alice", "bob", "carol", "erin", "nobody", "alice@example.net", "../alice", "", "\x00", strings.Repeat("x", 64<<10)} {
		runs.Store(0)
		_, err := c.Check(context.Background(), request("smtp", name, "wrong"))
		if err != ErrCredentials || runs.Load() != 1 {
			t.Errorf("%.20q: %v after %d runs", name, err, runs.Load())
		}
	}
}

// S112: many at once wait their turn, and those who would wait too long are told to come again.
func TestS112Bounded(t *testing.T) {
	c, _ := checker(house(t))
	c.Parallel, c.Wait = 2, 20*time.Millisecond
	var now, most atomic.Int64
	gate := make(chan struct{})
	c.runs = func(phc, password string) bool {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-gate
		now.Add(-1)
		return false
	}
	var busy, refused atomic.Int64
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			_, err := c.Check(context.Background(), request("smtp", "alice", fmt.Sprint(i)))
			switch err {
			case ErrBusy:
				if busy.Add(1) == 48 {
					close(gate)
				}
			case ErrCredentials:
				refused.Add(1)
			}
		})
	}
	all.Wait()
	if most.Load() != 2 || busy.Load() != 48 || refused.Load() != 2 {
		t.Errorf("%d at once, %d busy, %d refused", most.Load(), busy.Load(), refused.Load())
	}
}

// S115: what is known is known of one verifier and one password; a change of the file counts at once.
func TestS115Changes(t *testing.T) {
	dir := house(t)
	c, runs := checker(dir)
	check := func(password string, want error, ran int64) {
		t.Helper()
		runs.Store(0)
		if _, err := c.Check(context.Background(), request("smtp", "alice", password)); err != want || runs.Load() != ran {
			t.Errorf("%q: %v after %d runs, want %v after %d", password, err, runs.Load(), want, ran)
		}
	}
	file := filepath.Join(dir, "example.org/users/alice/credentials/main")
	check("wonderland", nil, 1)
	check("wonderland", nil, 0)
	check("wonderlan", ErrCredentials, 1)
	must(t, os.WriteFile(file, []byte(credential(t, "main", "new").String()), 0o640))
	check("wonderland", ErrCredentials, 1)
	check("new", nil, 1)
	check("new", nil, 0)
	k := credential(t, "main", "new")
	k.Expires = time.Now().Add(-time.Second)
	must(t, os.WriteFile(file, []byte(k.String()), 0o640))
	check("new", ErrCredentials, 1)
	must(t, os.Remove(file))
	check("new", ErrCredentials, 1)
}

// S113: nobody acts for another, and nothing odd gets through or hurts.
func TestS113Authzid(t *testing.T) {
	c, _ := checker(house(t))
	for _, authzid := range []string{"bob", "nobody", "alice@example.net", "../alice", "\xff"} {
		r := request("smtp", "alice", "wonderland")
		r.Authzid = authzid
		if _, err := c.Check(context.Background(), r); err != ErrCredentials {
			t.Errorf("%q: %v", authzid, err)
		}
	}
}

// A file that cannot be understood gives nothing and makes the refusal temporary; the others work.
func TestBrokenFile(t *testing.T) {
	dir := house(t)
	c, _ := checker(dir)
	k := credential(t, "x", "looking")
	must(t, os.WriteFile(filepath.Join(dir, "example.org/users/alice/credentials/a-broken"), []byte(k.String()+"scpoe: imap\n"), 0o640))
	if _, err := c.Check(context.Background(), request("smtp", "alice", "wonderland")); err != nil {
		t.Error(err)
	}
	_, err := c.Check(context.Background(), request("smtp", "alice", "looking"))
	if err == nil || errors.Is(err, ErrCredentials) || !strings.HasSuffix(err.Error(), "a-broken:4: unknown key, see domains(5)") {
		t.Error(err)
	}
	if strings.Contains(err.Error(), "argon2id$") {
		t.Error("the error shows the verifier")
	}
}

func TestCredentialFile(t *testing.T) {
	k := credential(t, "main", "x")
	k.Scope = []string{"smtp", "pop3"}
	k.Expires = time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC)
	k.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::1/128")}
	k.Note = "the telephone"
	got, err := ParseCredential("main", "# by hand\n\n"+k.String())
	if err != nil || got.String() != k.String() {
		t.Errorf("%v\n%s\n%s", err, got, k)
	}
	for _, bad := range []string{
		"argon2id",
		"argon2id: x",
		"argon2id: $argon2i$v=19$m=65536,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
		"argon2id: $argon2id$v=19$m=4294967295,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
		"argon2id: $argon2id$v=19$m=65536,t=99999,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
		"argon2id: $argon2id$v=19$m=65536,t=2,p=0$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
		"argon2id: $argon2id$v=19$m=65536,t=2,p=1$c2FsdHNhbHRzYWx0$",
		"scram-sha-256: SCRAM-SHA-256$10:c2FsdA==$x:y",
		"scram-sha-256: SCRAM-SHA-256$99999999:c2FsdHNhbHQ=$x:y",
		"scope: IMAP",
		"expires: tomorrow",
		"networks: 192.0.2.1/24",
		"note: a\nnote: b",
		"password: hunter2",
	} {
		if _, err := ParseCredential("main", bad+"\n"); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// What we write down is what a SCRAM server needs (RFC 5802, RFC 7677).
func TestSCRAMVerifier(t *testing.T) {
	s, err := parseSCRAM("SCRAM-SHA-256", newSCRAM("SCRAM-SHA-256", "pässwörd", random(16), Params{Iterations: 4096}))
	must(t, err)
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) {
		return scram.StoredCredentials{
			KeyFactors: scram.KeyFactors{Salt: string(s.Salt), Iters: s.Iterations},
			StoredKey:  s.StoredKey, ServerKey: s.ServerKey,
		}, nil
	})
	must(t, err)
	client, err := scram.SHA256.NewClient("alice", "pässwörd", "")
	must(t, err)
	us, them := server.NewConversation(), client.NewConversation()
	said := ""
	for !us.Done() {
		if said, err = them.Step(said); err != nil {
			t.Fatal(err)
		}
		if said, err = us.Step(said); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := them.Step(said); err != nil || !us.Valid() || !them.Valid() {
		t.Error(err, us.Valid(), them.Valid())
	}
}

// RFC 9106 has no test with our parameters; this is the reference program's: echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1.
func TestArgon2idReference(t *testing.T) {
	const phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if !verifyArgon2id(phc, "password") || verifyArgon2id(phc, "passwort") {
		t.Error("we and the reference program differ")
	}
}

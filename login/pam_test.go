package login

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pennypost/internal/domains"
	"pennypost/internal/passwd"
	pam "pennypost/pamcheck/ask"
)

type unixPeople map[string]*passwd.User

func (p unixPeople) User(name string) (*passwd.User, error) {
	if u := p[name]; u != nil {
		return u, nil
	}
	if name == "away" {
		return nil, errors.New("the directory does not answer")
	}
	return nil, passwd.ErrUnknown
}

// fakePAM answers as pamcheck does, and notes who was asked about.
func fakePAM(t *testing.T, secret map[string]string) (socket string, asked func() []string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unixpacket", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var mu sync.Mutex
	var names []string
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 2048)
			n, _ := c.Read(b)
			q, err := pam.Parse(b[:n])
			mu.Lock()
			if !q.Account {
				names = append(names, q.Name)
			}
			switch {
			case q.Account:
				c.Write([]byte(map[bool]string{true: "yes", false: "no"}[secret[q.Name] != "" && secret[q.Name+" expired"] == ""]))
			case err != nil || q.Name == "late":
				c.Write([]byte("later LDAP%20is%20down"))
			case secret[q.Name] == q.Password:
				c.Write([]byte("yes"))
			default:
				c.Write([]byte("no"))
			}
			mu.Unlock()
			c.Close()
		}
	}()
	return socket, func() []string {
		mu.Lock()
		defer mu.Unlock()
		was := names
		names = nil
		return was
	}
}

// The password of a Unix user is PAM's to judge, unless there is a file main; devices go before both. Nobody's password but a person's is
// ever asked about.
func TestUnixPasswords(t *testing.T) {
	socket, asked := fakePAM(t, map[string]string{"alice": "secret", "bob": "secret", "root": "secret", "nobody": "secret"})
	dir := t.TempDir()
	for _, name := range []string{"example.org/users/bob/credentials", "example.org/users/virtual", "example.net/users/alice"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	os.WriteFile(dir+"/example.org/system", nil, 0o644)
	os.WriteFile(dir+"/example.org/users/bob/credentials/main", []byte("imported: {PLAIN-MD5}00000000000000000000000000000000\n"), 0o640)
	people := unixPeople{}
	for i, name := range []string{"alice", "bob", "late"} {
		people[name] = &passwd.User{Name: name, UID: uint32(2000 + i), GID: 2000, Home: "/home/" + name}
	}
	c := &Checker{PAM: socket, Params: cheap, Domains: domains.Open(dir, domains.Settings{DefaultDomain: "example.org",
		MailPath: "/mail/%u", Unix: people, UnixPath: "~/Maildir"})}
	for _, x := range []struct{ name, password, want, asked string }{
		{"alice", "secret", "yes pam", "alice"},
		{"alice@example.org", "secret", "yes pam", "alice"},
		{"alice", "wrong", "no", "alice"},
		{"alice", "", "no", ""},
		{"bob", "secret", "no", "nobody"}, // main goes before
		{"root", "secret", "no", "nobody"},
		{"nosuch", "secret", "no", "nobody"},
		{"virtual", "secret", "no", "nobody"},
		{"alice@example.net", "secret", "no", ""}, // no domain of Unix users
		{"late", "secret", "later", "late"},
		{"away", "secret", "later", "nobody"},
	} {
		id, err := c.Check(context.Background(), Request{Service: "imap", Authcid: x.name, Password: x.password})
		got := "later"
		if errors.Is(err, ErrCredentials) {
			got = "no"
		} else if err == nil {
			got = "yes " + id.Credential
			if id.Account.Unix == nil || id.Account.Maildir != "/home/alice/Maildir" {
				t.Errorf("%s: %+v", x.name, id.Account)
			}
			if !c.Still(id.token) {
				t.Error("the session ends at once")
			}
		}
		was := ""
		for _, name := range asked() {
			was += name
		}
		if got != x.want || was != x.asked {
			t.Errorf("%s %q: %s (%v), asked about %q; want %s, %q", x.name, x.password, got, err, was, x.want, x.asked)
		}
	}
	for _, name := range c.Offers(true, false) {
		if scramOf(name) != nil {
			t.Error(name, "is offered, and would fail for Unix users")
		}
	}
}

// S115, S122: a Unix user who is removed, whose account expires, or whose name another has, loses the sessions and the devices within a minute.
func TestS122UnixAccountEnds(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(dir+"/example.org/users/bob/credentials", 0o755))
	must(t, os.WriteFile(dir+"/example.org/system", nil, 0o644))
	phone, err := New("phone", "looking glass", cheap)
	must(t, err)
	must(t, os.WriteFile(dir+"/example.org/users/bob/credentials/phone", []byte(phone.String()), 0o640))
	for _, password := range []string{"secret", "looking glass"} { // of the system, of a device
		for what, end := range map[string]func(unixPeople, map[string]string){
			"goes on": nil,
			"expired": func(_ unixPeople, secret map[string]string) { secret["bob expired"] = "yes" },
			"removed": func(people unixPeople, secret map[string]string) { delete(people, "bob") },
			"another": func(people unixPeople, _ map[string]string) {
				people["bob"] = &passwd.User{Name: "bob", UID: 2999, GID: 2000, Home: "/home/bob"}
			},
		} {
			secret := map[string]string{"bob": "secret"}
			socket, _ := fakePAM(t, secret)
			people := unixPeople{"bob": {Name: "bob", UID: 2001, GID: 2000, Home: "/home/bob"}}
			now := time.Now()
			c := &Checker{PAM: socket, Params: cheap, now: func() time.Time { return now }, Domains: domains.Open(dir, domains.Settings{DefaultDomain: "example.org",
				MailPath: "/mail/%u", Unix: people, UnixPath: "~/Maildir"})}
			id, err := c.Check(context.Background(), Request{Service: "imap", Authcid: "bob", Password: password})
			if err != nil || !c.Still(id.token) {
				t.Fatalf("%s: %v", password, err)
			}
			if end != nil {
				end(people, secret)
			}
			now = now.Add(accountTime + time.Second)
			if got := c.Still(id.token); got != (end == nil) {
				t.Errorf("%s, %s: the session goes on is %v", password, what, got)
			}
			if _, err := c.Check(context.Background(), Request{Service: "imap", Authcid: "bob", Password: password}); what == "expired" && password != "secret" && err != ErrCredentials {
				t.Errorf("a device of an account that has expired: %v", err)
			}
		}
	}
}

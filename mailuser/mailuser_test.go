package mailuser

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/internal/durable/faultdisk"
	"pennypost/login"
)

var cheap = login.Params{Memory: 8, Passes: 1, Lanes: 1, Iterations: 1}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start is an empty directory of domains.
func start(t *testing.T) *Store {
	t.Helper()
	c := config.Default()
	c.Domains, c.State = t.TempDir(), t.TempDir()
	c.DefaultDomain = "example.org"
	s, err := Open(c)
	must(t, err)
	s.Params = cheap
	return s
}

func (s *Store) text(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.Dir, name))
	must(t, err)
	return string(b)
}

// says checks that an error names what it should.
func says(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one with %q", err, want)
	}
}

func made(t *testing.T, s *Store, name, password string, l Limits) *login.Credential {
	t.Helper()
	k, err := s.NewCredential("alice@example.org", name, password, l)
	must(t, err)
	return k
}

func check(s *Store, service, name, password string) error {
	c := login.Checker{Domains: domains.Open(s.Dir, domains.Settings{DefaultDomain: "example.org", MailPath: "/m/%u"}), Params: cheap}
	_, err := c.Check(context.Background(), login.Request{Service: service, Authcid: name, Password: password})
	return err
}

func TestLife(t *testing.T) {
	s := start(t)
	name, err := s.AddDomain("Example.ORG", "", false)
	must(t, err)
	if name != "example.org" {
		t.Error(name)
	}
	_, err = s.AddDomain("example.org", "", false)
	says(t, err, "example.org: is there already")
	_, err = s.AddDomain("xn--hxajbheg2az3al.example", "", false)
	must(t, err)
	_, err = s.AddDomain("alias.example", "example.org", false)
	must(t, err)
	_, err = s.AddDomain("example.com", "example.net", false)
	says(t, err, "no such domain here")

	a, err := s.AddUser("Alice@alias.example", "1GiB", made(t, s, "main", "wonderland", Limits{}))
	must(t, err)
	if a.Address != "alice@example.org" || a.Quota != 1<<30 || len(a.Credentials) != 1 || !strings.HasSuffix(a.Dir, "/example.org/users/alice") {
		t.Errorf("%+v", a)
	}
	_, err = s.AddUser("alice@example.org", "", nil)
	says(t, err, "users/alice: is there already")
	must(t, check(s, "smtp", "alice", "wonderland"))

	must(t, s.AddCredential("alice@example.org", made(t, s, "phone", "looking glass", Limits{Scope: "imap,pop3", Expires: "30d"}), false))
	says(t, s.AddCredential("alice@example.org", made(t, s, "phone", "x", Limits{}), false), "--replace")
	must(t, check(s, "imap", "alice", "looking glass"))
	if check(s, "smtp", "alice", "looking glass") == nil {
		t.Error("scope is not kept")
	}
	must(t, s.AddCredential("alice@example.org", made(t, s, "phone", "mirror", Limits{}), true))
	must(t, check(s, "smtp", "alice", "mirror"))
	must(t, s.RemoveCredential("alice@example.org", "phone"))
	if check(s, "smtp", "alice", "mirror") == nil {
		t.Error("a removed credential still counts")
	}
	says(t, s.RemoveCredential("alice@example.org", "phone"), "has no credential phone")

	_, err = s.AddAlias("sales@example.org", []string{"alice"}, false)
	must(t, err)
	gone, err := s.RemoveUser("alice@example.org")
	must(t, err)
	if len(gone.Aliases) != 1 || gone.Aliases[0] != "sales@example.org" {
		t.Errorf("%+v", gone)
	}
	_, err = s.User("alice@example.org")
	says(t, err, "no such account")

	_, err = s.AddUser("bob@example.org", "", nil)
	must(t, err)
	says(t, s.RemoveDomain("example.org", false), "still has accounts: bob")
	_, err = s.RemoveUser("bob@example.org")
	must(t, err)
	says(t, s.RemoveDomain("example.org", false), "alias.example is an alias of")
	must(t, s.RemoveDomain("alias.example", false))
	must(t, s.RemoveDomain("example.org", false))
	names, err := os.ReadDir(s.Dir)
	must(t, err)
	if len(names) != 1 || names[0].Name() != "παράδειγμα.example" {
		t.Errorf("left: %v", names)
	}
}

// Comments, order and what others wrote stay; only the alias's own lines change.
func TestAliasFile(t *testing.T) {
	s := start(t)
	_, err := s.AddDomain("example.org", "", false)
	must(t, err)
	const before = "# our aliases\nsales: alice,\n   bob@example.net   # both\n\nteam: alice\n"
	must(t, os.WriteFile(filepath.Join(s.Dir, "example.org/aliases"), []byte(before), 0o600))
	add := func(replace bool, name string, targets ...string) {
		t.Helper()
		_, err := s.AddAlias(name, targets, replace)
		must(t, err)
	}
	add(false, "Sales@example.org", "carol", "alice@example.org")
	add(false, `"a b"@example.org`, "alice")
	add(false, "#x@example.org", "#y@example.net")
	add(true, "team@example.org", "bob")
	add(false, "*@example.org", "alice")
	must(t, s.RemoveAlias("*@example.org"))
	const after = "# our aliases\nsales: alice@example.org, bob@example.net, carol@example.org\n\nteam: bob@example.org\n\"a b\": alice@example.org\n\"#x\": \"#y\"@example.net\n"
	if got := s.text(t, "example.org/aliases"); got != after {
		t.Errorf("got\n%s\nwant\n%s", got, after)
	}
	if info, err := os.Stat(filepath.Join(s.Dir, "example.org/aliases")); err != nil || info.Mode().Perm() != 0o600 {
		t.Error("the mode of the file has changed", err)
	}
	list, err := s.Aliases("example.org")
	must(t, err)
	if len(list) != 4 || list[2].Name != `"a b"@example.org` || list[3].Targets[0] != "#y@example.net" {
		t.Errorf("%+v", list)
	}
	for name, targets := range map[string][]string{
		"x@example.org": {"|/bin/sh@example.org"}, "y@example.org": {"/var/mail/y@example.org"},
		"z@example.org": {"a b"}, "@example.org": {"a"}, "x": {"a"}, "x@example.net": {"a"},
	} {
		if _, err := s.AddAlias(name, targets, false); err == nil {
			t.Errorf("%s: %v was written", name, targets)
		}
	}
	says(t, s.RemoveAlias("nobody@example.org"), "no such alias")
	if got := s.text(t, "example.org/aliases"); got != after {
		t.Errorf("something was written:\n%s", got)
	}
	must(t, os.WriteFile(filepath.Join(s.Dir, "example.org/aliases"), []byte("a: b\nb c\n"), 0o644))
	_, err = s.AddAlias("d@example.org", []string{"e"}, false)
	says(t, err, "aliases:2: write NAME: ADDRESS, ADDRESS")
	must(t, os.WriteFile(filepath.Join(s.Dir, "example.org/aliases"), []byte("# none\n"), 0o644))
	_, err = s.AddUser("alice@example.org", "", nil)
	must(t, err)
	_, err = s.AddAlias("alice@example.org", []string{"bob"}, false)
	says(t, err, "is an account")
}

// S114 and S123: no name leads out of its directory.
func TestS114Names(t *testing.T) {
	s := start(t)
	_, err := s.AddDomain("example.org", "", false)
	must(t, err)
	for _, name := range []string{"..", ".", "../x", "a/b", "", ".a", "-a", "a\x00", "a\n", "a@b", "\u202ea", strings.Repeat("a", 300)} {
		if a, err := s.AddUser(name+"@example.org", "", nil); err == nil {
			t.Errorf("user %q: %+v", name, a)
		}
		if _, err := s.NewCredential("alice@example.org", name, "x", Limits{}); err == nil {
			t.Errorf("credential %q", name)
		}
		if s.RemoveCredential("x@example.org", name) == nil {
			t.Errorf("removed %q", name)
		}
	}
	for _, name := range []string{"..", ".", "../x", "a/b", "", ".a", "[127.0.0.1]", "a b"} {
		if _, err := s.AddDomain(name, "", false); err == nil {
			t.Errorf("domain %q", name)
		}
		if s.RemoveDomain(name, true) == nil {
			t.Errorf("removed domain %q", name)
		}
	}
	names, err := os.ReadDir(s.Dir)
	must(t, err)
	if len(names) != 1 {
		t.Errorf("%v", names)
	}
}

// A domain of the host's users has nobody in it until a user has a device; then the directories are made.
func TestSystem(t *testing.T) {
	s := start(t)
	_, err := s.AddDomain("example.org", "", true)
	must(t, err)
	if s.text(t, "example.org/system") != "" {
		t.Error("the file says something")
	}
	d, err := s.Domain("example.org")
	must(t, err)
	if !d.System || len(d.Users) != 0 {
		t.Errorf("%+v", d)
	}
	var out strings.Builder
	must(t, PrintDomain(&out, d))
	says(t, errors.New(out.String()), "the users of this host")
	_, err = s.NewCredential("daemon@example.org", "phone", "x", Limits{})
	must(t, err)
	says(t, s.AddCredential("daemon@example.org", &login.Credential{Name: "phone"}, false), "no such account") // whose uid is the system's
}

// S129: modes are what they are meant to be.
func TestS129Modes(t *testing.T) {
	s := start(t)
	s.readers = -1
	_, err := s.AddDomain("example.org", "", false)
	must(t, err)
	_, err = s.AddUser("alice@example.org", "1GiB", made(t, s, "main", "x", Limits{}))
	must(t, err)
	_, err = s.AddAlias("a@example.org", []string{"alice"}, false)
	must(t, err)
	for name, want := range map[string]os.FileMode{
		"":                              0o755,
		"/users":                        0o755,
		"/aliases":                      0o644,
		"/users/alice":                  0o755,
		"/users/alice/quota":            0o644,
		"/users/alice/credentials":      0o750,
		"/users/alice/credentials/main": 0o640,
	} {
		info, err := os.Stat(s.Dir + "/example.org" + name)
		must(t, err)
		if info.Mode().Perm() != want {
			t.Errorf("%s: %o, want %o", name, info.Mode().Perm(), want)
		}
	}
}

func TestPassword(t *testing.T) {
	a, b := Password(), Password()
	if a == b || len(a) != 34 || strings.Count(a, "-") != 6 {
		t.Error(a, b)
	}
}

// The power may go at any step: a file is the old one or the new one, and a directory is there whole or not at all.
func TestCrashWrite(t *testing.T) {
	for n := 1; ; n++ {
		disk := faultdisk.New()
		s := &Store{Dir: "/", disk: disk, readers: -1}
		must(t, disk.Mkdir("users", 0o755))
		must(t, disk.SyncDir("."))
		must(t, s.fill("file", "old", 0o644))
		must(t, disk.SyncDir("."))
		disk.CrashAt(n)
		k := &login.Credential{Name: "main", Argon2id: "x"}
		err := disk.Mkdir("users/.alice.new", 0o755)
		if err == nil {
			err = s.furnish("users/.alice.new", "1GiB", k)
		}
		if err == nil {
			err = s.publish("users/.alice.new", "users/alice")
		}
		added := err == nil
		if added {
			err = s.write("file", "new", 0o644, true)
		}
		crashed, step := disk.Crashed(), disk.LastStep()
		found := disk.Reboot()
		if got := found["file"]; got != "old" && got != "new" || err == nil && got != "new" {
			t.Errorf("cut at step %d (%s): the file holds %q", n, step, got)
		}
		quota, there := found["users/alice/quota"]
		if added && !there || there && (quota != "1GiB\n" || found["users/alice/credentials/main"] != k.String()) {
			t.Errorf("cut at step %d (%s): %v", n, step, found)
		}
		if !crashed {
			return
		}
	}
}

// A hash of another program is taken as it is, called weak where it is, and replaced by its first login (S120); the last use is shown; removing
// a credential removes what was remembered of it.
func TestImportAndUse(t *testing.T) {
	s := start(t)
	_, err := s.AddDomain("example.org", "", false)
	must(t, err)
	_, err = s.AddUser("alice@example.org", "", nil)
	must(t, err)
	for _, hash := range []string{"{PLAIN}secret", "", "{SCRAM-SHA-256}1,2", "$argon2id$x"} {
		if _, err := s.ImportCredential("main", hash, Limits{}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", hash, err)
		}
	}
	k, err := s.ImportCredential("main", "{SSHA}HeGa2pGSxN3drOfp3n6akhR3jK4xMjM0c2FsdA==\n", Limits{Note: "from Dovecot"})
	must(t, err)
	must(t, s.AddCredential("alice@example.org", k, false))
	shown := func() string {
		t.Helper()
		list, err := s.Credentials("alice@example.org")
		must(t, err)
		var b strings.Builder
		must(t, PrintCredentials(&b, list))
		return b.String()
	}
	if text := shown(); !strings.Contains(text, "WEAK: imported with one round of SHA-1") || strings.Contains(text, "last used") {
		t.Error(text)
	}
	c := login.Checker{Domains: domains.Open(s.Dir, domains.Settings{DefaultDomain: "example.org", MailPath: "/m/%u"}), Params: cheap, State: s.state}
	_, err = c.Check(context.Background(), login.Request{Service: "imap", Authcid: "alice", Password: "wonderland"})
	must(t, err)
	if text := shown(); strings.Contains(text, "WEAK") || !strings.Contains(text, "for imap from local") {
		t.Error(text)
	}
	list, err := s.Logins("alice@example.org")
	if err != nil || len(list) != 1 {
		t.Errorf("%v %v", list, err)
	}
	must(t, s.RemoveCredential("alice@example.org", "main"))
	k, err = s.ImportCredential("main", "{SSHA}HeGa2pGSxN3drOfp3n6akhR3jK4xMjM0c2FsdA==", Limits{})
	must(t, err)
	must(t, s.AddCredential("alice@example.org", k, false))
	if text := shown(); !strings.Contains(text, "WEAK") || strings.Contains(text, "last used") {
		t.Error(text)
	}
}

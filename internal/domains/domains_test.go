package domains

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pennypost/internal/address"
)

var defaults = Settings{
	Separators:    "+",
	MailPath:      "/mail/%d/%n/Maildir",
	Layout:        "maildir++",
	DefaultDomain: "example.org",
	Origin:        "example.org",
}

// tree makes a directory of domains: a name that ends in / is a directory, NAME -> TARGET a symlink, else a file.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		switch {
		case strings.HasSuffix(name, "/"):
			must(t, os.MkdirAll(path, 0o755))
		case strings.HasPrefix(text, "-> "):
			must(t, os.Symlink(text[3:], path))
		default:
			must(t, os.WriteFile(path, []byte(text), 0o644))
		}
	}
	return dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func example(t testing.TB) string {
	return tree(t, map[string]string{
		"example.org/users/alice/":                  "",
		"example.org/users/bob/":                    "",
		"example.org/users/bob/quota":               "10MB 500 messages\n",
		"example.org/users/bob/detail_folders":      "Lists\nWork/Go\n",
		"example.org/users/δοκιμή/":                 "",
		"example.org/users/o'brien/":                "",
		"example.org/users/carol/forward":           "# away\nbob, carol@example.net\n\\\n",
		"example.org/users/broken/forward":          "bob\n|/bin/sh\n",
		"example.org/quota":                         "1GiB",
		"example.org/aliases":                       "sales: alice, Bob@example.net # both\nteam: alice,\n  bob\n\npostmaster: bob\n\"a b\": alice\nsales+eu: bob\nme: alice\nme2: me\nus: me, alice+x\nloop: loop\n",
		"alias.example":                             "-> example.org",
		"second.example":                            "-> alias.example",
		"catch.example/users/carol/":                "",
		"catch.example/aliases":                     "*: carol\n",
		"catch.example/separators":                  "-+\n",
		"catch.example/path":                        "/srv/%u\n",
		"catch.example/layout":                      "fs\n",
		"empty.example/":                            "",
		"lone.example/users/zoe/":                   "",
		"παράδειγμα.example/users/alice/":           "",
		"away.example":                              "-> ../../etc",
		"a-file.example":                            "",
		"example.org/lists/announce/":               "",
		"bad.example/users/alice/":                  "",
		"bad.example/aliases":                       "good: alice\nbad: |/bin/sh\n*: alice\n",
		"badquota.example/users/alice/quota":        "much\n",
		"programs.example/programs":                 "yes\n",
		"programs.example/users/alice/forward":      "|/usr/bin/vacation alice\n/srv/mail/copy/\n",
		"programs.example/users/bob/programs":       "no\n",
		"programs.example/users/bob/forward":        "|/usr/bin/vacation\n",
		"programs.example/users/carol/credentials/": "",
	})
}

// say is an answer in one line.
func say(a Answer, err error) string {
	switch {
	case err != nil:
		return "error"
	case a.Kind == Mailbox && a.Detail != "":
		return fmt.Sprintf("mailbox %s@%s detail %s", a.Account.User, a.Account.Domain, a.Detail)
	case a.Kind == Mailbox:
		return fmt.Sprintf("mailbox %s@%s", a.Account.User, a.Account.Domain)
	case a.Kind == Alias:
		var list []string
		for _, p := range a.Targets {
			list = append(list, p.String())
		}
		return "alias " + strings.Join(list, " ")
	}
	return [...]string{"foreign", "unknown"}[a.Kind]
}

func path(t testing.TB, s string) address.Path {
	t.Helper()
	p, err := address.Parse(s)
	must(t, err)
	return p
}

func TestLookup(t *testing.T) {
	d := Open(example(t), defaults)
	for _, c := range []struct{ to, want string }{
		{"alice@example.org", "mailbox alice@example.org"},
		{"ALICE@Example.ORG", "mailbox alice@example.org"},
		{"alice+lists@example.org", "mailbox alice@example.org detail lists"},
		{"alice+a+b@example.org", "mailbox alice@example.org detail a+b"},
		{"alice-x@example.org", "unknown"},
		{"alice@alias.example", "mailbox alice@example.org"},
		{"alice@second.example", "mailbox alice@example.org"},
		{"sales@second.example", "alias alice@example.org Bob@example.net"},
		{"Sales@example.org", "alias alice@example.org Bob@example.net"},
		{"sales+eu@example.org", "alias bob@example.org"},
		{"sales+us@example.org", "alias alice@example.org Bob@example.net"},
		{"team@example.org", "alias alice@example.org bob@example.org"},
		{`"a b"@example.org`, "alias alice@example.org"},
		{"nobody@example.org", "unknown"},
		{"+x@example.org", "unknown"},
		{"postmaster@example.org", "alias bob@example.org"},
		{"Postmaster@lone.example", "alias bob@example.org"},
		{"postmaster@empty.example", "alias bob@example.org"},
		{"postmaster", "alias bob@example.org"},
		{"postmaster@catch.example", "alias carol@catch.example"},
		{"alice", "mailbox alice@example.org"},
		{"carol-x@catch.example", "mailbox carol@catch.example detail x"},
		{"who@catch.example", "alias carol@catch.example"},
		{"δοκιμή@example.org", "mailbox δοκιμή@example.org"},
		{"ΔΟΚΙΜΉ@example.org", "mailbox δοκιμή@example.org"},
		{"δοκιμη\u0301@example.org", "mailbox δοκιμή@example.org"},
		{"alice@xn--hxajbheg2az3al.example", "mailbox alice@παράδειγμα.example"},
		{"alice@ΠΑΡΆΔΕΙΓΜΑ.example", "mailbox alice@παράδειγμα.example"},
		{"alice@example.net", "foreign"},
		{"alice@[127.0.0.1]", "foreign"},
		{"x@away.example", "error"}, // leads out of our directory
		{"x@a-file.example", "error"},
		{"broken@example.org", "error"}, // programs are off
		{"alice@bad.example", "mailbox alice@bad.example"},
		{"good@bad.example", "alias alice@bad.example"},
		{"nobody@bad.example", "error"}, // perhaps the name on the bad line
		{"alice@badquota.example", "error"},
		{"bob@programs.example", "error"},
		{"alice@programs.example", "mailbox alice@programs.example"},
	} {
		for range 2 { // the second from memory
			if got := say(d.Lookup(path(t, c.to))); got != c.want {
				t.Errorf("%s: %s, want %s", c.to, got, c.want)
			}
		}
	}
}

func TestAccount(t *testing.T) {
	d := Open(example(t), defaults)
	look := func(s string) Account {
		t.Helper()
		a, err := d.Lookup(path(t, s))
		if err != nil || a.Account == nil {
			t.Fatal(s, a, err)
		}
		return *a.Account
	}
	a := look("alice@example.org")
	if a.Maildir != "/mail/example.org/alice/Maildir" || a.Quota != 1<<30 || a.Layout != "maildir++" || !a.Plain() || a.Postmaster {
		t.Errorf("%+v", a)
	}
	if b := look("bob@example.org"); b.Quota != 10e6 || b.QuotaMessages != 500 || strings.Join(b.DetailFolders, "|") != "Lists|Work/Go" || !b.Postmaster {
		t.Errorf("%+v", b)
	}
	if c := look("carol@catch.example"); c.Maildir != "/srv/carol@catch.example" || c.Layout != "fs" {
		t.Errorf("%+v", c)
	}
	c := look("carol@example.org")
	if got := fmt.Sprint(c.Forward); got != `[{38 bob@example.org } {38 carol@example.net } {92  }]` {
		t.Error(got)
	}
	if p := look("alice@programs.example"); len(p.Forward) != 2 || p.Forward[0].Arg != "/usr/bin/vacation alice" || p.Forward[1].Kind != '/' {
		t.Errorf("%+v", p)
	}
}

func TestLogin(t *testing.T) {
	d := Open(example(t), defaults)
	for name, want := range map[string]string{
		"alice":                 "alice@example.org",
		"Alice@Example.org":     "alice@example.org",
		"alice@alias.example":   "alice@example.org",
		"broken":                "broken@example.org", // a bad forward file locks nobody out
		"alice+x":               "",
		"sales":                 "",
		"alice@example.net":     "",
		"":                      "",
		"@":                     "",
		"@example.org":          "",
		"../users/alice":        "",
		"alice@../example.org":  "",
		"alice\x00@example.org": "",
		"alice@example.org/":    "",
		".":                     "",
		"-alice":                "",
	} {
		a, err := d.Login(name)
		got := ""
		if err == nil {
			got = a.Path().String()
		}
		if got != want || err != nil && err != ErrNoAccount {
			t.Errorf("%q: %q %v, want %q", name, got, err, want)
		}
	}
}

func TestOwns(t *testing.T) {
	d := Open(example(t), defaults)
	alice, err := d.Login("alice")
	must(t, err)
	for from, want := range map[string]bool{
		"":                       false,
		"alice@example.org":      true,
		"Alice+tag@example.org":  true,
		"alice@second.example":   true,
		"me@example.org":         true,
		"me2@example.org":        true,
		"us@alias.example":       true,
		"team@example.org":       false,
		"sales@example.org":      false,
		"bob@example.org":        false,
		"loop@example.org":       false,
		"postmaster@example.org": false,
		"nobody@example.org":     false,
		"alice@example.net":      false,
		"alice@lone.example":     false,
		"alice@bad.example":      false,
	} {
		if got, err := d.Owns(alice, path(t, from)); got != want || err != nil {
			t.Errorf("%s: %v %v, want %v", from, got, err, want)
		}
	}
	zoe, err := d.Login("zoe@lone.example")
	must(t, err)
	if ok, _ := d.Owns(zoe, path(t, "postmaster@lone.example")); ok {
		t.Error("nobody is postmaster of lone.example, and yet zoe may write as such")
	}
}

// Files change under us; a second later we know.
func TestChanges(t *testing.T) {
	dir := example(t)
	d := Open(dir, defaults)
	clock := time.Duration(0)
	d.now = func() time.Duration { return clock }
	ask := func(want string) {
		t.Helper()
		clock += time.Second
		if got := say(d.Lookup(path(t, "dave@example.org"))); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
	file := func(name, text string) {
		must(t, os.WriteFile(filepath.Join(dir, "example.org", name), []byte(text), 0o644))
	}
	ask("unknown")
	must(t, os.Mkdir(filepath.Join(dir, "example.org/users/dave"), 0o755))
	ask("mailbox dave@example.org")
	file("users/dave/forward", "bob\n")
	ask("mailbox dave@example.org")
	if a, _ := d.Lookup(path(t, "dave@example.org")); a.Account.Plain() {
		t.Error("a new forward file was not seen")
	}
	file("users/dave/forward", "bob bob\n")
	ask("error")
	must(t, os.Remove(filepath.Join(dir, "example.org/users/dave/forward")))
	ask("mailbox dave@example.org")
	must(t, os.Remove(filepath.Join(dir, "example.org/users/dave")))
	ask("unknown")
	file("aliases", "dave: alice\n")
	ask("alias alice@example.org")
	file("aliases", "dave alice\n")
	ask("error")
	file("aliases", "")
	ask("error") // an editor is at work
	file("aliases", "*: bob\n")
	ask("alias bob@example.org")
	must(t, os.Remove(filepath.Join(dir, "example.org/aliases")))
	ask("unknown")
	must(t, os.Rename(filepath.Join(dir, "example.org"), filepath.Join(dir, "example.com")))
	ask("foreign")
	must(t, os.Rename(dir, dir+".gone"))
	t.Cleanup(func() { os.RemoveAll(dir + ".gone") })
	ask("error") // a volume that is not there makes no domain foreign
}

// An error of the disk is never "no such user". Root may read all, so the errors are of other kinds.
func TestErrorsDefer(t *testing.T) {
	dir := example(t)
	must(t, os.RemoveAll(filepath.Join(dir, "lone.example/users")))
	must(t, os.WriteFile(filepath.Join(dir, "lone.example/users"), nil, 0o644))
	must(t, os.Symlink("aliases", filepath.Join(dir, "empty.example/aliases"))) // ELOOP
	must(t, os.Chmod(filepath.Join(dir, "catch.example/aliases"), 0o666))
	d := Open(dir, defaults)
	for _, to := range []string{"zoe@lone.example", "x@lone.example", "x@empty.example", "x@catch.example"} {
		if got := say(d.Lookup(path(t, to))); got != "error" {
			t.Errorf("%s: %s", to, got)
		}
	}
	if got := say(d.Lookup(path(t, "carol@catch.example"))); got != "mailbox carol@catch.example" {
		t.Error(got)
	}
}

// S062 and S114: such names are looked up like any other and are nobody's.
func TestS062S114NamesAreOnlyNames(t *testing.T) {
	dir := example(t)
	must(t, os.MkdirAll(filepath.Join(dir, "example.org/users/%d"), 0o755))
	d := Open(dir, defaults)
	for _, name := range []string{
		"$(reboot)", "`reboot`", "a;b", "a|b", "-rf", "--help", "..", ".", "../alice", "alice/", "/etc/passwd", "a\\b", `a"b`, "*", "%s%s",
		"(cn=*)", "a\nb", "alice\x00", "users/alice", "a@b", "' OR 1=1 --", "alice ", " alice", "~", "~alice", "\u202ealice", "\x1b[2J",
	} {
		p, err := address.Make(name, "example.org")
		if err != nil {
			p = address.Path{Local: name, Domain: "example.org"}
		}
		if got := say(d.Lookup(p)); got != "unknown" {
			t.Errorf("%q: %s", name, got)
		}
		if a, err := d.Login(name + "@example.org"); err != ErrNoAccount {
			t.Errorf("login %q: %v %v", name, a, err)
		}
	}
	for _, name := range []string{"..", ".", "/", "example.org/users", "../x", "", "a\x00b", strings.Repeat("x", 300)} {
		if ok, err := d.Local(name); ok || err != nil {
			t.Errorf("domain %q: %v %v", name, ok, err)
		}
	}
	a, err := d.Lookup(path(t, "%d@example.org"))
	if err != nil || a.Account.Maildir != "/mail/example.org/%d/Maildir" {
		t.Errorf("a name was expanded: %v %v", a.Account, err)
	}
	if a, err := d.Lookup(path(t, "o'brien@example.org")); err != nil || a.Kind != Mailbox {
		t.Error(a, err)
	}
}

// S066: neither the catch-all nor a sub-address reaches what has a name of its own, and nothing reaches a
// program or a file.
func TestS066CatchAll(t *testing.T) {
	d := Open(tree(t, map[string]string{
		"x.example/users/carol/": "",
		"x.example/aliases":      "*: carol\nlist-owner: boss@example.net\n",
	}), Settings{Separators: "-", MailPath: "/m/%u", Origin: "x.example"})
	for _, c := range []struct{ to, want string }{
		{"list-owner@x.example", "alias boss@example.net"},
		{"list-owner-x@x.example", "alias carol@x.example"},
		{"postmaster-x@x.example", "alias carol@x.example"},
	} {
		if got := say(d.Lookup(path(t, c.to))); got != c.want {
			t.Errorf("%s: %s, want %s", c.to, got, c.want)
		}
	}
}

func TestS123NamesAreCheckedOnce(t *testing.T) {
	for _, name := range []string{"", ".", "..", ".hidden", "-dash", "a/b", "a\x00", "a\n", "A", "a@b", "\u202ea", "\xff", "e\u0301", strings.Repeat("a", 201)} {
		if CheckUser(name) == nil {
			t.Errorf("user %q passes", name)
		}
	}
	for _, name := range []string{"alice", "a.b", "a+b", "o'brien", "é", "100%", "a b", "con"} {
		if err := CheckUser(name); err != nil {
			t.Errorf("user %q: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "Example.org", "a/b", "[127.0.0.1]", "a b", "xn--hxajbheg2az3al.example", "a..b"} {
		if CheckDomain(name) == nil {
			t.Errorf("domain %q passes", name)
		}
	}
}

func TestLookupIsCheap(t *testing.T) {
	d := Open(example(t), defaults)
	clock := time.Duration(0)
	d.now = func() time.Duration { return clock }
	for _, to := range []string{"alice@example.org", "alice+x@alias.example", "sales@example.org", "who@catch.example"} {
		p := path(t, to)
		d.Lookup(p)
		if n := testing.AllocsPerRun(100, func() { d.Lookup(p) }); n > 0 {
			t.Errorf("%s: %v allocations", to, n)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	d := Open(example(b), defaults)
	p := path(b, "alice+x@alias.example")
	for b.Loop() {
		d.Lookup(p)
	}
}

// Many ask while files change; for the race detector.
func TestConcurrent(t *testing.T) {
	dir := example(t)
	d := Open(dir, defaults)
	var clock atomic.Int64
	d.now = func() time.Duration { return time.Duration(clock.Add(int64(time.Millisecond))) }
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 300 {
				for _, to := range []string{"alice+x@alias.example", "sales@example.org", "nobody@example.org"} {
					if _, err := d.Lookup(address.Path{Local: strings.Split(to, "@")[0], Domain: strings.Split(to, "@")[1]}); err != nil {
						t.Error(err)
					}
				}
				if i == 0 && n%20 == 0 {
					must(t, os.WriteFile(dir+"/quota", []byte("1GiB"), 0o644))
					must(t, os.Rename(dir+"/quota", dir+"/example.org/users/alice/quota"))
				}
			}
		})
	}
	all.Wait()
}

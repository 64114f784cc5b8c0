package domains

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/passwd"
)

type unixPeople map[string]*passwd.User

var errDirectory = errors.New("the directory does not answer")

func (p unixPeople) User(name string) (*passwd.User, error) {
	switch u := p[name]; {
	case u != nil:
		return u, nil
	case name == "away":
		return nil, errDirectory
	}
	return nil, passwd.ErrUnknown
}

// system is a domain of Unix users, with that /etc/aliases.
func system(t testing.TB, etcAliases string, files map[string]string) (*Domains, string) {
	t.Helper()
	all := map[string]string{
		"example.org/system":            "",
		"example.org/aliases":           "sales: alice\n",
		"example.org/users/virtual/":    "",
		"example.org/users/bob/layout":  "fs\n",
		"example.org/users/bob/quota":   "1MB\n",
		"example.org/users/bob/forward": "alice\n",
		"other.example/users/alice/":    "",
		"home.example/system":           "",
		"home.example/path":             "/srv/mail/%n\n",
		"alias.example":                 "-> example.org",
	}
	for name, text := range files {
		all[name] = text
	}
	dir := tree(t, all)
	people := unixPeople{}
	for i, name := range []string{"alice", "bob", "carol", "dave"} {
		people[name] = &passwd.User{Name: name, UID: uint32(2000 + i), GID: uint32(2000 + i), Home: "/home/" + name}
	}
	s := defaults
	s.Unix, s.UnixPath, s.Aliases = people, "~/Maildir", filepath.Join(t.TempDir(), "aliases")
	must(t, os.WriteFile(s.Aliases, []byte(strings.ReplaceAll(etcAliases, "@DIR@", filepath.Dir(s.Aliases))), 0o644))
	return Open(dir, s), filepath.Dir(s.Aliases)
}

func describe(a Answer, err error) string {
	if err != nil {
		return err.Error()
	}
	var words []string
	words = append(words, map[Kind]string{Foreign: "foreign", Unknown: "unknown", Mailbox: "mailbox", Alias: "alias", Nowhere: "nowhere"}[a.Kind])
	if a.Account != nil {
		words = append(words, a.Account.Maildir)
	}
	if a.Detail != "" {
		words = append(words, "+"+a.Detail)
	}
	for _, to := range a.Targets {
		words = append(words, to.String())
	}
	return strings.Join(words, " ")
}

const usualAliases = `# as any Debian host has them
mailer-daemon: postmaster
postmaster: root
root: alice
carol: \carol, bob   # a copy
dave: dave@example.org
self: self, bob
moved: dave@example.net
prog: |/usr/bin/program
file: /var/log/mails
nul: /dev/null
list: :include:@DIR@/list
gone: :include:@DIR@/gone
"a b": alice
moved: alice
`

// Each case is an address in a domain of Unix users, and what it is.
func TestSystemDomain(t *testing.T) {
	d, dir := system(t, usualAliases, nil)
	must(t, os.WriteFile(dir+"/list", []byte("alice, bob # both\n# nobody\ncarol@example.net\n"), 0o644))
	const noProgram = "aliases:%: a program or a file is not an address: give it to a user whose ~/.forward names it, or to a [transport] of mail.toml(5)"
	for _, c := range []struct{ to, want string }{
		{"alice", "mailbox /home/alice/Maildir"},
		{"Alice+Lists", "mailbox /home/alice/Maildir +lists"},
		{"bob", "mailbox /home/bob/Maildir"},
		{"bob@alias.example", "mailbox /home/bob/Maildir"},
		{"alice@home.example", "mailbox /srv/mail/alice"},
		{"alice@other.example", "mailbox /mail/other.example/alice/Maildir"},
		{"virtual", "mailbox /mail/example.org/virtual/Maildir"},
		{"nosuch", "unknown"},
		{"nosuch+x", "unknown"},
		{"sales", "alias alice@example.org"},
		{"mailer-daemon", "alias postmaster@example.org"},
		{"postmaster", "alias root@example.org"},
		{"root", "alias alice@example.org"},
		{"root@home.example", "alias alice@home.example"},
		{"carol", "alias /home/carol/Maildir bob@example.org"},
		{"carol+x", "alias /home/carol/Maildir +x bob@example.org"},
		{"dave", "mailbox /home/dave/Maildir"},
		{"self", "alias bob@example.org"},
		{"moved", "alias dave@example.net"},
		{"\"a b\"", "alias alice@example.org"},
		{"nul", "nowhere"},
		{"list", "alias alice@example.org bob@example.org carol@example.net"},
		{"prog", strings.Replace(noProgram, "%", "9", 1)},
		{"file", strings.Replace(noProgram, "%", "10", 1)},
		{"gone", "aliases:13: stat " + dir + "/gone: no such file or directory"},
		{"away", "Unix user away: " + errDirectory.Error()},
		{"away+x", "Unix user away: " + errDirectory.Error()},
	} {
		if !strings.Contains(c.to, "@") {
			c.to += "@example.org"
		}
		to, err := address.Parse(c.to)
		must(t, err)
		got := describe(d.Lookup(to))
		if got = strings.TrimPrefix(got, dir+"/"); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.to, got, c.want)
		}
	}
	a, err := d.Login("bob")
	if err != nil || a.Unix == nil || a.Layout != "fs" || a.Quota != 0 || len(a.Forward) != 0 || a.Plain() {
		t.Errorf("%+v %v", a, err)
	}
	for name, want := range map[string]error{"carol": nil, "self": ErrNoAccount, "root": ErrNoAccount, "away": errDirectory, "virtual": nil} {
		if _, err := d.Login(name); !errors.Is(err, want) {
			t.Errorf("login as %s: %v", name, err)
		}
	}
	to, _ := address.Parse("carol+lists@example.org")
	if a, detail, err := d.Mailbox(to); err != nil || a == nil || a.Unix.Name != "carol" || detail != "lists" {
		t.Error(a, detail, err)
	}
	carol, _ := d.Login("carol")
	for name, want := range map[string]bool{"carol": false, "alice": false, "carol+x": false} { // bob has a copy: the name is not hers alone
		from, _ := address.Parse(name + "@example.org")
		if owns, err := d.Owns(carol, from); owns != want || err != nil {
			t.Errorf("carol sends as %s: %v %v", name, owns, err)
		}
	}
}

// A change counts within a second, of a file that is included too.
func TestEtcAliasesChange(t *testing.T) {
	d, dir := system(t, "list: :include:@DIR@/list\n", nil)
	clock := time.Hour
	d.now = func() time.Duration { return clock }
	list, _ := address.Parse("list@example.org")
	if _, err := d.Lookup(list); err == nil {
		t.Error("the list is not there yet")
	}
	must(t, os.WriteFile(dir+"/list", []byte("alice\n"), 0o644))
	clock += fresh
	if got := describe(d.Lookup(list)); got != "alias alice@example.org" {
		t.Error(got)
	}
	must(t, os.WriteFile(dir+"/list", []byte("bob, alice\n"), 0o644))
	clock += fresh
	if got := describe(d.Lookup(list)); got != "alias bob@example.org alice@example.org" {
		t.Error(got)
	}
	must(t, os.Remove(dir+"/aliases"))
	clock += fresh
	if got := describe(d.Lookup(list)); got != "unknown" {
		t.Error(got)
	}
	must(t, os.WriteFile(dir+"/aliases", []byte("no colon\nroot: alice\n"), 0o644))
	clock += fresh
	root, _ := address.Parse("root@example.org")
	if got := describe(d.Lookup(root)); got != "alias alice@example.org" {
		t.Error(got)
	}
	if got := describe(d.Lookup(list)); !strings.HasSuffix(got, "aliases:1: write NAME: ADDRESS, ADDRESS") {
		t.Error("it may be the line that makes no sense:", got)
	}
	must(t, os.Chmod(dir+"/aliases", 0o666))
	clock += fresh
	if _, err := d.Lookup(root); err == nil {
		t.Error("a file that anybody may write was believed")
	}
}

// Root's mail goes where mail.toml says, or to the postmaster.
func TestRoot(t *testing.T) {
	d, _ := system(t, "", nil)
	root, _ := address.Parse("root@example.org")
	if got := describe(d.Lookup(root)); got != "mailbox /mail/example.org/bob/Maildir" && got != "mailbox /home/bob/Maildir" { // the first account
		t.Error(got)
	}
	d.defaults.Root, _ = address.Parse("alice@example.org")
	if got := describe(d.Lookup(root)); got != "alias alice@example.org" {
		t.Error(got)
	}
}

func FuzzEtcAliases(f *testing.F) {
	f.Add(usualAliases)
	f.Add("a: \"|x, y\", \\b\n c\n:include:\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, ":include:") {
			return // no files of this host
		}
		e := etcAliases{names: map[string]etcEntry{}}
		aliasLines(text, func(_, _ int, entry string, err error) {
			if err != nil {
				return
			}
			name, targets, err := e.entry(entry)
			if err == nil && (name == "" || len(targets) == 0 && !strings.Contains(entry, "/dev/null")) {
				t.Errorf("%q: %q %v", entry, name, targets)
			}
			for _, to := range targets {
				if to.IsNull() {
					t.Errorf("%q leads to <>", entry)
				}
			}
		})
	})
}

package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pennypost/internal/domains"
	"pennypost/internal/passwd"
)

func unixAccount(home string) *domains.Account {
	return &domains.Account{User: "alice", Domain: "example.org", Maildir: home + "/Maildir", Layout: "maildir++",
		Unix: &passwd.User{Name: "alice", UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Home: home, Shell: "/bin/sh"}}
}

// Each case is a ~/.forward and what it says.
func TestDotForward(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"\n# nothing\n   # at all\n", ""},
		{"bob\n", "&bob@example.org"},
		{"bob, carol@example.net # both\n", "&bob@example.org &carol@example.net"},
		{"\\alice, bob\r\n", "\\ &bob@example.org"},
		{"\\alice@EXAMPLE.org\n", "\\"},
		{"\\bob\n", "&bob@example.org"},
		{"alice\n", "&alice@example.org"}, // to himself: kept, see planForUnix
		{"Bob <bob@example.net>\n", "&bob@example.net"},
		{"\"bob the builder\"@example.net\n", "&\"bob the builder\"@example.net"},
		{"\"a,b\"@example.net, c\n", "&\"a,b\"@example.net &c@example.org"},
		{"|/usr/bin/procmail\n", "|/usr/bin/procmail"},
		{"\"|/usr/bin/procmail -t, x\"\n", "|/usr/bin/procmail -t, x"},
		{"|\"/usr/bin/procmail -t, x\", bob\n", "|/usr/bin/procmail -t, x &bob@example.org"},
		{"\"|IFS=' ' && exec /usr/bin/procmail -f- || exit 75 #alice\"\n", "|IFS=' ' && exec /usr/bin/procmail -f- || exit 75 #alice"},
		{`"|echo \"x\" >\$HOME"` + "\n", `|echo "x" >\$HOME`},
		{"|vacation alice, \\alice\n", "|vacation alice \\"},
		{"/home/alice/Mail/\n", "//home/alice/Mail"},
		{"~/Mail/copy/\n", "//home/a/Mail/copy"},
		{"\"/home/a b/\"\n", "//home/a b"},
		{"/dev/null\n", "0"},
		{"bob\nbob c\n", "2: local part has a character that must be quoted"},
		{"/var/mail/alice\n", "1: a mailbox is a Maildir here, and ends in /"},
		{"\"|x\n", "1: a quote without its end"},
		{"|\n", "1: no command after |"},
		{":include:/etc/x\n", "1: :include: is for /etc/aliases"},
		{"<>\n", "1: no address"},
		{"a\x00b\n", "1: holds a NUL"},
	} {
		list, err := parseDotForward(c.text, unixAccount("/home/a"))
		var got []string
		for _, l := range list {
			switch l.Kind {
			case '&':
				got = append(got, "&"+l.Target.String())
			default:
				got = append(got, string(l.Kind)+l.Arg)
			}
		}
		say := strings.Join(got, " ")
		if err != nil {
			say = err.Error()
		}
		if say != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.text, say, c.want)
		}
	}
}

// TestS129DotForward: a file that others may write is not obeyed, and mail is kept; what cannot be read now makes mail wait.
func TestS129DotForward(t *testing.T) {
	home := t.TempDir()
	account := unixAccount(home)
	path := filepath.Join(home, ".forward")
	write := func(mode os.FileMode) {
		os.RemoveAll(path)
		os.WriteFile(path, []byte("bob\n"), 0o600)
		os.Chmod(path, mode)
	}
	for _, c := range []struct {
		what   string
		make   func()
		lines  int
		unsafe bool
		err    bool
	}{
		{"none", func() {}, 0, false, false},
		{"0600", func() { write(0o600) }, 1, false, false},
		{"0644", func() { write(0o644) }, 1, false, false},
		{"0664", func() { write(0o664) }, 0, true, true},
		{"0606", func() { write(0o606) }, 0, true, true},
		{"a directory", func() { os.RemoveAll(path); os.Mkdir(path, 0o700) }, 0, true, true},
		{"a link to ours", func() { write(0o600); os.Rename(path, home+"/dot"); os.Symlink("dot", path) }, 1, false, false},
		{"a link to others'", func() { os.Remove(path); os.Chmod(home+"/dot", 0o666); os.Symlink("dot", path) }, 0, true, true},
		{"a circle", func() { os.Remove(path); os.Symlink(".forward", path) }, 0, true, true},
		{"a link to nothing", func() { os.Remove(path); os.Symlink("nothing", path) }, 0, false, false},
		{"a device", func() { os.Remove(path); os.Symlink("/dev/zero", path) }, 0, true, true},
		{"too long", func() { os.Remove(path); os.WriteFile(path, make([]byte, maxDotForward+1), 0o600) }, 0, true, true},
		{"a mistake", func() { os.Remove(path); os.WriteFile(path, []byte("bob c\n"), 0o600) }, 0, true, true},
	} {
		c.make()
		lines, err := dotForward(account)
		if len(lines) != c.lines || (err != nil) != c.err || errors.Is(err, errUnsafe) != c.unsafe {
			t.Errorf("%s: %v %v", c.what, lines, err)
		}
	}
	if os.Getuid() == 0 {
		write(0o600)
		os.Chown(path, 12345, 12345)
		if _, err := dotForward(account); !errors.Is(err, errUnsafe) {
			t.Error("of another user:", err)
		}
	}
	os.Chmod(home, 0o777)
	if homeOf(account) == nil {
		t.Error("a home that anybody may write into")
	}
	os.Chmod(home, 0o775) // with a group of one's own: usual
	if err := homeOf(account); err != nil {
		t.Error(err)
	}
	os.RemoveAll(home)
	if homeOf(account) == nil {
		t.Error("no home is no reason to make one")
	}
}

// Commands are started as Postfix starts them; what came with the message is no part of any.
func TestUnixCommand(t *testing.T) {
	for line, want := range map[string]string{
		"/usr/bin/procmail":       `["/usr/bin/procmail"]`,
		"/usr/bin/vacation alice": `["/usr/bin/vacation" "alice"]`,
		"exec procmail":           `["/bin/sh" "-c" "exec procmail"]`,
		"procmail || exit 75":     `["/bin/sh" "-c" "procmail || exit 75"]`,
		"cat >~/got":              `["/bin/sh" "-c" "cat >~/got"]`,
	} {
		if got := fmt.Sprintf("%q", unixCommand(line)); got != want {
			t.Errorf("%s: %s", line, got)
		}
	}
	if got := tame("a;$(rm -rf ~)`x`'\"\n\\é&|@example.org"); strings.ContainsAny(got, ";$()`'\"\n\\&| ~") {
		t.Error(got)
	}
}

func FuzzDotForward(f *testing.F) {
	f.Add("\\alice, \"|a b\", ~/x/ # y\n")
	f.Add("|\"a\\\"b\", \"c d\"@e <f@g>")
	account := unixAccount("/home/a")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseDotForward(text, account)
		if err != nil && list != nil {
			t.Error("half of it")
		}
		for _, l := range list {
			if l.Kind == '&' && (l.Target.Local == "" || l.Target.Domain == "") || l.Kind == '|' && l.Arg == "" || l.Kind == '/' && !filepath.IsAbs(l.Arg) {
				t.Errorf("%q: %+v", text, l)
			}
		}
	})
}

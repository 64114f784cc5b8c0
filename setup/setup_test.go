package setup

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pennypost/internal/config"
	"pennypost/internal/durable"
	"pennypost/internal/uids"
	"pennypost/queue"
)

func TestMain(m *testing.M) {
	durable.ClearUmask()
	os.Exit(m.Run())
}

const sample = "../etc/mail.toml"

// call is mailsetup --user-mode.
func call(t *testing.T, file string, dry bool) (lines int, out string) {
	t.Helper()
	var b bytes.Buffer
	n, err := (&Setup{Config: file, Sample: sample, UserMode: true, DryRun: dry, Out: &b}).Run()
	if err != nil {
		t.Fatal(err)
	}
	return n, b.String()
}

func TestSetup(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "mail", "mail.toml")
	n, said := call(t, file, true)
	if _, err := os.Lstat(filepath.Dir(file)); n < 50 || !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a dry run said %d lines, and made: %v", n, err)
	}
	if _, out := call(t, file, false); out != said {
		t.Errorf("did\n%sand not, as promised,\n%s", out, said)
	}
	conf, err := config.Load(file, config.Sections()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, lies := range []string{conf.Domains, conf.Spool, conf.State, conf.Run, conf.Mail.Path} {
		if !strings.HasPrefix(lies, dir+"/mail/") {
			t.Errorf("%s does not lie beside mail.toml", lies)
		}
	}
	if wrong := uids.Check(uids.Table(uids.Of(conf)), uids.One(os.Getuid(), os.Getgid())); len(wrong) > 0 {
		t.Errorf("made, and then: %v", wrong)
	}
	s, err := queue.Open(conf.Spool)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	for _, dry := range []bool{true, false, true} {
		if n, out := call(t, file, dry); n != 0 {
			t.Errorf("again, dry %v: %s", dry, out)
		}
	}
	// What somebody broke is put right, and what somebody wrote stays.
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(conf.Spool+"/q", 0o777))
	must(os.Remove(conf.Spool + "/hold"))
	must(os.WriteFile(file, []byte("spool = \"spool\"\nstate = \"state\"\nrun = \"run\"\ndomains = \"domains\"\nhostname = \"mx.example.org\"\n[mail]\npath = \""+conf.Mail.Path+"\"\n"), 0o644))
	n, said = call(t, file, false)
	if want := "set  " + conf.Spool + "/q 2750\nmake " + conf.Spool + "/hold 2770\n"; said != want && !strings.Contains(said, want) {
		t.Errorf("%d lines, %q, want %q", n, said, want)
	}
	if text, _ := os.ReadFile(file); !strings.Contains(string(text), "mx.example.org") {
		t.Error("mail.toml was overwritten")
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	nobody := uids.IDs{User: func(string) (int, error) { return 0, errors.New("unknown user") }, Group: func(string) (int, error) { return 0, nil }}
	s := &Setup{Config: dir + "/mail.toml", Sample: sample, Out: &out, IDs: nobody, DryRun: true}
	if _, err := s.Run(); !errors.Is(err, ErrUsers) {
		t.Errorf("without users: %v", err)
	}
	s = &Setup{Config: dir + "/mail.toml", Sample: dir + "/none", Out: &out, UserMode: true}
	if _, err := s.Run(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "--sample") {
		t.Errorf("without sample: %v", err)
	}
	if err := os.WriteFile(dir+"/bad.toml", []byte("spol = 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s = &Setup{Config: dir + "/bad.toml", Out: &out, UserMode: true}
	if _, err := s.Run(); err == nil || !strings.Contains(err.Error(), "bad.toml:1:") {
		t.Errorf("with a wrong mail.toml: %v", err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 || out.Len() > 0 {
		t.Errorf("refused, and made %v, said %q", names, out.String())
	}
}

// TestOtherPlaces: mail lies above the first % of mail.path.
func TestOtherPlaces(t *testing.T) {
	c := config.Default()
	c.File = "/etc/pennypost/mail.toml"
	if p := uids.Of(c); p != uids.DefaultPaths {
		t.Errorf("%+v", p)
	}
	c.Mail.Path = "/srv/vhosts/x%d/%n/"
	if p := uids.Of(c); p.Mail != "/srv/vhosts" {
		t.Errorf("%+v", p)
	}
}

func TestUsers(t *testing.T) {
	var out bytes.Buffer
	n := Users(&out, Host{
		IDs: uids.IDs{
			User: func(name string) (int, error) {
				if name == "vmail" || name == "mailout" {
					return 1, nil
				}
				return 0, errors.New("unknown user")
			},
			Group: func(name string) (int, error) {
				if name == "vmail" || name == "mailout" {
					return 1, nil
				}
				return 0, errors.New("unknown group")
			},
		},
		Groups: func(name string) ([]string, error) { return []string{name, "mailtls"}, nil },
	})
	text := out.String()
	for _, want := range []string{"groupadd --system mailmsg\n", "usermod --append --groups mailmsg vmail\n", "--gid mailin --groups mailmsg,mailtls --comment 'Pennypost, smtpd' mailin\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "useradd --system vmail") || strings.Contains(text, "mailout") || n != strings.Count(text, "\n") {
		t.Errorf("%d lines:\n%s", n, text)
	}
	if strings.Contains(text, ":") {
		t.Error("a colon ends a field of passwd(5)")
	}
	out.Reset()
	all := Host{uids.One(1, 1), func(string) ([]string, error) {
		return []string{"mailmsg", "mailauth", "mailtls", "mailin", "mailpick", "maillist", "vmail", "maildrop", "mailadmin", "shadow"}, nil
	}}
	if n := Users(&out, all); n != 0 {
		t.Errorf("all are there: %s", out.String())
	}
}

// TestS133Links: root follows no link that somebody put where a directory should be.
func TestS133Links(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "post", "mail.toml")
	call(t, file, false)
	victim := filepath.Join(dir, "victim")
	if err := os.Mkdir(victim, 0o711); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"spool/hold", "state/over", "mail"} {
		place := filepath.Join(dir, "post", name)
		if err := os.RemoveAll(place); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(victim, place); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := (&Setup{Config: file, Sample: sample, UserMode: true, Out: &out}).Run(); err == nil {
			t.Errorf("%s: a link was taken for a directory", name)
		}
		if info, err := os.Stat(victim); err != nil || info.Mode().Perm() != 0o711 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
		os.Remove(place)
		call(t, file, false)
	}
}

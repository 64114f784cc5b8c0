package peers

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/maildir/mailbox"
	"pennypost/maildir/pull"
	"pennypost/test/lab"
)

// maildirimport fetches an account of Dovecot and of Courier: texts, flags, dates and mailboxes, each once however often it runs.
func TestPull(t *testing.T) {
	if testing.Short() {
		t.Skip("not with -short")
	}
	for _, kind := range readers {
		t.Run(kind.name, func(t *testing.T) {
			if err := Available(kind.pkg); err != nil {
				t.Skip(err)
			}
			dir := t.TempDir()
			ca, err := lab.OpenCA(filepath.Join(dir, "ca"))
			if err != nil {
				t.Fatal(err)
			}
			cert := filepath.Join(dir, "tls")
			if err := ca.IssueRSA(cert, "mx.reader.test", kind.ip); err != nil {
				t.Fatal(err)
			}
			p, err := kind.start(Options{Dir: dir, Domain: "reader.test", IP: kind.ip, Port: lab.FreeBase() + 143, Users: []string{"alice"}, Cert: cert + ".pem", Key: cert + ".key"})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Stop()
			there := p.Maildir("alice")
			dirs := map[string]string{"INBOX": ".", "Sent": ".Sent", "Lists/gö": ".Lists.g&APY-"}
			want := map[string]int{"INBOX": 130, "Sent": 3, "Lists/gö": 2}
			if kind.name == "Courier" { // whose newer versions write UTF-8 on disk
				dirs["Lists/gö"] = ".Lists.gö"
			}
			for name, d := range dirs {
				for i := range want[name] {
					write(t, filepath.Join(there, d, fmt.Sprintf("cur/%d.M%dP1.reader:2,%s", 1700000000+i, i, []string{"", "S", "FRS"}[i%3])), fmt.Sprintf("Subject: %s %d\n\n%s", name, i, strings.Repeat("a line\n", i%7+1)))
				}
				for _, sub := range []string{"new", "tmp"} {
					os.MkdirAll(filepath.Join(there, d, sub), 0o700)
				}
				if d != "." {
					write(t, filepath.Join(there, d, "maildirfolder"), "")
				}
			}
			give(t, there)
			if kind.imapOnly { // Courier gives no lasting UIDs before a mailbox is selected for the first time
				if err := talk(p.At(143), nil, []step{{"", "* OK"}, {"a login alice demo", "a OK"}, {"b select inbox", "b OK"}, {"c select INBOX.Sent", "c OK"}, {"d select INBOX.Lists.g&APY-", "d OK"}, {"e logout", "e OK"}}); err != nil {
					t.Fatalf("%v\n%s", err, p.Log())
				}
			}
			s := &pull.Source{URL: "imaps://alice@" + p.At(993), Password: Password, TLS: &tls.Config{RootCAs: ca.Pool(), ServerName: kind.ip}}
			if kind.imapOnly {
				s.URL, s.Clear = "imap://alice@"+p.At(143), true
			}
			here, err := mailbox.OpenAccount(filepath.Join(dir, "here"), mailbox.Options{Host: "here"})
			if err != nil {
				t.Fatal(err)
			}
			defer here.Close()
			for range 2 {
				if err := pull.Pull(context.Background(), s, here); err != nil {
					t.Fatalf("%v\n%s", err, p.Log())
				}
				for name, n := range want {
					compare(t, here, name, n)
				}
			}
		})
	}
}

// compare looks at what arrived.
func compare(t *testing.T, a *mailbox.Account, name string, n int) {
	t.Helper()
	f, err := a.Folder(name)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	defer f.Close()
	v, err := f.Look(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if v.Len() != n {
		t.Errorf("%s: %d messages of %d", name, v.Len(), n)
		return
	}
	for i := range n {
		m, err := v.Open(i)
		if err != nil {
			t.Fatal(err)
		}
		text := make([]byte, m.Size)
		m.ReadAt(text, 0)
		m.Close()
		flags := []mailbox.Flags{0, mailbox.Seen, mailbox.Flagged | mailbox.Answered | mailbox.Seen}[i%3]
		if want := fmt.Sprintf("Subject: %s %d\n\n%s", name, i, strings.Repeat("a line\n", i%7+1)); string(text) != want || v.Flags(i) != flags {
			t.Errorf("%s: message %d is %q with flags %x", name, i, text, v.Flags(i))
		}
		if at, _ := v.Received(i); at.Unix() != int64(1600000000) {
			t.Errorf("%s: message %d has the date %v", name, i, at)
		}
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	when := time.Unix(1600000000, 0)
	os.Chtimes(name, when, when)
}

func give(t *testing.T, root string) {
	t.Helper()
	if err := filepath.WalkDir(root, func(name string, _ os.DirEntry, err error) error {
		if err == nil {
			err = os.Chown(name, Owner, Owner)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

package roads

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pennypost/test/lab"
)

// imap is a session of the user's, in INBOX.
func (r *road) imap(user string) *lab.IMAP {
	r.Helper()
	c, err := r.host.IMAP(user)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { c.Close() })
	return r.inbox(c)
}

func (r *road) inbox(c *lab.IMAP) *lab.IMAP {
	r.Helper()
	r.do(c, "SELECT INBOX")
	return c
}

func (r *road) do(c *lab.IMAP, format string, args ...any) []string {
	r.Helper()
	lines, err := c.Do(format, args...)
	if err != nil {
		r.Fatal(err)
	}
	return lines
}

// put appends a letter; its subject is the name.
func (r *road) put(c *lab.IMAP, mailbox, name string) {
	r.Helper()
	text := fmt.Sprintf("Subject: %[1]s\r\n\r\nbody of %[1]s\r\n", name)
	r.do(c, "APPEND %s {%d+}\r\n%s", mailbox, len(text), text)
}

// shell runs a script in the Maildir of the user: somebody who has never heard of IMAP.
func (r *road) shell(user, script string) {
	r.Helper()
	cmd := exec.Command("sh", "-euc", script)
	cmd.Dir = r.host.Maildir(user)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// view is the UIDs and flags of a mailbox, as a client sees them that comes fresh.
func (r *road) view(c *lab.IMAP) []string {
	r.Helper()
	var rows []string
	for _, line := range r.do(c, "UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])") {
		if _, row, is := strings.Cut(line, " FETCH "); is {
			row = strings.Join(strings.Fields(strings.ReplaceAll(row, `\Recent`, "")), " ") // who selected first has it
			rows = append(rows, strings.ReplaceAll(row, " )", ")"))
		}
	}
	slices.Sort(rows)
	return rows
}

// What a shell does to the Maildir comes to a client that waits, at once and exactly.
func TestShellWhileIdle(t *testing.T) {
	r := open(t, nil)
	c := r.imap("alice")
	for _, name := range []string{"one", "two", "three"} {
		r.put(c, "INBOX", name)
	}
	r.do(c, "CREATE Kept")
	r.inbox(c)
	if err := c.Idle(); err != nil {
		t.Fatal(err)
	}
	find := `f() { grep -l "body of $1" new/* cur/* 2>/dev/null || :; }; `
	for _, step := range []struct{ what, script, want string }{
		{"mv sets a flag", `f=$(f one); mv $f cur/$(basename ${f%:2,*}):2,S`, `* 1 FETCH (FLAGS (\Seen`},
		{"mv sets another", `f=$(f one); mv $f ${f}T`, `* 1 FETCH (FLAGS (\Deleted \Seen`},
		{"mv takes one away", `f=$(f one); mv $f ${f%:2,*}:2,T`, `* 1 FETCH (FLAGS (\Deleted`},
		{"a new file", `printf 'Subject: four\n\nbody of four\n' >tmp/1.four.here; mv tmp/1.four.here new/`, "* 4 EXISTS"},
		{"rm", `rm $(f two)`, "* 2 EXPUNGE"},
		{"mv into another mailbox", `f=$(f three); mv $f .Kept/cur/`, "* 2 EXPUNGE"},
		{"mv back", `f=$(cd .Kept; f three); mv .Kept/$f cur/`, "* 3 EXISTS"},
		{"a program that writes over a message by a new one", `f=$(f four); printf 'Subject: five\n\nbody of five\n' >tmp/2.five.here; mv tmp/2.five.here cur/2.five.here:2,; rm $f`, "EXPUNGE"},
	} {
		r.shell("alice", find+step.script)
		if _, err := c.Await(10*time.Second, step.want); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
	}
	if _, err := c.Done(); err != nil {
		t.Fatal(err)
	}
	r.do(c, "NOOP")
	got, fresh := r.view(c), r.view(r.imap("alice"))
	if strings.Join(got, "\n") != strings.Join(fresh, "\n") || len(got) != 3 {
		t.Errorf("who waited sees\n%s\nwho comes now sees\n%s", strings.Join(got, "\n"), strings.Join(fresh, "\n"))
	}
}

// Mutt works on the Maildir while a client waits.
func TestMuttWhileIdle(t *testing.T) {
	for _, program := range []string{"mutt", "script"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	r := open(t, nil)
	c := r.imap("alice")
	for _, name := range []string{"one", "two", "three"} {
		r.put(c, "INBOX", name)
	}
	r.inbox(c)
	if err := c.Idle(); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	rc := filepath.Join(home, "muttrc")
	text := fmt.Sprintf("set folder=%s record=\"\" mbox_type=Maildir mark_old=no delete=yes quit=yes move=no wait_key=no resolve=no sort=mailbox-order\n"+
		"push \"<first-entry><flag-message><display-message><exit><next-entry><delete-message><sync-mailbox><quit>\"\n", home)
	if err := os.WriteFile(rc, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("script", "-qec", "TERM=xterm mutt -F "+rc+" -f "+r.host.Maildir("alice"), "/dev/null")
	cmd.Env = append(os.Environ(), "HOME="+home, "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var flagged, gone bool
	for !flagged || !gone {
		line, err := c.Await(10*time.Second, "* ")
		if err != nil {
			t.Fatalf("flagged %v, gone %v: %v", flagged, gone, err)
		}
		flagged = flagged || strings.Contains(line, `FETCH (FLAGS (\Flagged \Seen`)
		gone = gone || strings.HasSuffix(line, " EXPUNGE")
	}
	if _, err := c.Done(); err != nil {
		t.Fatal(err)
	}
	if got, fresh := r.view(c), r.view(r.imap("alice")); strings.Join(got, "\n") != strings.Join(fresh, "\n") || len(got) != 2 {
		t.Errorf("who waited sees\n%s\nwho comes now sees\n%s", strings.Join(got, "\n"), strings.Join(fresh, "\n"))
	}
}

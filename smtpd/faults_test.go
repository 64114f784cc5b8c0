package smtpd

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pennypost/internal/address"
	"pennypost/internal/domains"
	"pennypost/queue"
)

const letter = "EHLO c\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n"
const body = "Subject: x\r\n\r\nx\r\n.\r\n"

// Whatever the disk says and at whichever step, the client hears 4yz and nothing is left (S135).
func TestS135DiskErrors(t *testing.T) {
	for _, c := range []struct {
		err        error
		code, next string
	}{
		{unix.ENOSPC, "452", "250"},
		{unix.EDQUOT, "452", "250"},
		{unix.EMFILE, "451", "250"},
		{errors.New("hash is wrong"), "451", "250"},
		{unix.EIO, "451", "421"}, // S136: what a disk says after it failed is worth nothing
		{unix.EROFS, "451", "421"},
	} {
		for _, step := range []string{"begin", "write", "commit"} {
			for _, how := range []string{"DATA", "BDAT"} {
				srv, spool, log := newServer(t)
				spool.fail = func(s string) error {
					if s == step {
						return &fs.PathError{Op: s, Path: "in/mx/tmp/x", Err: c.err}
					}
					return nil
				}
				say := []string{letter, body, "MAIL FROM:<>\r\nQUIT\r\n"}
				want := "220 250 250 250 354 " + c.code + " " + c.next
				if step != "commit" { // the trace fields are written before 354
					say = []string{letter, "MAIL FROM:<>\r\nQUIT\r\n"}
					want = "220 250 250 250 " + c.code + " " + c.next
				}
				if how == "BDAT" {
					say = []string{strings.TrimSuffix(letter, "DATA\r\n") + "BDAT 3 LAST\r\n\r\nx" + "MAIL FROM:<>\r\nQUIT\r\n"}
					want = "220 250 250 250 " + c.code + " " + c.next
				}
				if c.next == "250" {
					want += " 221"
				}
				heard := play(t, srv, "mx", say...)
				if got := codes(heard); got != want {
					t.Errorf("%v at %s by %s: %s, want %s", c.err, step, how, got, want)
				}
				if strings.Contains(heard, "in/mx") {
					t.Errorf("%v at %s: the client hears of our files: %q", c.err, step, heard)
				}
				if !strings.Contains(log.String(), "in/mx/tmp/x") {
					t.Errorf("%v at %s: the log does not say which file", c.err, step)
				}
				if spool.open != 0 || len(spool.files) != 0 {
					t.Errorf("%v at %s: %d open, %d kept", c.err, step, spool.open, len(spool.files))
				}
			}
		}
	}
}

// A write that fails in the middle of a long message: the rest is read, the answer is for the end.
func TestDiskFullInTheMiddle(t *testing.T) {
	srv, spool, _ := newServer(t)
	n := 0
	spool.fail = func(s string) error {
		if n++; s == "write" && n > 5 {
			return unix.ENOSPC
		}
		return nil
	}
	heard := play(t, srv, "mx", letter, strings.Repeat("X: yyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", 10000)+".\r\nQUIT\r\n")
	if got := codes(heard); got != "220 250 250 250 354 452 221" {
		t.Error(got)
	}
}

func TestNoSpace(t *testing.T) {
	srv, spool, _ := newServer(t)
	spool.free = uint64(srv.Settings.FreeSpace) + 500
	heard := play(t, srv, "mx", "EHLO c\r\nMAIL FROM:<> SIZE=400\r\nRSET\r\nMAIL FROM:<> SIZE=600\r\nQUIT\r\n")
	if got := codes(heard); got != "220 250 250 250 452 221" {
		t.Error(got)
	}
}

// A connection lost before the final dot leaves nothing, and after it a message.
func TestS139ConnectionLost(t *testing.T) {
	for i := range len(body) + 1 {
		srv, spool, _ := newServer(t)
		play(t, srv, "mx", letter, body[:i])
		if kept := len(spool.files); kept != 0 && i < len(body) || kept != 1 && i == len(body) || spool.open != 0 {
			t.Errorf("%d octets of %d: %d kept, %d open", i, len(body), kept, spool.open)
		}
	}
}

// The real spool takes what we write and gives it back.
func TestRealSpool(t *testing.T) {
	dir := t.TempDir()
	if err := queue.Make(dir, "a"); err != nil {
		t.Fatal(err)
	}
	real, err := queue.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer real.Close()
	for _, ready := range []bool{false, true} {
		srv, _, _ := newServer(t)
		srv.Spool, srv.Ready = OnDisk(real), ready
		heard := play(t, srv, "mx", strings.Replace(letter, "a@example.net", `"a b>"@example.net`, 1), body+"QUIT\r\n")
		if got := codes(heard); got != "220 250 250 250 354 250 221" {
			t.Fatal(heard)
		}
		found := 0
		err := real.Scan(func(f queue.Found) error {
			m, err := real.Load(f.Name, true)
			if err != nil {
				return err
			}
			defer m.File.Close()
			if m.Ready != ready {
				return nil
			}
			found++
			if m.Env.From.String() != `"a b>"@example.net` || len(m.Env.Rcpts) != 1 || m.Env.Rcpts[0].To.String() != "bob@example.org" {
				t.Errorf("%+v", m.Env)
			}
			return nil
		}, "in/mx/new")
		if err != nil || found != 1 {
			t.Errorf("ready %v: found %d, %v", ready, found, err)
		}
	}
}

// Local parts that would mean something to a shell, a file system or a line of ours go through or are refused, and
// nothing else (S062).
func TestS062LocalParts(t *testing.T) {
	dir := t.TempDir()
	if err := queue.Make(dir, "a"); err != nil {
		t.Fatal(err)
	}
	real, err := queue.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer real.Close()
	want := map[string]bool{}
	for _, local := range []string{"$(touch x)", "`touch x`", "a;touch x", "-rf", "../../x", "a/b", "|touch x", "a b", "a=b", "%00", "a\"b", "x\x01y", "<>", ":include:/etc/passwd"} {
		srv, _, _ := newServer(t)
		srv.Spool = OnDisk(real)
		srv.Settings.RelayDomains = []string{"elsewhere.example"}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"@elsewhere.example`
		heard := play(t, srv, "mx", "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<"+quoted+">\r\nDATA\r\n", body+"QUIT\r\n")
		if strings.Contains(heard, " accepted\r\n221") {
			want[local] = true
		}
	}
	if len(want) < 10 {
		t.Errorf("only %d taken", len(want))
	}
	real.Scan(func(f queue.Found) error {
		m, err := real.Load(f.Name, true)
		if err != nil {
			t.Error(err)
			return nil
		}
		defer m.File.Close()
		delete(want, m.Env.Rcpts[0].To.Unquoted())
		return nil
	}, "in/mx/new")
	if len(want) != 0 {
		t.Errorf("changed on the way: %v", want)
	}
}

func TestS085HeaderBombs(t *testing.T) {
	for name, header := range map[string]string{
		"one field of 1 MiB": "Subject: " + strings.Repeat("x", 1<<20) + "\r\n",
		"500,000 fields":     strings.Repeat("X: y\r\n", 500_000),
		"many addresses":     "To: a@b.example" + strings.Repeat(",\r\n a@b.example", 50_000) + "\r\n",
	} {
		srv, spool, _ := newServer(t)
		srv.Settings.MaxSize = 50 << 20
		heard := play(t, srv, "mx", letter, header+"\r\n.\r\nQUIT\r\n")
		if got := codes(heard); got != "220 250 250 250 354 552 221" || len(spool.files) != 0 {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// Ten thousand recipients: the first hundred are taken, the rest have to come again, and the message goes to those taken (S080).
func TestS080Recipients(t *testing.T) {
	srv, spool, _ := newServer(t)
	srv.Settings.RelayDomains = []string{"elsewhere.example"}
	var b strings.Builder
	for range 10_000 {
		b.WriteString("RCPT TO:<u")
		b.WriteString(strings.Repeat("u", b.Len()%40))
		b.WriteString(string(rune('a'+b.Len()%26)) + strings.ToLower(spool.NewID()) + "@elsewhere.example>\r\n")
	}
	heard := play(t, srv, "mx", "EHLO c\r\nMAIL FROM:<>\r\n"+b.String()+"DATA\r\n", body+"QUIT\r\n")
	if n := strings.Count(heard, "\r\n250 2.1.5"); n != 100 {
		t.Errorf("%d taken", n)
	}
	if n := strings.Count(heard, "\r\n452 4.5.3"); n != 9900 {
		t.Errorf("%d put off", n)
	}
	for _, text := range spool.files {
		if n := strings.Count(text, "\nrcpt: "); n != 100 {
			t.Errorf("%d in the envelope", n)
		}
	}
	if len(spool.files) != 1 {
		t.Errorf("%d messages", len(spool.files))
	}
}

// broken panics where the real thing would answer.
type broken struct{ people }

func (broken) Lookup(address.Path) (domains.Answer, error) { panic("a mistake of ours") }

// A mistake of ours costs one connection, and leaves nothing behind.
func TestPanicIsOneConnection(t *testing.T) {
	srv, spool, log := newServer(t)
	srv.Domains = broken{}
	heard := play(t, srv, "mx", letter)
	if strings.Contains(heard, "354") || spool.open != 0 || !strings.Contains(log.String(), "a mistake of ours") || srv.open.Load() != 0 {
		t.Errorf("%q, log %s", heard, log)
	}
	srv.Domains = people{}
	if got := codes(play(t, srv, "mx", letter, body+"QUIT\r\n")); got != "220 250 250 250 354 250 221" {
		t.Error(got)
	}
}

// Package roads sends mail along the roads that are not smooth: servers that want it later, never, or do not answer at all, disks
// that are full, scripts that know nothing of us.
package roads

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/queue"
	"pennypost/test/lab"
	"pennypost/test/sink"
)

// road is one host of ours, up, and where others are.
type road struct {
	*testing.T
	lab  *lab.Lab
	host *lab.Host
}

// open starts a host; setup may change it before.
func open(t *testing.T, setup func(h *lab.Host)) *road {
	t.Helper()
	if testing.Short() {
		t.Skip("not with -short")
	}
	bin, err := lab.Bin()
	if err != nil {
		t.Skip(err)
	}
	l, err := lab.New(t.TempDir(), bin, lab.FreeBase())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Down)
	h, err := l.AddHost("demo.test", "127.0.0.1", "alice", "bob")
	if err != nil {
		t.Fatal(err)
	}
	if setup != nil {
		setup(h)
	}
	if err := l.Up(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(filepath.Join(h.Dir, "log")) // for the reader of a failure
			t.Logf("log:\n%s", text[max(0, len(text)-4000):])
		}
	})
	return &road{t, l, h}
}

// sink is a server for the domain at an address of its own.
func (r *road) sink(domain, ip string, s *sink.Server) *sink.Server {
	r.Helper()
	if err := r.lab.Name(domain, ip); err != nil {
		r.Fatal(err)
	}
	s.Keep = true
	if err := s.Start(fmt.Sprintf("%s:%d", ip, r.lab.Base+25)); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(s.Close)
	return s
}

// submit sends a letter of alice's and returns its mark.
func (r *road) submit(to string) string {
	r.Helper()
	mark := fmt.Sprintf("mark-%d", time.Now().UnixNano())
	if err := r.host.Submit("alice", to, lab.Letter("alice@demo.test", to, "road", mark)); err != nil {
		r.Fatal(err)
	}
	return mark
}

// kick has everything tried now.
func (r *road) kick() {
	r.Helper()
	if err := os.WriteFile(filepath.Join(r.host.Spool(), "kick/all"), nil, 0o644); err != nil {
		r.Fatal(err)
	}
}

// arrives waits until the sink has n messages; with kick, what was deferred does not wait for its time.
func (r *road) arrives(s *sink.Server, n int, limit time.Duration, kick bool) []sink.Message {
	r.Helper()
	kicked := time.Now()
	err := lab.Until(limit, func() error {
		if kick && time.Since(kicked) > time.Second {
			r.kick()
			kicked = time.Now()
		}
		if got := len(s.Messages()); got < n {
			return fmt.Errorf("%d of %d messages have arrived", got, n)
		}
		return nil
	})
	if err != nil {
		r.Fatal(err)
	}
	return s.Messages()
}

func TestGreylisting(t *testing.T) {
	r := open(t, nil)
	s := r.sink("grey.test", "127.0.0.21", &sink.Server{Greylist: time.Second})
	r.submit("carol@grey.test")
	err := lab.Until(5*time.Second, func() error {
		out, err := r.host.Run("", "mailq")
		if err == nil && !strings.Contains(out, "4.7.1") {
			err = fmt.Errorf("mailq says %q", out)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.arrives(s, 1, 20*time.Second, true); len(got) != 1 {
		t.Errorf("%d messages", len(got))
	}
}

// A server that takes one connection at a time and says 421 to others gets everything, and nothing twice.
func TestConnectionLimit(t *testing.T) {
	r := open(t, nil)
	s := r.sink("one.test", "127.0.0.22", &sink.Server{Limit: 1, Slow: 2 * time.Millisecond})
	const n = 30
	for i := range n {
		r.submit(fmt.Sprintf("user%d@one.test", i))
	}
	got := r.arrives(s, n, 30*time.Second, true)
	seen := map[string]bool{}
	for _, m := range got {
		if to := m.To[0]; seen[to] {
			t.Errorf("%s got it twice", to)
		} else {
			seen[to] = true
		}
	}
}

// Black holes swallow connections; mail for others is not held up by them.
func TestBlackHole(t *testing.T) {
	r := open(t, nil)
	live := r.sink("live.test", "127.0.0.23", &sink.Server{})
	for i := range 5 {
		domain, ip := fmt.Sprintf("hole%d.test", i), fmt.Sprintf("127.0.0.%d", 30+i)
		if err := r.lab.Name(domain, ip); err != nil {
			t.Fatal(err)
		}
		hole, err := sink.BlackHole(fmt.Sprintf("%s:%d", ip, r.lab.Base+25))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { hole.Close() })
		for j := range 10 {
			r.submit(fmt.Sprintf("user%d@%s", j, domain))
		}
	}
	r.submit("carol@live.test")
	r.arrives(live, 1, 5*time.Second, false)
}

// Some recipients taken, one refused for good, one for now: one bounce, one left in the queue, no doubles.
func TestMixedRecipients(t *testing.T) {
	r := open(t, nil)
	s := r.sink("mixed.test", "127.0.0.24", &sink.Server{Reject: func(rcpt string) string {
		switch {
		case strings.HasPrefix(rcpt, "never"):
			return "550 5.1.1 nobody of that name"
		case strings.HasPrefix(rcpt, "later"):
			return "452 4.2.2 mailbox full"
		}
		return ""
	}})
	r.submit("a@mixed.test never@mixed.test later@mixed.test b@mixed.test")
	r.arrives(s, 1, 10*time.Second, false)
	_, texts, err := lab.Find(10*time.Second, r.host.Maildir("alice"), "never@mixed.test", 1)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(texts[0], "never@mixed.test") || strings.Contains(texts[0], "later@mixed.test\nAction") {
		t.Errorf("the report is\n%s", texts[0])
	}
	out, err := r.host.Run("", "mailq")
	if err != nil || !strings.Contains(out, "later@mixed.test") || strings.Contains(out, "never@mixed.test") {
		t.Errorf("mailq says %q, %v", out, err)
	}
	var to []string
	for _, m := range s.Messages() {
		to = append(to, m.To...)
	}
	if len(to) != 2 {
		t.Errorf("delivered to %v", to)
	}
}

// The recipe of spool(5), as it stands there, is all a shell script needs.
func TestShellRecipe(t *testing.T) {
	page, err := os.ReadFile("../../man/spool.5")
	if err != nil {
		t.Fatal(err)
	}
	_, recipe, found := strings.Cut(string(page), ".Sh INJECTION\n")
	_, recipe, found2 := strings.Cut(recipe, ".Bd -literal -offset indent\n")
	recipe, _, found3 := strings.Cut(recipe, "\n.Ed")
	if !found || !found2 || !found3 {
		t.Fatal("spool.5 has no recipe under INJECTION")
	}
	recipe = strings.ReplaceAll(recipe, `\e`, `\`)
	r := open(t, nil)
	mark := fmt.Sprintf("mark-%d", time.Now().UnixNano())
	cmd := exec.Command("sh", "-c", recipe)
	cmd.Env = append(os.Environ(), "SPOOL="+r.host.Spool(), "sender=alice@demo.test", "rcpt=bob@demo.test")
	cmd.Stdin = strings.NewReader("From: alice@demo.test\nTo: bob@demo.test\nSubject: by hand\n\n" + mark + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, _, err := lab.Find(10*time.Second, r.host.Maildir("bob"), mark, 1); err != nil {
		t.Fatal(err)
	}
}

// A full disk is 4yz for the client and no litter in the spool; with room again, mail goes on.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system takes root")
	}
	r := open(t, func(h *lab.Host) {
		if err := unix.Mount("tmpfs", h.Spool(), "tmpfs", 0, "size=512k,mode=755"); err != nil {
			t.Skipf("mount: %v", err)
		}
		t.Cleanup(func() { unix.Unmount(h.Spool(), unix.MNT_DETACH) })
		if err := queue.Make(h.Spool(), "a"); err != nil {
			t.Fatal(err)
		}
		h.Keys["smtpd.free_space"] = "0" // else MAIL is refused long before
	})
	big := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 20000) // 1.4 MB
	err := lab.Send(r.host.Addr("SMTP"), "x@elsewhere.test", "bob@demo.test", lab.Letter("x@elsewhere.test", "bob@demo.test", "big", big))
	if err == nil || !strings.HasPrefix(err.Error(), "4") {
		t.Errorf("the answer is %v", err)
	}
	litter, err := filepath.Glob(filepath.Join(r.host.Spool(), "in/*/*/*"))
	if err != nil || len(litter) > 0 {
		t.Errorf("left in the spool: %v, %v", litter, err)
	}
	mark := "mark-after-" + fmt.Sprint(time.Now().UnixNano())
	if err := lab.Send(r.host.Addr("SMTP"), "x@elsewhere.test", "bob@demo.test", lab.Letter("x@elsewhere.test", "bob@demo.test", "small", mark)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := lab.Find(10*time.Second, r.host.Maildir("bob"), mark, 1); err != nil {
		t.Fatal(err)
	}
}

package login

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pennypost/internal/domains"
)

// a process of a host: its checker, its clock, and what its attempts had to wait.
type process struct {
	*Checker
	waited []time.Duration
}

func start(t testing.TB, dir, state string, clock *time.Time) *process {
	c, _ := checker(dir)
	p := &process{Checker: c}
	c.State = NewState(state)
	c.now = func() time.Time { return *clock }
	c.Warn = func(what string, err error) { t.Logf("%s: %v", what, err) }
	c.once.Do(c.setup)
	c.guard.sleep = func(_ context.Context, d time.Duration) error { p.waited = append(p.waited, d); return nil }
	return p
}

// try is one attempt, and how long it had to wait.
func (p *process) try(from, name, password string) (time.Duration, error) {
	p.waited = nil
	r := request("imap", name, password)
	r.Remote = netip.MustParseAddr(from)
	_, err := p.Check(context.Background(), r)
	if len(p.waited) == 0 {
		return 0, err
	}
	return p.waited[0], err
}

// S110: attempts are counted for all processes, by address or /64 and by account; the wait grows and has an end; nobody is locked out.
func TestS110Guessing(t *testing.T) {
	dir, state, clock := house(t), filepath.Join(t.TempDir(), "auth"), time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	imapd, smtpd := start(t, dir, state, &clock), start(t, dir, state, &clock)
	// One address, many accounts: two processes count together.
	var waits []time.Duration
	for i := range 14 {
		p := []*process{imapd, smtpd}[i%2]
		d, err := p.try(fmt.Sprintf("2001:db8:1:2::%d", i), fmt.Sprintf("user%d", i), "guess")
		if err != ErrCredentials {
			t.Fatal(err)
		}
		waits = append(waits, d)
	}
	if waits[4] != 0 || waits[5] != 500*time.Millisecond || waits[6] != time.Second || waits[13] != 20*time.Second || !slices.IsSorted(waits) {
		t.Errorf("%v", waits)
	}
	if d, _ := smtpd.try("2001:db8:1:3::1", "userX", "guess"); d != 0 {
		t.Errorf("another /64 waits %v", d)
	}
	// Another alice, from a hundred addresses, while she reads her mail from where she always does.
	if d, err := imapd.try("192.0.2.9", "alice", "wonderland"); d != 0 || err != nil {
		t.Fatal(d, err)
	}
	for i := range 60 {
		smtpd.try(fmt.Sprintf("198.51.%d.7", i), "Alice@example.ORG", "guess")
	}
	if d, err := smtpd.try("198.51.100.1", "alice", "guess"); d != 10*time.Second || err != ErrCredentials {
		t.Errorf("the account's guesses wait %v", d)
	}
	if d, err := imapd.try("192.0.2.200", "alice", "wonderland"); d != 0 || err != nil {
		t.Errorf("she waits %v for it: %v", d, err)
	}
	if d, err := imapd.try("203.0.113.1", "alice", "wonderland"); d != 10*time.Second || err != nil {
		t.Errorf("from a new place she waits %v: %v", d, err)
	}
	if d, err := imapd.try("203.0.113.2", "bob", "x"); d != 0 || err != ErrCredentials {
		t.Errorf("others wait %v", d)
	}
	// It is forgotten.
	clock = clock.Add(2 * time.Hour)
	if d, _ := imapd.try("2001:db8:1:2::1", "alice", "guess"); d != 0 {
		t.Errorf("after two hours %v", d)
	}
	// A clock set back forgets nothing.
	for range 10 {
		imapd.try("203.0.113.9", "erin", "guess")
	}
	clock = clock.Add(-24 * time.Hour)
	if d, _ := smtpd.try("203.0.113.9", "dave", "guess"); d == 0 {
		t.Error("the clock was set back, and that was all it needed")
	}
	// Who has the admin's rights removes the file, and counting starts again.
	must(t, os.Remove(filepath.Join(state, "counts")))
	if d, _ := smtpd.try("203.0.113.9", "dave", "guess"); d != 0 {
		t.Errorf("the counts are gone, and the wait is %v", d)
	}
}

// S110: attempts at one time are counted before they are checked, and right ones do not count.
func TestS110Parallel(t *testing.T) {
	dir, state, clock := house(t), filepath.Join(t.TempDir(), "auth"), time.Now()
	p := start(t, dir, state, &clock)
	for range 100 {
		if d, err := p.try("192.0.2.9", "alice", "wonderland"); d != 0 || err != nil {
			t.Fatal(d, err)
		}
	}
	var mu sync.Mutex
	var waits []time.Duration
	p.guard.sleep = func(_ context.Context, d time.Duration) error {
		mu.Lock()
		defer mu.Unlock()
		waits = append(waits, d)
		return nil
	}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			r := request("smtp", "bob", fmt.Sprint(i))
			r.Remote = netip.MustParseAddr("198.51.100.9")
			p.Check(context.Background(), r)
		})
	}
	all.Wait()
	if len(waits) != 15 || slices.Max(waits) < 10*time.Second {
		t.Errorf("%d of 20 waited: %v", len(waits), waits)
	}
}

// S110: too many waiting are told to come later; those who need not wait are served.
func TestS110Waiting(t *testing.T) {
	dir, state, clock := house(t), filepath.Join(t.TempDir(), "auth"), time.Now()
	p := start(t, dir, state, &clock)
	p.try("192.0.2.9", "alice", "wonderland")
	for range 12 {
		p.try("198.51.100.9", "bob", "guess")
	}
	for range mostWaiting {
		p.guard.wait <- struct{}{}
	}
	if _, err := p.try("198.51.100.9", "bob", "guess"); err != ErrBusy {
		t.Error(err)
	}
	if _, err := p.try("192.0.2.9", "alice", "wonderland"); err != nil {
		t.Error(err)
	}
}

// A state that cannot be written, or is not what we wrote, stops no login; each process then counts for itself.
func TestNoState(t *testing.T) {
	dir, clock := house(t), time.Now()
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, []byte("not a directory"), 0o600))
	odd := filepath.Join(t.TempDir(), "auth")
	must(t, os.MkdirAll(odd, 0o770))
	must(t, os.WriteFile(filepath.Join(odd, "counts"), []byte(strings.Repeat("\xff", 2*guardRow)), 0o600))
	must(t, os.WriteFile(filepath.Join(odd, "secret"), []byte("zz"), 0o600))
	must(t, os.MkdirAll(filepath.Join(odd, "alice@example.org"), 0o700))
	must(t, os.WriteFile(filepath.Join(odd, "alice@example.org/networks"), []byte("\x00\nx y z\n"), 0o600))
	for _, state := range []string{filepath.Join(file, "auth"), odd} {
		p := start(t, dir, state, &clock)
		if _, err := p.try("192.0.2.9", "alice", "wonderland"); err != nil {
			t.Errorf("%s: %v", state, err)
		}
		for range 6 {
			p.try("198.51.100.1", "bob", "guess")
		}
		if d, err := p.try("198.51.100.1", "bob", "guess"); d == 0 || err != ErrCredentials {
			t.Errorf("%s: %v %v", state, d, err)
		}
	}
}

// What is written down of logins, for the person and the admin.
func TestHistory(t *testing.T) {
	dir, state, clock := house(t), filepath.Join(t.TempDir(), "auth"), time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	p := start(t, dir, state, &clock)
	p.try("192.0.2.9", "alice", "wonderland")
	p.try("192.0.2.10", "alice", "wonderland") // the same network, a moment later
	clock = clock.Add(time.Hour)
	p.try("2001:db8::9", "alice", "guess")
	p.try("192.0.2.11", "alice", "looking glass")
	p.try("192.0.2.11", "nobody", "x")
	a := &domains.Account{User: "alice", Domain: "example.org"}
	list, err := p.State.History(a)
	must(t, err)
	var said []string
	for _, l := range list {
		said = append(said, l.line())
	}
	want := []string{
		"2026-11-25T12:00:00Z ok imap 192.0.2.9 main - -",
		"2026-11-25T13:00:00Z no imap 2001:db8::9 - - -",
		"2026-11-25T13:00:00Z ok imap 192.0.2.11 phone - -",
	}
	if !slices.Equal(said, want) {
		t.Errorf("%q", said)
	}
	if l, err := p.State.LastUse(a, "phone"); err != nil || l.IP != "192.0.2.11" {
		t.Errorf("%+v %v", l, err)
	}
	if l, err := p.State.LastUse(a, "tablet"); err != nil || !l.Time.IsZero() {
		t.Errorf("%+v %v", l, err)
	}
	for i := range 3000 {
		clock = clock.Add(time.Hour)
		must(t, p.State.log(a, Login{Time: clock, What: "ok", Service: "imap", IP: fmt.Sprintf("192.0.2.%d", i%250)}))
	}
	info, err := os.Stat(filepath.Join(state, "alice@example.org/logins"))
	must(t, err)
	list, err = p.State.History(a)
	if err != nil || info.Size() > mostHistory || len(list) < 500 || !list[len(list)-1].Time.Equal(clock) {
		t.Errorf("%d octets, %d logins, %v", info.Size(), len(list), err)
	}
	must(t, p.State.Forget(a, ""))
	if left, _ := filepath.Glob(state + "/alice*"); len(left) > 0 {
		t.Error(left)
	}
	if _, err := os.Stat(state + "/nobody@example.org"); err == nil {
		t.Error("somebody who does not exist has a directory")
	}
}

// What counting and remembering cost a login whose password is known.
func BenchmarkCheckWithState(b *testing.B) {
	clock := time.Now()
	p := start(b, house(b), filepath.Join(b.TempDir(), "auth"), &clock)
	for b.Loop() {
		if _, err := p.try("192.0.2.9", "alice", "wonderland"); err != nil {
			b.Fatal(err)
		}
	}
}

// S114: no name makes a file outside its place, whatever is in it.
func TestS114OddNames(t *testing.T) {
	dir, clock := house(t), time.Now()
	up := t.TempDir()
	p := start(t, dir, filepath.Join(up, "auth"), &clock)
	for _, name := range []string{"../alice", "alice/../bob", "alice@../example.org", "alice\x00", "%61lice", "*", "(alice)", `ali\ce`, "'alice'", `"alice"`, "alice@", "@example.org", ".alice", "-alice", "alice@example.org/users", "counts", "pending"} {
		if _, err := p.try("192.0.2.9", name, "wonderland"); err != ErrCredentials {
			t.Errorf("%q: %v", name, err)
		}
	}
	if left, _ := filepath.Glob(up + "/*/*"); len(left) != 2 {
		t.Errorf("%q", left)
	}
}

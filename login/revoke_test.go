package login

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// S115, S118: a session ends when its credential is removed, has another password, is limited or has expired; a note does no harm.
func TestS118Revoked(t *testing.T) {
	dir, clock := house(t), time.Now()
	c, _ := checker(dir)
	c.now = func() time.Time { return clock }
	file := filepath.Join(dir, "example.org/users/alice/credentials/main")
	before, err := os.ReadFile(file)
	must(t, err)
	id, err := c.Check(context.Background(), request("imap", "alice", "wonderland"))
	must(t, err)
	token := id.Token()
	still := func(what string, want bool) {
		t.Helper()
		if c.Still(token) != want {
			t.Errorf("%s: %v", what, !want)
		}
		must(t, os.WriteFile(file, before, 0o640))
	}
	put := func(text string) { must(t, os.WriteFile(file, []byte(text), 0o640)) }
	still("as it was", true)
	put(string(before) + "note: on the desk\nscope: imap smtp\nnetworks: 192.0.2.0/24\n")
	still("with a note and limits that allow it", true)
	put(string(before) + "scope: smtp\n")
	still("of another scope", false)
	put(string(before) + "networks: 198.51.100.0/24\n")
	still("from elsewhere", false)
	put(string(before) + "expires: 2020-01-01\n")
	still("expired", false)
	put(credential(t, "main", "wonderland").String())
	still("made anew", false)
	put("what: ever\n")
	still("that cannot be read now", true)
	must(t, os.Remove(file))
	still("removed", false)
	must(t, os.RemoveAll(filepath.Join(dir, "example.org/users/alice")))
	c.Domains.Forget()
	if c.Still(token) {
		t.Error("the account is gone")
	}
	for _, odd := range []string{"", "a b c d e f", "% % % % % %", "\xff"} {
		if c.Still(odd) {
			t.Errorf("%q", odd)
		}
	}
}

func TestWatch(t *testing.T) {
	every = 5 * time.Millisecond
	dir := house(t)
	c, _ := checker(dir)
	id, err := c.Check(context.Background(), request("imap", "alice", "wonderland"))
	must(t, err)
	ended := make(chan string, 3)
	Watch(c, id, func() { ended <- "first" })
	Watch(c, id, func() { ended <- "second" })
	stop := Watch(c, id, func() { ended <- "stopped" })
	stop()
	must(t, os.Remove(filepath.Join(dir, "example.org/users/alice/credentials/main")))
	if a, b := <-ended, <-ended; a == b || a == "stopped" || b == "stopped" {
		t.Errorf("%s and %s ended", a, b)
	}
	Watch(struct{}{}, id, nil)() // a checker that cannot say
}

package roads

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/test/lab"
	"pennypost/test/sink"
)

// Mail from outside that somebody here forwards outside goes with a sender of ours, and a bounce to that sender comes back to
// who wrote. Bounces and our own users' mail go with the sender they have.
func TestForwardedSender(t *testing.T) {
	r := open(t, func(h *lab.Host) {
		secrets := filepath.Join(h.Dir, "srs-secrets")
		if err := os.WriteFile(secrets, []byte("not to be guessed\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		h.Keys["srs.domain"], h.Keys["srs.secrets"] = fmt.Sprintf("%q", h.Name), fmt.Sprintf("%q", secrets)
		if err := h.AddAlias("away", "carol@far.test"); err != nil {
			t.Fatal(err)
		}
		forward := filepath.Join(filepath.Dir(h.Config()), "domains", h.Name, "users/bob/forward")
		if err := os.WriteFile(forward, []byte("carol@far.test\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	})
	far, origin := r.sink("far.test", "127.0.0.41", &sink.Server{}), r.sink("origin.test", "127.0.0.42", &sink.Server{})
	send := func(from, to string) error {
		return lab.Send(r.host.Addr("SMTP"), from, to, lab.Letter("ann@origin.test", to, "road", "hello"))
	}
	n := 0
	forwarded := func(from, to string) string {
		t.Helper()
		if err := send(from, to); err != nil {
			t.Fatal(err)
		}
		n++
		got := r.arrives(far, n, 10*time.Second, false)[n-1]
		if got.To[0] != "carol@far.test" {
			t.Errorf("forwarded to %v", got.To)
		}
		return got.From
	}
	for _, to := range []string{"away@demo.test", "bob@demo.test"} { // by an alias, by a forward file
		sender := forwarded("ann@origin.test", to)
		if !strings.HasPrefix(sender, "SRS0=") || !strings.HasSuffix(sender, "=origin.test=ann@demo.test") {
			t.Fatalf("%s: forwarded with the sender %q", to, sender)
		}
		before := len(origin.Messages()) // asked afterwards the bounce may be among them
		if err := send("", sender); err != nil {
			t.Fatalf("the bounce: %v", err)
		}
		all := r.arrives(origin, before+1, 10*time.Second, false)
		if back := all[len(all)-1]; back.From != "" || back.To[0] != "ann@origin.test" {
			t.Errorf("the bounce went from %q to %v", back.From, back.To)
		}
		if err := send("mallory@origin.test", sender); err == nil {
			t.Error("a letter to a return address was taken")
		}
	}
	if sender := forwarded("", "away@demo.test"); sender != "" {
		t.Errorf("a bounce was forwarded with the sender %q", sender)
	}
	long := "ann@" + strings.Repeat(strings.Repeat("d", 59)+".", 4) + "test" // with what SRS adds it would be beyond RFC 5321 section 4.5.3.1.3
	if sender := forwarded(long, "away@demo.test"); sender != long {
		t.Errorf("%s became %q", long, sender)
	}
	r.submit("away@demo.test")
	if got := r.arrives(far, n+1, 10*time.Second, false)[n]; got.From != "alice@demo.test" {
		t.Errorf("our own mail was forwarded with the sender %q", got.From)
	}
}

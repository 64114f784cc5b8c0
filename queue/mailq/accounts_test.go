package mailq

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/config"
	"pennypost/queue"
	"pennypost/queue/outbound"
)

// TestAccounts: who is held is listed with the reason, and released in one go; held by hand as well.
func TestS053Accounts(t *testing.T) {
	b := newBench(t)
	a := new(outbound.Account)
	a.Message(time.Now(), []address.Path{path("bob@example.net")}, config.Default().Outbound)
	for name, text := range map[string]string{"count:mallory@example.org": string(a.Append(nil)), "held:mallory@example.org": "more than 5 messages in 1h\n",
		"count:alice@example.org": string(a.Append(nil))} {
		if err := os.WriteFile(filepath.Join(b.dir, "outbound", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id := b.put("hold", queue.Envelope{From: path("x@example.org"), Auth: "mallory@example.org", Rcpts: []queue.Rcpt{{N: 1, To: path("bob@example.net")}}}, "hi\n")
	other := b.put("hold", queue.Envelope{From: path("x@example.org"), Auth: "alice@example.org", Rcpts: []queue.Rcpt{{N: 1, To: path("bob@example.net")}}}, "hi\n")
	for _, step := range []struct{ command, want string }{
		{"accounts", "mallory@example.org  messages 1, recipients 1, new 1; taken 0, refused 0\n"},
		{"accounts", "more than 5 messages in 1h)\nalice@example.org"},
		{"pause", "held auth:mallory@example.org  more than 5 messages in 1h"},
		{"list auth:mallory@example.org", id},
		{"release auth:mallory@example.org", "auth:mallory@example.org: may send again\n" + id + ": released\n"},
		{"list held", other},
		{"pause auth:alice@example.org odd mail", "auth:alice@example.org: further mail of it is held\n"},
		{"accounts alice@example.org", "odd mail)"},
		{"resume auth:alice@example.org", "resumed"},
	} {
		out, _, err := b.run(strings.Fields(step.command)...)
		if err != nil || !strings.Contains(out, step.want) {
			t.Errorf("mailq %s: %v\n%s", step.command, err, out)
		}
	}
	b.fails(exNoInput, "resume", "auth:alice@example.org")
}

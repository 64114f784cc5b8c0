package peers

import (
	"testing"
	"time"

	"pennypost/test/lab"
)

func TestPostfixAlone(t *testing.T) {
	p, err := StartPostfix(Options{Dir: t.TempDir(), Domain: "postfix.test", IP: "127.0.0.11", Port: 15025, Users: []string{"alice"}}, true)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	if err := lab.Send(p.Addr, "x@example.test", "alice@postfix.test", lab.Letter("x@example.test", "alice@postfix.test", "hi", "mark-one")); err != nil {
		t.Fatal(err, p.Log())
	}
	if _, _, err := lab.Find(5*time.Second, p.Maildir("alice"), "mark-one", 1); err != nil {
		t.Fatal(err, p.Log())
	}
	t.Log(p.Log())
}

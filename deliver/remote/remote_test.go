package remote

import (
	"strings"
	"testing"
)

func TestDeliver(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.smtp(modern, nil) })
	c, _ := newClient(t, zone, p.port, nil)
	for range 3 {
		got := deliver(t, c, "mx.example.test+00000000", letter{rcpts: []string{"bob@example.test", "carol@example.test"}})
		if want := "K 1 250 2.6.0 chunk taken (in clear)\nK 2 250 2.6.0 chunk taken (in clear)\nE"; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	if p.connections() != 1 {
		t.Errorf("%d connections for three messages", p.connections())
	}
	if !strings.Contains(p.transcript(), "C: MAIL FROM:<alice@we.test> SIZE=19\nS: 250 2.0.0 so be it\nC: RCPT TO:<bob@example.test>") {
		t.Error(p.transcript())
	}
}

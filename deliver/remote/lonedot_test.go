package remote

import (
	"strings"
	"testing"
)

// TestLoneDot: DATA went out with the RCPTs, all of which are refused, and the host wants a message all the same. It gets
// an end and no message (RFC 2920 section 3.1), and the session goes on.
func TestLoneDot(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) {
		d.smtp([]string{"PIPELINING", "ENHANCEDSTATUSCODES"}, map[string]string{"RCPT TO:<no": "550 5.1.1 no such user", ".": "554 5.5.1 no valid recipients"})
	})
	c, _ := newClient(t, zone, p.port, nil)
	for range 2 {
		if out := deliver(t, c, site, letter{rcpts: []string{"no1@example.test", "no2@example.test"}}); strings.Count(out, "550 5.1.1") != 2 {
			t.Error(out)
		}
	}
	if p.connections() != 1 {
		t.Errorf("%d connections", p.connections())
	}
	if said := p.transcript(); strings.Count(said, "(0 octets)") != 2 || strings.Count(said, " octets)") != 2 {
		t.Error(said)
	}
}

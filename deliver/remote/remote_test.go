package remote

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/internal/config"
	"pennypost/internal/order"
	"pennypost/queue"
)

const site = "mx.example.test+00000000"

func TestConnectionIsUsedAgain(t *testing.T) {
	for _, ext := range [][]string{modern, without(modern, "CHUNKING"), without(modern, "CHUNKING", "PIPELINING"), nil} {
		p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.smtp(ext, nil) })
		c, _ := newClient(t, zone, p.port, nil)
		for range 3 {
			got := deliver(t, c, site, letter{rcpts: []string{"bob@example.test", "carol@example.test"}})
			if !strings.HasPrefix(got, "K 1 250 2.6.0 ") || strings.Count(got, "(in clear)") != 2 || !strings.HasSuffix(got, "\nE") {
				t.Errorf("%v: %s", ext, got)
			}
		}
		if p.connections() != 1 {
			t.Errorf("%d connections for three messages", p.connections())
		}
	}
}

// What we say, as a person reads it. The replies of one flight come after its commands.
func TestDialogue(t *testing.T) {
	for _, test := range []struct {
		name, site string
		ext        []string
		letter     letter
		want       string
	}{
		{"all in one flight", site, modern, letter{mail: "BODY=8BITMIME RET=HDRS ENVID=QQ+2B", rcpts: []string{"bob@example.test NOTIFY=FAILURE,DELAY ORCPT=rfc822;b+2Bb@example.test"}}, `
C: MAIL FROM:<alice@we.test> SIZE=19 BODY=8BITMIME RET=HDRS ENVID=QQ+2B
C: RCPT TO:<bob@example.test> NOTIFY=FAILURE,DELAY ORCPT=rfc822;b+2Bb@example.test
C: BDAT 19 LAST
`},
		{"no extension", site, nil, letter{mail: "BODY=8BITMIME RET=HDRS", rcpts: []string{"bob@example.test NOTIFY=NEVER"}}, `
C: MAIL FROM:<alice@we.test>
C: RCPT TO:<bob@example.test>
C: DATA
C: (19 octets)
`},
		{"null sender has no RET and ENVID", site, modern, letter{from: "<>", mail: "RET=HDRS ENVID=x", rcpts: []string{"bob@example.test NOTIFY=NEVER"}}, `
C: MAIL FROM:<> SIZE=19
C: RCPT TO:<bob@example.test> NOTIFY=NEVER
C: BDAT 19 LAST
`},
		{"8-bit text is declared", site, modern, letter{text: "Subject: hi\n\nhé\n", rcpts: []string{"bob@example.test"}}, `
C: MAIL FROM:<alice@we.test> SIZE=20 BODY=8BITMIME
C: RCPT TO:<bob@example.test>
C: BDAT 20 LAST
`},
		{"SMTPUTF8 where an address needs it", site, modern, letter{rcpts: []string{"bøb@example.test"}}, `
C: MAIL FROM:<alice@we.test> SIZE=19 SMTPUTF8
C: RCPT TO:<bøb@example.test>
C: BDAT 19 LAST
`},
		{"and not because it was said", site, modern, letter{mail: "SMTPUTF8", rcpts: []string{"bob@example.test"}}, `
C: MAIL FROM:<alice@we.test> SIZE=19
C: RCPT TO:<bob@example.test>
C: BDAT 19 LAST
`},
		{"a domain has A-labels", site, without(modern, "SMTPUTF8"), letter{from: "alice@bücher.test", rcpts: []string{"bob@example.test"}}, `
C: MAIL FROM:<alice@xn--bcher-kva.test> SIZE=19
C: RCPT TO:<bob@example.test>
C: BDAT 19 LAST
`},
		{"quoted local part (S063)", site, modern, letter{from: `"a> SIZE=1"@we.test`, rcpts: []string{`"b>\"c"@example.test`}}, `
C: MAIL FROM:<"a> SIZE=1"@we.test> SIZE=19
C: RCPT TO:<"b>\"c"@example.test>
C: BDAT 19 LAST
`},
		{"parameter that is none", site, modern, letter{mail: "ENVID=ok", rcpts: []string{"bob@example.test ORCPT=rfc822;b\u00f6b@example.test"}}, `
C: MAIL FROM:<alice@we.test> SIZE=19 ENVID=ok
C: RCPT TO:<bob@example.test> ORCPT=rfc822;böb@example.test
C: BDAT 19 LAST
`},
	} {
		p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.smtp(test.ext, nil) })
		c, _ := newClient(t, zone, p.port, nil)
		answers := deliver(t, c, test.site, test.letter)
		var said strings.Builder
		for line := range strings.Lines(p.transcript()) {
			if strings.HasPrefix(line, "C: ") && !strings.HasPrefix(line, "C: EHLO") {
				said.WriteString(line)
			}
		}
		if got := "\n" + said.String(); got != test.want || !strings.HasPrefix(answers, "K") {
			t.Errorf("%s: said%swant%s%s", test.name, got, test.want, answers)
		}
	}
}

// Each case is a host that replies other than well to one command, and what becomes of two recipients.
func TestOutcomes(t *testing.T) {
	data := without(modern, "CHUNKING")
	slow := without(data, "PIPELINING")
	for _, test := range []struct {
		name    string
		ext     []string
		replies map[string]string
		want    string
	}{
		{"refused by MAIL", data, map[string]string{"MAIL": "550 5.7.1 not you"}, "D 1 550 5.7.1 not you\nD 2 550 5.7.1 not you\nE"},
		{"refused by MAIL, lockstep", slow, map[string]string{"MAIL": "550 5.7.1 not you"}, "D 1 550 5.7.1 not you\nD 2 550 5.7.1 not you\nE"},
		{"refused by MAIL, chunks", modern, map[string]string{"MAIL": "450 later", "RCPT": "503 5.5.1 MAIL first", "BDAT": "503 5.5.1 MAIL first"}, "Z 1 450 4.2.0 later\nZ 2 450 4.2.0 later\nE"},
		{"one recipient refused", data, map[string]string{"RCPT TO:<bob": "550-5.1.1 no such\n550 5.1.1 user here"}, "D 1 550 5.1.1 no such user here\nK 2 250 2.6.0 taken (in clear)\nE"},
		{"greylisted", data, map[string]string{"RCPT": "451 4.7.1 come back in 5 minutes", "DATA": "554 5.5.1 no recipients"}, "Z 1 451 4.7.1 come back in 5 minutes\nZ 2 451 4.7.1 come back in 5 minutes\nE"},
		{"all refused but 354", data, map[string]string{"RCPT": "550 no"}, "D 1 550 5.0.0 no\nD 2 550 5.0.0 no\nE"},
		{"all refused, chunk refused", modern, map[string]string{"RCPT": "550 no", "BDAT": "503 no recipients"}, "D 1 550 5.0.0 no\nD 2 550 5.0.0 no\nE"},
		{"refused at the end", data, map[string]string{".": "554 5.7.1 spam"}, "D 1 554 5.7.1 spam\nD 2 554 5.7.1 spam\nE"},
		{"deferred at the end", modern, map[string]string{"BDAT": "452 4.3.1 disk full"}, "Z 1 452 4.3.1 disk full\nZ 2 452 4.3.1 disk full\nE"},
		{"DATA refused", data, map[string]string{"DATA": "451 no"}, "Z 1 451 4.3.0 no\nZ 2 451 4.3.0 no\nE"},
		{"421 to MAIL", data, map[string]string{"MAIL": "421 4.3.2 too busy"}, "S 421 mx.example.test[127.0.0.1]: too busy\nZ 1 421 4.3.2 too busy\nZ 2 421 4.3.2 too busy\nE"},
		{"421 greeting", data, map[string]string{"greeting": "421 too many connections"}, "S 421 mx.example.test[127.0.0.1]: too many connections\nZ 1 421 4.3.2 too many connections\nZ 2 421 4.3.2 too many connections\nE"},
		{"521 greeting", data, map[string]string{"greeting": "521 no mail here"}, "S 521 mx.example.test[127.0.0.1]: greeting refused: no mail here\nD 1 521 5.3.2 greeting refused: no mail here\nD 2 521 5.3.2 greeting refused: no mail here\nE"},
		{"554 greeting", data, map[string]string{"greeting": "554 blocked"}, "S mx.example.test[127.0.0.1]: 554 greeting refused: blocked\nZ 1 451 4.3.0 554 greeting refused: blocked\nZ 2 451 4.3.0 554 greeting refused: blocked\nE"},
		{"EHLO unknown", nil, map[string]string{"EHLO": "500 what?"}, "K 1 250 2.6.0 taken (in clear)\nK 2 250 2.6.0 taken (in clear)\nE"},
		{"wrong class of enhanced code", data, map[string]string{"RCPT": "550 2.1.5 odd"}, "D 1 550 5.0.0 2.1.5 odd\nD 2 550 5.0.0 2.1.5 odd\nE"},
		{"too large", append([]string{"SIZE 10"}, without(data, "SIZE")...), nil, "D 1 552 5.3.4 the message has 19 octets, mx.example.test[127.0.0.1] takes 10\nD 2 552 5.3.4 the message has 19 octets, mx.example.test[127.0.0.1] takes 10\nE"},
		{"250 to DATA", data, map[string]string{"DATA": "250 ok"}, "Z 1 451 4.5.0 unexpected reply to DATA: ok\nZ 2 451 4.5.0 unexpected reply to DATA: ok\nE"},
		{"chunks offered but not understood", modern, map[string]string{"BDAT": "500 5.5.2 what?"}, "K 1 250 2.6.0 taken (in clear)\nK 2 250 2.6.0 taken (in clear)\nE"},
	} {
		p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.smtp(test.ext, test.replies) })
		c, _ := newClient(t, zone, p.port, nil)
		if got := deliver(t, c, site, letter{rcpts: []string{"bob@example.test", "carol@example.test"}}); got != test.want {
			t.Errorf("%s: got\n%s\nwant\n%s\nafter\n%s", test.name, got, test.want, p.transcript())
		}
	}
}

// Chunks that are refused because nobody is to have them say nothing of the host: as Exim answers them.
func TestChunksInVain(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) {
		d.smtp(modern, map[string]string{"RCPT TO:<no": "550 no", "BDAT 65": "503 no valid recipients", "BDAT 34": "503 no valid recipients"})
	})
	c, _ := newClient(t, zone, p.port, nil)
	long := strings.Repeat(strings.Repeat("x", 99)+"\n", 1000)
	if got := deliver(t, c, site, letter{text: long, rcpts: []string{"no@example.test"}}); got != "D 1 550 5.0.0 no\nE" {
		t.Error(got)
	}
	if got := deliver(t, c, site, letter{rcpts: []string{"yes@example.test"}}); !strings.HasPrefix(got, "K") || p.connections() != 1 {
		t.Errorf("%s, %d connections\n%s", got, p.connections(), p.transcript())
	}
	if strings.Contains(p.transcript(), "C: DATA") || strings.Count(p.transcript(), "C: BDAT") != 3 {
		t.Error(p.transcript())
	}
}

// After a refused transaction the connection still serves.
func TestAfterRefusal(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) {
		d.smtp(modern, map[string]string{"RCPT TO:<no": "550 no", "BDAT 20 ": "503 5.5.1 no recipients"})
	})
	c, _ := newClient(t, zone, p.port, nil)
	deliver(t, c, site, letter{text: "Subject: nine\n\nx\n", rcpts: []string{"no@example.test"}})
	if got := deliver(t, c, site, letter{rcpts: []string{"yes@example.test"}}); !strings.HasPrefix(got, "K") {
		t.Error(got)
	}
	if !strings.Contains(p.transcript(), "C: RSET\n") || p.connections() != 1 {
		t.Error(p.transcript())
	}
}

// 452 after accepted recipients means the rest in another transaction (RFC 5321 section 4.5.3.1.10); LIMITS says so beforehand.
func TestManyRecipients(t *testing.T) {
	for name, ext := range map[string][]string{
		"452":           modern,
		"RCPTMAX":       append([]string{"LIMITS RCPTMAX=3"}, modern...),
		"MAILMAX":       append([]string{"LIMITS RCPTMAX=3 MAILMAX=1"}, modern...),
		"RCPTDOMAINMAX": append([]string{"LIMITS RCPTDOMAINMAX=1"}, modern...),
	} {
		p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) {
			d.say("220 mx.test")
			n, domains := 0, map[string]bool{} // of one transaction
			for {
				line := d.line()
				switch verb, _, _ := strings.Cut(line, " "); verb {
				case "", "QUIT":
					return
				case "EHLO":
					d.say("250-mx.test", "250-"+strings.Join(ext, "\r\n250-"), "250 HELP")
				case "RCPT":
					_, domain, _ := strings.Cut(line, "@")
					if domains[domain] = true; name == "RCPTDOMAINMAX" {
						if len(domains) > 1 {
							t.Errorf("%s: in one transaction: %v", name, domains)
						}
						d.say("250 2.1.5 ok")
					} else if n++; n > 3 {
						if name != "452" {
							t.Errorf("%s: more than RCPTMAX", name)
						}
						d.say("452 4.5.3 too many recipients")
					} else {
						d.say("250 2.1.5 ok")
					}
				case "BDAT":
					io.CopyN(io.Discard, d.r, 19)
					d.say("250 2.6.0 ok")
					n, domains = 0, map[string]bool{}
				default:
					d.say("250 2.0.0 ok")
				}
			}
		})
		c, _ := newClient(t, zone+"\nother.test MX 5 mx.example.test", p.port, nil)
		var rcpts []string
		for i := range 10 {
			domain := "example.test"
			if name == "RCPTDOMAINMAX" && i%2 == 0 {
				domain = "EXAMPLE.test"
			}
			if name == "RCPTDOMAINMAX" && i%3 == 0 {
				domain = "other.test"
			}
			rcpts = append(rcpts, fmt.Sprintf("r%d@%s", i, domain))
		}
		if got := deliver(t, c, site, letter{rcpts: rcpts}); strings.Count(got, "K ") != 10 {
			t.Errorf("%s: %s", name, got)
		}
		want := map[string]int{"452": 1, "RCPTMAX": 1, "MAILMAX": 4, "RCPTDOMAINMAX": 1}[name]
		if p.connections() != want {
			t.Errorf("%s: %d connections, want %d", name, p.connections(), want)
		}
	}
}

// bad is what a line of the table of S009 has in its file, and on the wire without stuffing.
func TestS009OnlyCRLF(t *testing.T) {
	long := strings.Repeat("a line of a message that is a little longer\n", 4000)
	for _, test := range []struct{ file, want string }{
		{"a\nb\n", "a\r\nb\r\n"},
		{"no end", "no end\r\n"},
		{"", "\r\n"},
		{"\n", "\r\n"},
		{".\n..\n.\n", ".\r\n..\r\n.\r\n"},
		{"a\n.", "a\r\n.\r\n"},
		{"a\r\nb\r\n", "a\r\nb\r\n"},
		{"a\rb\n", "a b\r\n"},
		{"a\r\r\nb\r", "a \r\nb\r\n"},
		{"\r.\n", " .\r\n"},
		{"a\n.\r\n.b\n", "a\r\n.\r\n.b\r\n"},
		{"a\r\n.\r\nMAIL FROM:<x>\r\n", "a\r\n.\r\nMAIL FROM:<x>\r\n"},
		{long, strings.ReplaceAll(long, "\n", "\r\n")},
		{long + "x\r" + long, strings.ReplaceAll(long+"x "+long, "\n", "\r\n")},
		{strings.Repeat("\r", 70000), strings.Repeat(" ", 69999) + "\r\n"},
		{strings.Repeat(".\n", 40000), strings.Repeat(".\r\n", 40000)},
	} {
		if test.file == "" {
			continue
		}
		for _, ext := range [][]string{modern, without(modern, "CHUNKING")} {
			var got []string
			done := make(chan bool, 1)
			p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { got = d.smtp(ext, nil); done <- true })
			c, _ := newClient(t, zone, p.port, nil)
			answer := deliver(t, c, site, letter{text: test.file, rcpts: []string{"bob@example.test"}})
			c.Close()
			<-done
			if len(got) != 1 || got[0] != test.want || !strings.HasPrefix(answer, "K") {
				t.Errorf("%.40q with %v: %d messages, %s", test.file, ext[len(ext)-2:], len(got), answer)
				for _, m := range got {
					t.Errorf("%d octets, want %d: %.60q", len(m), len(test.want), m)
				}
				continue
			}
			checkWire(t, []byte(got[0]))
		}
	}
}

// S010: what came in by BDAT with CRLF.CRLF inside leaves for a host that knows only DATA as one message.
func TestS010DotInsideBDAT(t *testing.T) {
	text := "Subject: smuggle\n\na\n.\nMAIL FROM:<evil@we.test>\nRCPT TO:<bob@example.test>\nDATA\nx\n.\n"
	var got []string
	done := make(chan bool, 1)
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { got = d.smtp([]string{"PIPELINING"}, nil); done <- true })
	c, _ := newClient(t, zone, p.port, nil)
	deliver(t, c, site, letter{text: text, rcpts: []string{"bob@example.test"}})
	c.Close()
	<-done
	if len(got) != 1 || got[0] != strings.ReplaceAll(text, "\n", "\r\n") {
		t.Errorf("%q", got)
	}
}

func TestBinary(t *testing.T) {
	binary := "Subject: b\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\n\r\xff\n.\n"
	crlf := "Subject: b\r\n\r\n.\r\nclean\xff\r\n"
	can := append([]string{"BINARYMIME"}, modern...)
	for _, test := range []struct {
		text string
		ext  []string
		want string
	}{
		{binary, can, "K"}, {binary, modern, "D 1 554 5.6.3"}, {binary, without(can, "CHUNKING"), "D 1 554 5.6.3"},
		{crlf, can, "K"}, {crlf, without(modern, "CHUNKING"), "K"}, {crlf, nil, "D 1 554 5.6.3"},
	} {
		var got []string
		done := make(chan bool, 1)
		p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { got = d.smtp(test.ext, nil); done <- true })
		c, _ := newClient(t, zone, p.port, nil)
		answer := deliver(t, c, site, letter{text: test.text, raw: true, mail: "BODY=BINARYMIME", rcpts: []string{"bob@example.test"}})
		c.Close()
		<-done
		if !strings.HasPrefix(answer, test.want) || test.want == "K" && (len(got) != 1 || got[0] != test.text) {
			t.Errorf("%q with %v: %s\n%q", test.text, test.ext, answer, got)
		}
	}
}

// What the next hop lacks fails the message, unless another MX has it.
func TestOtherMXHasIt(t *testing.T) {
	poor := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.smtp(nil, nil) })
	rich := newPeer(t, "tcp", fmt.Sprintf("127.0.0.2:%d", poor.port), func(d *dialogue) { d.smtp(modern, nil) })
	two := "example.test MX 10 poor.test\nexample.test MX 20 rich.test\npoor.test A 127.0.0.1\nrich.test A 127.0.0.2\nother.test MX 10 poor.test"
	c, _ := newClient(t, two, poor.port, nil)
	for _, test := range []struct {
		l         letter
		rich, one string
	}{
		{letter{text: "Subject: hé\n\n", rcpts: []string{"bob@example.test"}}, "K", "D 1 554 5.6.3"},
		{letter{rcpts: []string{"bøb@example.test"}}, "K", "D 1 553 5.6.7"},
		{letter{mail: "SMTPUTF8", text: "Subject: hé\n\n", rcpts: []string{"bob@example.test"}}, "K", "D 1 553 5.6.7"},
	} {
		if got := deliver(t, c, "poor.test+1", test.l); !strings.HasPrefix(got, test.rich) {
			t.Errorf("with a second MX: %s", got)
		}
		test.l.rcpts[0] = strings.Replace(test.l.rcpts[0], "example.test", "other.test", 1)
		if got := deliver(t, c, "poor.test+2", test.l); !strings.HasPrefix(got, test.one) {
			t.Errorf("without: %s", got)
		}
	}
	_ = rich
}

// Domains whose hosts are the same share a transaction.
func TestDomainsOfOneSite(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.smtp(modern, nil) })
	c, _ := newClient(t, zone+"\nsecond.test MX 5 mx.example.test\nnull.test MX 0 .", p.port, nil)
	got := deliver(t, c, site, letter{rcpts: []string{"bob@example.test", "bob@second.test", "bob@null.test"}})
	if !strings.HasPrefix(got, "K 1 250 2.6.0 chunk taken (in clear)\nK 2 250 2.6.0 chunk taken (in clear)\nD 3 556 5.1.10") ||
		strings.Count(p.transcript(), "MAIL FROM") != 1 {
		t.Errorf("%s\n%s", got, p.transcript())
	}
}

// A connection that died while idle is no failure.
func TestStaleConnection(t *testing.T) {
	for _, how := range []string{"closed", "421", "421 to MAIL"} {
		p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) {
			if d.n > 1 {
				d.smtp(modern, nil)
				return
			}
			d.say("220 mx.test")
			d.line()
			d.say("250-mx.test", "250 PIPELINING")
			for range 3 {
				d.line()
			}
			d.say("250 ok", "250 ok", "354 go")
			d.data()
			d.say("250 ok")
			switch how {
			case "421":
				d.say("421 4.4.2 idle")
			case "421 to MAIL":
				d.line()
				d.say("421 4.4.2 enough")
			}
		})
		c, _ := newClient(t, zone, p.port, nil)
		deliver(t, c, site, letter{rcpts: []string{"bob@example.test"}})
		time.Sleep(20 * time.Millisecond)
		if got := deliver(t, c, site, letter{rcpts: []string{"bob@example.test"}}); !strings.HasPrefix(got, "K") || p.connections() != 2 {
			t.Errorf("%s: %s, %d connections", how, got, p.connections())
		}
	}
}

func TestIdleEnds(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.smtp(modern, nil) })
	c, _ := newClient(t, zone, p.port, func(conf *config.Config) { conf.Remote.Idle = 20 * time.Millisecond; conf.Remote.MaxPerConn = 2 })
	for range 3 {
		deliver(t, c, site, letter{rcpts: []string{"bob@example.test"}})
	}
	if p.connections() != 2 {
		t.Errorf("%d connections for three messages, two on each", p.connections())
	}
	for range 100 {
		if strings.Count(p.transcript(), "C: QUIT") == 2 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error(p.transcript())
}

// Who reports success: the next hop if it knows DSN, else queue-run (RFC 3461 section 5.2.2).
func TestDSNPassed(t *testing.T) {
	for _, ext := range [][]string{modern, without(modern, "DSN")} {
		p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.smtp(ext, nil) })
		c, _ := newClient(t, zone, p.port, nil)
		o, f := letter{from: "alice@we.test", text: "Subject: hi\n\n", rcpts: []string{"bob@example.test NOTIFY=SUCCESS"}}.file(t, site)
		if a := c.Deliver(context.Background(), o, int(f.Fd()), nil, nil); a[0].Kind != 'K' || a[0].DSN != (len(ext) == len(modern)) {
			t.Errorf("%v: %+v", ext, a[0])
		}
	}
}

// The order may name another reverse-path (SRS), and the file may be in the form that is ready for a Maildir.
func TestSenderAndReadyForm(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.smtp(without(modern, "CHUNKING"), nil) })
	c, _ := newClient(t, zone, p.port, nil)
	o, f := letter{from: "alice@we.test", text: "Subject: hi\n\n", rcpts: []string{"bob@example.test"}}.file(t, site)
	srs := path("SRS0=x=y=we.test=alice@fwd.test")
	o.Sender = &srs
	if a := c.Deliver(context.Background(), o, int(f.Fd()), nil, nil); a[0].Kind != 'K' || !strings.Contains(p.transcript(), "MAIL FROM:<SRS0=x=y=we.test=alice@fwd.test>") {
		t.Errorf("%s\n%s", show(a), p.transcript())
	}
	for _, body := range []string{"Received: by we.test\nSubject: hi\n\nhi\n", strings.Repeat("Received: by we.test, a long line of a long message\n", 3000)} {
		name := filepath.Join(t.TempDir(), "ready")
		text := "Return-Path: <carol@we.test>\nDelivered-To: bob@example.test\n" + body
		os.WriteFile(name, []byte(text), 0600)
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		o := &order.Order{Verb: "deliver", Seq: 1, ID: "0fk2v9qk3x7m2c000-a", Site: site, Ready: true, Size: int64(len(text)),
			Rcpts: []order.Rcpt{{Num: queue.Num{N: 1}, To: path("bob@example.test")}}}
		a := c.Deliver(context.Background(), o, int(f.Fd()), nil, nil)
		f.Close()
		size := len(body) + strings.Count(body, "\n")
		if a[0].Kind != 'K' || !strings.Contains(p.transcript(), fmt.Sprintf("MAIL FROM:<carol@we.test> SIZE=%d\n", size)) || !strings.Contains(p.transcript(), fmt.Sprintf("(%d octets)", size)) {
			t.Errorf("%s\n%s", show(a), p.transcript())
		}
	}
}

// A file that is not what its order says costs nobody a message.
func TestFileIsNotAsOrdered(t *testing.T) {
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.smtp(modern, nil) })
	c, _ := newClient(t, zone, p.port, nil)
	for name, change := range map[string]func(o *order.Order){
		"longer":         func(o *order.Order) { o.Size += 10 },
		"much longer":    func(o *order.Order) { o.Size += 1 << 20 },
		"header too far": func(o *order.Order) { o.Header += 3 },
		"no header":      func(o *order.Order) { o.Header = 0 },
		"huge header":    func(o *order.Order) { o.Header = 1 << 40 },
		"not ready":      func(o *order.Order) { o.Ready, o.Header = true, 0 },
	} {
		for _, text := range []string{"Subject: hi\n\nhi\n", "Subject: long\n\n" + strings.Repeat("0123456789\n", 50000)} {
			o, f := letter{from: "alice@we.test", text: text, rcpts: []string{"bob@example.test"}}.file(t, site)
			change(o)
			if got := show(c.Deliver(context.Background(), o, int(f.Fd()), nil, nil)); !strings.HasPrefix(got, "Z 1 451 4.3.0") {
				t.Errorf("%s: %s", name, got)
			}
		}
	}
	o, _ := letter{from: "alice@we.test", text: "x", rcpts: []string{"bob@example.test"}}.file(t, site)
	if got := show(c.Deliver(context.Background(), o, -1, nil, nil)); !strings.HasPrefix(got, "Z 1 451 4.3.0") {
		t.Error(got)
	}
}

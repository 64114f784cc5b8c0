package remote

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"pennypost/internal/config"
)

// S044: what a hostile host sends costs 64 KiB and the time of one command, defers, and holds up nobody else.
func TestS044HostileReplies(t *testing.T) {
	good := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) { d.smtp(modern, nil) })
	for name, each := range map[string]func(d *dialogue){
		"endless lines": func(d *dialogue) {
			for {
				if _, err := io.WriteString(d.Conn, "220-and so on and on\r\n"); err != nil {
					return
				}
			}
		},
		"a line of a mebibyte": func(d *dialogue) {
			io.WriteString(d.Conn, "220 "+strings.Repeat("x", 1<<20)+"\r\n")
			d.line()
		},
		"no digits":    func(d *dialogue) { d.say("hello there"); d.line() },
		"three digits": func(d *dialogue) { d.say("999 hello"); d.line() },
		"binary":       func(d *dialogue) { d.say("\x00\xff\x1b[2J"); d.line() },
		"nothing":      func(d *dialogue) { d.line() },
		"hangs up":     func(d *dialogue) {},
		"an octet a second": func(d *dialogue) {
			for _, c := range "220 I shall take my time to say this, and then some" {
				if _, err := d.Conn.Write([]byte(string(c))); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		},
		"endless EHLO": func(d *dialogue) {
			d.say("220 hello")
			d.line()
			for {
				if _, err := io.WriteString(d.Conn, "250-AUTH X\r\n"); err != nil {
					return
				}
			}
		},
		"421 in the data": func(d *dialogue) {
			d.say("220 hello")
			d.line()
			d.say("250-mx", "250 PIPELINING")
			d.line()
			d.line()
			d.line()
			d.say("250 ok", "250 ok", "354 go", "421 no more")
		},
		"hangs up in the data": func(d *dialogue) {
			d.say("220 hello")
			d.line()
			d.say("250-mx", "250 PIPELINING")
			d.line()
			d.line()
			d.line()
			d.say("250 ok", "250 ok", "354 go")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, "tcp", "127.0.0.1:0", each)
			c, _ := newClient(t, zone, p.port, func(conf *config.Config) {
				conf.Remote.CommandTime, conf.Remote.DataTime = 300*time.Millisecond, 300*time.Millisecond
			})
			got := deliver(t, c, site, letter{text: "Subject: large\n\n" + strings.Repeat("0123456789 0123456789\n", 50000), rcpts: []string{"bob@example.test"}})
			if !strings.Contains(got, "Z 1 4") || got[0] != 'S' {
				t.Error(got)
			}
			c.conf.Remote.Port = good.port
			if got := deliver(t, c, site, letter{rcpts: []string{"bob@example.test"}}); !strings.HasPrefix(got, "K") {
				t.Errorf("another destination: %s", got)
			}
		})
	}
}

// S045: whatever a host says, an answer is one line of text; escaping is the business of those who write it down.
func TestS045ReplyText(t *testing.T) {
	for in, want := range map[string]string{
		"550 5.1.1 a\rb\x1b[31m\u202e\r\n":                   "a\rb\x1b[31m\u202e",
		"550-5.1.1 one\r\n550-5.1.1 two\r\n550 three\r\n":    "one two three",
		"550-a\r\n550 K 1 2.0.0 250 forged\r\n":              "a K 1 2.0.0 250 forged",
		"550\r\n":                                            "",
		"550 \r\n":                                           "",
		"550 " + strings.Repeat("x", 5000) + "\r\n":          strings.Repeat("x", maxKept),
		"550-" + strings.Repeat("x", 5000) + "\r\n550 y\r\n": strings.Repeat("x", maxKept),
	} {
		r, err := readReply(bufio.NewReaderSize(strings.NewReader(in), 4096), nil)
		if err != nil || r.text != want || r.code != 550 || strings.Contains(r.text, "\n") {
			t.Errorf("%.80q: %.80q (%d octets) %v", in, r.text, len(r.text), err)
		}
	}
}

func TestReadReply(t *testing.T) {
	for in, want := range map[string]error{
		"":                                   io.EOF,
		"25":                                 io.EOF,
		"25\r\n":                             errNoReply,
		"250_ok\r\n":                         errNoReply,
		"199 ok\r\n":                         errNoReply,
		"600 ok\r\n":                         errNoReply,
		"250-ok\r\n":                         io.EOF,
		strings.Repeat("250-x\r\n", 20000):   errLongReply,
		"250 " + strings.Repeat("x", 70<<10): errLongReply,
		"250 " + strings.Repeat("x", 60<<10) + "\r\n": nil,
		"250-a\r\n354 b\r\n":                          nil, // the last code rules
	} {
		_, err := readReply(bufio.NewReaderSize(strings.NewReader(in), 4096), nil)
		if !errors.Is(err, want) {
			t.Errorf("%.30q: %v, want %v", in, err, want)
		}
	}
}

func TestEnhanced(t *testing.T) {
	for _, test := range []struct {
		code               int
		in, enhanced, text string
	}{
		{250, "2.1.5 ok", "2.1.5", "ok"},
		{250, "2.1.5", "2.1.5", ""},
		{250, "2.1.5ok", "", "2.1.5ok"},
		{250, "5.1.5 ok", "", "5.1.5 ok"},
		{550, "5.7.999 x", "5.7.999", "x"},
		{550, "5.7.1000 x", "", "5.7.1000 x"},
		{550, "5.7 x", "", "5.7 x"},
		{550, "5.7.", "", "5.7."},
		{550, "5..7 x", "", "5..7 x"},
		{550, "55.7.1 x", "", "55.7.1 x"},
		{550, "5.7.1.2 x", "", "5.7.1.2 x"},
		{550, "", "", ""},
	} {
		if enhanced, text := splitEnhanced(test.code, []byte(test.in)); enhanced != test.enhanced || string(text) != test.text {
			t.Errorf("%q: %q %q", test.in, enhanced, text)
		}
	}
}

func FuzzReply(f *testing.F) {
	for _, seed := range []string{"220 mx.test ESMTP\r\n", "250-mx.test\r\n250-SIZE 1000\r\n250 AUTH PLAIN LOGIN\r\n", "550 5.1.1 no\n", "421", "250-LIMITS RCPTMAX=9 MAILMAX=x\r\n250 x\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var e extensions
		r := bufio.NewReaderSize(bytes.NewReader(in), 16)
		for {
			rep, err := readReply(r, e.add)
			if err != nil {
				return
			}
			if rep.code < 200 || rep.code > 599 || len(rep.text) > maxKept || strings.Contains(rep.text, "\n") ||
				rep.enhanced != "" && int(rep.enhanced[0]-'0') != rep.code/100 {
				t.Errorf("%+v", rep)
			}
			if result := judge(rep); result.Code/100 == 5 != (result.Outcome == 2) || result.Enhanced == "" || int(result.Enhanced[0]-'0') != result.Code/100 {
				t.Errorf("%+v from %+v", result, rep)
			}
		}
	})
}

// What wire makes does not depend on how the message is cut into blocks, and has only whole line ends.
func FuzzWire(f *testing.F) {
	f.Add([]byte("a\n.\r\n..\rb\r\r\n\n."), 3)
	f.Add([]byte(".\r.\n"), 1)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		for _, stuff := range []bool{false, true} {
			whole := wire{stuff: stuff}
			want := whole.end(whole.append(nil, in))
			parts := wire{stuff: stuff}
			var got []byte
			for rest := in; len(rest) > 0; {
				n := min(len(rest), max(1, cut&7))
				got, rest = parts.append(got, rest[:n]), rest[n:]
			}
			if got = parts.end(got); !bytes.Equal(got, want) {
				t.Fatalf("%q in blocks is %q, whole %q", in, got, want)
			}
			checkWire(t, want)
			if stuff && (bytes.HasPrefix(want, []byte(".\r\n")) || bytes.Contains(want, []byte("\r\n.\r\n"))) {
				t.Fatalf("%q ends the data early: %q", in, want)
			}
		}
	})
}

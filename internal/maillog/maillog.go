/*
Package maillog writes the log: one event, one line, to stderr, as maillog(5) lists them.

	queue-run: defer id=0fk2v9qk3x7m2c-a to=<bob@example.net> status=4.4.1 next=15m why="mx1.example.net: timed out"

A line is the program, the event, then key=value pairs, id= first. Values from outside are
escaped. Each family of events is a file of this package, and each event a method with typed
arguments, so that what the man page lists is what the code can write.
*/
package maillog

import (
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/escape"
)

// most is how much of one value a line keeps, in octets.
const most = 1024

// Log writes lines of one program. The zero Log writes to stderr without a program's name.
type Log struct {
	Program string    // "smtpd"
	Out     io.Writer // nil is stderr
	Times   bool      // --log-time: RFC 3339 with microseconds in front
	mu      sync.Mutex
	buf     []byte
}

// line is a line being put together; l.mu is held until end.
type line struct{ l *Log }

func (l *Log) event(name, id string) line {
	l.mu.Lock()
	l.buf = l.buf[:0]
	if l.Times {
		l.buf = time.Now().UTC().AppendFormat(l.buf, "2006-01-02T15:04:05.000000Z ")
	}
	if l.Program != "" {
		l.buf = append(append(l.buf, l.Program...), ": "...)
	}
	l.buf = append(l.buf, name...)
	if id != "" {
		l.buf = append(append(l.buf, " id="...), id...)
	}
	return line{l}
}

func (n line) key(key string) {
	n.l.buf = append(append(append(n.l.buf, ' '), key...), '=')
}

// str adds key=value, escaped; nothing for the empty string.
func (n line) str(key, value string) line {
	if value != "" {
		n.key(key)
		n.l.buf = escape.Quote(n.l.buf, value, most)
	}
	return n
}

// path adds key=<local@domain>.
func (n line) path(key string, p address.Path) line {
	n.key(key)
	n.l.buf = append(n.l.buf, '<')
	n.l.buf = escape.Append(n.l.buf, p.String())
	if p.IsNull() {
		n.l.buf = n.l.buf[:len(n.l.buf)-1] // Append writes "-" for the null sender
	}
	n.l.buf = append(n.l.buf, '>')
	return n
}

func (n line) num(key string, v int64) line {
	n.key(key)
	n.l.buf = strconv.AppendInt(n.l.buf, v, 10)
	return n
}

// span adds a duration in the form of mail.toml, rounded to what a person needs: 15m, 1.25s.
func (n line) span(key string, d time.Duration) line {
	n.key(key)
	n.l.buf = append(n.l.buf, d.Round(time.Millisecond).String()...)
	return n
}

func (n line) err(err error) {
	if err != nil {
		n.str("why", err.Error())
	}
	n.end()
}

func (n line) end() {
	n.l.buf = append(n.l.buf, '\n')
	out := n.l.Out
	if out == nil {
		out = os.Stderr
	}
	out.Write(n.l.buf) // a log that cannot be written stops no mail
	n.l.mu.Unlock()
}

// Start is the first line of a server: what it serves and where.
func (l *Log) Start(service, address string) {
	l.event("start", "").str("service", service).str("listen", address).end()
}

// Stop is the last line of a server.
func (l *Log) Stop(why string) { l.event("stop", "").str("why", why).end() }

// Warn is something an admin should know that concerns no message.
func (l *Log) Warn(what string, err error) { l.event("warn", "").str("what", what).err(err) }

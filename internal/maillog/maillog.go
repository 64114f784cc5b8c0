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

// together is how many octets of lines one write may carry: what a pipe takes without
// mixing it with the lines of another program (PIPE_BUF).
const together = 4096

// Log writes lines of one program. The zero Log writes to stderr without a program's name, and
// a nil Log nowhere.
type Log struct {
	Program string    // "smtpd"
	Out     io.Writer // nil is stderr
	Times   bool      // --log-time: RFC 3339 with microseconds in front
	Gather  bool      // lines wait for Flush, or for more of them than one write may carry
	mu      sync.Mutex
	buf     []byte // lines, the last one perhaps not ended
	whole   int    // octets of buf that are ended lines
}

// line is a line being put together; l.mu is held until end. It is zero for a nil Log.
type line struct{ l *Log }

// Flush writes what was gathered. A program that works in rounds calls it at the end of each.
func (l *Log) Flush() {
	if l == nil {
		return
	}
	l.mu.Lock()
	l.write(l.whole)
	l.mu.Unlock()
}

// write writes the first n octets of what was gathered; l.mu is held.
func (l *Log) write(n int) {
	if n == 0 {
		return
	}
	out := l.Out
	if out == nil {
		out = os.Stderr
	}
	out.Write(l.buf[:n]) // a log that cannot be written stops no mail
	l.buf = l.buf[:copy(l.buf, l.buf[n:])]
	l.whole = max(0, l.whole-n)
}

func (l *Log) event(name, id string) line {
	if l == nil {
		return line{}
	}
	l.mu.Lock()
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
	if value != "" && n.l != nil {
		n.key(key)
		n.l.buf = escape.Quote(n.l.buf, value, most)
	}
	return n
}

// path adds key=<local@domain>.
func (n line) path(key string, p address.Path) line {
	if n.l == nil {
		return n
	}
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
	if n.l == nil {
		return n
	}
	n.key(key)
	n.l.buf = strconv.AppendInt(n.l.buf, v, 10)
	return n
}

// count is num, but nothing for zero.
func (n line) count(key string, v int64) line {
	if v == 0 {
		return n
	}
	return n.num(key, v)
}

// span adds a duration in the form of mail.toml, rounded to what a person needs: 15m, 1.25s.
func (n line) span(key string, d time.Duration) line {
	if n.l == nil {
		return n
	}
	n.key(key)
	n.l.buf = appendSpan(n.l.buf, d)
	return n
}

// appendSpan writes days, hours, minutes and seconds, those that are there; below ten
// seconds the seconds have milliseconds.
func appendSpan(b []byte, d time.Duration) []byte {
	if d < 0 {
		b, d = append(b, '-'), -d
	}
	if d < 10*time.Second {
		b = strconv.AppendFloat(b, d.Round(time.Millisecond).Seconds(), 'f', -1, 64)
		return append(b, 's')
	}
	s := int64(d.Round(time.Second) / time.Second)
	for _, u := range [...]struct {
		letter byte
		size   int64
	}{{'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}} {
		if s >= u.size {
			b = append(strconv.AppendInt(b, s/u.size, 10), u.letter)
			s %= u.size
		}
	}
	return b
}

func (n line) err(err error) {
	if err != nil {
		n.str("why", err.Error())
	}
	n.end()
}

func (n line) end() {
	l := n.l
	if l == nil {
		return
	}
	l.buf = append(l.buf, '\n')
	if len(l.buf) > together {
		l.write(l.whole) // what came before goes first, alone
	}
	l.whole = len(l.buf)
	if !l.Gather || l.whole > together {
		l.write(l.whole)
	}
	l.mu.Unlock()
}

// Start is the first line of a server: what it serves and where.
func (l *Log) Start(service, address string) {
	l.event("start", "").str("service", service).str("listen", address).end()
}

// Confined is a program that has given up what it has no use for, as far as the kernel lets it.
func (l *Log) Confined(level int, what string) {
	l.event("confine", "").num("level", int64(level)).str("what", what).end()
}

// Stop is the last line of a server.
func (l *Log) Stop(why string) { l.event("stop", "").str("why", why).end() }

// Warn is something an admin should know that concerns no message.
func (l *Log) Warn(what string, err error) { l.event("warn", "").str("what", what).err(err) }

/*
Package order is the language of queue-run and its workers, order(5): packets on an AF_UNIX
SOCK_SEQPACKET connection, one order line and one freshly opened descriptor each.

	deliver SEQ ID attempt=N repeat=0|1 site=KEY [form=ready] [header=H] size=S wire=W [sender=ADDR] [junk=1] rcpt=NUM:ADDR …
	resolve SEQ DOMAIN                next SEQ                quit

	K|Z|D SEQ NUM status code [host=HOST] [tls=WORD] [dsn=1] text          S SEQ text           E SEQ
	F SEQ NUM ADDRESS                 site SEQ KEY ttl=S   (or Z / D with NUM 0)

Words are percent-escaped (package escape), the text of an answer is the rest of the line, escaped as one word.
A packet of answers may hold several, one a line. An order is always a packet of its own, because its
descriptor belongs to it.

Both ends distrust each other: a packet that is too long, torn, or says something that is no order or
answer is an error and the end of that connection, never of the program (S131).
*/
package order

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/escape"
	"pennypost/internal/status"
	"pennypost/queue"
)

// MaxPacket is the longest packet, in octets. An order whose recipients do not fit is split by queue-run.
const MaxPacket = 64 << 10

// MaxText is how much of a reply an answer carries, in octets before escaping.
const MaxText = 2048

// ErrProtocol marks a packet that is no order or answer.
var ErrProtocol = errors.New("not order(5)")

// Order is what queue-run wants done.
type Order struct {
	Verb    string // deliver resolve next quit
	Seq     uint64
	ID      string
	Attempt int           // 1 is the first
	Repeat  bool          // an earlier attempt may have succeeded unseen: look before delivering
	Site    string        // key
	Ready   bool          // link-ready form: the descriptor is the message as the Maildir wants it
	Header  int64         // offset of the first octet of the message
	Size    int64         // octets of the message
	Wire    int64         // octets with CRLF; 0 when not known
	Sender  *address.Path // reverse-path to use instead of the envelope's (SRS); nil: the envelope's
	Junk    bool          // marked at reception: it goes into the folder for such
	Rcpts   []Rcpt
	Domain  string // resolve
}

// Rcpt is one recipient of a deliver order.
type Rcpt struct {
	Num queue.Num
	To  address.Path // the routed target
}

// Answer is what a worker says.
type Answer struct {
	Kind   byte // 'K' 'Z' 'D' a recipient, 'S' about the site, 'E' order done, 'F' forward, 'R' site resolved
	Seq    uint64
	Num    queue.Num
	Result status.Result // K Z D; Text also for S
	Host   string        // K Z D of a remote attempt: "mx1.example.org[192.0.2.5]", with host= before the text
	TLS    string        // K Z D: what TLS did in the session with the host: dane mta-sts verified opportunistic-verified opportunistic none
	DSN    bool          // K: the next hop took the DSN parameters and reports itself (dsn=1)
	Kept   bool          // K: somebody here has the message, whatever F lines send on (kept=1)
	Target address.Path  // F
	Site   string        // R
	TTL    time.Duration // R
}

// Append writes o as one packet.
func (o *Order) Append(b []byte) []byte {
	b = append(b, o.Verb...)
	if o.Verb == "quit" {
		return b
	}
	b = append(b, ' ')
	b = strconv.AppendUint(b, o.Seq, 10)
	switch o.Verb {
	case "resolve":
		b = append(b, ' ')
		return escape.Append(b, o.Domain)
	case "deliver":
		return o.appendDeliver(b)
	}
	return b
}

func (o *Order) appendDeliver(b []byte) []byte {
	b = append(b, ' ')
	b = append(b, o.ID...)
	b = append(b, " attempt="...)
	b = strconv.AppendInt(b, int64(o.Attempt), 10)
	if o.Repeat {
		b = append(b, " repeat=1 site="...)
	} else {
		b = append(b, " repeat=0 site="...)
	}
	b = escape.Append(b, o.Site)
	if o.Ready {
		b = append(b, " form=ready"...)
	}
	if o.Header != 0 {
		b = append(b, " header="...)
		b = strconv.AppendInt(b, o.Header, 10)
	}
	b = append(b, " size="...)
	b = strconv.AppendInt(b, o.Size, 10)
	b = append(b, " wire="...)
	b = strconv.AppendInt(b, o.Wire, 10)
	if o.Sender != nil {
		b = append(b, " sender="...)
		b = escape.Append(b, o.Sender.String())
	}
	if o.Junk {
		b = append(b, " junk=1"...)
	}
	for i := range o.Rcpts {
		b = append(b, " rcpt="...)
		b = appendNum(b, o.Rcpts[i].Num)
		b = append(b, ':')
		b = escape.Append(b, o.Rcpts[i].To.String())
	}
	return b
}

func appendNum(b []byte, n queue.Num) []byte {
	b = strconv.AppendInt(b, int64(n.N), 10)
	if n.Sub > 0 {
		b = append(b, '.')
		b = strconv.AppendInt(b, int64(n.Sub), 10)
	}
	return b
}

// ParseOrder reads one packet. Unknown key=value words are ignored, an unknown verb is an error.
func ParseOrder(packet []byte) (Order, error) {
	o, err := parseOrder(string(packet))
	if err != nil {
		return Order{}, fmt.Errorf("%w: %v", ErrProtocol, err)
	}
	return o, nil
}

func parseOrder(line string) (o Order, err error) {
	if strings.ContainsAny(line, "\n\x00") {
		return o, errors.New("more than one line")
	}
	var word string
	o.Verb, line = cut(line)
	if o.Verb == "quit" {
		return o, nil
	}
	word, line = cut(line)
	if o.Seq, err = strconv.ParseUint(word, 10, 64); err != nil {
		return o, errors.New("no sequence number")
	}
	switch o.Verb {
	case "next":
		return o, nil
	case "resolve":
		word, _ = cut(line)
		if o.Domain, err = escape.Parse(word); err == nil && o.Domain == "" {
			err = errors.New("no domain")
		}
		return o, err
	case "deliver":
		if o.ID, line = cut(line); !queue.ValidID(o.ID) {
			return o, errors.New("no id")
		}
		for line != "" && err == nil {
			word, line = cut(line)
			err = o.set(word)
		}
		if err == nil && len(o.Rcpts) == 0 {
			err = errors.New("no recipient")
		}
		return o, err
	}
	return o, errors.New("unknown verb")
}

// set takes one key=value of a deliver order.
func (o *Order) set(word string) (err error) {
	key, value, ok := strings.Cut(word, "=")
	if !ok {
		return errors.New("no key=value")
	}
	switch key {
	case "attempt":
		o.Attempt, err = strconv.Atoi(value)
		if err == nil && o.Attempt < 0 {
			err = errors.New("negative attempt")
		}
	case "repeat":
		o.Repeat = value == "1"
	case "site":
		o.Site, err = escape.Parse(value)
	case "form":
		if o.Ready = value == "ready"; !o.Ready {
			err = errors.New("unknown form")
		}
	case "header":
		o.Header, err = size(value)
	case "size":
		o.Size, err = size(value)
	case "wire":
		o.Wire, err = size(value)
	case "sender":
		var p address.Path
		p, err = path(value)
		o.Sender = &p
	case "junk":
		o.Junk = value == "1"
	case "rcpt":
		var r Rcpt
		num, addr, ok := strings.Cut(value, ":")
		if !ok {
			return errors.New("rcpt without number")
		}
		if r.Num, err = queue.ParseNum(num); err != nil {
			return err
		}
		if r.To, err = path(addr); err == nil {
			o.Rcpts = append(o.Rcpts, r)
		}
	}
	return err
}

func size(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err == nil && n < 0 {
		err = errors.New("negative size")
	}
	return n, err
}

func path(word string) (address.Path, error) {
	s, err := escape.Parse(word)
	if err != nil {
		return address.Path{}, err
	}
	return address.Parse(s)
}

// cut takes the first word off a line whose words are parted by one space.
func cut(line string) (word, rest string) {
	word, rest, _ = strings.Cut(line, " ")
	return word, rest
}

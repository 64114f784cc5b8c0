package queue

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/escape"
	"pennypost/internal/status"
)

// Num names a recipient of a message: N of the envelope, and Sub > 0 for the targets its alias or forward was expanded to.
type Num struct{ N, Sub int }

// String is "2", or "2.1" for the first target of recipient 2.
func (n Num) String() string {
	var room [24]byte
	return string(n.append(room[:0]))
}

func (n Num) append(b []byte) []byte {
	b = strconv.AppendInt(b, int64(n.N), 10)
	if n.Sub > 0 {
		b = strconv.AppendInt(append(b, '.'), int64(n.Sub), 10)
	}
	return b
}

// Compare orders numbers as a list of recipients has them.
func (n Num) Compare(m Num) int {
	if n.N != m.N {
		return n.N - m.N
	}
	return n.Sub - m.Sub
}

// ParseNum reads String.
func ParseNum(s string) (Num, error) {
	first, second, dotted := strings.Cut(s, ".")
	n, err := decimal(first)
	var sub int64
	if err == nil && dotted {
		if sub, err = decimal(second); sub == 0 && err == nil {
			err = errNumber
		}
	}
	if err != nil || n > 1<<30 || sub > 1<<30 {
		return Num{}, errNumber
	}
	return Num{int(n), int(sub)}, nil
}

// Kind is the kind of an event in ID.s and in results/.
type Kind string

const (
	Accept  Kind = "accept"
	Route   Kind = "route"
	Expand  Kind = "expand"
	Deliver Kind = "deliver"
	Defer   Kind = "defer"
	Bounce  Kind = "bounce"
	Delay   Kind = "delay"
	Expire  Kind = "expire"
	Hold    Kind = "hold"
	Release Kind = "release"
	Remove  Kind = "remove"
	End     Kind = "end"
)

// Event is one line of ID.s or results/: "TIME ID KIND NUM key=value …", fields always in this order,
// absent ones left out. It is written whole with one write(2); a last line without LF is torn and ignored.
type Event struct {
	Time    time.Time
	ID      string
	Kind    Kind
	Num     Num            // zero: the message
	To      address.Path   // the recipient's routed address
	From    address.Path   // accept
	Site    string         // site key
	Host    string         // remote host and address: "mx1.example.org[192.0.2.5]"
	TLS     string         // deliver to another host: dane mta-sts verified opportunistic-verified opportunistic none
	Status  status.Result  // deliver, defer, bounce
	Why     string         // cause in one word: greylist quota dns tls site policy
	Next    time.Time      // defer
	Attempt int            // defer, deliver
	Targets []address.Path // expand: the targets, numbered Num.N.1 …, continuing after earlier ones
	DSN     string         // bounce, delay: id of the report that was queued for it
	Size    int64          // accept
	Delay   time.Duration  // deliver: since acceptance
}

// Moved is the Why of a Remove whose file was simply gone: somebody ran rm, or mv to hold/, from where
// it may come back. Such a message is not at its end.
const Moved = "removed or moved by somebody"

// outcome is what a kind of event means for its recipient.
func outcome(k Kind) status.Outcome {
	switch k {
	case Defer, Delay, Hold:
		return status.Deferred
	case Bounce, Expire:
		return status.Failed
	}
	return status.Delivered
}

// Append writes the event as one line with its LF.
func (ev *Event) Append(b []byte) []byte {
	b = append(appendTime(b, ev.Time), ' ')
	b = append(append(b, ev.ID...), ' ')
	b = append(escape.Append(b, string(ev.Kind)), ' ')
	if ev.Num == (Num{}) {
		b = append(b, '-')
	} else {
		b = ev.Num.append(b)
	}
	word := func(key, v string) {
		if v != "" {
			b = escape.Append(append(append(b, ' '), key...), v)
		}
	}
	number := func(key string, n int64) {
		if n != 0 {
			b = strconv.AppendInt(append(append(b, ' '), key...), n, 10)
		}
	}
	word("to=", ev.To.String())
	if ev.Kind == Accept {
		b = escape.Append(append(b, " from="...), ev.From.String())
	} else {
		word("from=", ev.From.String())
	}
	word("site=", ev.Site)
	word("host=", ev.Host)
	word("tls=", ev.TLS)
	word("status=", ev.Status.Enhanced)
	number("code=", int64(ev.Status.Code))
	word("why=", ev.Why)
	if !ev.Next.IsZero() {
		b = appendTime(append(b, " next="...), ev.Next)
	}
	number("n=", int64(ev.Attempt))
	for _, t := range ev.Targets {
		word("target=", t.String())
	}
	word("dsn=", ev.DSN)
	number("size=", ev.Size)
	if ev.Delay > 0 {
		b = appendTime(append(b, " delay="...), time.UnixMicro(ev.Delay.Microseconds()))
	}
	word("text=", ev.Status.Text)
	return append(b, '\n')
}

// ParseEvent reads one line without LF. Unknown keys are ignored, unknown kinds kept.
func ParseEvent(line []byte) (Event, error) {
	var ev Event
	words := bytes.Split(line, []byte(" "))
	if len(words) < 4 {
		return ev, bad("event of %d words", len(words))
	}
	var err error
	if ev.Time, err = parseTime(string(words[0])); err != nil {
		return ev, bad("time of an event: %.40q", words[0])
	}
	if ev.ID = string(words[1]); !ValidID(ev.ID) {
		return ev, bad("id of an event: %.60q", ev.ID)
	}
	kind, err := escape.Parse(string(words[2]))
	if err != nil || kind == "" || len(kind) > 40 {
		return ev, bad("kind of an event: %.40q", words[2])
	}
	ev.Kind = Kind(kind)
	if num := string(words[3]); num != "-" {
		if ev.Num, err = ParseNum(num); err != nil {
			return ev, bad("recipient of an event: %.40q", num)
		}
	}
	ev.Status.Outcome = outcome(ev.Kind)
	for _, w := range words[4:] {
		key, v, ok := strings.Cut(string(w), "=")
		if !ok {
			return ev, bad("word of an event: %.60q", w)
		}
		if err := ev.set(key, v); err != nil {
			return ev, bad("%s= of an event: %.60q: %v", key, v, err)
		}
	}
	return ev, nil
}

// set takes one key=value.
func (ev *Event) set(key, v string) (err error) {
	number := func() (n int64) { n, err = decimal(v); return n }
	word := func() (s string) { s, err = escape.Parse(v); return s }
	path := func() (p address.Path) {
		if s := word(); err == nil {
			p, err = address.Parse(s)
		}
		return p
	}
	switch key {
	case "to":
		ev.To = path()
	case "from":
		ev.From = path()
	case "site":
		ev.Site = word()
	case "host":
		ev.Host = word()
	case "tls":
		ev.TLS = word()
	case "status":
		ev.Status.Enhanced = word()
	case "code":
		ev.Status.Code = int(number())
	case "why":
		ev.Why = word()
	case "next":
		ev.Next, err = parseTime(v)
	case "n":
		ev.Attempt = int(number())
	case "target":
		ev.Targets = append(ev.Targets, path())
	case "dsn":
		if ev.DSN = word(); err == nil && !ValidID(ev.DSN) {
			err = errNotID
		}
	case "size":
		ev.Size = number()
	case "delay":
		var t time.Time
		if t, err = parseTime(v); err == nil {
			ev.Delay = time.Duration(t.UnixMicro()) * time.Microsecond
		}
	case "text":
		ev.Status.Text = word()
	}
	return err
}

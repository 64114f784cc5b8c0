/*
Package outbound counts what an account sends, so that a stolen password does not make a spammer of us (S121).

	outbound/count:NAME   how much NAME has sent of late, and a sketch of whom it ever wrote to    written by queue-run
	outbound/held:NAME    NAME has gone beyond [outbound]: its mail is held until this file goes    made by queue-run, or by hand

NAME is the account's address, percent-escaped where it needs it (package escape). A count is a cache: written some seconds after the
fact and not synced, begun again when it is damaged or removed. A count is a few lines of text, a blank line, and the addresses:

	outbound 1
	messages 12.5
	recipients 40
	new_recipients 3.2
	day 20781 40 2 113 0
	at 1795321402
	addresses 46

Levels leak evenly; the day has what became of recipients, taken and refused, on it and on the day before. Up to 1,024 addresses are hashes of
four octets. More make a sketch of 131,072 bits, in which an address that is not there passes for one that is once in two hundred times
with 10,000 of them: then the limit of new recipients holds less, and nobody is held for it.
*/
package outbound

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/config"
	"pennypost/internal/escape"
)

// Files of an account, below the spool.
func CountFile(name string) string { return "outbound/count:" + escape.File(name) }

// HeldFile is the file that has the mail of an account held.
func HeldFile(name string) string { return "outbound/held:" + escape.File(name) }

// Held is the account a name in outbound/ is about, if it is that of a HeldFile.
func Held(base string) (name string, ok bool) { return named(base, "held:") }

// Counted is the account a name in outbound/ is about, if it is that of a CountFile.
func Counted(base string) (name string, ok bool) { return named(base, "count:") }

func named(base, kind string) (string, bool) {
	word, ok := strings.CutPrefix(base, kind)
	if !ok {
		return "", false
	}
	name, err := escape.Parse(word)
	return name, err == nil && name != ""
}

const (
	magic      = "outbound 1"
	listMost   = 1024
	sketchSize = 1 << 14 // octets
	probes     = 4
	leastCount = 50 // recipients before a ratio says anything
)

// Account is what one account has sent.
type Account struct {
	Messages   float64 // levels at At
	Recipients float64
	New        float64
	Day        int    // days since 1970
	Taken      [2]int // recipients that took mail: on Day, and on the day before
	Refused    [2]int
	At         time.Time

	list   []uint32 // sorted
	sketch []byte   // instead, when there were too many
}

// Message counts a message and says what it is too much of; "" for nothing.
func (a *Account) Message(now time.Time, to []address.Path, l config.Outbound) string {
	a.pass(now, l)
	a.Messages = rise(a.Messages, 1, l.Messages)
	a.Recipients = rise(a.Recipients, len(to), l.Recipients)
	fresh := 0
	for _, p := range to {
		if a.meet(p) {
			fresh++
		}
	}
	a.New = rise(a.New, fresh, l.NewRecipients)
	for _, c := range []struct {
		level float64
		rate  config.Rate
		what  string
	}{{a.Messages, l.Messages, "messages"}, {a.Recipients, l.Recipients, "recipients"}, {a.New, l.NewRecipients, "new_recipients"}} {
		if c.rate.N > 0 && c.level > float64(c.rate.N) {
			return fmt.Sprintf("more than %d %s in %s (outbound.%s)", c.rate.N, strings.ReplaceAll(c.what, "_", " "), config.FormatDuration(c.rate.Per), c.what)
		}
	}
	return a.ratio(l)
}

// Outcome counts what became of a recipient.
func (a *Account) Outcome(now time.Time, refused bool, l config.Outbound) string {
	a.pass(now, l)
	if !refused {
		a.Taken[0]++
		return ""
	}
	a.Refused[0]++
	return a.ratio(l)
}

func (a *Account) ratio(l config.Outbound) string {
	refused := a.Refused[0] + a.Refused[1]
	all := refused + a.Taken[0] + a.Taken[1]
	if l.BounceRatio > 0 && all >= leastCount && refused*100 > l.BounceRatio*all {
		return fmt.Sprintf("%d of %d recipients were refused (outbound.bounce_ratio)", refused, all)
	}
	return ""
}

// Forgive forgets what was too much, and not whom the account knows.
func (a *Account) Forgive() {
	a.Messages, a.Recipients, a.New, a.Taken, a.Refused = 0, 0, 0, [2]int{}, [2]int{}
}

// pass lets the time pass since At. A clock set back forgets nothing.
func (a *Account) pass(now time.Time, l config.Outbound) {
	if d := now.Sub(a.At); d > 0 && !a.At.IsZero() {
		a.Messages = leak(a.Messages, d, l.Messages)
		a.Recipients = leak(a.Recipients, d, l.Recipients)
		a.New = leak(a.New, d, l.NewRecipients)
	}
	a.At = now
	day := int(now.Unix() / 86400)
	switch {
	case day == a.Day+1:
		a.Taken, a.Refused = [2]int{0, a.Taken[0]}, [2]int{0, a.Refused[0]}
	case day > a.Day:
		a.Taken, a.Refused = [2]int{}, [2]int{}
	}
	a.Day = max(a.Day, day)
}

func leak(level float64, d time.Duration, r config.Rate) float64 {
	if r.N == 0 {
		return 0
	}
	return max(0, level-float64(r.N)*d.Seconds()/r.Per.Seconds())
}

func rise(level float64, n int, r config.Rate) float64 {
	if r.N == 0 {
		return 0
	}
	return min(level+float64(n), 2*float64(r.N)+1)
}

// meet notes an address and reports whether it was not there.
func (a *Account) meet(p address.Path) bool {
	f := fnv.New64a()
	f.Write([]byte(strings.ToLower(p.String())))
	sum := f.Sum64()
	h := uint32(sum>>32) ^ uint32(sum)
	if a.sketch == nil {
		i, there := slices.BinarySearch(a.list, h)
		if there {
			return false
		}
		if len(a.list) < listMost {
			a.list = slices.Insert(a.list, i, h)
			return true
		}
		a.sketch = make([]byte, sketchSize)
		for _, old := range a.list {
			a.mark(old)
		}
		a.list = nil
	}
	return a.mark(h)
}

// mark sets the bits of a hash and reports whether one was not set.
func (a *Account) mark(h uint32) (fresh bool) {
	x := uint64(h) + 0x9e3779b97f4a7c15
	for range probes {
		x ^= x >> 30
		x *= 0xbf58476d1ce4e5b9
		x ^= x >> 27
		bit := x % (sketchSize * 8)
		if a.sketch[bit/8]&(1<<(bit%8)) == 0 {
			a.sketch[bit/8] |= 1 << (bit % 8)
			fresh = true
		}
	}
	return fresh
}

// Append writes a as its file has it.
func (a *Account) Append(b []byte) []byte {
	b = fmt.Appendf(b, magic+"\nmessages %.2f\nrecipients %.2f\nnew_recipients %.2f\nday %d %d %d %d %d\nat %d\n", a.Messages, a.Recipients, a.New,
		a.Day, a.Taken[0], a.Refused[0], a.Taken[1], a.Refused[1], a.At.Unix())
	if a.sketch != nil {
		return append(append(b, "addresses many\n\n"...), a.sketch...)
	}
	b = fmt.Appendf(b, "addresses %d\n\n", len(a.list))
	for _, h := range a.list {
		b = binary.LittleEndian.AppendUint32(b, h)
	}
	return b
}

// FileMost bounds the file of an account, in octets.
const FileMost = 1024 + sketchSize

var errDamaged = errors.New("not a count of outbound/")

// Parse reads what Append wrote.
func Parse(b []byte) (*Account, error) {
	head, rest, ok := strings.Cut(string(b), "\n\n")
	if !ok || len(b) > FileMost {
		return nil, errDamaged
	}
	a := new(Account)
	var at int64
	var many string
	n, err := fmt.Sscanf(head, magic+"\nmessages %f\nrecipients %f\nnew_recipients %f\nday %d %d %d %d %d\nat %d\naddresses %s", &a.Messages, &a.Recipients, &a.New,
		&a.Day, &a.Taken[0], &a.Refused[0], &a.Taken[1], &a.Refused[1], &at, &many)
	if err != nil || n != 10 {
		return nil, errDamaged
	}
	for _, f := range []float64{a.Messages, a.Recipients, a.New} {
		if math.IsNaN(f) || f < 0 || f > 1e7 {
			return nil, errDamaged
		}
	}
	for _, n := range []int{a.Day, a.Taken[0], a.Refused[0], a.Taken[1], a.Refused[1]} {
		if n < 0 || n > 1e9 {
			return nil, errDamaged
		}
	}
	a.At = time.Unix(at, 0)
	if many == "many" {
		if len(rest) != sketchSize {
			return nil, errDamaged
		}
		a.sketch = []byte(rest)
		return a, nil
	}
	if len(rest)%4 != 0 || len(rest) > 4*listMost || many != fmt.Sprint(len(rest)/4) {
		return nil, errDamaged
	}
	for i := 0; i < len(rest); i += 4 {
		a.list = append(a.list, binary.LittleEndian.Uint32([]byte(rest[i:i+4])))
	}
	if !slices.IsSorted(a.list) {
		return nil, errDamaged
	}
	return a, nil
}

package mailq

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/width"

	"pennypost/internal/escape"
)

// columns is how many columns of a terminal s takes.
func columns(s string) (n int) {
	for _, r := range s {
		n += columnsOf(r)
	}
	return n
}

func columnsOf(r rune) int {
	if r < 0x300 {
		return 1
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// cut shortens s to the width of the terminal; what is cut is marked.
func cut(s string, most int) string {
	if most <= 0 || columns(s) <= most {
		return s
	}
	n := 0
	for i, r := range s {
		if n += columnsOf(r); n >= most {
			return s[:i] + "…"
		}
	}
	return s
}

// pad fills s up to a column.
func pad(s string, to int) string {
	if n := columns(s); n < to {
		return s + strings.Repeat(" ", to-n)
	}
	return s
}

// span is a duration for people: its two largest units.
func span(d time.Duration) string {
	d = d.Round(time.Second)
	if d < 0 {
		d = -d
	}
	units := []struct {
		letter string
		size   time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	for i, u := range units {
		if d < u.size && u.size > time.Second {
			continue
		}
		s := fmt.Sprintf("%d%s", d/u.size, u.letter)
		if i+1 < len(units) {
			if rest := d % u.size / units[i+1].size; rest > 0 && d < 10*u.size {
				s += fmt.Sprintf("%d%s", rest, units[i+1].letter)
			}
		}
		return s
	}
	return "0s"
}

// when is a time with how far it is away.
func (t *Tool) when(at time.Time) string {
	d := at.Sub(t.now())
	if d < 0 {
		return at.Local().Format("2006-01-02 15:04:05") + " (" + span(d) + " ago)"
	}
	return at.Local().Format("2006-01-02 15:04:05") + " (in " + span(d) + ")"
}

// next is when a recipient is tried again.
func (t *Tool) next(at time.Time) string {
	if d := at.Sub(t.now()); d > 0 {
		return "next try in " + span(d)
	}
	return "next try now"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// safe is a string from outside as a terminal may see it.
func safe(s string) string { return escape.Terminal(s) }

// lead fills s up with spaces in front.
func lead(s string, to int) string {
	if n := columns(s); n < to {
		return strings.Repeat(" ", to-n) + s
	}
	return " " + s
}

// number is a count in a column; a dot for none is easier to read past.
func number(n, to int) string {
	if n == 0 {
		return lead(".", to)
	}
	return lead(strconv.Itoa(n), to)
}

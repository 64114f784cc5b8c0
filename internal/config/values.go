package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

func errorf(format string, args ...any) error { return fmt.Errorf(format, args...) }

// quote shows a word of the file in an error: as it is where it is plain.
func quote(word string) string {
	for _, r := range word {
		if r != '_' && r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9') && (r < 'A' || r > 'Z') {
			return strconv.Quote(word)
		}
	}
	return word
}

// number is an integer from low to high.
func number(name string, p *int, low, high int) key {
	return key{name, p, func(value any) error {
		n, ok := value.(int64)
		if !ok {
			return errors.New("is a number, without quotes and unit")
		}
		if n < int64(low) || n > int64(high) {
			return errorf("is %d, and may be %d to %d", n, low, high)
		}
		*p = int(n)
		return nil
	}}
}

func flag(name string, p *bool) key {
	return key{name, p, func(value any) error {
		b, ok := value.(bool)
		if !ok {
			return errors.New("is true or false, without quotes")
		}
		*p = b
		return nil
	}}
}

// word is a string that check accepts, perhaps in another spelling.
func word(name string, p *string, check func(string) (string, error)) key {
	return key{name, p, func(value any) error {
		s, ok := value.(string)
		if !ok {
			return errors.New("is a text in quotes")
		}
		s, err := check(s)
		if err != nil {
			return err
		}
		*p = s
		return nil
	}}
}

// words is a list of strings; a single one needs no brackets.
func words(name string, p *[]string, check func(string) (string, error)) key {
	return key{name, p, func(value any) error {
		list, err := texts(value)
		if err != nil {
			return err
		}
		*p = nil
		for _, s := range list {
			s, err := check(s)
			if err != nil {
				return err
			}
			*p = append(*p, s)
		}
		return nil
	}}
}

func texts(value any) ([]string, error) {
	switch v := value.(type) {
	case string:
		return []string{v}, nil
	case []any:
		list := make([]string, 0, len(v))
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				return nil, errors.New("is a list of texts in quotes")
			}
			list = append(list, s)
		}
		return list, nil
	}
	return nil, errors.New("is a text in quotes, or a list of them")
}

func choice(name string, p *string, allowed ...string) key {
	return word(name, p, func(s string) (string, error) {
		if slices.Contains(allowed, s) {
			return s, nil
		}
		said := slices.DeleteFunc(slices.Clone(allowed), func(a string) bool { return a == "" })
		return "", errorf("is %q, and may be %s", s, strings.Join(said, ", "))
	})
}

func prefixes(name string, p *[]netip.Prefix) key {
	return key{name, p, func(value any) error {
		list, err := texts(value)
		if err != nil {
			return err
		}
		*p = nil
		for _, s := range list {
			net, err := Network(s)
			if err != nil {
				return err
			}
			*p = append(*p, net)
		}
		return nil
	}}
}

// Network reads 192.0.2.0/24, 2001:db8::/32 or a single address.
func Network(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	net, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, errorf("holds %q, which is no network: write 192.0.2.0/24, 2001:db8::/32 or one address", s)
	case net.Addr().Is4In6():
		return netip.Prefix{}, errorf("holds %q: write the IPv4 network itself", s)
	case net != net.Masked():
		return netip.Prefix{}, errorf("holds %q, which has bits set after the slash's length; did you mean %s?", s, net.Masked())
	}
	return net, nil
}

// size is octets: 25MiB, 10MB, 512, or the bare number.
func size(name string, p *int64, low, high int64) key {
	return key{name, p, func(value any) error {
		var n int64
		switch v := value.(type) {
		case int64:
			n = v
		case string:
			var err error
			if n, err = Size(v); err != nil {
				return err
			}
		default:
			return errors.New(`is a size such as "25MiB"`)
		}
		if n < low || n > high {
			return errorf("is %s, and may be %s to %s", FormatSize(n), FormatSize(low), FormatSize(high))
		}
		*p = n
		return nil
	}}
}

var sizeUnits = []struct {
	name string
	n    int64
}{
	{"B", 1}, {"KiB", kib}, {"MiB", mib}, {"GiB", gib}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"", 1},
}

// Size reads a number of octets with its unit: 25MiB, 10MB, 512. "none" is 0.
func Size(s string) (int64, error) {
	if s == "none" {
		return 0, nil
	}
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	unit := strings.TrimLeft(s[digits:], " ")
	for _, u := range sizeUnits {
		if digits == 0 || unit != u.name {
			continue
		}
		n, err := strconv.ParseInt(s[:digits], 10, 64)
		if err != nil || n > math.MaxInt64/u.n {
			return 0, errorf("is %q, which is too much", s)
		}
		return n * u.n, nil
	}
	return 0, errorf("is %q: write a size such as 25MiB (KiB MiB GiB TiB, or kB MB GB TB)", s)
}

// Quota is how much mail an account may hold, 0 any number.
type Quota struct{ Octets, Messages int64 }

// ParseQuota reads a size, a number of messages as in "50000 messages", or both, "10GiB 50000 messages". "none" is no limit.
func ParseQuota(s string) (q Quota, err error) {
	said, counted := strings.CutSuffix(s, " messages")
	if !counted {
		q.Octets, err = Size(s)
		return q, err
	}
	size, number, both := strings.Cut(strings.TrimSpace(said), " ")
	if !both {
		size, number = "none", size
	}
	if q.Octets, err = Size(size); err != nil {
		return Quota{}, err
	}
	if q.Messages, err = strconv.ParseInt(strings.TrimSpace(number), 10, 64); err != nil || q.Messages < 1 {
		return Quota{}, errorf("is %q: write a quota such as 10GiB, 50000 messages, or 10GiB 50000 messages", s)
	}
	return q, nil
}

// String is the form ParseQuota reads back.
func (q Quota) String() string {
	var said []string
	if q.Octets > 0 {
		said = append(said, FormatSize(q.Octets))
	}
	if q.Messages > 0 {
		said = append(said, strconv.FormatInt(q.Messages, 10)+" messages")
	}
	return cmp.Or(strings.Join(said, " "), "none")
}

// quota is a Quota, or a number of octets.
func quota(name string, p *Quota) key {
	return key{name, p, func(value any) (err error) {
		switch v := value.(type) {
		case int64:
			if v < 0 {
				return errors.New("is below 0")
			}
			*p = Quota{Octets: v}
		case string:
			*p, err = ParseQuota(v)
		default:
			return errors.New(`is a quota such as "10GiB"`)
		}
		return err
	}}
}

// FormatSize is the shortest form Size reads back.
func FormatSize(n int64) string {
	for i := 4; i > 0; i-- {
		if u := sizeUnits[i]; n != 0 && n%u.n == 0 {
			return strconv.FormatInt(n/u.n, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// often is a Rate: 100/m, 1000/6h, or none.
func often(name string, p *Rate) key {
	return key{name, p, func(value any) error {
		s, ok := value.(string)
		if !ok {
			return errors.New(`is a number and a time such as "100/m", in quotes`)
		}
		r, err := ParseRate(s)
		if err == nil {
			*p = r
		}
		return err
	}}
}

// ParseRate reads 100/m, 1000/6h, or none.
func ParseRate(s string) (Rate, error) {
	if s == "none" {
		return Rate{}, nil
	}
	count, unit, _ := strings.Cut(s, "/")
	if unit != "" && (unit[0] < '0' || unit[0] > '9') {
		unit = "1" + unit
	}
	n, err := strconv.ParseUint(count, 10, 20)
	per, err2 := Duration(unit)
	if err != nil || err2 != nil || n == 0 || per < time.Second || per > 31*day {
		return Rate{}, errorf("is %q: write a number and a time, such as 100/m or 1000/6h (s m h d), or none", s)
	}
	return Rate{int(n), per}, nil
}

// Parse reads what a file of a domain or an account changes of [outbound]: a line "KEY VALUE" for each.
func (o *Outbound) Parse(text string) error {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		var err error
		switch value = strings.TrimSpace(value); name {
		case "", "#":
		case "messages":
			o.Messages, err = ParseRate(value)
		case "recipients":
			o.Recipients, err = ParseRate(value)
		case "new_recipients":
			o.NewRecipients, err = ParseRate(value)
		case "bounce_ratio":
			if o.BounceRatio, err = strconv.Atoi(value); err != nil || o.BounceRatio < 0 || o.BounceRatio > 100 {
				err = errorf("is %q, and may be 0 to 100", value)
			}
		default:
			err = errorf("is none of messages, recipients, new_recipients, bounce_ratio")
		}
		if err != nil {
			return errorf("%.40s %w", name, err)
		}
	}
	return nil
}

// duration is a text such as "5d" or "1h 30m".
func duration(name string, p *time.Duration, low, high time.Duration) key {
	return key{name, p, func(value any) error {
		s, ok := value.(string)
		if n, isInt := value.(int64); isInt && n == 0 {
			s, ok = "0", true
		}
		if !ok {
			return errors.New(`is a time such as "90s" or "5d", in quotes`)
		}
		d, err := Duration(s)
		if err != nil {
			return err
		}
		if d < low || d > high {
			return errorf("is %s, and may be %s to %s", FormatDuration(d), FormatDuration(low), FormatDuration(high))
		}
		*p = d
		return nil
	}}
}

var timeUnits = []struct {
	name string
	d    time.Duration
}{
	{"w", 7 * day}, {"d", day}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}, {"us", time.Microsecond},
}

// Duration reads "5d", "4h", "90s", "1h 30m"; "0" needs no unit.
func Duration(s string) (sum time.Duration, err error) {
	if s == "0" {
		return 0, nil
	}
	bad := errorf("is %q: write a time such as 90s, 4h or 5d (w d h m s ms)", s)
	rest := strings.TrimSpace(s)
	if rest == "" {
		return 0, bad
	}
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil {
			return 0, bad
		}
		rest = rest[digits:]
		letters := len(rest) - len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz"))
		i := slices.IndexFunc(timeUnits, func(u struct {
			name string
			d    time.Duration
		}) bool {
			return u.name == rest[:letters]
		})
		if i < 0 {
			return 0, bad
		}
		unit := timeUnits[i].d
		if n > int64((math.MaxInt64-sum)/unit) {
			return 0, errorf("is %q, which is too long", s)
		}
		sum += time.Duration(n) * unit
		rest = strings.TrimLeft(rest[letters:], " ")
	}
	return sum, nil
}

// FormatDuration is a form Duration reads back: 5d, 1h30m, 90s.
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	for _, u := range timeUnits[1:] {
		if d%u.d == 0 {
			return strconv.FormatInt(int64(d/u.d), 10) + u.name
		}
	}
	return d.String()
}

func store[T any](m *map[string]T, name string, v T) error {
	if *m == nil {
		*m = map[string]T{}
	}
	if _, ok := (*m)[name]; ok {
		return errors.New("is there twice, in another spelling")
	}
	(*m)[name] = v
	return nil
}

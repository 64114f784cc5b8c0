package maildir

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// Key is a file name before its flags: up to the first ':'.
func Key(name string) string {
	if i := strings.IndexByte(name, ':'); i >= 0 {
		return name[:i]
	}
	return name
}

// Base is a file name up to the first ',' or ':': what a repeated delivery is recognised by.
func Base(name string) string {
	if i := strings.IndexAny(name, ",:"); i >= 0 {
		return name[:i]
	}
	return name
}

// Flags are the letters after ":2,".
func Flags(name string) string {
	if i := strings.IndexByte(name, ':'); i >= 0 && strings.HasPrefix(name[i:], ":2,") {
		return name[i+3:]
	}
	return ""
}

// Sizes are the numbers of ,S= and ,W=; -1 where the name has none.
func Sizes(name string) (size, wire int64) {
	size, wire = -1, -1
	rest := Key(name)
	for {
		_, after, more := strings.Cut(rest, ",")
		if !more {
			return size, wire
		}
		rest = after
		field, _, _ := strings.Cut(rest, ",")
		if len(field) < 3 || field[1] != '=' {
			continue
		}
		n, err := strconv.ParseInt(field[2:], 10, 64)
		if err != nil || n < 0 {
			continue
		}
		switch field[0] {
		case 'S':
			size = n
		case 'W':
			wire = n
		}
	}
}

// AppendBase writes SEC.ID_NUM.HOST.
func AppendBase(b []byte, sec int64, id, num, host string) []byte {
	b = strconv.AppendInt(b, sec, 10)
	b = append(b, '.')
	b = append(b, id...)
	b = append(b, '_')
	b = append(b, num...)
	b = append(b, '.')
	return append(b, host...)
}

// AppendSizes writes ,S=size,W=wire.
func AppendSizes(b []byte, size, wire int64) []byte {
	b = strconv.AppendInt(append(b, ",S="...), size, 10)
	return strconv.AppendInt(append(b, ",W="...), wire, 10)
}

// Host is a host name fit for a Maildir name.
func Host(hostname string) string {
	return strings.NewReplacer("/", `\057`, ":", `\072`, ",", `\054`).Replace(hostname)
}

// longestUIDL is the limit of RFC 1939 section 7.
const longestUIDL = 70

// UIDL is the unique-id of the message with this file name: its base, or the hash of the base
// where POP3 could not say it.
func UIDL(name string) string {
	base := Base(name)
	if len(base) == 0 || len(base) > longestUIDL {
		return hashed(base)
	}
	for i := 0; i < len(base); i++ {
		if base[i] < 0x21 || base[i] > 0x7e {
			return hashed(base)
		}
	}
	return base
}

func hashed(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

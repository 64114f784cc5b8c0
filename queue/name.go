package queue

import (
	"errors"
	"strconv"
	"strings"
)

// side are the endings of files that belong to a message.
var side = []string{".r", ".s", ".why"}

// ParseName takes a file name of in/*/new or q/ apart: id, link-ready or not, sizes and hash of a ready one.
// Side files (ID.s, ID.r) and foreign names give ok = false.
func ParseName(name string) (id string, ready bool, size, wire int64, hash string, ok bool) {
	id, rest, ready := strings.Cut(name, ".m,")
	if !ValidID(id) {
		return "", false, 0, 0, "", false
	}
	if !ready {
		return id, false, 0, 0, "", true
	}
	s, rest, ok1 := strings.Cut(rest, ",")
	w, h, ok2 := strings.Cut(rest, ",")
	size, err1 := field(s, "S=")
	wire, err2 := field(w, "W=")
	hash, ok3 := strings.CutPrefix(h, "H=")
	if !ok1 || !ok2 || !ok3 || err1 != nil || err2 != nil || !validHash(hash) {
		return "", false, 0, 0, "", false
	}
	return id, true, size, wire, hash, true
}

var (
	errNumber = errors.New("not a plain number")
	errNotID  = errors.New("not an id")
)

func field(word, key string) (int64, error) {
	digits, ok := strings.CutPrefix(word, key)
	if !ok {
		return 0, errNumber
	}
	return decimal(digits)
}

// decimal reads digits and nothing else: no sign, no underscore.
func decimal(s string) (int64, error) {
	if s == "" || len(s) > 18 {
		return 0, errNumber
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, errNumber
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, nil
}

func validHash(h string) bool {
	if len(h) != 32 {
		return false
	}
	for i := range len(h) {
		if c := h[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// readyName is the name of a link-ready file.
func readyName(id string, size, wire int64, hash string) string {
	b := make([]byte, 0, len(id)+96)
	b = append(append(b, id...), ".m,S="...)
	b = append(strconv.AppendInt(b, size, 10), ",W="...)
	b = append(strconv.AppendInt(b, wire, 10), ",H="...)
	return string(append(b, hash...))
}

// sideOf takes ID.s, ID.r and ID.why apart.
func sideOf(name string) (id, ending string, ok bool) {
	for _, end := range side {
		if id, found := strings.CutSuffix(name, end); found && ValidID(id) {
			return id, end, true
		}
	}
	return "", "", false
}

// split is the directory and the last part of a name below the spool.
func split(name string) (dir, base string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return ".", name
	}
	return name[:i], name[i+1:]
}

// idOf is the id in the file name of a message.
func idOf(name string) (id string, ok bool) {
	_, base := split(name)
	id, _, _, _, _, ok = ParseName(base)
	return id, ok
}

// from is the producer in whose new/ the name is, or "".
func from(name string) string {
	rest, ok := strings.CutPrefix(name, "in/")
	if !ok {
		return ""
	}
	p, rest, ok := strings.Cut(rest, "/")
	if !ok || !strings.HasPrefix(rest, "new/") {
		return ""
	}
	return p
}

package mailbox

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"pennypost/internal/sequence"
)

// uidsName is the authority for UIDs, mb-uids(5).
const uidsName = "mb-uids"

// uids is what mb-uids says: the fold of its lines up to the last good batch.
type uids struct {
	validity uint32
	id       string // MAILBOXID
	inode    uint64 // its own: another one means the file was copied or restored
	taken    string // what the dovecot-uidlist was like (listStamp) it was made from
	next     uint32 // the UID after the largest ever written
	bound    uint32 // every UID below may have been given out
	modseq   uint64 // the largest in a tombstone
	modBound uint64 // every mod-sequence below may have been given out
	floor    uint64 // tombstones are complete above this mod-sequence only
	boot     string // of the last writer
	time     int64  // of the last batch
	live     map[uint32]*line
	letters  map[byte]string // keyword letters that mean something else here than in the account
	dead     []tombstone
	vow      *vow  // a promise that is not kept yet, see promise.go
	size     int64 // octets up to the end of the last good batch
	lines    int   // number of lines up to there
	torn     bool  // something follows that is no whole batch
}

// line is a message in mb-uids.
type line struct {
	key   string
	saved int64
	size  int64 // -1 not known, here and below
	wire  int64
	more  string // keywords beyond the letters, space separated
	over  *override
}

// tombstone is a set of UIDs that went.
type tombstone struct {
	uids   sequence.Set
	modseq uint64
	time   int64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// bootID tells this run of the machine from earlier ones: what an earlier one did not sync may be gone.
var bootID = sync.OnceValue(func() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.ReplaceAll(strings.TrimSpace(string(text)), "-", "")[:12]
})

var errUIDs = errors.New("not an mb-uids file")

// parseUIDs reads the whole file.
func parseUIDs(text []byte) (*uids, error) {
	u := &uids{next: 1, live: map[uint32]*line{}, letters: map[byte]string{}}
	batch, at := 0, 0 // where the batch began, where we are
	var pending []func(*uids)
	for at < len(text) {
		i := bytes.IndexByte(text[at:], '\n')
		if i < 0 {
			break
		}
		row := text[at : at+i]
		begin := at
		at += i + 1
		if len(row) > 0 && row[0] == '=' {
			boot, when, ok := batchEnd(row, text[batch:begin])
			if !ok {
				break
			}
			for _, do := range pending {
				do(u)
			}
			u.lines += len(pending) + 1
			pending, batch = pending[:0], at
			u.boot, u.time, u.size = boot, when, int64(at)
			continue
		}
		do, err := parseLine(row)
		if err != nil {
			break
		}
		pending = append(pending, do)
	}
	u.torn = u.size < int64(len(text))
	if u.validity == 0 {
		return nil, errUIDs
	}
	return u, nil
}

// batchEnd reads "= CRC BOOT TIME"; "= -" is a batch a person edited.
func batchEnd(row, batch []byte) (boot string, when int64, ok bool) {
	f := strings.Fields(string(row))
	if len(f) == 2 && f[1] == "-" {
		return "edited", 0, true
	}
	if len(f) != 4 {
		return "", 0, false
	}
	sum, err := strconv.ParseUint(f[1], 16, 32)
	when, err2 := strconv.ParseInt(f[3], 10, 64)
	return f[2], when, err == nil && err2 == nil && uint32(sum) == crc32.Checksum(batch, castagnoli)
}

// parseLine reads one line into what it does to the fold.
func parseLine(row []byte) (func(*uids), error) {
	if len(row) == 0 || row[0] == '#' {
		return func(*uids) {}, nil
	}
	switch {
	case bytes.HasPrefix(row, []byte("mb1 ")):
		return parseHeader(string(row))
	case bytes.HasPrefix(row, []byte("R ")):
		var bound uint32
		var mod uint64
		if _, err := fmt.Sscanf(string(row), "R %d %d", &bound, &mod); err != nil || mod >= 1<<62 {
			return nil, errUIDs
		}
		return func(u *uids) { u.bound, u.modBound = max(u.bound, bound), max(u.modBound, mod) }, nil
	case bytes.HasPrefix(row, []byte("F ")):
		mod, err := strconv.ParseUint(string(row[2:]), 10, 62)
		if err != nil {
			return nil, errUIDs
		}
		return func(u *uids) { u.floor = max(u.floor, mod) }, nil
	case bytes.HasPrefix(row, []byte("K ")):
		letter, name, ok := strings.Cut(string(row[2:]), " ")
		if !ok || len(letter) != 1 || letter[0] < 'a' || letter[0] > 'z' || name == "" {
			return nil, errUIDs
		}
		return func(u *uids) { u.letters[letter[0]] = name }, nil
	case bytes.HasPrefix(row, []byte("X ")):
		number, words, _ := strings.Cut(string(row[2:]), " ")
		uid, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return nil, errUIDs
		}
		return func(u *uids) {
			if l := u.live[uint32(uid)]; l != nil {
				l.more = words
			}
		}, nil
	case row[0] == '-':
		return parseTombstone(string(row[1:]))
	case bytes.HasPrefix(row, []byte("P ")):
		v, err := parseVow(row[2:])
		return func(u *uids) { u.vow = v }, err
	case string(row) == "p":
		return func(u *uids) { u.vow = nil }, nil
	}
	return parseMessage(row)
}

func parseHeader(row string) (func(*uids), error) {
	var validity, inode uint64
	id, taken := "", ""
	if !strings.HasPrefix(row, "mb1 ") { // an empty file, too
		return nil, errUIDs
	}
	for _, f := range strings.Fields(row)[1:] {
		var err error
		switch f[0] {
		case 'V':
			validity, err = strconv.ParseUint(f[1:], 10, 32)
		case 'I':
			id = f[1:]
		case 'M':
			taken = f[1:]
		case 'N':
			inode, err = strconv.ParseUint(f[1:], 10, 64)
		}
		if err != nil {
			return nil, errUIDs
		}
	}
	if validity == 0 || id == "" {
		return nil, errUIDs
	}
	return func(u *uids) { u.validity, u.id, u.inode, u.taken = uint32(validity), id, inode, taken }, nil
}

func parseTombstone(row string) (func(*uids), error) {
	set, rest, _ := strings.Cut(row, " ")
	gone, ok := sequence.Parse([]byte(set))
	if !ok || gone.Dynamic() {
		return nil, errUIDs
	}
	t := tombstone{uids: gone.Resolve(0)}
	for _, f := range strings.Fields(rest) {
		n, err := strconv.ParseUint(f[1:], 10, 62)
		if err != nil {
			return nil, errUIDs
		}
		switch f[0] {
		case 'm':
			t.modseq = n
		case 'd':
			t.time = int64(n)
		}
	}
	return func(u *uids) {
		if t.uids.Count() > uint64(len(u.live)) { // a set may say billions
			for uid := range u.live {
				if t.uids.Has(uid) {
					delete(u.live, uid)
				}
			}
		} else {
			for uid := range t.uids.All {
				delete(u.live, uid)
			}
		}
		u.modseq = max(u.modseq, t.modseq)
		u.dead = append(u.dead, t)
		if n := len(t.uids); n > 0 && t.uids[n-1].Hi < 1<<32-1 {
			u.next = max(u.next, t.uids[n-1].Hi+1)
		}
	}, nil
}

// parseMessage reads "UID [Dtime] [Sn] [Wn] [Gguid] [Puidl] :key".
func parseMessage(row []byte) (func(*uids), error) {
	head, key, ok := bytes.Cut(row, []byte(" :"))
	if !ok { // the key may be empty: a file can be named ":2,S"
		return nil, errUIDs
	}
	number, rest, _ := bytes.Cut(head, []byte(" "))
	uid, err := strconv.ParseUint(string(number), 10, 32)
	if err != nil || uid == 0 || uid == 1<<32-1 {
		return nil, errUIDs
	}
	l := &line{key: unescapeName(key), size: -1, wire: -1}
	for _, f := range strings.Fields(string(rest)) {
		var n int64
		switch f[0] {
		case 'D', 'S', 'W':
			if n, err = strconv.ParseInt(f[1:], 10, 64); err != nil {
				return nil, errUIDs
			}
		}
		switch f[0] {
		case 'D':
			l.saved = n
		case 'S':
			l.size = n
		case 'W':
			l.wire = n
		case 'G', 'P':
			if l.over == nil {
				l.over = &override{}
			}
			if f[0] == 'G' {
				l.over.guid = f[1:]
			} else {
				l.over.uidl = f[1:]
			}
		}
	}
	return func(u *uids) {
		u.live[uint32(uid)] = l
		u.next = max(u.next, uint32(uid)+1)
	}, nil
}

// unescapeName undoes appendName.
func unescapeName(b []byte) string {
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+3 < len(b) && b[i+1] == 'x' {
			if n, err := strconv.ParseUint(string(b[i+2:i+4]), 16, 8); err == nil {
				out = append(out, byte(n))
				i += 3
				continue
			}
		}
		out = append(out, b[i])
	}
	return string(out)
}

// appendName writes a file name, whose octets may be anything but '/' and NUL.
func appendName[T string | []byte](b []byte, name T) []byte {
	const hex = "0123456789abcdef"
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c < 0x21 || c == 0x7f || c == '\\' {
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
			continue
		}
		b = append(b, c)
	}
	return b
}

// batch is lines for mb-uids that count together.
type batch struct{ text []byte }

func (b *batch) header(validity uint32, id string, inode uint64, taken string) {
	b.text = fmt.Appendf(b.text, "mb1 V%d I%s N%d", validity, id, inode)
	if taken != "" {
		b.text = append(append(b.text, " M"...), taken...)
	}
	b.text = append(b.text, '\n')
}

func (b *batch) reserve(uid uint32, modseq uint64) {
	b.text = fmt.Appendf(b.text, "R %d %d\n", uid, modseq)
}

func (b *batch) floor(modseq uint64) { b.text = fmt.Appendf(b.text, "F %d\n", modseq) }

func (b *batch) message(uid uint32, l *line) {
	t := strconv.AppendUint(b.text, uint64(uid), 10)
	number := func(letter byte, n int64, has bool) {
		if has {
			t = strconv.AppendInt(append(t, ' ', letter), n, 10)
		}
	}
	number('D', l.saved, l.saved > 0)
	number('S', l.size, l.size >= 0)
	number('W', l.wire, l.wire >= 0)
	if l.over != nil && l.over.guid != "" {
		t = append(append(t, " G"...), l.over.guid...)
	}
	if l.over != nil && l.over.uidl != "" {
		t = append(append(t, " P"...), l.over.uidl...)
	}
	b.text = append(appendName(append(t, " :"...), l.key), '\n')
	if l.more != "" {
		b.keywords(uid, l.more)
	}
}

// given is message for a new one with nothing to say beyond its key.
func (b *batch) given(uid uint32, saved int64, key []byte) {
	t := strconv.AppendUint(b.text, uint64(uid), 10)
	t = strconv.AppendInt(append(t, " D"...), saved, 10)
	b.text = append(appendName(append(t, " :"...), key), '\n')
}

// keywords writes the keywords beyond the letters.
func (b *batch) keywords(uid uint32, words string) {
	b.text = fmt.Appendf(b.text, "X %d %s\n", uid, words)
}

func (b *batch) gone(t tombstone) {
	if len(t.uids) == 0 {
		return
	}
	b.text = t.uids.Append(append(b.text, '-'))
	b.text = fmt.Appendf(b.text, " m%d d%d\n", t.modseq, t.time)
}

// end closes the batch, so that it counts.
func (b *batch) end(now time.Time) []byte {
	sum := crc32.Checksum(b.text, castagnoli)
	b.text = fmt.Appendf(b.text, "= %08x %s %d\n", sum, bootID(), now.Unix())
	return b.text
}

// rewrite is the whole file with only what counts.
func (u *uids) rewrite(inode uint64, now time.Time) []byte {
	var b batch
	b.header(u.validity, u.id, inode, u.taken)
	b.reserve(max(u.bound, u.next), u.modBound)
	if u.floor > 0 {
		b.floor(u.floor)
	}
	for c := byte('a'); c <= 'z'; c++ {
		if name := u.letters[c]; name != "" {
			b.text = fmt.Appendf(b.text, "K %c %s\n", c, name)
		}
	}
	order := make([]uint32, 0, len(u.live))
	for uid := range u.live {
		order = append(order, uid)
	}
	sort.Slice(order, func(i, j int) bool { return order[i] < order[j] })
	for _, uid := range order {
		b.message(uid, u.live[uid])
	}
	for _, t := range u.dead {
		b.gone(t)
	}
	if u.vow != nil {
		b.vow(u.vow)
	}
	return b.end(now)
}

// forget drops tombstones older than the time and raises the floor to them.
func (u *uids) forget(before int64) {
	kept := u.dead[:0]
	for _, t := range u.dead {
		if t.time < before {
			u.floor = max(u.floor, t.modseq)
			continue
		}
		kept = append(kept, t)
	}
	u.dead = kept
}

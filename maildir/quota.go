package maildir

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Quota counts what the mail of one account weighs, in the file maildirsize at the root of its Maildir
// as Maildir++ has it: the limits on the first line, then one line for every change.
//
//	1073741824S,50000C
//	917504 211
//	4096 1
//	-4096 -1
//
// Everybody appends, nobody locks. What is lost between a count and a change is found by the next
// count: when the file is longer than 5120 octets, makes no sense, or says that the account is
// over its limit and is older than a quarter of an hour.
type Quota struct {
	Limit  int64 // octets, 0 any number
	Most   int64 // messages, 0 any number
	Layout string

	m        *Maildir
	mu       sync.Mutex
	inode    uint64 // of the maildirsize that was read
	size     int64  // how much of it
	octets   int64
	messages int64
	changes  int // lines after the count
}

const (
	longestSizes = 5120
	recountAfter = 15 * time.Minute
)

var errSizes = errors.New("maildirsize makes no sense")

// NewQuota counts the Maildir m with the folders below it.
func NewQuota(m *Maildir, layout string, limit, most int64) *Quota {
	return &Quota{Limit: limit, Most: most, Layout: layout, m: m}
}

// Allows reports whether an account may hold so much.
func (q *Quota) Allows(octets, messages int64) bool {
	return (q.Limit == 0 || octets <= q.Limit) && (q.Most == 0 || messages <= q.Most)
}

// head is the first line of maildirsize.
func (q *Quota) head() string {
	switch {
	case q.Most == 0:
		return strconv.FormatInt(q.Limit, 10) + "S"
	case q.Limit == 0:
		return strconv.FormatInt(q.Most, 10) + "C"
	}
	return strconv.FormatInt(q.Limit, 10) + "S," + strconv.FormatInt(q.Most, 10) + "C"
}

// Used is how much there is. Nothing is read that has not changed since the last call.
func (q *Quota) Used(now time.Time) (octets, messages int64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.used(now)
}

func (q *Quota) used(now time.Time) (int64, int64, error) {
	info, err := q.m.Disk.Stat("maildirsize")
	if err == nil && !info.Mode.IsRegular() {
		err = errSizes
	}
	if err == nil && (info.Inode != q.inode || info.Size != q.size || info.Size == 0) {
		err = q.read()
	}
	stale := !q.Allows(q.octets, q.messages) && (q.changes > 0 || now.Sub(info.ModTime).Abs() > recountAfter)
	if err != nil || stale {
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errSizes) {
			return 0, 0, err
		}
		if err = q.recount(); err != nil {
			return 0, 0, err
		}
	}
	return q.octets, q.messages, nil
}

// Add notes a change. It is no error of the mail when it cannot be noted: the next count finds it.
func (q *Quota) Add(octets, messages int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f, err := q.m.Disk.Append("maildirsize", 0o600)
	if err != nil {
		q.inode = 0
		return
	}
	defer f.Close()
	var space [48]byte
	b := strconv.AppendInt(space[:0], octets, 10)
	b = strconv.AppendInt(append(b, ' '), messages, 10)
	b = append(b, '\n')
	info, err := f.Stat()
	if _, werr := f.Write(b); err != nil || werr != nil || info.Inode != q.inode || info.Size != q.size {
		q.inode = 0 // somebody else was here: read it again
		return
	}
	q.size += int64(len(b))
	q.octets += octets
	q.messages += messages
	q.changes++
}

// read sums up the file.
func (q *Quota) read() error {
	q.inode = 0
	f, err := q.m.Disk.Open("maildirsize")
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size > longestSizes {
		return errSizes
	}
	text := make([]byte, longestSizes+1)
	n, _ := f.ReadAt(text, 0)
	if n > longestSizes {
		return errSizes
	}
	octets, messages, changes, err := parseSizes(text[:n], q.head())
	if err != nil {
		return err
	}
	q.inode, q.size = info.Inode, int64(n)
	q.octets, q.messages, q.changes = octets, messages, changes
	return nil
}

func parseSizes(text []byte, limits string) (octets, messages int64, changes int, err error) {
	head, rest, ok := bytes.Cut(text, []byte("\n"))
	if !ok || string(bytes.TrimSpace(head)) != limits {
		return 0, 0, 0, errSizes // other limits now, or none of ours
	}
	lines := 0
	for len(rest) > 0 {
		var line []byte
		line, rest, ok = bytes.Cut(rest, []byte("\n"))
		fields := bytes.Fields(line)
		if !ok || len(fields) != 2 {
			return 0, 0, 0, errSizes
		}
		o, err1 := strconv.ParseInt(string(fields[0]), 10, 64)
		c, err2 := strconv.ParseInt(string(fields[1]), 10, 64)
		if err1 != nil || err2 != nil {
			return 0, 0, 0, errSizes
		}
		octets += o
		messages += c
		lines++
	}
	if lines == 0 || octets < 0 || messages < 0 {
		return 0, 0, 0, errSizes
	}
	return octets, messages, lines - 1, nil
}

// Recount counts the messages themselves.
func (q *Quota) Recount() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.recount()
}

func (q *Quota) recount() error {
	q.inode = 0
	var octets, messages int64
	for tries := 0; ; tries++ {
		before, err := q.stamps()
		if err != nil {
			return err
		}
		octets, messages = 0, 0
		for dir := range before {
			o, c, err := weigh(q.m, dir)
			if err != nil {
				return err
			}
			octets += o
			messages += c
		}
		after, err := q.stamps()
		if err != nil {
			return err
		}
		if same(before, after) || tries == 2 {
			break
		}
	}
	tmp := "tmp/maildirsize." + strconv.FormatUint(rand.Uint64(), 36)
	f, err := q.m.Disk.Create(tmp, 0o600)
	if err != nil {
		return err
	}
	var b []byte
	b = append(append(b, q.head()...), '\n')
	b = append(strconv.AppendInt(b, octets, 10), ' ')
	b = append(strconv.AppendInt(b, messages, 10), '\n')
	_, err = f.Write(b)
	info, serr := f.Stat()
	if cerr := f.Close(); err == nil {
		err = errors.Join(serr, cerr)
	}
	if err == nil {
		err = q.m.Disk.Rename(tmp, "maildirsize")
	}
	if err != nil {
		q.m.Disk.Remove(tmp)
		return err
	}
	q.inode, q.size = info.Inode, int64(len(b))
	q.octets, q.messages, q.changes = octets, messages, 0
	return nil
}

// stamps are the directories that hold messages and when each last changed.
func (q *Quota) stamps() (map[string]time.Time, error) {
	folders, err := q.m.Folders(q.Layout)
	if err != nil {
		return nil, err
	}
	dirs := make(map[string]time.Time)
	for _, folder := range append(folders, "") {
		for _, sub := range []string{"new", "cur"} {
			dir := sub
			if folder != "" {
				dir = folder + "/" + sub
			}
			info, err := q.m.Disk.Stat(dir)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if info.Mode.IsDir() {
				dirs[dir] = info.ModTime
			}
		}
	}
	return dirs, nil
}

func same(a, b map[string]time.Time) bool {
	if len(a) != len(b) {
		return false
	}
	for dir, when := range a {
		if other, ok := b[dir]; !ok || !other.Equal(when) {
			return false
		}
	}
	return true
}

// weigh sums up one directory; a name without S= is looked at.
func weigh(m *Maildir, dir string) (octets, messages int64, err error) {
	names, err := m.Disk.ReadDir(dir)
	if err != nil {
		return 0, 0, err
	}
	for _, name := range names {
		if strings.HasPrefix(name, ".") {
			continue
		}
		size, _ := Sizes(name)
		if size < 0 {
			info, err := m.Disk.Stat(dir + "/" + name)
			if err != nil || !info.Mode.IsRegular() {
				continue
			}
			size = info.Size
		}
		octets += size
		messages++
	}
	return octets, messages, nil
}

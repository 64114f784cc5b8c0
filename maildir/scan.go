package maildir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// Message is one file of a Maildir as a scan found it.
type Message struct {
	Dir   string // new or cur
	Name  string
	Inode uint64
}

// Path is where the file was: new/NAME.
func (m *Message) Path() string { return m.Dir + "/" + m.Name }

// Listing is what a scan found.
type Listing struct {
	Messages []Message // by time of delivery as their names have it, then by name
	Skipped  []string  // entries that are no regular files (S124), at most some
}

const (
	smallBuffer = 64 << 10
	largeBuffer = 256 << 20 // names of some millions of messages
	mostSkipped = 10
)

// Scan lists the messages in new/ and cur/.
//
// Each directory is read with one getdents64 call into a buffer bigger than the directory: on ext4, XFS
// and tmpfs that call is atomic, and a message that is renamed meanwhile is neither missed nor seen
// twice. Elsewhere each directory is read twice and the two readings are joined. new/ is read
// first, so that a message on its way to cur/ is met at least once.
func (m *Maildir) Scan() (Listing, error) {
	var l Listing
	seen := make(map[string]int) // key to index; only one of two names of the same file counts
	for _, dir := range []string{"new", "cur"} {
		if err := l.scan(filepath.Join(m.Root, dir), dir, seen); err != nil {
			return l, err
		}
	}
	sort.Slice(l.Messages, func(i, j int) bool { return earlier(l.Messages[i].Name, l.Messages[j].Name) })
	return l, nil
}

// earlier orders by the seconds a name begins with.
func earlier(a, b string) bool {
	x, y := digits(a), digits(b)
	if x != y {
		if len(x) != len(y) {
			return len(x) < len(y)
		}
		return x < y
	}
	return a < b
}

// digits are the digits s begins with, without leading zeros.
func digits(s string) string {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return strings.TrimLeft(s[:n], "0")
}

func (l *Listing) scan(path, dir string, seen map[string]int) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	rounds := 2
	if atomicScan(fd) {
		rounds = 1
	}
	for range rounds {
		if err := l.read(fd, dir, seen); err != nil {
			return &fs.PathError{Op: "readdir", Path: path, Err: err}
		}
	}
	return nil
}

// atomicScan reports whether one getdents64 call sees one state of the directory.
func atomicScan(fd int) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return false
	}
	switch int64(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.TMPFS_MAGIC:
		return true
	}
	return false
}

// read reads the whole directory in one call; st_size is only a hint of how much that is.
func (l *Listing) read(fd int, dir string, seen map[string]int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	for size := max(int(st.Size)*5/4, smallBuffer); ; size *= 4 {
		size = min(size, largeBuffer)
		if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
			return err
		}
		done, err := l.once(fd, dir, size, seen)
		if done || err != nil {
			return err
		}
	}
}

// once reads with a buffer of size octets, and says whether that was everything.
func (l *Listing) once(fd int, dir string, size int, seen map[string]int) (done bool, err error) {
	var buf []byte
	if size <= smallBuffer {
		buf = make([]byte, size)
	} else {
		// Given back to the kernel at once, and never a matter for the collector.
		if buf, err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON); err != nil {
			return false, err
		}
		defer unix.Munmap(buf)
	}
	n, err := getdents(fd, buf)
	if err != nil {
		return false, err
	}
	if len(buf) < largeBuffer {
		var rest [1024]byte
		if more, err := getdents(fd, rest[:]); err != nil || more > 0 {
			return false, err // again, with more room
		}
		l.entries(fd, dir, buf[:n], seen)
		return true, nil
	}
	for n > 0 { // bigger than anything: in pieces, after all
		l.entries(fd, dir, buf[:n], seen)
		if n, err = getdents(fd, buf); err != nil {
			return false, err
		}
	}
	return true, nil
}

func getdents(fd int, buf []byte) (int, error) {
	for {
		n, err := unix.Getdents(fd, buf)
		switch {
		case err == unix.EINTR:
		case err == unix.EINVAL && len(buf) < smallBuffer: // no room for the next name: there is more
			return 1, nil
		case err == unix.ENOENT: // the directory was removed while it was open
			return 0, err
		default:
			return n, err
		}
	}
}

// entries takes struct linux_dirent64 apart.
func (l *Listing) entries(fd int, dir string, b []byte, seen map[string]int) {
	const head = 19 // d_ino 8, d_off 8, d_reclen 2, d_type 1
	for len(b) > head {
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size <= head || size > len(b) {
			return
		}
		name := b[head:size]
		if i := bytes.IndexByte(name, 0); i >= 0 {
			name = name[:i]
		}
		if len(name) > 0 && name[0] != '.' {
			l.entry(fd, dir, string(name), binary.NativeEndian.Uint64(b), b[18], seen)
		}
		b = b[size:]
	}
}

func (l *Listing) entry(fd int, dir, name string, inode uint64, kind byte, seen map[string]int) {
	if kind == unix.DT_UNKNOWN {
		var st unix.Stat_t
		if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			return
		}
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			kind = unix.DT_REG
		}
	}
	if kind != unix.DT_REG {
		if len(l.Skipped) < mostSkipped {
			l.Skipped = append(l.Skipped, dir+"/"+name)
		}
		return
	}
	key := Key(name)
	if i, ok := seen[key]; ok && l.Messages[i].Inode == inode {
		l.Messages[i] = Message{dir, name, inode} // moved between two readings: where it is now
		return
	}
	seen[key] = len(l.Messages)
	l.Messages = append(l.Messages, Message{dir, name, inode})
}

// UIDLs are the unique-ids of the messages, in their order. Two messages whose names have the same
// base are told apart by what follows it.
func (l *Listing) UIDLs() []string {
	ids := make([]string, len(l.Messages))
	taken := make(map[string]bool, len(l.Messages))
	for i := range l.Messages {
		name := l.Messages[i].Name
		id := UIDL(name)
		for n := 0; taken[id]; n++ {
			id = hashed(Key(name) + strings.Repeat("\n", n))
		}
		taken[id] = true
		ids[i] = id
	}
	return ids
}

// ErrGone is a message that somebody else has removed.
var ErrGone = errors.New("message is gone")

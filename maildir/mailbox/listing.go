package mailbox

import (
	"cmp"
	"errors"
	"io/fs"
	"math"

	"pennypost/internal/durable"
)

// listing is one directory as a scan found it.
type listing struct {
	isNew bool
	whole bool
	text  []byte // the names, one behind the other
	all   string // text again where most names are to be kept, else ""
	end   []uint32
	hash  []uint64 // of the names
	inode []uint32 // of the files
	state dirState
}

// nameHash is the hash of a name and of the directory it is in.
func (l *listing) nameHash(i int) uint64 {
	if l.isNew {
		return ^l.hash[i]
	}
	return l.hash[i]
}

func (l *listing) from(i int) int {
	if i == 0 {
		return 0
	}
	return int(l.end[i-1])
}

func (l *listing) name(i int) []byte { return l.text[l.from(i):l.end[i]] }

// kept is the first n octets of name i, to be kept.
func (l *listing) kept(i, n int) string {
	from := l.from(i)
	if l.all != "" {
		return l.all[from : from+n]
	}
	return string(l.text[from : from+n])
}

func (l *listing) path(name []byte) string {
	if l.isNew {
		return "new/" + string(name)
	}
	return "cur/" + string(name)
}

var errManyNames = errors.New("the names of the messages are more than 4 GiB")

// list reads a directory of the folder. What is no regular file, and what begins with a dot, is not mail.
func (f *Folder) list(dir string) (*listing, error) {
	l := &listing{isNew: dir == "new"}
	last := &f.listed[dir[0]&1]
	l.text, l.end, l.hash = make([]byte, 0, last.octets), make([]uint32, 0, last.names), make([]uint64, 0, last.names)
	l.inode = make([]uint32, 0, last.names)
	start := wall()
	info, err := f.disk.Stat(dir)
	if err != nil {
		return nil, err
	}
	if last.names == 0 && info.Size > 64<<10 { // what the file systems that have a size for directories need for a name
		l.text, l.end, l.hash = make([]byte, 0, info.Size*11/16), make([]uint32, 0, info.Size/56), make([]uint64, 0, info.Size/56)
		l.inode = make([]uint32, 0, info.Size/56)
	}
	var bad error
	regular := func(name []byte, kind byte) bool {
		if kind == durable.KindUnknown {
			is, err := f.regular(dir, name)
			bad = cmp.Or(bad, err)
			return is
		}
		return kind == durable.KindRegular
	}
	add := func(name []byte, inode uint64, kind byte) {
		if name[0] == '.' {
			return
		}
		if !regular(name, kind) {
			if len(f.skipped) < mostSkipped {
				f.skipped = append(f.skipped, dir+"/"+string(name))
			}
			return
		}
		if len(l.text)+len(name) > math.MaxUint32 {
			bad = cmp.Or(bad, errManyNames)
			return
		}
		l.text = append(l.text, name...)
		l.end = append(l.end, uint32(len(l.text)))
		h := hashName(name)
		l.hash = append(l.hash, h)
		l.inode = append(l.inode, inodeOf(inode))
		l.state.sum += h
		l.state.count++
	}
	if lister, ok := f.disk.(durable.Lister); ok {
		l.whole, err = lister.List(dir, add)
	} else {
		var names []string
		if names, err = f.disk.ReadDir(dir); err == nil {
			for _, name := range names {
				add([]byte(name), 0, durable.KindUnknown)
			}
			l.whole = true
		}
	}
	if err = cmp.Or(err, bad); err != nil {
		return nil, err
	}
	last.octets, last.names = len(l.text)+len(l.text)/64, len(l.end)+len(l.end)/64
	after, err := f.disk.Stat(dir)
	if err != nil {
		return nil, err
	}
	l.state.mtime = info.ModTime.UnixNano()
	l.state.verified = start.Sub(info.ModTime) > f.grain() // else what comes next may have this time, too
	l.state.listed = min(l.state.mtime, start.UnixNano())
	if !l.state.verified {
		l.state.listed--
	}
	if l.state.verified && after.ModTime.Equal(info.ModTime) {
		l.whole = true // nothing happened while we read
	}
	return l, nil
}

// mostSkipped bounds what Skipped says.
const mostSkipped = 20

// Skipped is what scans of this process have found in new/ and cur/ that is no regular file, since the last call: for the log.
func (f *Folder) Skipped() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := f.skipped
	f.skipped = nil
	return names
}

// regular looks at a file of which the directory does not say what it is. One that has gone is none; where that cannot be told, nothing can be
// said of the directory.
func (f *Folder) regular(dir string, name []byte) (bool, error) {
	info, err := f.disk.Stat(dir + "/" + string(name))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err == nil && info.Mode.IsRegular(), err
}

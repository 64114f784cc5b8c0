package uids

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// IDs turns the names of the table into numbers.
type IDs struct {
	User  func(name string) (int, error)
	Group func(name string) (int, error)
}

// System are the numbers of this host.
var System = IDs{
	User: func(name string) (int, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(u.Uid)
	},
	Group: func(name string) (int, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(g.Gid)
	},
}

// One is everything under one uid and gid, as demo and tests run it.
func One(uid, gid int) IDs {
	return IDs{
		User:  func(string) (int, error) { return uid, nil },
		Group: func(string) (int, error) { return gid, nil },
	}
}

// Check compares the table with the disk and changes nothing. What is not there is reported if it is a directory:
// programs make the rest.
func Check(table []Entry, ids IDs) (wrong []error) {
	for _, e := range table {
		info, err := os.Lstat(e.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !e.Mode.IsDir():
			continue
		case err != nil:
			wrong = append(wrong, err)
			continue
		case info.Mode().Type() != e.Mode.Type():
			wrong = append(wrong, fmt.Errorf("%s: is %v, and should be %v", e.Path, info.Mode().Type(), e.Mode.Type()))
			continue
		}
		if info.Mode() != e.Mode {
			wrong = append(wrong, fmt.Errorf("%s: mode is %v, and should be %v", e.Path, info.Mode(), e.Mode))
		}
		uid, gid, err := ids.numbers(e)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", e.Path, err))
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && (int(st.Uid) != uid || int(st.Gid) != gid) {
			wrong = append(wrong, fmt.Errorf("%s: belongs to %d:%d, and should to %s:%s (%d:%d)", e.Path, st.Uid, st.Gid, e.Owner, e.Group, uid, gid))
		}
	}
	return wrong
}

func (ids IDs) numbers(e Entry) (uid, gid int, err error) {
	if uid, err = ids.User(e.Owner); err != nil {
		return 0, 0, err
	}
	gid, err = ids.Group(e.Group)
	return uid, gid, err
}

// Apply makes the directories of the table that are missing, and gives everything that is there its owner and mode. It may be
// repeated.
func Apply(table []Entry, ids IDs) error {
	for _, e := range table {
		uid, gid, err := ids.numbers(e)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
		if e.Mode.IsDir() {
			if err := os.Mkdir(e.Path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
		err = own(e, uid, gid)
		if err != nil && !(errors.Is(err, fs.ErrNotExist) && !e.Mode.IsDir()) {
			return err
		}
	}
	return nil
}

// own sets owner and mode through a descriptor, which no link can lead astray. A socket is its program's to set.
func own(e Entry, uid, gid int) error {
	if e.Mode.Type() == fs.ModeSocket {
		return nil
	}
	f, err := os.OpenFile(e.Path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case info.Mode().Type() != e.Mode.Type():
		return fmt.Errorf("%s: is %v, and should be %v", e.Path, info.Mode().Type(), e.Mode.Type())
	}
	if err := f.Chown(uid, gid); err != nil {
		return err
	}
	return f.Chmod(e.Mode &^ fs.ModeType) // after chown, which clears setgid
}

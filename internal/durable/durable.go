/*
Package durable is the only place that renames, links and syncs: the file operations whose
order decides whether mail survives.

A Disk is a directory held open; names are slash-separated paths below it, and no name leaves
it or follows a symlink (openat2 with RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS; but see OpenOwn). Files are opened
O_NONBLOCK|O_NOFOLLOW and are regular, or the open fails with ErrNotRegular. Every
error is a *fs.PathError or *os.LinkError whose path is the name given.

A directory that is held stays open, and a name directly in it costs one system call. What is
held is the directory and not its name: when somebody moves it away, we go on writing into the
one we have (S125), until it is removed; then the name is looked up again.

Package faultdisk has the same interface in memory: it can lose what was not synced, and fail or
kill at any step.
*/
package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// ErrNotRegular is what opening a FIFO, device, directory, socket or symlink gives.
var ErrNotRegular = errors.New("not a regular file")

// Disk is a directory and what can be done below it.
type Disk interface {
	Create(name string, perm fs.FileMode) (File, error) // for writing; fails if it exists
	Open(name string) (File, error)                     // for reading
	Append(name string, perm fs.FileMode) (File, error) // for appending; made if missing
	Rename(from, to string) error                       // replaces
	RenameNew(from, to string) error                    // fs.ErrExist if to exists (renameat2 NOREPLACE)
	Link(from, to string) error                         // fs.ErrExist if to exists
	LinkFile(f File, to string) error                   // a second name for an open file of the same file system, perhaps of another Disk
	Remove(name string) error                           // file
	RemoveDir(name string) error                        // empty directory
	Mkdir(name string, perm fs.FileMode) error          // one level; fs.ErrExist if there
	SyncDir(name string) error                          // fsync of a directory
	ReadDir(name string) ([]string, error)              // names without . and .., as the directory has them
	Stat(name string) (Info, error)                     // does not follow a symlink
	Free() (bytes, inodes uint64, err error)            // free to us
	SyncsRename() bool                                  // fsync(file) carries its rename (ext4, XFS, btrfs): no SyncDir needed after it
	Hold(dirs ...string) error                          // keeps directories open: names directly in them are then cheap
	Close() error
}

// File is an open regular file. The first Stat after Open is what Open saw, and costs nothing.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Closer
	Sync() error
	Stat() (Info, error)
	Fd() uintptr // ^uintptr(0) where there is none
}

// Info is what stat(2) says, as far as a mail program asks.
type Info struct {
	Mode    fs.FileMode
	Size    int64
	ModTime time.Time
	Dev     uint64
	Inode   uint64
	Links   uint64
	UID     uint32
	GID     uint32
}

// A Glancer is a Disk that looks at several files of one directory at a time.
type Glancer interface {
	Glance(dir string, names []string, infos []Info) error // as Stat; an error when one of them is not there
}

// A Birther is a Disk that knows when files came to be. An inode that is used again has another birth.
type Birther interface {
	Born(name string) (time.Time, error) // errors.ErrUnsupported where the file system does not keep it
}

// A Piper is a Disk with FIFOs. Neither end ever waits for the other.
type Piper interface {
	MakePipe(name string, perm fs.FileMode) error  // fs.ErrExist if there
	ReadPipe(name string) (io.ReadCloser, error)   // Read waits for writers, Close ends it
	WritePipe(name string) (io.WriteCloser, error) // fails where nobody reads; Write fails when the pipe is full
}

// A Chmoder is a Disk whose modes can be set, also those bits a umask or mkdir(2) takes away.
type Chmoder interface {
	Chmod(name string, mode fs.FileMode) error
}

// IsDisk reports whether err came from a disk, and not from what was asked of it.
func IsDisk(err error) bool {
	var p *fs.PathError
	var l *os.LinkError
	return errors.As(err, &p) || errors.As(err, &l)
}

package durable

import (
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

func (d *disk) MakePipe(name string, perm fs.FileMode) error {
	return d.in("mkfifo", name, func(p place) error {
		if err := unix.Mknodat(p.fd, p.base, unix.S_IFIFO|uint32(perm.Perm()), 0); err != nil {
			return err
		}
		if uint32(perm.Perm())&umask != 0 {
			return unix.Fchmodat(p.fd, p.base, uint32(perm.Perm()), 0)
		}
		return nil
	})
}

// ReadPipe opens the FIFO for reading and writing, so that it never ends, and in the poller's
// hands, so that waiting costs no thread.
func (d *disk) ReadPipe(name string) (io.ReadCloser, error) {
	fd, err := d.openPipe(name, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, 1<<20) // room for 40,000 names; less is no harm
	return os.NewFile(uintptr(fd), name), nil
}

// WritePipe opens the FIFO for writing. It does not wait for a reader, nor does Write.
func (d *disk) WritePipe(name string) (io.WriteCloser, error) {
	fd, err := d.openPipe(name, unix.O_WRONLY)
	if err != nil {
		return nil, err
	}
	return &pipe{fd, name}, nil
}

func (d *disk) openPipe(name string, mode int) (int, error) {
	if err := valid("open", name); err != nil {
		return -1, err
	}
	fd, err := d.open(name, mode|openFlags, 0)
	if err == nil {
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFIFO {
			err = unix.EINVAL // a file here would be written to
		}
		if err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

// pipe is a FIFO's writing end outside the poller: a full pipe is an error, not a reason to wait.
type pipe struct {
	fd   int
	name string
}

func (p *pipe) Write(b []byte) (int, error) {
	n, err := again(func() (int, error) { return unix.Write(p.fd, b) })
	if err != nil {
		return 0, &fs.PathError{Op: "write", Path: p.name, Err: err}
	}
	return n, nil
}

func (p *pipe) Close() error { return unix.Close(p.fd) }

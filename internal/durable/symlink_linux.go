package durable

import "golang.org/x/sys/unix"

// A Symlinker is a Disk that can make symlinks, as alias domains are (domains(5)). It never follows one.
type Symlinker interface {
	Symlink(target, name string) error // fs.ErrExist if name is there
}

func (d *disk) Symlink(target, name string) error {
	return d.in("symlink", name, func(p place) error { return unix.Symlinkat(target, p.fd, p.base) })
}

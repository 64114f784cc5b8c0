package durable

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Probe tries in dir what mail needs of a file system, and says what is missing (S146): hard links,
// renames that do not replace, and names in which a is not A.
func Probe(d Disk, dir string) error {
	name := dir + "/probe-" + strings.ToLower(rand.Text())
	f, err := d.Create(name, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	defer d.Remove(name)
	upper := dir + "/" + strings.ToUpper(name[len(dir)+1:])
	if _, err := d.Stat(upper); err == nil {
		return fmt.Errorf("%s: the file system takes a for A, where mail needs two names", dir)
	}
	if err := d.Link(name, upper); err != nil {
		return fmt.Errorf("%s: no hard links: %w", dir, err)
	}
	defer d.Remove(upper)
	if err := d.RenameNew(name, upper); !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: a rename replaces what it must not: %w", dir, err)
	}
	return nil
}

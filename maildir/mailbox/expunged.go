package mailbox

import (
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"pennypost/internal/durable"
)

// expungedArea is <root>.expunged/DATE, a Maildir, made if missing.
func (a *Account) expungedArea(now time.Time) (durable.Disk, error) {
	above, base, err := a.aboveRoot()
	if err != nil {
		return nil, err
	}
	day := base + ".expunged/" + now.UTC().Format("2006-01-02")
	for _, dir := range []string{base + ".expunged", day, day + "/tmp", day + "/new", day + "/cur"} {
		if err := above.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return a.open(filepath.Join(filepath.Dir(a.root), day))
}

// aboveRoot is the directory the Maildir lies in, and its name there: renames to the undelete area cross the root.
func (a *Account) aboveRoot() (durable.Disk, string, error) {
	a.once.Do(func() { a.above, a.aboveErr = a.open(filepath.Dir(a.root)) })
	return a.above, filepath.Base(a.root), a.aboveErr
}

// toExpunged renames a file of a folder into the undelete area.
func (a *Account) toExpunged(dir, path, name string, now time.Time) error {
	above, base, err := a.aboveRoot()
	if err != nil {
		return err
	}
	to := base + ".expunged/" + now.UTC().Format("2006-01-02") + "/" + name
	from := filepath.Join(base, dir, path)
	err = above.RenameNew(from, to)
	if errors.Is(err, fs.ErrNotExist) { // the file, or the area of today
		area, areaErr := a.expungedArea(now)
		if areaErr != nil {
			return areaErr
		}
		area.Close()
		err = above.RenameNew(from, to)
	}
	if errors.Is(err, fs.ErrExist) { // the same key went today already
		err = above.RenameNew(from, base+".expunged/"+now.UTC().Format("2006-01-02")+"/cur/"+newKey(now, a.host, 0, 0)+":2,")
	}
	return err
}

// moveDir renames a directory of the account to a place below area, a directory of the undelete area.
func (a *Account) moveDir(dir, to string, now time.Time) error {
	above, base, err := a.aboveRoot()
	if err != nil {
		return err
	}
	return above.RenameNew(filepath.Join(base, dir), base+".expunged/"+now.UTC().Format("2006-01-02")+"/"+to)
}

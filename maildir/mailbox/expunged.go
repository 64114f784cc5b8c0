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
	day := dayOf(base, now)
	for _, dir := range []string{base + ".expunged", day, day + "/tmp", day + "/new", day + "/cur"} {
		if err := above.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return a.open(filepath.Join(filepath.Dir(a.root), day))
}

func dayOf(base string, now time.Time) string {
	return base + ".expunged/" + now.UTC().Format("2006-01-02")
}

// aboveRoot is the directory the Maildir lies in, and its name there: renames to the undelete area cross the root.
func (a *Account) aboveRoot() (durable.Disk, string, error) {
	a.once.Do(func() { a.above, a.aboveErr = a.open(filepath.Dir(a.root)) })
	return a.above, filepath.Base(a.root), a.aboveErr
}

// grave is the way from a folder to the undelete area of today. Both ends are held open while messages go: a rename is then one system
// call.
type grave struct {
	folder *Folder
	disk   durable.Disk // what the Maildir lies in
	from   string       // the folder there, with a slash
	to     string       // DATE/cur there, with a slash
	mark   string       // ",F=" and the folder, for the names
}

// dig opens the way; nil where nothing is kept, or where it cannot be had: then files are unlinked.
func (f *Folder) dig(now time.Time) *grave {
	a := f.account
	if a.o.ExpungedDays <= 0 {
		return nil
	}
	disk, err := a.open(filepath.Dir(a.root))
	if err != nil {
		return nil
	}
	base := filepath.Base(a.root)
	g := &grave{folder: f, disk: disk, from: filepath.Join(base, f.dir) + "/", to: dayOf(base, now) + "/cur/", mark: ",F=" + escapeFolder(f.dir)}
	disk.Hold(g.from+"cur", g.from+"new")
	if disk.Hold(g.to[:len(g.to)-1]) != nil && g.make(now) == nil {
		disk.Hold(g.to[:len(g.to)-1])
	}
	return g
}

// make makes the area of today.
func (g *grave) make(now time.Time) error {
	area, err := g.folder.account.expungedArea(now)
	if err == nil {
		area.Close()
	}
	return err
}

func (g *grave) close() {
	if g != nil {
		g.disk.Close()
	}
}

// take renames the file of a message into the area.
func (g *grave) take(e *entry) error {
	from, to := g.from+e.path(), g.to+e.key+g.mark+string(letters([]byte(":2,"), e.flags, e.letters))
	err := g.disk.RenameNew(from, to)
	if errors.Is(err, fs.ErrNotExist) { // the file, or the area of today
		if areaErr := g.make(wall()); areaErr != nil {
			return areaErr
		}
		err = g.disk.RenameNew(from, to)
	}
	if errors.Is(err, fs.ErrExist) { // the same key went today already
		err = g.disk.RenameNew(from, g.to+newKey(wall(), g.folder.account.host, 0, 0)+":2,")
	}
	return err
}

// moveDir renames a directory of the account to a place below area, a directory of the undelete area.
func (a *Account) moveDir(dir, to string, now time.Time) error {
	above, base, err := a.aboveRoot()
	if err != nil {
		return err
	}
	return above.RenameNew(filepath.Join(base, dir), dayOf(base, now)+"/"+to)
}

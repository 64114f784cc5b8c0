package mailcert

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"pennypost/internal/durable"
)

// Names beside those of a pair.
const (
	accountKey = "account.key"
	nextSuffix = ".next" // of the key: the one after it
	newSuffix  = ".new"  // of the chain: on its way to its place
	howSuffix  = ".acme" // of the chain: how it is got
)

// place puts a chain in the place of the one that is there, and the next key too where it is for that.
func (p *Pair) place(text []byte) error {
	if err := p.write(p.Chain+newSuffix, text, 0o644, false); err != nil {
		return err
	}
	return p.Finish()
}

// Finish goes on with what a crash has left: a chain that is not in its place. Where there is none it does nothing.
func (p *Pair) Finish() error {
	waiting, err := p.readChain(p.Chain + newSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	is := func(name string) (bool, error) {
		key, err := p.key(name)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil && fits(waiting.leaf, key), err
	}
	current, err := is(p.Key)
	if err != nil {
		return err
	}
	if !current {
		next, err := is(p.Key + nextSuffix)
		if err != nil {
			return err
		}
		if !next { // its key is gone: it is of no use to anybody
			return p.wrap(p.disk.Remove(p.Chain + newSuffix))
		}
		if err := p.rename(p.Key+nextSuffix, p.Key); err != nil {
			return err
		}
	}
	return p.rename(p.Chain+newSuffix, p.Chain)
}

func (p *Pair) rename(from, to string) error {
	err := p.disk.Rename(from, to)
	if err == nil {
		err = p.disk.SyncDir(".")
	}
	return p.wrap(err)
}

// write puts a file into its place in one step; fresh says that nothing may be there. Keys (0600) go to the group that reads them.
func (p *Pair) write(name string, text []byte, mode fs.FileMode, fresh bool) error {
	temp := "." + name + "." + rand.Text()[:10]
	err := p.fill(temp, text, mode)
	switch {
	case err != nil:
	case fresh:
		err = p.disk.RenameNew(temp, name)
	default:
		err = p.disk.Rename(temp, name)
	}
	if err != nil {
		p.disk.Remove(temp)
		return p.wrap(err)
	}
	return p.wrap(p.disk.SyncDir("."))
}

func (p *Pair) fill(name string, text []byte, mode fs.FileMode) error {
	f, err := p.disk.Create(name, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if owner := p.owner(); err == nil && owner >= 0 {
		err = os.Lchown(filepath.Join(p.Dir, name), owner, -1)
	}
	if err == nil && mode == 0o600 && p.readers >= 0 {
		if err = os.Lchown(filepath.Join(p.Dir, name), -1, p.readers); err == nil {
			if c, ok := p.disk.(durable.Chmoder); ok {
				err = c.Chmod(name, 0o640)
			}
		}
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// maxFile is more than a chain, a key or a few lines can need.
const maxFile = 1 << 20

func (p *Pair) read(name string) ([]byte, error) {
	f, err := p.disk.Open(name)
	if err != nil {
		return nil, p.wrap(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	return text, p.wrap(err)
}

// wrap gives an error of the disk, which knows names below Dir, the rest of the path.
func (p *Pair) wrap(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) && !filepath.IsAbs(path.Path) {
		return &fs.PathError{Op: path.Op, Path: filepath.Join(p.Dir, path.Path), Err: path.Err}
	}
	var link *os.LinkError
	if errors.As(err, &link) && !filepath.IsAbs(link.New) {
		return &os.LinkError{Op: link.Op, Old: filepath.Join(p.Dir, link.Old), New: filepath.Join(p.Dir, link.New), Err: link.Err}
	}
	return err
}

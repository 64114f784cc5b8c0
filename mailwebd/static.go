package mailwebd

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"pennypost/internal/config"
	"pennypost/internal/durable"
	"pennypost/internal/maillog"
)

// Write writes the pages below dir, or without one the names for a certificate to out.
func Write(conf *config.Config, log *maillog.Log, out io.Writer, dir string) error {
	site, err := FromConfig(conf, log.Warn)
	if err != nil {
		return err
	}
	if dir == "" {
		names, err := site.Names()
		fmt.Fprintln(out, strings.Join(names, " "))
		return err
	}
	wrote, removed, err := site.Static(dir)
	fmt.Fprintf(out, "%d written, %d removed\n", wrote, removed)
	return err
}

// Static writes the pages as files DIR/HOST/PATH, for a web server that has DIR/HOST for the root of each host, and says how many it
// wrote and removed. What is there already is not written again; a policy that is off is removed; other files are left alone.
func (s *Site) Static(dir string) (wrote, removed int, err error) {
	names, err := s.Store.Domains()
	if err != nil {
		return 0, 0, err
	}
	disk, err := durable.Open(dir)
	if err != nil {
		return 0, 0, err
	}
	defer disk.Close()
	t := &tree{disk}
	for _, n := range names {
		pages, err := s.pages(n)
		if err != nil {
			return wrote, removed, err
		}
		have := map[[2]string]string{}
		for _, p := range pages {
			have[[2]string{p.Host, p.Path}] = p.Text
		}
		for _, where := range places(n.ASCII) {
			text, ok := have[where]
			name := where[0] + where[1]
			if !ok {
				gone, err := t.remove(name)
				if err != nil {
					return wrote, removed, wrap(dir, err)
				}
				removed += gone
				continue
			}
			fresh, err := t.write(name, text)
			if err != nil {
				return wrote, removed, wrap(dir, err)
			}
			wrote += fresh
		}
	}
	return wrote, removed, nil
}

// tree is the directory.
type tree struct{ durable.Disk }

// write puts a page in its place in one step, if another or none is there.
func (t *tree) write(name, text string) (wrote int, err error) {
	if old, err := t.read(name); err == nil && old == text {
		return 0, nil
	}
	dir := path.Dir(name)
	if err := t.makeDirs(dir); err != nil {
		return 0, err
	}
	temp := dir + "/." + rand.Text()[:10]
	f, err := t.Create(temp, 0o644)
	if err != nil {
		return 0, err
	}
	if _, err = f.Write([]byte(text)); err == nil {
		err = durable.Replace(t.Disk, f, temp, name)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Remove(temp)
		return 0, err
	}
	return 1, nil
}

func (t *tree) read(name string) (string, error) {
	f, err := t.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPage+1))
	return string(text), err
}

func (t *tree) makeDirs(dir string) error {
	at := ""
	for part := range strings.SplitSeq(dir, "/") {
		parent := path.Dir(path.Join(at, part))
		at = path.Join(at, part)
		err := t.Mkdir(at, 0o755)
		if err == nil {
			err = t.SyncDir(parent)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func (t *tree) remove(name string) (removed int, err error) {
	err = t.Remove(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, err
	}
	return 1, t.SyncDir(path.Dir(name))
}

// wrap gives an error of the disk, which knows names below the directory, the rest of the path.
func wrap(dir string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) && !filepath.IsAbs(p.Path) {
		return &fs.PathError{Op: p.Op, Path: filepath.Join(dir, p.Path), Err: p.Err}
	}
	return err
}

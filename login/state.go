package login

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"pennypost/internal/durable"
)

// State is what logins leave behind for all processes: state/auth. It may be lost, but for the steps of TOTP codes.
//
//	secret      of this host: what a name without SCRAM verifiers is given for a salt, and how names are hashed
//	counts      of attempts, see guard
//	alice@example.org/…   of an account, see Login
type State struct {
	dir string

	mu   sync.Mutex
	disk durable.Disk
}

// NewState is that directory, made by the first login.
func NewState(dir string) *State { return &State{dir: dir} }

// make opens the directory, and makes it where it is not there.
func (s *State) make() (durable.Disk, error) {
	disk, err := s.open()
	if !errors.Is(err, fs.ErrNotExist) {
		return disk, err
	}
	if err := os.MkdirAll(s.dir, 0o770); err != nil {
		return nil, err
	}
	return s.open()
}

// open opens the directory.
func (s *State) open() (durable.Disk, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.disk != nil {
		return s.disk, nil
	}
	disk, err := durable.Open(s.dir)
	if err == nil {
		s.disk = disk
	}
	return disk, err
}

// maxState is the most that is read of a file of ours.
const maxState = 256 << 10

// read is the text of a file; "" where it is not there.
func (s *State) read(name string) (string, error) {
	disk, err := s.open()
	var f durable.File
	if err == nil {
		f, err = disk.Open(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", s.wrap(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxState))
	return string(b), s.wrap(err)
}

// write replaces a file. sync says whether it must be there after a power cut.
func (s *State) write(name, text string, sync bool) error {
	disk, err := s.make()
	if err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+"."+rand.Text()[:10])
	f, err := disk.Create(temp, 0o660)
	if errors.Is(err, fs.ErrNotExist) {
		if err = mkdir(disk, filepath.Dir(name)); err == nil {
			f, err = disk.Create(temp, 0o660)
		}
	}
	if err != nil {
		return s.wrap(err)
	}
	_, err = f.Write([]byte(text))
	if err == nil && sync {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = disk.Rename(temp, name)
	}
	for dir := filepath.Dir(name); err == nil && sync; dir = filepath.Dir(dir) { // directories above may be as new
		if err = disk.SyncDir(dir); dir == "." {
			break
		}
	}
	if err != nil {
		disk.Remove(temp)
	}
	return s.wrap(err)
}

// mkdir makes a directory and those above it.
func mkdir(disk durable.Disk, name string) error {
	path := ""
	for part := range strings.SplitSeq(name, "/") {
		path = filepath.Join(path, part)
		if err := disk.Mkdir(path, 0o770); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// wrap gives an error of the disk the path of the directory.
func (s *State) wrap(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) && !filepath.IsAbs(p.Path) {
		return &fs.PathError{Op: p.Op, Path: filepath.Join(s.dir, p.Path), Err: p.Err}
	}
	return err
}

// secret is the secret of this host, made by whoever needs it first; without a state, one of this process.
func (s *State) secret() (key [32]byte) {
	rand.Read(key[:])
	if s == nil {
		return key
	}
	disk, err := s.make()
	for range 2 {
		if err != nil {
			return key
		}
		if text, err := s.read("secret"); err == nil {
			if b, err := hex.DecodeString(strings.TrimSpace(text)); err == nil && len(b) == len(key) {
				return [32]byte(b)
			}
		}
		temp := ".secret." + rand.Text()[:10]
		f, err := disk.Create(temp, 0o640)
		if err != nil {
			return key
		}
		_, err = f.Write([]byte(hex.EncodeToString(key[:]) + "\n"))
		if errors.Join(err, f.Sync(), f.Close()) == nil {
			disk.RenameNew(temp, "secret")
		}
		disk.Remove(temp)
	}
	return key
}

/*
Package setup makes an installation: the directories, FIFOs, owners and modes of the table in package uids, a spool, and a
mail.toml to begin with. It makes what is missing and puts right what differs; nothing is removed, no mail is touched, and
it may be repeated at any time, with everything running.

	/etc/pennypost/mail.toml       copied from the sample, every key commented at its default; never changed again
	/etc/pennypost/{tls,domains}   ┐
	/var/spool/pennypost/…         │ as the table says
	/var/lib/pennypost/…           │
	/var/mail/pennypost  /run/…    ┘

Without root, or where one uid is enough, everything belongs to the caller.
*/
package setup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"pennypost/internal/config"
	"pennypost/internal/durable"
	"pennypost/internal/uids"
	"pennypost/queue"
)

// Setup is one call.
type Setup struct {
	Config   string // mail.toml, made if it is not there
	Sample   string // what it is made from
	UserMode bool   // everything belongs to the caller
	DryRun   bool   // only say what would be done
	Out      io.Writer
	IDs      uids.IDs // of the users of the table; not asked with UserMode
}

// ErrUsers says that users or groups of the table are missing.
var ErrUsers = errors.New("users or groups are missing; mailsetup --users prints the commands that make them")

// ErrRoot says that only root can make what belongs to several users.
var ErrRoot = errors.New("only root can give directories to their users; with --user-mode everything is yours")

// Run does it, and says what it did in lines of Out, or with DryRun what it would do. They are as many as it returns.
func (s *Setup) Run() (lines int, err error) {
	if os.Getuid() != 0 && !s.UserMode && !s.DryRun {
		return 0, ErrRoot
	}
	conf, fresh, err := s.config()
	if err != nil {
		return 0, err
	}
	ids := s.IDs
	if s.UserMode {
		ids = uids.One(os.Getuid(), os.Getgid())
	}
	paths := uids.Of(conf)
	table := uids.Table(paths)
	plan, err := s.plan(table, ids)
	if err != nil {
		return 0, err
	}
	if fresh != "" {
		plan = append([]string{"make " + s.Config + " from " + s.Sample}, plan...)
	}
	for _, line := range plan {
		fmt.Fprintln(s.Out, line)
	}
	s.note(conf, paths)
	if s.DryRun {
		return len(plan), nil
	}
	for _, root := range []string{paths.Etc, paths.Domains, paths.Spool, paths.State, paths.Run, paths.Mail} {
		if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
			return 0, err
		}
	}
	if fresh != "" {
		if err := s.write(fresh); err != nil {
			return 0, err
		}
	}
	if err := queue.Make(paths.Spool, conf.Node); err != nil {
		return 0, err
	}
	return len(plan), uids.Apply(table, ids)
}

// config reads mail.toml; where it is not there yet, fresh is what it will be.
func (s *Setup) config() (conf *config.Config, fresh string, err error) {
	if s.Config, err = filepath.Abs(s.Config); err != nil {
		return nil, "", err
	}
	if _, err := os.Lstat(s.Config); !errors.Is(err, fs.ErrNotExist) {
		conf, err := config.Load(s.Config, "mail")
		return conf, "", err
	}
	text, err := os.ReadFile(s.Sample)
	if err != nil {
		return nil, "", fmt.Errorf("%w; it is the sample that make install installs, name it with --sample", err)
	}
	fresh = string(text)
	if dir := filepath.Dir(s.Config); dir != filepath.Dir(config.DefaultFile) {
		fresh = beside(fresh, dir)
	}
	conf, err = config.Parse(s.Config, fresh, "mail")
	return conf, fresh, err
}

// beside makes everything of a configuration lie in dir, where the defaults would be those of the whole host.
func beside(text, dir string) string {
	for key, name := range map[string]string{"domains": "domains", "spool": "spool", "state": "state", "run": "run", "path": "mail/%d/%n/Maildir"} {
		old := "\n#" + key + " = "
		text = strings.Replace(text, old, fmt.Sprintf("\n%s = %q\n%s", key, dir+"/"+name, old[1:]), 1)
	}
	return text
}

// plan says what is missing and what differs, a line each.
func (s *Setup) plan(table []uids.Entry, ids uids.IDs) (lines []string, err error) {
	for _, e := range table {
		want, uerr := ids.User(e.Owner)
		group, gerr := ids.Group(e.Group)
		if uerr != nil || gerr != nil {
			return nil, fmt.Errorf("%w (%s:%s of %s)", ErrUsers, e.Owner, e.Group, e.Path)
		}
		switch _, err := os.Lstat(e.Path); {
		case errors.Is(err, fs.ErrNotExist):
			if e.Mode.Type() != fs.ModeSocket && filepath.Base(e.Path) != "mail.toml" {
				lines = append(lines, fmt.Sprintf("make %s %s", e.Path, owner(e, s.UserMode)))
			}
			continue
		case err != nil:
			return nil, err
		case e.Mode.Type() == fs.ModeSocket:
			continue // who listens there sees to it
		}
		if wrong := uids.Check([]uids.Entry{e}, uids.One(want, group)); len(wrong) > 0 {
			lines = append(lines, fmt.Sprintf("set  %s %s", e.Path, owner(e, s.UserMode)))
		}
	}
	return lines, nil
}

// owner is mode and owner as chmod(1) and chown(1) take them.
func owner(e uids.Entry, one bool) string {
	mode := e.Mode.Perm()
	if e.Mode&fs.ModeSetgid != 0 {
		mode |= 0o2000
	}
	if e.Mode&fs.ModeSticky != 0 {
		mode |= 0o1000
	}
	if one {
		return fmt.Sprintf("%04o", uint32(mode))
	}
	return fmt.Sprintf("%04o %s:%s", uint32(mode), e.Owner, e.Group)
}

// note says what we leave to people.
func (s *Setup) note(c *config.Config, p uids.Paths) {
	if c.Mail.Stamp == "" || filepath.IsAbs(c.Mail.Stamp) {
		return
	}
	if _, err := os.Lstat(filepath.Join(p.Mail, c.Mail.Stamp)); err != nil {
		fmt.Fprintf(s.Out, "note: mail.stamp wants %s above the Maildirs: touch it once their volume is mounted\n", c.Mail.Stamp)
	}
}

// write makes mail.toml, whole or not at all.
func (s *Setup) write(text string) error {
	dir, base := filepath.Split(s.Config)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	disk, err := durable.Open(dir)
	if err != nil {
		return err
	}
	defer disk.Close()
	temp := base + ".new"
	disk.Remove(temp) // of a call that a crash ended
	f, err := disk.Create(temp, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = io.WriteString(f, text); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = disk.RenameNew(temp, base)
	}
	if err == nil {
		err = disk.SyncDir(".")
	}
	if err != nil {
		disk.Remove(temp)
	}
	return err
}

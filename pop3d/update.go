package pop3d

import (
	"errors"
	"io/fs"
	"strconv"
	"time"

	"pennypost/internal/durable"
	"pennypost/maildir"
)

// quit answers QUIT. After a login it is the UPDATE state (RFC 1939 section 6): the one moment
// at which messages are removed.
func (s *session) quit([]string) string {
	s.ended = true
	if s.state == authorization {
		return "+OK bye"
	}
	failed := s.update()
	if failed > 0 {
		return "-ERR [SYS/TEMP] " + strconv.Itoa(failed) + " messages could not be removed"
	}
	return "+OK bye, " + strconv.Itoa(s.deleted) + " messages removed"
}

// update removes what DELE has marked, and reports how many it could not remove.
func (s *session) update() (failed int) {
	d := s.drop
	dirs := map[string]bool{}
	for i := range d.messages {
		m := &d.messages[i]
		if !m.deleted || m.gone {
			continue
		}
		size, err := d.remove(i)
		switch {
		case err == nil:
			s.deleted++
			s.deletedSz += size
			dirs[m.Dir] = true
		case errors.Is(err, maildir.ErrGone): // as the client wanted
		default:
			s.srv.Log.Warn("mailbox of "+d.account.Path().String(), err)
			failed++
		}
	}
	for dir := range dirs { // else the next power cut brings them back
		if err := d.box.Disk.SyncDir(dir); err != nil {
			s.srv.Log.Warn("mailbox of "+d.account.Path().String(), err)
		}
	}
	if s.deleted > 0 {
		d.lighter(s.deletedSz, s.deleted)
	}
	return failed
}

// remove removes message i and says what its file weighed.
func (d *maildrop) remove(i int) (size int64, err error) {
	m := &d.messages[i]
	if size = m.size; size == 0 {
		size, _ = maildir.Sizes(m.Name)
	}
	if size < 0 {
		info, _ := d.box.Disk.Stat(m.Path())
		size = info.Size
	}
	err = d.box.Disk.Remove(m.Path())
	if errors.Is(err, fs.ErrNotExist) {
		if !d.find(i) {
			return 0, maildir.ErrGone
		}
		err = d.box.Disk.Remove(m.Path())
	}
	return size, err
}

// lighter notes in maildirsize what was removed, and tells smtpd where there is room again.
func (d *maildrop) lighter(octets int64, messages int) {
	if d.account.Quota <= 0 {
		return
	}
	quota := maildir.NewQuota(d.box, d.account.Layout, d.account.Quota)
	quota.Add(-octets, int64(-messages))
	if d.srv.State == "" {
		return
	}
	state, err := durable.Open(d.srv.State)
	if err != nil {
		return
	}
	defer state.Close()
	over, err := maildir.OpenOver(state)
	if err != nil {
		return
	}
	user := d.account.Path().String()
	wanted, marked := over.Marked(user)
	if !marked {
		return
	}
	used, _, err := quota.Used(time.Now())
	if err == nil && used+wanted <= d.account.Quota && over.Clear(user) == nil {
		d.srv.Log.Quota(user, "back", used, d.account.Quota)
	}
}

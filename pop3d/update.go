package pop3d

import (
	"context"
	"strconv"

	"pennypost/internal/durable"
	"pennypost/maildir"
)

// quit answers QUIT: the UPDATE state (RFC 1939 section 6): the one moment
// at which messages are removed.
func (s *session) quit([]string) string {
	s.ended = true
	failed := s.update()
	if failed > 0 {
		return "-ERR [SYS/TEMP] " + strconv.Itoa(failed) + " messages could not be removed"
	}
	return "+OK bye, " + strconv.Itoa(s.deleted) + " messages removed"
}

// update removes what DELE has marked, and reports how many it could not remove. What is removed lies in the undelete area for a while.
func (s *session) update() (failed int) {
	d := s.drop
	gone, err := d.remove(context.WithoutCancel(s.ctx))
	if err != nil {
		s.srv.Log.Warn("mailbox of "+d.user.Path().String(), err)
	}
	for i := range d.messages {
		m := &d.messages[i]
		switch {
		case !m.deleted || m.gone:
		case gone.Has(d.view.UID(i)):
			s.deleted++
			s.deletedSz += m.size
		case err != nil:
			failed++
		}
	}
	if s.deleted > 0 {
		d.lighter()
	}
	return failed
}

// lighter tells smtpd where there is room again.
func (d *maildrop) lighter() {
	if d.user.Quota+d.user.QuotaMessages <= 0 || d.srv.State == "" {
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
	user := d.user.Path().String()
	wanted, marked := over.Marked(user)
	if !marked {
		return
	}
	room, err := d.account.Room()
	if err != nil || !room.Take(wanted) || over.Clear(user) != nil {
		return
	}
	if used, messages, err := d.account.Used(); err == nil {
		d.srv.Log.Quota(user, "back", used, d.user.Quota, messages, d.user.QuotaMessages)
	}
}

package local

import (
	"errors"
	"time"

	"pennypost/internal/domains"
	"pennypost/internal/durable"
	"pennypost/maildir"
)

// overQuota is a message that an account has no room for.
type overQuota struct{ never bool }

func (e *overQuota) Error() string {
	if e.never {
		return "message larger than the quota"
	}
	return "over quota"
}

// traceRoom is what Return-Path and Delivered-To weigh at most, or nearly.
const traceRoom = 512

// room refuses what the account's quota has no room for. The postmaster is never refused.
func (a *Agent) room(c *copying, account *domains.Account) error {
	b := c.used
	if b == nil {
		return nil
	}
	a.boxes.mu.Lock()
	if b.quota == nil || b.quota.Limit != account.Quota || b.quota.Most != account.QuotaMessages {
		b.quota = maildir.NewQuota(b.Maildir, account.Layout, account.Quota, account.QuotaMessages)
		b.user = account.Path().String()
		b.marked = a.isMarked(b.user)
	}
	quota, reserved, coming := b.quota, b.reserved, b.coming
	a.boxes.mu.Unlock()
	used, messages, err := quota.Used(time.Now())
	if err != nil {
		return err
	}
	size := c.rcpt.job.length() + traceRoom
	if quota.Allows(used+reserved+size, messages+coming+1) || account.Postmaster {
		c.reserved = size
		a.boxes.mu.Lock()
		b.reserved += size
		b.coming++
		a.boxes.mu.Unlock()
		return nil
	}
	if quota.Limit > 0 && size > quota.Limit {
		return &overQuota{never: true}
	}
	if wanted := maildir.Wanted(size, quota.Limit); !quota.Allows(used+reserved+wanted, messages+coming+1) {
		a.mark(b, wanted, used, messages)
	}
	return &overQuota{}
}

// length is the message's.
func (j *job) length() int64 {
	if j.msg != nil {
		return j.msg.size
	}
	return j.order.Size
}

// count adds what a group brought to maildirsize, a line for each account.
func (a *Agent) count(group []*copying) {
	type sum struct{ octets, messages int64 }
	var sums map[*box]sum
	for _, c := range group {
		if c.used == nil {
			continue
		}
		a.boxes.mu.Lock()
		if c.reserved > 0 {
			c.used.reserved -= c.reserved
			c.used.coming--
		}
		a.boxes.mu.Unlock()
		if c.err == nil && c.how != "repeat" {
			if sums == nil {
				sums = make(map[*box]sum)
			}
			s := sums[c.used]
			sums[c.used] = sum{s.octets + c.size, s.messages + 1}
		}
	}
	for b, s := range sums {
		b.quota.Add(s.octets, s.messages)
		if b.marked {
			a.unmark(b)
		}
	}
}

// recheckEvery is how often marked accounts are counted again: their users may have deleted
// mail with a program that counts nothing, and while smtpd refuses their mail nobody else would notice.
const recheckEvery = 5 * time.Minute

// recheck takes the marks away that are not true any more.
func (a *Agent) recheck(now time.Time) {
	over, disk := a.over()
	if over == nil {
		return
	}
	defer disk.Close()
	users, err := over.Users()
	if err != nil {
		a.Log.Warn("state/over", err)
		return
	}
	for _, user := range users {
		account, err := a.Directory.Login(user)
		switch {
		case errors.Is(err, domains.ErrNoAccount) || err == nil && account.Quota+account.QuotaMessages <= 0:
			over.Clear(user)
		case err != nil:
			a.Log.Warn("quota of "+user, err)
		default:
			if err := a.recheckUser(over, user, account, now); err != nil {
				a.Log.Warn("quota of "+user, err)
			}
		}
	}
}

func (a *Agent) recheckUser(over *maildir.Over, user string, account *domains.Account, now time.Time) error {
	m, err := a.Store.Existing(account.Maildir)
	if err != nil {
		return err
	}
	defer m.Close()
	quota := maildir.NewQuota(m, account.Layout, account.Quota, account.QuotaMessages)
	if err := quota.Recount(); err != nil {
		return err
	}
	used, messages, err := quota.Used(now)
	if err != nil {
		return err
	}
	if wanted, marked := over.Marked(user); marked && quota.Allows(used+wanted, messages+1) {
		a.Log.Quota(user, "back", used, account.Quota, messages, account.QuotaMessages)
		return over.Clear(user)
	}
	return nil
}

// isMarked reports whether smtpd is told that the account is full.
func (a *Agent) isMarked(user string) bool {
	over, disk := a.over()
	if over == nil {
		return false
	}
	defer disk.Close()
	_, marked := over.Marked(user)
	return marked
}

// over is the directory of marks; nil where State is not set or cannot be opened.
func (a *Agent) over() (*maildir.Over, durable.Disk) {
	if a.State == "" {
		return nil, nil
	}
	open := a.Store.Open
	if open == nil {
		open = durable.Open
	}
	disk, err := open(a.State)
	if err != nil {
		a.Log.Warn("state", err)
		return nil, nil
	}
	over, err := maildir.OpenOver(disk)
	if err != nil {
		a.Log.Warn("state/over", err)
		disk.Close()
		return nil, nil
	}
	return over, disk
}

// mark tells smtpd that the account is full.
func (a *Agent) mark(b *box, wanted, used, messages int64) {
	over, disk := a.over()
	if over == nil {
		return
	}
	defer disk.Close()
	if err := over.Mark(b.user, wanted); err != nil {
		a.Log.Warn("state/over", err)
		return
	}
	if !b.marked {
		b.marked = true
		a.Log.Quota(b.user, "over", used, b.quota.Limit, messages, b.quota.Most)
	}
}

// unmark takes the mark away if there is room again.
func (a *Agent) unmark(b *box) {
	over, disk := a.over()
	if over == nil {
		return
	}
	defer disk.Close()
	wanted, marked := over.Marked(b.user)
	used, messages, err := b.quota.Used(time.Now())
	if err != nil || marked && !b.quota.Allows(used+wanted, messages+1) {
		return
	}
	if over.Clear(b.user) == nil {
		b.marked = false
		a.Log.Quota(b.user, "back", used, b.quota.Limit, messages, b.quota.Most)
	}
}

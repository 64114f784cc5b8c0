package mailbox

import (
	"pennypost/maildir"
)

// Used is what the mail of the account weighs: octets on disk and messages, as maildirsize has it.
func (a *Account) Used() (octets, messages int64, err error) { return a.counter().Used(wall()) }

// Limit is the account's quota in octets, 0 none.
func (a *Account) Limit() int64 { return a.o.Quota }

// Room is how many octets more the account may hold, -1 any number.
func (a *Account) Room() (int64, error) {
	if a.o.Quota == 0 {
		return -1, nil
	}
	used, _, err := a.Used()
	return max(a.o.Quota-used, 0), err
}

// charge notes that mail came or went, where there is a quota.
func (a *Account) charge(octets, messages int64) {
	if a.o.Quota > 0 && messages != 0 {
		a.counter().Add(octets, messages)
	}
}

func (a *Account) counter() *maildir.Quota {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.quota == nil {
		a.quota = maildir.NewQuota(&maildir.Maildir{Root: a.root, Disk: a.disk}, a.o.Layout, a.o.Quota)
	}
	return a.quota
}

// fits is ErrQuota where copies of the messages would be too much for the account.
func (f *Folder) fits(list []entry) error {
	room, err := f.account.Room()
	if err != nil || room < 0 {
		return err
	}
	for i := range list {
		if room -= weight(&list[i]); room < 0 {
			return ErrQuota
		}
	}
	return nil
}

// weight is what a message weighs on disk, as its name says, or a little more.
func weight(e *entry) int64 {
	if size := sizeOf(e.key); size >= 0 {
		return size
	}
	return max(e.wire, 0)
}

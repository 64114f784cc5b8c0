package mailbox

import (
	"pennypost/maildir"
)

// Used is what the mail of the account weighs: octets on disk and messages, as maildirsize has it.
func (a *Account) Used() (octets, messages int64, err error) { return a.counter().Used(wall()) }

// Limits is the account's quota in octets and in messages, 0 none.
func (a *Account) Limits() (octets, messages int64) { return a.o.Quota, a.o.QuotaMost }

func (a *Account) limited() bool { return a.o.Quota > 0 || a.o.QuotaMost > 0 }

// Room is how much an account may still take.
type Room struct{ Octets, Messages int64 } // negative: any number

// Take is what is left after one more message; ok is false where there is no room for it.
func (r *Room) Take(octets int64) (ok bool) {
	if r.Octets >= 0 && r.Octets < octets || r.Messages == 0 {
		return false
	}
	if r.Octets >= 0 {
		r.Octets -= octets
	}
	if r.Messages > 0 {
		r.Messages--
	}
	return true
}

// Room is how much more the account may hold.
func (a *Account) Room() (Room, error) {
	room := Room{-1, -1}
	if !a.limited() {
		return room, nil
	}
	octets, messages, err := a.Used()
	if a.o.Quota > 0 {
		room.Octets = max(a.o.Quota-octets, 0)
	}
	if a.o.QuotaMost > 0 {
		room.Messages = max(a.o.QuotaMost-messages, 0)
	}
	return room, err
}

// charge notes that mail came or went, where there is a quota.
func (a *Account) charge(octets, messages int64) {
	if a.limited() && messages != 0 {
		a.counter().Add(octets, messages)
	}
}

func (a *Account) counter() *maildir.Quota {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.quota == nil {
		a.quota = maildir.NewQuota(&maildir.Maildir{Root: a.root, Disk: a.disk}, a.o.Layout, a.o.Quota, a.o.QuotaMost)
	}
	return a.quota
}

// fits is ErrQuota where copies of the messages would be too much for the account.
func (f *Folder) fits(list []entry) error {
	room, err := f.account.Room()
	if err != nil {
		return err
	}
	for i := range list {
		if !room.Take(weight(&list[i])) {
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

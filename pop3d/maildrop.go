package pop3d

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"pennypost/internal/domains"
	"pennypost/internal/durable"
	"pennypost/internal/sequence"
	"pennypost/maildir"
	"pennypost/maildir/mailbox"
)

// maildrop is the messages of a session, numbered as they were at login.
type maildrop struct {
	srv      *Server
	user     *domains.Account
	account  *mailbox.Account
	inbox    *mailbox.Folder
	view     *mailbox.View
	messages []message
	uidls    []string // made when asked for
}

// message is one of them. Its number is its index and one.
type message struct {
	wire    int64 // octets with CRLF and the end of the last line; -1 before it was looked at
	size    int64 // of the file
	deleted bool
	gone    bool // somebody else removed it
}

// openDrop takes the snapshot.
func openDrop(ctx context.Context, srv *Server, user *domains.Account) (*maildrop, error) {
	d := &maildrop{srv: srv, user: user}
	var err error
	if d.account, err = mailbox.OpenAccount(user.Maildir, mailbox.Options{
		Layout: user.Layout, ExpungedDays: srv.ExpungedDays, Quota: user.Quota, QuotaMost: user.QuotaMessages, Stamp: srv.Stamp, Own: user.Unix != nil, Host: srv.Hostname, LeaveNew: true,
	}); err != nil {
		return nil, err
	}
	if d.inbox, err = d.account.Folder("INBOX"); err != nil {
		d.account.Close()
		return nil, err
	}
	if d.view, err = d.inbox.Look(ctx); err != nil {
		d.close()
		return nil, err
	}
	for _, name := range d.inbox.Skipped() {
		srv.Log.Warn("mailbox of "+user.Path().String(), &fs.PathError{Op: "skip", Path: name, Err: durable.ErrNotRegular})
	}
	d.messages = make([]message, d.view.Len())
	for i := range d.messages {
		d.messages[i].wire = -1
	}
	return d, nil
}

func (d *maildrop) close() {
	d.inbox.Close()
	d.account.Close()
}

// uidl is the unique-id of message i. Of messages whose names would give them the same one, the later have one made of their UID.
func (d *maildrop) uidl(i int) string {
	if d.uidls == nil {
		d.uidls = make([]string, len(d.messages))
		taken := make(map[string]bool, len(d.messages))
		for i := range d.messages {
			id := d.view.UIDL(i)
			if taken[id] || !allowed(id) {
				id = fmt.Sprintf("%d.%d", d.view.Counts().UIDValidity, d.view.UID(i))
			}
			taken[id], d.uidls[i] = true, id
		}
	}
	return d.uidls[i]
}

// allowed is what RFC 1939 section 7 allows for a unique-id; one that another server gave need not be so.
func allowed(id string) bool {
	for i := 0; i < len(id); i++ {
		if id[i] < 0x21 || id[i] > 0x7e {
			return false
		}
	}
	return len(id) >= 1 && len(id) <= 70
}

// number finds a message by what the client calls it; -1 when there is none, or it is deleted.
func (d *maildrop) number(word string) int {
	if word == "" || len(word) > 9 {
		return -1
	}
	n := 0
	for i := 0; i < len(word); i++ {
		if word[i] < '0' || word[i] > '9' {
			return -1
		}
		n = 10*n + int(word[i]-'0')
	}
	if n < 1 || n > len(d.messages) || d.messages[n-1].deleted {
		return -1
	}
	return n - 1
}

// octets is the size of message i on the wire: what its name says where the name is right about the
// size of the file; else what the index knows, or a count.
func (d *maildrop) octets(i int) (int64, error) {
	m := &d.messages[i]
	if m.wire >= 0 {
		return m.wire, nil
	}
	if size, wire := d.view.Sizes(i); wire >= size && size >= 0 {
		info, key, err := d.view.Stat(i)
		if err != nil {
			return 0, err
		}
		m.size = info.Size
		if size, wire := maildir.Sizes(key); size == info.Size && wire >= size {
			m.wire = wire
			return wire, nil
		}
	}
	file, err := d.view.Open(i)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	wire := file.Wire
	if ended, err := file.Ended(); err != nil {
		return 0, err
	} else if !ended { // the last line is ended for the client
		wire += 2
	}
	m.size, m.wire = file.Size, wire
	return wire, nil
}

// open opens message i, wherever its file is by now.
func (d *maildrop) open(i int) (*mailbox.Message, error) {
	if d.messages[i].gone {
		return nil, mailbox.ErrExpunged
	}
	return d.view.Open(i)
}

// remove removes the messages that are marked, and says which of them are not there any more.
func (d *maildrop) remove(ctx context.Context) (gone sequence.Set, err error) {
	var marked sequence.Set
	for i := range d.messages {
		if m := &d.messages[i]; m.deleted && !m.gone {
			if m.size == 0 { // for the log
				info, _, _ := d.view.Stat(i)
				m.size = info.Size
			}
			marked.Add(d.view.UID(i))
		}
	}
	if len(marked) == 0 {
		return nil, nil
	}
	return d.inbox.Delete(ctx, marked)
}

// expunged reports whether err means that the message is not there any more.
func expunged(err error) bool { return errors.Is(err, mailbox.ErrExpunged) }

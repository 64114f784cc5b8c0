package pop3d

import (
	"bytes"
	"errors"
	"io"
	"io/fs"

	"pennypost/internal/domains"
	"pennypost/internal/durable"
	"pennypost/maildir"
)

// maildrop is the messages of a session, numbered as they were at login.
type maildrop struct {
	srv      *Server
	account  *domains.Account
	box      *maildir.Maildir
	messages []message
	uidls    []string // made when asked for
	total    int64    // octets of all, -1 before they were asked for
	rescans  int
}

// message is one of them. Its number is its index and one.
type message struct {
	maildir.Message
	wire    int64 // octets with CRLF; -1 before it was looked at
	size    int64 // of the file
	deleted bool
	gone    bool // somebody else removed it
}

// openDrop takes the snapshot.
func openDrop(srv *Server, account *domains.Account) (*maildrop, error) {
	box, err := srv.Store.Get(account.Maildir)
	if err != nil {
		return nil, err
	}
	d := &maildrop{srv: srv, account: account, box: box, total: -1}
	listing, err := box.Scan()
	if err == nil {
		err = box.Disk.Hold("cur")
	}
	if err != nil {
		box.Close()
		return nil, err
	}
	for _, name := range listing.Skipped {
		srv.Log.Warn("mailbox of "+account.Path().String(), &fs.PathError{Op: "skip", Path: name, Err: durable.ErrNotRegular})
	}
	d.messages = make([]message, len(listing.Messages))
	for i, m := range listing.Messages {
		d.messages[i] = message{Message: m, wire: -1}
	}
	d.uidls = listing.UIDLs()
	return d, nil
}

func (d *maildrop) close() { d.box.Close() }

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
// size of the file, else counted once.
func (d *maildrop) octets(i int) (int64, error) {
	m := &d.messages[i]
	if m.wire >= 0 {
		return m.wire, nil
	}
	info, err := d.box.Disk.Stat(m.Path())
	if errors.Is(err, fs.ErrNotExist) && d.find(i) {
		info, err = d.box.Disk.Stat(m.Path())
	}
	if err != nil {
		return 0, err
	}
	m.size = info.Size
	if size, wire := maildir.Sizes(m.Name); size == info.Size && wire >= size {
		m.wire = wire
		return wire, nil
	}
	f, err := d.open(i)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	wire, err := count(f)
	if err != nil {
		return 0, err
	}
	m.wire = wire
	return wire, nil
}

// count reads a message through: its octets once LF is CRLF and the last line is ended.
func count(r io.Reader) (wire int64, err error) {
	var buf [32 << 10]byte
	last := byte('\n')
	for {
		n, err := r.Read(buf[:])
		if n > 0 {
			b := buf[:n]
			wire += int64(n + bytes.Count(b, lf) - bytes.Count(b, crlf))
			if last == '\r' && b[0] == '\n' {
				wire--
			}
			last = b[n-1]
		}
		switch {
		case err == io.EOF && last != '\n':
			return wire + 2, nil
		case err == io.EOF:
			return wire, nil
		case err != nil:
			return 0, err
		}
	}
}

var lf, crlf = []byte("\n"), []byte("\r\n")

// open opens message i, wherever its file is by now.
func (d *maildrop) open(i int) (durable.File, error) {
	m := &d.messages[i]
	if m.gone {
		return nil, maildir.ErrGone
	}
	f, err := d.box.Disk.Open(m.Path())
	if errors.Is(err, fs.ErrNotExist) {
		if !d.find(i) {
			return nil, maildir.ErrGone
		}
		f, err = d.box.Disk.Open(m.Path())
	}
	return f, err
}

// find looks for messages whose files have other names than at login, because a reader moved them from new/
// to cur/ or changed their flags. It reports whether message i is there.
func (d *maildrop) find(i int) bool {
	m := &d.messages[i]
	if m.gone {
		return false
	}
	listing, err := d.box.Scan()
	if err != nil {
		return false
	}
	type key struct {
		name  string
		inode uint64
	}
	now := make(map[key]maildir.Message, len(listing.Messages))
	for _, l := range listing.Messages {
		now[key{maildir.Key(l.Name), l.Inode}] = l
	}
	for j := range d.messages {
		if l, ok := now[key{maildir.Key(d.messages[j].Name), d.messages[j].Inode}]; ok {
			d.messages[j].Message = l
		} else {
			d.messages[j].gone = true
		}
	}
	return !m.gone
}

package mailbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"strconv"
	"strings"

	"pennypost/maildir"
)

// importUIDs takes the UIDs of the server before us over, so that no client fetches anything again: dovecot-uidlist (versions 1 to
// 3) with dovecot-keywords and the next UID of dovecot.index, or courierimapuiddb. Nothing of theirs is changed. nil: there is none.
func (f *Folder) importUIDs() (*uids, error) {
	for _, source := range []struct {
		name string
		read func([]byte) *uids
	}{{"dovecot-uidlist", parseDovecot}, {"courierimapuiddb", parsePlainList}} {
		text, err := f.readFile(source.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		u := source.read(text)
		if u == nil {
			continue
		}
		u.id, u.boot, u.time = newID(), "", wall().Unix()
		if source.name == "dovecot-uidlist" {
			u.taken = f.listStamp()
			f.dovecotKeywords(u)
			u.next = max(u.next, f.dovecotNext(u.validity))
		}
		if f.dir == "." { // POP3 knows no other mailbox
			f.account.o.UIDL.pin(u)
		}
		u.bound = u.next
		return u, nil
	}
	return nil, nil
}

// listStamp tells a dovecot-uidlist from a later one, but not from a copy: lines are added at its end, and when it is written anew its
// first line changes. "" without one.
func (f *Folder) listStamp() string {
	file, err := f.disk.Open("dovecot-uidlist")
	if err != nil {
		return ""
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return ""
	}
	head := make([]byte, 256)
	n, _ := file.ReadAt(head, 0)
	row, _, _ := cutLine(head[:n])
	return fmt.Sprintf("%d.%08x", info.Size, crc32.Checksum(row, castagnoli))
}

// sole is an error when Dovecot has given UIDs since its list was taken over: then two servers number the same mail, and a client that talks to
// both would take one message for another.
func (f *Folder) sole() error {
	if f.taken == "" {
		return nil
	}
	if now := f.listStamp(); now == "" || now == f.taken {
		return nil
	}
	return fmt.Errorf("%w: %s: dovecot-uidlist has changed since it was taken over, Dovecot numbers this mail, too: stop it, and remove dovecot-uidlist to keep our UIDs, or mb-uids to take the new ones",
		ErrUnavailable, f.name)
}

// parseDovecot reads "3 V1275660208 N25022 G…" and lines "25006 W5000 P… :name"; older versions are plain lists.
func parseDovecot(text []byte) *uids {
	row, rest, _ := cutLine(text)
	if !bytes.HasPrefix(row, []byte("3 ")) {
		return parsePlainList(text)
	}
	u := emptyUIDs()
	for _, field := range strings.Fields(string(row))[1:] {
		n, err := strconv.ParseUint(field[1:], 10, 32)
		switch {
		case field[0] == 'V' && err == nil:
			u.validity = uint32(n)
		case field[0] == 'N' && err == nil:
			u.next = uint32(n)
		}
	}
	if u.validity == 0 {
		return nil
	}
	for len(rest) > 0 {
		row, rest, _ = cutLine(rest)
		head, name, ok := bytes.Cut(row, []byte(" :"))
		fields := strings.Fields(string(head))
		if !ok || len(fields) == 0 {
			continue
		}
		l := &line{key: maildir.Key(string(name)), size: -1, wire: -1}
		for _, field := range fields[1:] {
			switch field[0] {
			case 'W':
				if n, err := strconv.ParseInt(field[1:], 10, 64); err == nil {
					l.wire = n
				}
			case 'P', 'G':
				if l.over == nil {
					l.over = &override{}
				}
				if field[0] == 'P' {
					l.over.uidl = field[1:]
				} else {
					l.over.guid = field[1:]
				}
			}
		}
		u.adopt(fields[0], l)
	}
	return u
}

// parsePlainList reads "1 UIDVALIDITY NEXT" and lines "UID NAME": Courier's list, and Dovecot's oldest.
func parsePlainList(text []byte) *uids {
	row, rest, _ := cutLine(text)
	head := strings.Fields(string(row))
	if len(head) < 3 {
		return nil
	}
	validity, err := strconv.ParseUint(head[1], 10, 32)
	next, err2 := strconv.ParseUint(head[2], 10, 32)
	if err != nil || err2 != nil || validity == 0 {
		return nil
	}
	u := emptyUIDs()
	u.validity, u.next = uint32(validity), max(uint32(next), 1)
	for len(rest) > 0 {
		row, rest, _ = cutLine(rest)
		number, name, ok := strings.Cut(string(row), " ")
		if ok && name != "" {
			u.adopt(number, &line{key: maildir.Key(strings.TrimPrefix(name, ":")), size: -1, wire: -1})
		}
	}
	return u
}

func emptyUIDs() *uids {
	return &uids{next: 1, bound: 1, live: map[uint32]*line{}, letters: map[byte]string{}}
}

// adopt enters a message of another server's list.
func (u *uids) adopt(number string, l *line) {
	uid, err := strconv.ParseUint(number, 10, 32)
	if err != nil || uid == 0 || uid == 1<<32-1 || l.key == "" {
		return
	}
	u.live[uint32(uid)] = l
	u.next = max(u.next, uint32(uid)+1)
}

// dovecotKeywords reads lines "NUMBER NAME": number 0 is the letter a of this folder.
func (f *Folder) dovecotKeywords(u *uids) {
	text, err := f.readFile("dovecot-keywords")
	if err != nil {
		return
	}
	for row := range strings.SplitSeq(string(text), "\n") {
		number, name, ok := strings.Cut(row, " ")
		if n, err := strconv.Atoi(number); ok && err == nil && n >= 0 && n < 26 && name != "" && !strings.ContainsAny(name, " \t") {
			u.letters[byte('a'+n)] = name
		}
	}
}

// dovecotNext is the next UID in the head of dovecot.index: it may have given out more than its list says.
func (f *Folder) dovecotNext(validity uint32) uint32 {
	file, err := f.disk.Open("dovecot.index")
	if err != nil {
		return 0
	}
	defer file.Close()
	head := make([]byte, 32)
	if n, _ := file.ReadAt(head, 0); n < len(head) || head[0] != 7 || binary.LittleEndian.Uint32(head[24:]) != validity {
		return 0
	}
	return binary.LittleEndian.Uint32(head[28:])
}

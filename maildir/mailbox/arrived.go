package mailbox

import (
	"errors"

	"pennypost/internal/durable"
	"pennypost/maildir"
)

/*
What was just delivered can be entered at once, while its octets are in memory: the next look then finds that nothing has happened. This is for whoever
delivers, and may be left undone at any point:

	nobody has looked yet, somebody has the lock, mb-uids was edited     nothing is done: the next look does it
	new/ has other names than those recorded and ours                    the same
	killed after mb-cache was written                                    records that nobody refers to
	killed after mb-uids was written                                     the next look sees that the log has less, and builds the folder anew
*/

const (
	arrivedMost    = 4096    // messages in new/: who has more is not reading his mail
	arrivedLongest = 1 << 20 // octets of log: a look will write a snapshot
)

// ErrLater is the answer where messages that arrived are left to the next look.
var ErrLater = errors.New("left to the next look")

// Arrived enters messages whose files were just put into new/ of a directory of the account, "." for the INBOX: all or none. It never waits.
func (a *Account) Arrived(dir string, names []string) error {
	f, err := a.folderIn(dir, dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if !f.mu.TryLock() {
		return ErrLater
	}
	defer f.mu.Unlock()
	if _, err := f.disk.Stat(indexName); err != nil { // nobody has looked yet: so that we make no mb-lock either
		return err
	}
	if locker, ok := f.disk.(durable.Locker); ok {
		held, err := locker.TryLock(lockName)
		if errors.Is(err, durable.ErrLocked) {
			return ErrLater
		}
		if err != nil {
			return err
		}
		defer held.Close()
	}
	err = f.arrived(names)
	if err != nil && err != ErrLater {
		f.opened = false
	}
	return err
}

func (f *Folder) arrived(names []string) error {
	if !f.opened {
		if !f.attach() {
			return ErrLater
		}
		if err := f.sole(); err != nil {
			return err
		}
		f.opened = true
	}
	if err := f.catchUp(); err != nil {
		return err
	}
	t := &f.totals
	info, err := f.disk.Stat(uidsName)
	if err != nil {
		return err
	}
	if info.Size != t.uidsSize || t.promise != 0 || info.Inode != f.uidsInode || t.new.count > arrivedMost || f.pos > arrivedLongest || uint64(t.uidNext)+uint64(len(names)) > lastUID {
		return ErrLater
	}
	if info, err = f.disk.Stat(logName(f.gen)); err != nil || info.Size != f.pos { // it has a torn end
		return ErrLater
	}
	is, err := f.list("new")
	if err != nil {
		return err
	}
	was := t.new
	added := make([]entry, len(names))
	for i, name := range names {
		was.sum += hashName(name)
		was.count++
		key := maildir.Key(name)
		added[i] = f.newEntry(key, true, name[len(key):], 0)
	}
	if !is.whole || is.state.sum != was.sum || is.state.count != was.count { // one of them has a UID already, or there are others
		return ErrLater
	}
	modseq := t.modseq + 1
	if err := f.reserve(t.uidNext+uint32(len(added)), modseq); err != nil {
		return err
	}
	added, lines := f.arrange(added, modseq)
	f.preparse(added)
	if err := f.appendUIDs(lines, false); err != nil {
		return err
	}
	t.new = is.state
	return f.write(&record{kind: recAdd, added: added})
}

// preparse puts what the messages' headers say into mb-cache, as far as that works.
func (f *Folder) preparse(list []entry) {
	var r Reader
	at := make([]int64, len(list))
	for i := range list {
		at[i] = -1
		e := &list[i]
		file, err := f.disk.Open(e.path())
		if err != nil {
			continue
		}
		if info, err := file.Stat(); err == nil {
			e.received, e.inode = info.ModTime.Unix(), inodeOf(info.Inode)
			if size := sizeOf(e.key); size >= 0 && size != info.Size {
				e.wire = -1
			}
			from := int64(len(r.buf))
			if r.parseHead(&Message{ReaderAt: file, Size: info.Size}) && r.frame(e.uid) {
				at[i] = from
			}
		}
		file.Close()
	}
	if len(r.buf) == 0 {
		return
	}
	start, ok := f.appendCache(r.buf)
	if !ok {
		return
	}
	for i := range list {
		if at[i] >= 0 {
			list[i].cache = start + at[i]
		}
	}
}

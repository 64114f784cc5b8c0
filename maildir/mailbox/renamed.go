package mailbox

import (
	"cmp"
	"math"

	"pennypost/internal/durable"
	"pennypost/maildir"
)

/*
A file whose name has changed in front of the ':' looks like one message that went and another that came. It keeps its UID, its GUID and its
unique-id in POP3 where exactly one missing message and one new file are of each other:

	the same base             some tool appended sizes, ",S=" and the like
	the same inode            a script renamed it; the inode must not have been used again, see sameFile

The line in mb-uids comes first, then the log: killed between the two, the next look finds the key in mb-uids and builds the folder anew. Where
mb-index was deleted or is of another run of the machine, and on file systems that do not say when a file came to be or have inodes above
4294967295, inodes tell nothing, and a renamed file is a new message.
*/

// inodeOf is what is kept of an inode: of one that is too large nothing, since half of it may be that of another file.
func inodeOf(n uint64) uint32 {
	if n > math.MaxUint32 {
		return 0
	}
	return uint32(n)
}

// renamed takes those out of the missing and the added that are of each other, makes changed messages of them, and gives what mb-uids is to say.
func (f *Folder) renamed(found *findings) (lines batch) {
	if len(found.missing) == 0 || len(found.added) == 0 {
		return lines
	}
	claims := f.claims(found) // of each UID: the one new file that it may be, -1 where there are several
	missing, taken := found.missing[:0], make([]bool, len(found.added))
	for _, uid := range found.missing {
		i, ok := claims[uid]
		if !ok || i < 0 {
			missing = append(missing, uid)
			continue
		}
		at, _ := f.view.Find(uid)
		c, j := f.view.at(at)
		old, e := c.entry(j), &found.added[i]
		if maildir.Base(old.key) != maildir.Base(e.key) && !f.sameFile(&old, e) {
			missing = append(missing, uid)
			continue
		}
		taken[i] = true
		is := old.rekeyed(e)
		found.changed, found.reflag = append(found.changed, is), append(found.reflag, is.flags != old.flags)
		lines.message(uid, &line{key: is.key, saved: is.saved, size: -1, wire: -1, more: f.beyondLetters(is.flags), over: is.over})
	}
	found.missing = missing
	added := found.added[:0]
	for i := range found.added {
		if !taken[i] {
			added = append(added, found.added[i])
		}
	}
	found.added = added
	return lines
}

// claims says which of the added files a missing message may be.
func (f *Folder) claims(found *findings) map[uint32]int {
	bases, inodes := map[string]uint32{}, map[uint32]uint32{} // of missing messages; 0 where there are two
	for _, uid := range found.missing {
		i, _ := f.view.Find(uid)
		c, j := f.view.at(i)
		sole(bases, maildir.Base(string(c.key(j))), uid)
		sole(inodes, c.inode[j], uid)
	}
	delete(inodes, 0)
	claims := map[uint32]int{}
	for i := range found.added {
		e := &found.added[i]
		uid := bases[maildir.Base(e.key)]
		if uid == 0 {
			uid = inodes[e.inode]
		}
		if _, twice := claims[uid]; twice {
			claims[uid] = -1
		} else {
			claims[uid] = i
		}
	}
	delete(claims, 0)
	return claims
}

func sole[K comparable](m map[K]uint32, key K, uid uint32) {
	if _, twice := m[key]; twice {
		uid = 0
	}
	m[key] = uid
}

// sameFile reports whether the file is the one that a message had under another name, given that their inodes are the same. A file that got the
// inode of one that was removed was born later than its directory was last listed with the other in it. Size and date are looked at too,
// for clocks that were set back.
func (f *Folder) sameFile(old, is *entry) bool {
	disk, ok := f.disk.(durable.Birther)
	if !ok {
		return false
	}
	info, err := f.disk.Stat(is.path())
	if err != nil || sizeOf(old.key) >= 0 && sizeOf(old.key) != info.Size || old.received != 0 && old.received != info.ModTime.Unix() {
		return false
	}
	dir := &f.totals.cur
	if old.state&inNew != 0 {
		dir = &f.totals.new
	}
	born, err := disk.Born(is.path())
	return err == nil && born.UnixNano() <= dir.listed
}

// rekeyed is the message under another name.
func (e *entry) rekeyed(as *entry) entry {
	is := *e
	is.key, is.inode = as.key, as.inode
	is.setName(as.state&inNew != 0, as.ending())
	if as.wire >= 0 {
		is.wire = as.wire
	}
	over := override{guid: guidOf([]byte(e.key)), uidl: maildir.UIDL(e.key)}
	if e.over != nil {
		over = override{guid: cmp.Or(e.over.guid, over.guid), uidl: cmp.Or(e.over.uidl, over.uidl)}
	}
	if over.guid == guidOf([]byte(is.key)) {
		over.guid = ""
	}
	if over.uidl == maildir.UIDL(is.key) {
		over.uidl = ""
	}
	if is.over = &over; over == (override{}) {
		is.over = nil
	}
	return is
}

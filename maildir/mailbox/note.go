package mailbox

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"pennypost/internal/durable"
	"pennypost/maildir"
)

// sync brings the folder to what is in its directories. The lock is held and the log has been taken in.
//
// What was found counts when it is written down, and the times of the directories are written with the last of it: a look that is killed or
// fails half way is made again, by whoever comes next.
func (f *Folder) sync(ctx context.Context) error {
	view, totals, blank := f.view, f.totals, f.blank
	err := f.takeIn(ctx)
	if err != nil {
		f.view, f.totals, f.blank, f.table = view, totals, blank, nil
		f.opened = false // what is on the disk may be more, and is what is true
		f.heard.miss()
	}
	return err
}

func (f *Folder) takeIn(ctx context.Context) error {
	if _, err := f.keepPromise(); err != nil {
		return err
	}
	listening := f.heard.listening()
	var err error
	found := f.scanHeard()
	if found == nil {
		if found, err = f.scan(); err != nil {
			return err
		}
	}
	if err := f.note(ctx, found); err != nil {
		return err
	}
	if !found.heard {
		f.unverified = time.Time{}
		f.heard.settled(listening)
	}
	return nil
}

// note writes down what was found.
func (f *Folder) note(ctx context.Context, found *findings) error {
	if found.first {
		if done, err := f.syncFirst(found); done || err != nil {
			return err
		}
		f.match(found)
	}
	if len(found.double) > 0 {
		f.separate(found.double)
		is, err := f.scan()
		if err != nil {
			return err
		}
		if *found = *is; found.first {
			f.match(found)
		}
	}
	if uint64(f.totals.uidNext)+uint64(len(found.added)) > lastUID+restoredGap {
		f.spent = true
		return f.rebuild(ctx)
	}
	lines := f.renamed(found)
	gone, err := f.proven(found)
	if err != nil {
		return err
	}
	found.doubted = len(gone) < len(found.missing)
	if err := f.reserve(f.totals.uidNext+uint32(len(found.added)), f.nextModSeq()+2); err != nil {
		return err
	}
	modseq := f.nextModSeq() // each record has its own: somebody may read the log when it has the first of them
	for i := range found.changed {
		if found.reflag[i] && !f.blank {
			found.changed[i].modseq = modseq + 1
		}
	}
	if len(lines.text) > 0 {
		if err := f.appendUIDs(&lines, false); err != nil {
			return err
		}
	}
	great := f.blank || len(found.added)+len(found.changed) > 4*chunkLen
	if great {
		f.table = nil // the next scan makes it, in the right size
	}
	left := len(gone) + len(found.changed) + len(found.added)
	if len(gone) > 0 {
		if left -= len(gone); left == 0 && !great {
			f.looked(found)
		}
		if err := f.bury(gone, modseq); err != nil {
			return err
		}
	}
	if great {
		return f.noteWhole(found, modseq)
	}
	if len(found.changed) > 0 {
		if left -= len(found.changed); left == 0 {
			f.looked(found)
		}
		if err := f.write(&record{kind: recFlags, flags: found.changed}); err != nil {
			return err
		}
	}
	if len(found.added) > 0 {
		if found.added, err = f.number(found.added, modseq+2); err != nil {
			return err
		}
		f.looked(found)
		if err := f.write(&record{kind: recAdd, added: found.added}); err != nil {
			return err
		}
	}
	if len(gone)+len(found.changed)+len(found.added) == 0 {
		f.looked(found)
		return f.write(&record{kind: recState})
	}
	f.rotateIfLong(false)
	return nil
}

// noteWhole writes down a great change: in memory first, then as a snapshot.
func (f *Folder) noteWhole(found *findings, modseq uint64) (err error) {
	if found.added, err = f.number(found.added, modseq+2); err != nil {
		return err
	}
	f.looked(found)
	f.blank = false
	for _, r := range []*record{{kind: recFlags, flags: found.changed}, {kind: recAdd, added: found.added}} {
		r.totals = f.totals
		f.recount(r)
		f.apply(r)
	}
	return f.startOver()
}

// looked puts what the directories were like into the figures, to be written with the last record of what was found.
func (f *Folder) looked(found *findings) {
	if found.heard {
		found.record(&f.totals)
		f.verifyLater()
	}
	for _, at := range []struct {
		l     *listing
		state *dirState
	}{{found.new, &f.totals.new}, {found.cur, &f.totals.cur}} {
		if at.l != nil {
			listed := at.state.listed
			if *at.state = at.l.state; found.doubted { // the inode of one that is not there may be another's already
				at.state.listed = listed
			}
		}
		if len(f.suspects) > 0 || !f.emptied.IsZero() { // whoever comes next, and be it another process, looks again
			at.state.verified = false
		}
	}
}

// number gives UIDs to new messages in the order in which they were delivered, and writes them down.
func (f *Folder) number(added []entry, modseq uint64) (sorted []entry, err error) {
	if len(added) == 0 {
		return nil, nil
	}
	sorted, b := f.arrange(added, modseq)
	return sorted, f.appendUIDs(b, false)
}

// arrange is number, without what goes to the disk.
func (f *Folder) arrange(added []entry, modseq uint64) (sorted []entry, b *batch) {
	type stamp struct {
		sec, usec, seq int64
		i              int
	}
	order := make([]stamp, len(added))
	room := 128
	for i := range added {
		at := &order[i]
		at.sec, at.usec, at.seq = stampOf(added[i].key)
		at.i = i
		room += len(added[i].key) + len(" D1234567890 :1234567\n")
	}
	slices.SortFunc(order, func(a, b stamp) int {
		if n := cmp.Or(cmp.Compare(a.sec, b.sec), cmp.Compare(a.usec, b.usec), cmp.Compare(a.seq, b.seq)); n != 0 {
			return n
		}
		return strings.Compare(added[a.i].key, added[b.i].key)
	})
	b = &batch{text: make([]byte, 0, room)}
	now := wall().Unix()
	sorted = make([]entry, len(added))
	for n := range order {
		e := &sorted[n]
		*e = added[order[n].i]
		e.uid, e.modseq, e.saved = f.totals.uidNext+uint32(n), modseq, now
		b.message(e.uid, &line{key: e.key, saved: e.saved, size: -1, wire: -1, over: e.over})
	}
	return sorted, b
}

// bury writes tombstones for messages whose files are gone, and takes them out of the folder.
func (f *Folder) bury(gone []uint32, modseq uint64) error {
	t := tombstone{modseq: modseq, time: wall().Unix()}
	for _, uid := range gone {
		t.uids.Add(uid)
	}
	var b batch
	b.gone(t)
	if err := f.appendUIDs(&b, false); err != nil {
		return err
	}
	return f.write(&record{kind: recGone, gone: gone, modseq: modseq})
}

// separate gives files with the key of another file a key of their own; a second name of the same file goes. A file that moved while we
// read has two names too, for a moment: only those that are still there together count.
func (f *Folder) separate(paths []string) {
	doubled := map[string][]string{}
	for _, path := range paths {
		doubled[maildir.Key(path[4:])] = nil
	}
	for _, dir := range []string{"cur/", "new/"} {
		names, err := f.disk.ReadDir(dir[:3])
		if err != nil {
			return
		}
		for _, name := range names {
			if key := maildir.Key(name); name[0] != '.' {
				if at, ok := doubled[key]; ok {
					doubled[key] = append(at, dir+name)
				}
			}
		}
	}
	for key, at := range doubled {
		var kept []durable.Info
		for _, path := range at {
			info, err := f.disk.Stat(path)
			if err != nil || !info.Mode.IsRegular() {
				continue
			}
			if slices.ContainsFunc(kept, func(k durable.Info) bool { return k.Inode == info.Inode && k.Dev == info.Dev }) {
				if info.Links > 1 {
					f.disk.Remove(path)
				}
				continue
			}
			if kept = append(kept, info); len(kept) == 1 {
				continue
			}
			if wire, err := f.countWire(path); err == nil {
				f.disk.RenameNew(path, path[:4]+newKey(wall(), f.account.host, info.Size, wire)+path[4+len(key):])
			}
		}
	}
}

package mailbox

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"pennypost/internal/sequence"
)

// Mode is how Store changes flags.
type Mode uint8

const (
	Replace Mode = iota
	Add
	Remove
)

// Unconditional is the UnchangedSince of a store without one.
const Unconditional = 1<<64 - 1

// Stored is what a store did.
type Stored struct {
	Modified sequence.Set // UIDs not changed: their mod-sequence is above UnchangedSince (RFC 7162 section 3.1.3)
	Gone     sequence.Set // UIDs that were no longer there
}

// batchLen is how many files are renamed under one holding of the folder's lock.
const batchLen = 256

// begin takes the lock and brings the folder up to date; done gives the lock back. f.mu is held.
func (f *Folder) begin(ctx context.Context) (done func(), err error) {
	f.deafen()
	for try := 0; ; try++ {
		if err := f.look(ctx, true); err != nil {
			return nil, err
		}
		unlock, err := f.lock(ctx)
		if err != nil {
			return nil, err
		}
		if err = f.meet(ctx); err == nil {
			var scan bool
			if scan, err = f.keepPromise(); scan && err == nil {
				err = f.sync(ctx)
			}
		}
		if err == nil {
			return unlock, nil
		}
		unlock()
		if err != errReload || try == 5 {
			return nil, err
		}
	}
}

// each runs do for the messages of uids in batches, each under the lock of its own.
func (f *Folder) each(ctx context.Context, uids sequence.Set, do func(batch []entry) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var last uint32
	for {
		done, err := f.begin(ctx)
		if err != nil {
			return err
		}
		var list []entry
		more := false
		f.within(uids, last, func(e *entry) bool {
			if len(list) == batchLen {
				more = true
				return false
			}
			list = append(list, *e)
			return true
		})
		if len(list) > 0 {
			last = list[len(list)-1].uid
			if err = do(list); err == nil {
				f.rotateIfLong(more)
			}
		}
		done()
		if err != nil || !more {
			return err
		}
	}
}

// within calls visit for every message of uids (nil: all) with a UID above last until it says no.
func (f *Folder) within(uids sequence.Set, last uint32, visit func(*entry) bool) {
	if uids == nil {
		uids = sequence.Set{{Lo: 1, Hi: 1<<32 - 1}}
	}
	for _, r := range uids {
		if r.Hi <= last {
			continue
		}
		i, _ := f.view.Find(max(r.Lo, last+1))
		for ; i < f.view.Len(); i++ {
			c, j := f.view.at(i)
			if c.uid[j] > r.Hi {
				break
			}
			e := c.entry(j)
			if !visit(&e) {
				return
			}
		}
	}
}

// Store changes flags, file by file, and gives new mod-sequences to those it changed. A store that changes nothing gives none.
func (f *Folder) Store(ctx context.Context, uids sequence.Set, mode Mode, flags Flags, unchangedSince uint64) (s Stored, err error) {
	if unchangedSince == Unconditional {
		if s, done, err := f.storePromised(ctx, uids, mode, flags); done || err != nil {
			return s, err
		}
	}
	found, next := sequence.Set{}, uint32(0)
	err = f.each(ctx, uids, func(list []entry) error {
		modseq := f.nextModSeq()
		if err := f.reserve(f.totals.uidNext, modseq); err != nil {
			return err
		}
		t := &f.totals
		next = t.uidNext
		var changed []entry
		var words batch
		for i := range list {
			e := &list[i]
			found.Add(e.uid)
			if e.modseq > unchangedSince {
				s.Modified.Add(e.uid)
				continue
			}
			want := e.flags
			switch mode {
			case Replace:
				want = flags
			case Add:
				want |= flags
			case Remove:
				want &^= flags
			}
			if want == e.flags {
				continue
			}
			if err := f.reflag(e, want); err != nil {
				if errors.Is(err, fs.ErrNotExist) {
					s.Gone.Add(e.uid)
					continue
				}
				return err
			}
			if beyond := f.beyondLetters(e.flags); beyond != f.beyondLetters(list[i].flags&^want) || e.flags&^f.letters.mask() != 0 {
				words.keywords(e.uid, beyond)
			}
			e.modseq = modseq
			changed = append(changed, *e)
		}
		f.touched()
		if len(words.text) > 0 {
			if err := f.appendUIDs(&words, false); err != nil {
				return err
			}
		}
		if len(changed) == 0 {
			return f.write(&record{kind: recState})
		}
		return f.write(&record{kind: recFlags, flags: changed})
	})
	if gone := missed(uids, found, next); len(gone) > 0 {
		s.Gone = append(s.Gone, gone...).Resolve(0)
	}
	return s, err
}

// beyondLetters is the names of the keywords that no file name can say.
func (f *Folder) beyondLetters(flags Flags) string {
	if flags&^f.letters.mask() == 0 {
		return ""
	}
	var out []string
	for n, name := range f.Keywords() {
		if f.letters.of(n) < 0 && flags&Keyword(n) != 0 && name != "" {
			out = append(out, name)
		}
	}
	return strings.Join(out, " ")
}

// reflag renames the file so that its name says the flags; e is then as the file is. A file that another program renamed in the
// meantime is found again, and its own changes are kept beside ours.
func (f *Folder) reflag(e *entry, want Flags) error {
	before := e.flags
	for try := 0; try < 5; try++ {
		from, sumFrom := e.path(), hashName(e.key+e.ending())
		next := f.named(e, want)
		wasNew := e.state&inNew != 0
		if to := next.path(); from != to {
			if err := f.disk.RenameNew(from, to); err != nil {
				if !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				if !f.find(e) { // renamed or removed by somebody
					return fs.ErrNotExist
				}
				want = want&^(before^e.flags) | e.flags&(before^e.flags)
				before = e.flags
				continue
			}
			f.moved(wasNew, next.state&inNew != 0, sumFrom, hashName(next.key+next.ending()))
		}
		*e = next
		return nil
	}
	return fs.ErrNotExist
}

// named is the message under the name that says the flags.
func (f *Folder) named(e *entry, want Flags) entry {
	next := *e
	next.flags = want
	next.setName(false, infoFor(e.info, want, e.letters))
	next.flags = want
	if want&e.letters.mask() == 0 && e.state&inNew != 0 && f.account.o.LeaveNew {
		next.setName(true, "")
		next.flags = want
	}
	return next
}

// moved keeps the recorded sums of both directories true after a rename of our own.
func (f *Folder) moved(fromNew, toNew bool, was, is uint64) {
	t := &f.totals
	from, to := &t.cur, &t.cur
	if fromNew {
		from = &t.new
	}
	if toNew {
		to = &t.new
	}
	f.stir(fromNew)
	f.stir(toNew)
	from.sum -= was
	from.count--
	to.sum += is
	to.count++
}

// find looks for the file of a message under other names: first those it is likely to have, then in both directories.
func (f *Folder) find(e *entry) bool {
	likely := []string{"new/" + e.key}
	for _, letters := range []string{"", "S", "RS", "FS", "F", "ST", "T", "PS"} {
		likely = append(likely, "cur/"+e.key+":2,"+letters)
	}
	for _, path := range likely {
		if _, err := f.disk.Stat(path); err == nil {
			e.setName(path[:4] == "new/", path[4+len(e.key):])
			return true
		}
	}
	for _, dir := range []string{"cur", "new"} {
		names, err := f.disk.ReadDir(dir)
		if err != nil {
			return false
		}
		for _, name := range names {
			if len(name) >= len(e.key) && name[:len(e.key)] == e.key && (len(name) == len(e.key) || name[len(e.key)] == ':') {
				e.setName(dir == "new", name[len(e.key):])
				return true
			}
		}
	}
	return false
}

// Expunge removes those of uids (nil: all) that are \Deleted, into the undelete area. Files go first, then the tombstones.
func (f *Folder) Expunge(ctx context.Context, uids sequence.Set) (gone sequence.Set, err error) {
	return f.remove(ctx, uids, func(e *entry) bool { return e.flags&Deleted != 0 })
}

// Delete removes the messages of uids whatever their flags: what POP3 does in its UPDATE state.
func (f *Folder) Delete(ctx context.Context, uids sequence.Set) (gone sequence.Set, err error) {
	if gone, err = f.remove(ctx, uids, func(*entry) bool { return true }); len(gone) > 0 {
		for _, dir := range []string{"cur", "new"} { // else the next power cut brings them back, and the client fetches them again
			err = errors.Join(err, f.disk.SyncDir(dir))
		}
	}
	return gone, err
}

func (f *Folder) remove(ctx context.Context, uids sequence.Set, wanted func(*entry) bool) (gone sequence.Set, err error) {
	var grave *grave
	defer func() { grave.close() }()
	err = f.each(ctx, uids, func(list []entry) error {
		if grave == nil {
			grave = f.dig(wall())
		}
		modseq := f.nextModSeq()
		if err := f.reserve(f.totals.uidNext, modseq); err != nil {
			return err
		}
		var dead []uint32
		var last error
		var weighed int64
		for i := range list {
			e := &list[i]
			if !wanted(e) {
				continue
			}
			wasNew, sum := e.state&inNew != 0, hashName(e.key+e.ending())
			err := f.discard(e, grave)
			for try := 0; errors.Is(err, fs.ErrNotExist) && try < 5; try++ { // renamed since; or removed, which is what we wanted
				if err = nil; f.find(e) {
					wasNew, sum = e.state&inNew != 0, hashName(e.key+e.ending())
					err = f.discard(e, grave)
				}
			}
			if errors.Is(err, fs.ErrNotExist) { // it is renamed all the time, and stays
				continue
			}
			if err != nil {
				last = err
				break
			}
			f.left(wasNew, sum)
			dead = append(dead, e.uid)
			gone.Add(e.uid)
			weighed += weight(e)
		}
		if len(dead) == 0 {
			return last
		}
		f.touched()
		f.account.charge(-weighed, -int64(len(dead)))
		return errors.Join(f.bury(dead, modseq), last)
	})
	return gone, err
}

// left takes a name out of the recorded sums.
func (f *Folder) left(fromNew bool, sum uint64) {
	d := &f.totals.cur
	if fromNew {
		d = &f.totals.new
	}
	d.sum -= sum
	d.count--
	f.stir(fromNew)
}

// entered puts a name into the recorded sum of cur/.
func (f *Folder) entered(sum uint64) {
	f.totals.cur.sum += sum
	f.totals.cur.count++
	f.stir(false)
}

// stir notes that we have changed a name in new/ or cur/; touched sees to it.
func (f *Folder) stir(inNew bool) {
	if inNew {
		f.stirred.new = true
	} else {
		f.stirred.cur = true
	}
}

// discard moves a message's file to the undelete area of today, or unlinks it where none is kept or there is no room.
func (f *Folder) discard(e *entry, to *grave) error {
	if to != nil {
		if err := to.take(e); err == nil || errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return f.disk.Remove(e.path())
}

// escapeFolder is a folder's directory as a part of a file name.
func escapeFolder(dir string) string {
	return strings.NewReplacer("/", "%2F", ":", "%3A", ",", "%2C", "%", "%25").Replace(dir)
}

// claimable is those of uids that no session has claimed, or that are to leave new/.
func (f *Folder) claimable(ctx context.Context, uids sequence.Set) (out sequence.Set, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.view == nil {
		if err := f.look(ctx, true); err != nil {
			return nil, err
		}
	}
	wanted := recent
	if !f.account.o.LeaveNew {
		wanted |= inNew
	}
	if f.totals.recent == 0 && (f.totals.new.count == 0 || wanted&inNew == 0) {
		return nil, nil
	}
	var list []uint32
	unclaimed, inside := f.totals.recent, f.totals.new.count // still to be met: they are at the end, as a rule
	if wanted&inNew == 0 {
		inside = 0
	}
	for k := len(f.view.slots) - 1; k >= 0 && unclaimed+inside > 0 && len(uids) > 0; k-- {
		c := f.view.slots[k].get()
		for j := c.len() - 1; j >= 0; j-- {
			if c.state[j]&recent != 0 && unclaimed > 0 {
				unclaimed--
			}
			if c.state[j]&inNew != 0 && inside > 0 {
				inside--
			}
			if c.state[j]&wanted != 0 && uids.Has(c.uid[j]) {
				list = append(list, c.uid[j])
			}
		}
		if c.uid[0] <= uids[0].Lo {
			break
		}
	}
	for i := len(list) - 1; i >= 0; i-- {
		out.Add(list[i])
	}
	return out, nil
}

// Claim makes the messages of uids belong to one session as \Recent (RFC 3501 section 2.3.2): those that no session has claimed yet. They
// move from new/ to cur/, unless the account leaves them there until they are seen.
func (f *Folder) Claim(ctx context.Context, uids sequence.Set) (claimed sequence.Set, err error) {
	if len(uids) == 0 {
		return nil, nil
	}
	if uids, err = f.claimable(ctx, uids); len(uids) == 0 || err != nil {
		return nil, err
	}
	err = f.each(ctx, uids, func(list []entry) error {
		var changed []entry
		modseq := f.nextModSeq()
		if err := f.reserve(f.totals.uidNext, modseq); err != nil {
			return err
		}
		for i := range list {
			e := list[i]
			move := e.state&inNew != 0 && !f.account.o.LeaveNew
			if e.state&recent == 0 && !move {
				continue
			}
			if e.state&recent != 0 {
				claimed.Add(e.uid)
			}
			e.state &^= recent
			if move {
				if err := f.reflag(&e, e.flags); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				if e.flags != list[i].flags { // somebody else changed them meanwhile
					e.modseq = modseq
				}
			}
			changed = append(changed, e)
		}
		if len(changed) == 0 {
			return nil
		}
		f.touched()
		return f.write(&record{kind: recFlags, flags: changed})
	})
	return claimed, err
}

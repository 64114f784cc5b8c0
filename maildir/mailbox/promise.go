package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"pennypost/internal/durable"
	"pennypost/internal/sequence"
	"pennypost/maildir"
)

/*
A STORE of many messages is promised: a line in mb-uids and the log say what their flags are now, the client has its answer, and the files are
renamed after that, some hundred under one holding of the lock. Whoever takes the lock to change something, or to compare names with
what is known, keeps the promise first, so that nobody else need know of it. Readers find a file under its old name or under its new one.

	P SET +LETTERS -LETTERS mMODSEQ    in mb-uids: all of these have, or have not, these letters
	p                                  the promise is kept

	killed after the P line                 the log is short of mb-uids: the folder is built anew, which keeps the promise
	killed after the log, or half way       its totals name the promise: the next with the lock lists the files and renames the rest
	killed after the p line                 the log is short again; all is as it should be
	power cut                               the P line may be lost, as the renames could have been; the p line is synced before the lock is given
	                                        back, else the promise would be kept again over what is stored later
	mb-uids lost, mb-uids.old read          a promise there is of long ago, and is not kept
	a file that we may not rename           keeps its flags, and clients are told so

What others change of a file in the meantime is kept beside ours, but for the same letters.
*/

var (
	promiseLeast = 512     // messages to be changed
	promiseMost  = 1 << 16 // what is more is renamed at once
	keepSoon     = func(f *Folder) { go f.keepOn() }
)

// promise is flags that files are to show.
type promise struct {
	modseq      uint64 // of the first change it makes: what it is known by
	uids        sequence.Set
	add, remove Flags
	left        []entry // files as they were when it was given, of those not renamed yet; nil: nobody here knows
}

func (p *promise) want(flags Flags) Flags { return flags&^p.remove | p.add }

// vow is the promise in letters.
func (p *promise) vow(m *letterMap) *vow {
	return &vow{p.modseq, p.uids, string(letters(nil, p.add, m)), string(letters(nil, p.remove, m))}
}

// vow writes the line.
func (b *batch) vow(v *vow) {
	b.text = v.uids.Append(append(b.text, "P "...))
	b.text = fmt.Appendf(b.text, " +%s -%s m%d\n", v.add, v.remove, v.modseq)
}

func (b *batch) kept() { b.text = append(b.text, "p\n"...) }

// vow is a promise as mb-uids says it, its letters not looked up yet.
type vow struct {
	modseq      uint64
	uids        sequence.Set
	add, remove string
}

// parseVow reads what follows "P ".
func parseVow(row []byte) (*vow, error) {
	f := strings.Fields(string(row))
	if len(f) != 4 || f[1][0] != '+' || f[2][0] != '-' || f[3][0] != 'm' {
		return nil, errUIDs
	}
	set, ok := sequence.Parse([]byte(f[0]))
	modseq, err := strconv.ParseUint(f[3][1:], 10, 62)
	if !ok || set.Dynamic() || err != nil || modseq == 0 {
		return nil, errUIDs
	}
	return &vow{modseq, set.Resolve(0), f[1][1:], f[2][1:]}, nil
}

// storePromised is Store of many messages; done is false where it is for Store to do.
func (f *Folder) storePromised(ctx context.Context, uids sequence.Set, mode Mode, flags Flags) (s Stored, done bool, err error) {
	if uids.Count() < uint64(promiseLeast) {
		return s, false, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	unlock, err := f.begin(ctx)
	if err != nil {
		return s, false, err
	}
	defer unlock()
	mask := f.letters.mask()
	p := &promise{modseq: f.nextModSeq(), add: flags}
	switch mode {
	case Replace:
		p.remove = mask &^ flags
	case Remove:
		p.add, p.remove = 0, flags
	}
	var found sequence.Set
	said := flags // by some file or to be said
	f.within(uids, 0, func(e *entry) bool {
		found.Add(e.uid)
		said |= e.flags
		if p.want(e.flags) != e.flags {
			p.left = append(p.left, *e)
			p.uids.Add(e.uid)
		}
		return len(p.left) <= promiseMost
	})
	if len(p.left) < promiseLeast || len(p.left) > promiseMost || said&^mask != 0 {
		return s, false, nil
	}
	switch err := f.give(p); {
	case durable.Refused(err): // no room for a line; names can be changed
		return s, false, nil
	case err != nil:
		return s, true, err
	}
	keepSoon(f)
	return Stored{Gone: missed(uids, found, f.totals.uidNext)}, true, nil
}

// missed is what was asked for, may have been, and was not there.
func missed(uids, found sequence.Set, next uint32) (gone sequence.Set) {
	if next <= 1 {
		return nil
	}
	return uids.Intersect(sequence.Set{{Lo: 1, Hi: next - 1}}).Without(found)
}

// give writes a promise down. The lock is held.
func (f *Folder) give(p *promise) error {
	const piece = 4 * chunkLen
	if err := f.reserve(f.totals.uidNext, p.modseq+uint64(len(p.left)/piece)+1); err != nil {
		return err
	}
	var b batch
	b.vow(p.vow(f.letters))
	if err := f.appendUIDs(&b, false); err != nil {
		return err
	}
	f.promise, f.totals.promise = p, p.modseq
	for from := 0; from < len(p.left); from += piece {
		list := make([]entry, min(piece, len(p.left)-from))
		modseq := f.nextModSeq()
		for i := range list {
			e := &p.left[from+i]
			list[i] = f.named(e, p.want(e.flags))
			list[i].modseq = modseq
		}
		if err := f.write(&record{kind: recFlags, flags: list}); err != nil {
			return err
		}
	}
	return nil
}

// keepOn keeps the promise given here, some files at a time.
func (f *Folder) keepOn() {
	for more := true; more; {
		f.mu.Lock()
		more = f.keepSome()
		f.mu.Unlock()
	}
}

// keepSome is a step of that; what fails is left to whoever takes the lock next.
func (f *Folder) keepSome() (more bool) {
	if f.promise == nil || !f.opened {
		return false
	}
	unlock, err := f.lock(context.Background())
	if err != nil {
		return false
	}
	defer unlock()
	if f.catchUp() != nil || f.view == nil || f.totals.promise != f.promise.modseq {
		return false
	}
	if info, err := f.disk.Stat(uidsName); err != nil || info.Size != f.totals.uidsSize {
		return false
	}
	if err := f.redeem(batchLen); err != nil {
		return false
	}
	if f.promise == nil {
		f.rotateIfLong(false)
	}
	return f.promise != nil
}

// keepPromise keeps all of what is promised. Where it was not given here the directories are read for the names, and what was
// done to them is for a scan to write down. The lock is held.
func (f *Folder) keepPromise() (scan bool, err error) {
	for f.totals.promise != 0 {
		if p := f.promise; p == nil || p.modseq != f.totals.promise || f.blank {
			return true, f.recall()
		}
		if err := f.redeem(len(f.promise.left)); err != nil {
			return false, err
		}
	}
	f.promise = nil
	return false, nil
}

// redeem renames the next files of the promise given here.
func (f *Folder) redeem(n int) error {
	p := f.promise
	modseq := f.nextModSeq()
	if err := f.reserve(f.totals.uidNext, modseq); err != nil {
		return err
	}
	n = min(n, len(p.left))
	var changed []entry
	for i := range p.left[:n] {
		e := p.left[i]
		switch err := f.reflag(&e, p.want(e.flags)); {
		case errors.Is(err, fs.ErrNotExist): // gone, which is for a scan to find
			continue
		case err != nil && !errors.Is(err, fs.ErrPermission):
			return err
		}
		at, ok := f.view.Find(e.uid)
		if !ok {
			continue
		}
		c, j := f.view.at(at)
		if is := c.entry(j); is.path() != e.path() || is.flags != e.flags { // somebody else was at it, or we may not
			is.setName(e.state&inNew != 0, e.ending())
			is.modseq = modseq
			changed = append(changed, is)
		}
	}
	p.left = p.left[n:]
	f.touched()
	if len(p.left) == 0 {
		if err := f.fulfilled(); err != nil {
			return err
		}
	}
	if len(changed) > 0 {
		return f.write(&record{kind: recFlags, flags: changed})
	}
	return f.write(&record{kind: recState})
}

// fulfilled writes down that the promise is kept; the next record of the log says so, too.
func (f *Folder) fulfilled() error {
	var b batch
	b.kept()
	if err := f.appendUIDs(&b, true); err != nil {
		return err
	}
	f.promise, f.totals.promise = nil, 0
	return nil
}

// recall keeps a promise that another gave.
func (f *Folder) recall() error {
	u, err := f.uidsNow()
	if err != nil {
		return err
	}
	f.heard.miss()
	if u.vow == nil {
		f.promise, f.totals.promise = nil, 0
		return nil
	}
	p := &promise{add: letterFlags(u.vow.add, f.letters), remove: letterFlags(u.vow.remove, f.letters)}
	names := map[string]string{} // by key
	for _, dir := range []string{"new", "cur"} {
		list, err := f.disk.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, name := range list {
			names[maildir.Key(name)] = dir + "/" + name
		}
	}
	var failed error
	f.within(u.vow.uids, 0, func(e *entry) bool {
		path, ok := names[e.key]
		if !ok {
			return true
		}
		e.setName(path[:4] == "new/", path[4+len(e.key):])
		if err := f.reflag(e, p.want(e.flags)); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			failed = err
		}
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return f.fulfilled()
}

// settle keeps the promise given here before the folder is left.
func (f *Folder) settle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.keepSome() {
	}
}

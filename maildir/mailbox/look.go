package mailbox

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"pennypost/internal/durable"
)

// scanCost is what a scan takes for each message, about: scans that only verify our own changes take at most a hundredth of
// the time.
const scanCost = 600 * time.Nanosecond

// Look takes in what other programs and processes have done since the last look, and gives the view as it is now: two stat(2)
// and one read when nothing has happened. It gives UIDs to new messages.
func (f *Folder) Look(ctx context.Context) (*View, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.look(ctx, true); err != nil {
		return nil, err
	}
	return f.view, nil
}

// Counts is the folder's figures after a look, without its messages: what STATUS needs, at any size.
func (f *Folder) Counts(ctx context.Context) (Counts, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.look(ctx, false); err != nil {
		return Counts{}, err
	}
	return f.counts(), nil
}

// Weighed is Counts with the sizes of all messages, also of those that nobody has asked for before (RFC 8438).
func (f *Folder) Weighed(ctx context.Context) (Counts, error) {
	n, err := f.Counts(ctx)
	f.mu.Lock()
	uncounted := f.totals.uncounted
	f.mu.Unlock()
	if err != nil || uncounted == 0 {
		return n, err
	}
	view, err := f.Look(ctx)
	if err != nil {
		return Counts{}, err
	}
	n = view.Counts()
	n.Size, n.DeletedSize = 0, 0
	for i := range view.Len() {
		size, err := view.Size(i)
		if err != nil {
			continue // gone meanwhile
		}
		n.Size += size
		if view.Flags(i)&Deleted != 0 {
			n.DeletedSize += size
		}
	}
	return n, nil
}

// look is Look with f.mu held; messages are loaded if a scan needs them, or when wanted.
func (f *Folder) look(ctx context.Context, messages bool) error {
	for try := 0; ; try++ {
		err := f.lookOnce(ctx, messages)
		if durable.Refused(err) {
			return f.lookFull(err)
		}
		if err != errReload || try == 5 {
			return err
		}
	}
}

func (f *Folder) lookOnce(ctx context.Context, messages bool) error {
	if err := f.open(ctx); err != nil {
		return err
	}
	if err := f.catchUp(); err != nil {
		return err
	}
	if f.snap.bad.Load() { // a byte flipped in the cache
		f.opened = false
		if err := f.remake(ctx); err != nil {
			return err
		}
	}
	listening := f.heard.listening()
	changed, err := f.dirsChanged()
	if err != nil {
		return err
	}
	if !changed {
		f.heard.settled(listening)
	}
	if messages || changed {
		if err := f.load(); err != nil {
			return err
		}
	}
	if !changed {
		return nil
	}
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return f.meet(ctx)
}

// meet takes in the log and the directories with the lock held. Whoever held it before us may have done it all.
func (f *Folder) meet(ctx context.Context) error {
	if err := f.catchUp(); err != nil {
		return err
	}
	info, err := f.disk.Stat(uidsName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || info.Size != f.totals.uidsSize || info.Inode != f.uidsInode { // somebody edited or restored it, or a batch was torn
		f.opened = false
		return errReload
	}
	if changed, err := f.dirsChanged(); err != nil || !changed {
		return err
	}
	return f.sync(ctx)
}

// remake builds the folder's caches again from what is true.
func (f *Folder) remake(ctx context.Context) error {
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := f.rebuild(ctx); err != nil {
		return err
	}
	f.opened = true
	return nil
}

// dirsChanged compares both directories with what was recorded.
func (f *Folder) dirsChanged() (bool, error) {
	for _, d := range []struct {
		name string
		was  *dirState
	}{{"new", &f.totals.new}, {"cur", &f.totals.cur}} {
		if changed, err := f.dirChanged(d.name, d.was); changed || err != nil {
			return changed, err
		}
	}
	return f.waiting() || f.news(), nil
}

// dirChanged compares one directory: its time is another, or what we did in it ourselves is to be verified now.
func (f *Folder) dirChanged(name string, was *dirState) (bool, error) {
	info, err := f.disk.Stat(name)
	if err != nil {
		if f.present() == ErrUnavailable {
			return false, ErrUnavailable
		}
		return false, err
	}
	if info.ModTime.UnixNano() != was.mtime {
		return true, nil
	}
	return !was.verified && (f.verifyDue() || f.aged(info.ModTime, max(time.Second, 100*scanCost*time.Duration(was.count)))), nil
}

// waiting reports whether a message that was missing is to be looked for again now.
func (f *Folder) waiting() bool {
	return len(f.suspects) > 0 && f.suspectsDue() || !f.emptied.IsZero() && time.Since(f.emptied) > emptiedWait
}

// suspectsDue reports whether a message that was missing once may be looked for again.
func (f *Folder) suspectsDue() bool {
	for _, since := range f.suspects {
		if time.Since(since) >= f.suspectWait() {
			return true
		}
	}
	return false
}

// touched records the directories in which we changed names as they are after that. It is not verified: another change may hide behind ours.
func (f *Folder) touched() {
	for _, at := range []struct {
		dir   string
		ours  *bool
		state *dirState
	}{{"new", &f.stirred.new, &f.totals.new}, {"cur", &f.stirred.cur, &f.totals.cur}} {
		if !*at.ours {
			continue
		}
		*at.ours = false
		if info, err := f.disk.Stat(at.dir); err == nil && info.ModTime.UnixNano() != at.state.mtime {
			at.state.mtime, at.state.verified = info.ModTime.UnixNano(), false
		}
	}
}

// reserve makes sure that UIDs up to uid and mod-sequences up to modseq may be shown: what is shown is below a bound that is on disk.
func (f *Folder) reserve(uid uint32, modseq uint64) error {
	t := &f.totals
	if uid < t.uidBound && modseq < t.modBound {
		return nil
	}
	var b batch
	uidBound, modBound := max(t.uidBound, uid+256), max(t.modBound, modseq+1<<16)
	b.reserve(uidBound, modBound)
	if err := f.appendUIDs(&b, true); err != nil {
		return err
	}
	t.uidBound, t.modBound = uidBound, modBound
	return nil
}

// appendUIDs adds a batch to mb-uids. The folder's lock is held.
func (f *Folder) appendUIDs(b *batch, sync bool) (err error) {
	defer func() {
		if err != nil {
			f.opened = false // what is there of it does not count, and the next writer cuts it
		}
	}()
	text := b.end(wall())
	w, err := f.disk.Append(uidsName, 0o600)
	if err != nil {
		return err
	}
	defer w.Close()
	if info, err := w.Stat(); err != nil {
		return err
	} else if info.Size != f.totals.uidsSize { // somebody edited it, or a batch was torn
		return errReload
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if sync {
		if err := durable.Sync(w); err != nil {
			return err
		}
	}
	f.totals.uidsSize += int64(len(text))
	return nil
}

// nextModSeq is the mod-sequence of a change that happens now.
func (f *Folder) nextModSeq() uint64 { return f.totals.modseq + 1 }

// startOver writes what is known as a new snapshot with an empty log: when the log has grown, or has a torn end.
func (f *Folder) startOver() error {
	if err := f.load(); err != nil {
		return err
	}
	chunks := make([]*chunk, 0, len(f.view.slots))
	for _, s := range f.view.slots {
		chunks = append(chunks, s.get())
	}
	return f.writeSnapshot(chunks)
}

// writeSnapshot replaces mb-index and begins a generation; the folder then goes on with the same view. Who deletes caches may take away what is
// just being written: then it is written again.
func (f *Folder) writeSnapshot(chunks []*chunk) (err error) {
	for range 3 {
		if err = f.replaceSnapshot(chunks); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return err
}

func (f *Folder) replaceSnapshot(chunks []*chunk) error {
	old := f.gen
	h := head{validity: f.validity, id: f.id, gen: old + 1, boot: bootID(), totals: f.totals, letters: lettersText(f.k), lost: f.lost}
	logFile := logName(h.gen)
	f.disk.Remove(logFile)
	w, err := f.disk.Create(logFile, 0o600)
	if err != nil {
		return err
	}
	_, err = w.Write(newLog(h.gen))
	w.Close()
	if err != nil {
		return err
	}
	temp := indexName + ".tmp"
	f.disk.Remove(temp)
	if w, err = f.disk.Create(temp, 0o600); err != nil {
		return err
	}
	err = writeIndex(w, &h, chunks)
	w.Close()
	if err == nil {
		err = f.disk.Rename(temp, indexName) // a cache: after a power cut it is made again
	}
	if err != nil {
		f.disk.Remove(temp)
		return err
	}
	f.learnt = 0
	f.leaveLog(old)
	file, err := f.disk.Open(indexName)
	if err != nil {
		return err
	}
	snap := openSnapshot(file)
	if snap == nil {
		return errReload
	}
	snap.meaning = f.letters
	log, err := f.disk.Open(logFile)
	if err != nil {
		snap.close()
		return errReload
	}
	logInfo, err := log.Stat()
	if err != nil {
		snap.close()
		log.Close()
		return err
	}
	f.logInode = logInfo.Inode
	view, table, ring, losses := f.view, f.table, f.ring, f.losses
	f.use(snap, log, int64(logHead), f.totals)
	if view != nil {
		f.view, f.table, f.ring, f.losses = view, table, ring, losses
	}
	return nil
}

// leaveLog tells those who follow the old generation to go on, and removes the one before it.
func (f *Folder) leaveLog(old uint64) {
	if w, err := f.disk.Append(logName(old), 0o600); err == nil {
		r := record{kind: recRotate, totals: f.totals}
		w.Write(r.encode(nil))
		w.Close()
	}
	if old > 0 {
		f.disk.Remove(logName(old - 1))
	}
}

// rotateIfLong begins a generation when the log is long against the snapshot; where more is to follow at once, only when it is as
// long as any may be.
func (f *Folder) rotateIfLong(more bool) {
	const longest = 4 << 20
	most := min(max(128<<10, int64(f.totals.messages)*100/8), longest)
	if more {
		most = longest
	}
	if f.pos > most {
		if err := errors.Join(f.thin(), f.startOver()); err != nil {
			f.opened = false
		}
	}
}

// saveLearnt writes a snapshot when much was found out that is not in the last one.
func (f *Folder) saveLearnt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.opened || f.learnt < 64 || f.learnt < int(f.totals.messages)/50 {
		return
	}
	unlock, err := f.lock(context.Background())
	if err != nil {
		return
	}
	defer unlock()
	if f.catchUp() != nil || f.startOver() != nil {
		f.opened = false
	}
}

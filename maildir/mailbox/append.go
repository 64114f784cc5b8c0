package mailbox

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"pennypost/internal/durable"
	"pennypost/internal/sequence"
)

// Appender is one message on its way in; Write takes LF line ends.
type Appender struct {
	Flags    Flags
	Received time.Time // zero: now

	folder *Folder
	temp   string
	file   durable.File
	size   int64
	wire   int64
	last   byte
	err    error
}

// Append starts a message for the folder. Several can be committed together (MULTIAPPEND).
func (f *Folder) Append() (*Appender, error) {
	a := &Appender{folder: f, temp: "tmp/" + newKey(wall(), f.account.host, 0, 0)}
	var err error
	a.file, err = f.disk.Create(a.temp, 0o600)
	return a, err
}

func (a *Appender) Write(p []byte) (int, error) {
	if a.err != nil {
		return 0, a.err
	}
	for b := p; len(b) > 0; {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			break
		}
		if i > 0 && b[i-1] != '\r' || i == 0 && a.last != '\r' {
			a.wire++
		}
		a.last = '\n'
		b = b[i+1:]
	}
	if len(p) > 0 {
		a.last = p[len(p)-1]
	}
	n, err := a.file.Write(p)
	a.size += int64(n)
	a.wire += int64(n)
	a.err = err
	return n, err
}

// Size is the octets written so far.
func (a *Appender) Size() int64 { return a.size }

// Abort forgets the message.
func (a *Appender) Abort() {
	if a.file != nil {
		a.file.Close()
		a.folder.disk.Remove(a.temp)
		a.file = nil
	}
}

// CommitAll makes the messages durable and visible, all or none, and gives their UIDs in order.
func (f *Folder) CommitAll(ctx context.Context, messages []*Appender) (uids sequence.Set, err error) {
	defer func() {
		for _, a := range messages {
			a.Abort()
		}
	}()
	for _, a := range messages {
		if a.err != nil {
			return nil, a.err
		}
		if !a.Received.IsZero() {
			if err := durable.SetModTime(a.file, a.Received); err != nil {
				return nil, err
			}
		}
		if err := a.file.Sync(); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	done, err := f.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	list := make([]entry, len(messages))
	now := wall()
	for i, a := range messages {
		info, err := a.file.Stat()
		if err != nil {
			return nil, err
		}
		list[i] = entry{
			key: newKey(now, f.account.host, a.size, a.wire), flags: a.Flags, wire: a.wire, received: info.ModTime.Unix(), state: recent, inode: inodeOf(info.Inode),
			letters: f.letters,
		}
	}
	place := func(i int) error { return f.disk.RenameNew(messages[i].temp, list[i].path()) }
	if err := f.enter(list, place); err != nil {
		return nil, err
	}
	for _, a := range messages {
		a.file.Close()
		a.file = nil
	}
	for i, a := range messages {
		uids.Add(list[i].uid)
		f.account.charge(a.size, 1)
	}
	f.rotateIfLong(false)
	return uids, nil
}

// enter puts messages into cur/, place by place, durably, and gives them UIDs. Before anything is written down a failure takes back
// what was placed.
func (f *Folder) enter(list []entry, place func(i int) error) error {
	modseq := f.nextModSeq()
	if err := f.reserve(f.totals.uidNext+uint32(len(list)), modseq); err != nil {
		return err
	}
	for i := range list {
		err := place(i)
		if err == nil {
			continue
		}
		for k := range i {
			f.disk.Remove(list[k].path())
		}
		return err
	}
	if err := f.disk.SyncDir("cur"); err != nil {
		return err
	}
	var b batch
	now := wall().Unix()
	for i := range list {
		e := &list[i]
		e.uid, e.modseq, e.saved = f.totals.uidNext+uint32(i), modseq, now
		b.message(e.uid, &line{key: e.key, saved: now, size: -1, wire: -1, more: f.beyondLetters(e.flags), over: e.over})
		f.entered(hashName(e.key + e.ending()))
	}
	f.touched()
	if err := f.appendUIDs(&b, false); err != nil {
		return err
	}
	return f.write(&record{kind: recAdd, added: list})
}

// Copy links messages into another folder, all or none. from and to pair in order.
func (f *Folder) Copy(ctx context.Context, uids sequence.Set, dst *Folder) (from, to []uint32, err error) {
	return f.CopyWith(ctx, uids, dst, ^Flags(0))
}

// CopyWith is Copy, and of the flags only those of may go along.
func (f *Folder) CopyWith(ctx context.Context, uids sequence.Set, dst *Folder, may Flags) (from, to []uint32, err error) {
	list, err := f.pick(ctx, uids)
	if err != nil || len(list) == 0 {
		return nil, nil, err
	}
	copies := make([]entry, len(list))
	now := wall()
	for i := range list {
		e := list[i]
		guid := guidOf([]byte(e.key))
		if e.over != nil && e.over.guid != "" {
			guid = e.over.guid
		}
		copies[i] = e
		copies[i].state, copies[i].cache, copies[i].info = recent, 0, ""
		copies[i].key = newKey(now, f.account.host, max(sizeOf(e.key), 0), max(e.wire, 0))
		if sizeOf(e.key) < 0 || e.wire < 0 {
			copies[i].key = cutSizes(copies[i].key)
		}
		copies[i].over = &override{guid: guid}
		if copies[i].letters = dst.letters; f.account != dst.account {
			copies[i].inode = 0
		}
		if copies[i].flags, err = f.translate(e.flags&may, dst); err != nil {
			return nil, nil, err
		}
		from = append(from, e.uid)
	}
	if err := dst.fits(list); err != nil {
		return nil, nil, err
	}
	place, done, err := f.linker(list, copies, dst)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	dst.mu.Lock()
	defer dst.mu.Unlock()
	unlock, err := dst.begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	if err := dst.enter(copies, place); err != nil {
		return nil, nil, err
	}
	for i := range copies {
		to = append(to, copies[i].uid)
		dst.account.charge(weight(&list[i]), 1)
	}
	dst.rotateIfLong(false)
	return from, to, nil
}

// pick is the messages of uids as a look finds them.
func (f *Folder) pick(ctx context.Context, uids sequence.Set) (list []entry, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.look(ctx, true); err != nil {
		return nil, err
	}
	f.within(uids, 0, func(e *entry) bool {
		list = append(list, *e)
		return true
	})
	return list, nil
}

// linker gives what puts copies into cur/ of another folder: by a second name for the same file, one system call each, where both
// folders are of one account and its file system knows links; else what is copied lies in tmp/ already and is renamed. done clears away
// what was not.
func (f *Folder) linker(list, copies []entry, dst *Folder) (place func(i int) error, done func(), err error) {
	if f.account == dst.account {
		if way, err := f.account.way(f.dir, dst.dir); err == nil {
			place = func(i int) error { return f.linkBy(way, &list[i], dst, copies[i].path()) }
			if probe := "tmp/" + copies[0].key; f.linkBy(way, &list[0], dst, probe) == nil {
				dst.disk.Remove(probe)
				return place, func() { way.Close() }, nil
			}
			way.Close()
		}
	}
	linked := make([]string, 0, len(list))
	done = func() {
		for _, name := range linked {
			dst.disk.Remove(name)
		}
	}
	for i := range list {
		temp := "tmp/" + copies[i].key
		if err := f.linkTo(&list[i], dst, temp); err != nil {
			done()
			if errors.Is(err, fs.ErrNotExist) {
				err = ErrExpunged
			}
			return nil, nil, err
		}
		linked = append(linked, temp)
	}
	return func(i int) error { return dst.disk.RenameNew(linked[i], copies[i].path()) }, done, nil
}

// way is the account's directory with the directories of messages of two folders held open, for as long as many go from one to the other.
func (a *Account) way(from, to string) (durable.Disk, error) {
	disk, err := a.open(a.root)
	if err == nil {
		disk.Hold(filepath.Join(from, "cur"), filepath.Join(from, "new"), filepath.Join(to, "cur"))
	}
	return disk, err
}

// linkBy gives the message's file a second name in another folder of the account. ErrExpunged when there is no file any more.
func (f *Folder) linkBy(way durable.Disk, e *entry, dst *Folder, name string) error {
	to := filepath.Join(dst.dir, name)
	err := way.Link(filepath.Join(f.dir, e.path()), to)
	for try := 0; errors.Is(err, fs.ErrNotExist) && try < 3; try++ { // renamed since
		if !f.find(e) {
			return ErrExpunged
		}
		err = way.Link(filepath.Join(f.dir, e.path()), to)
	}
	return err
}

// linkTo gives the message's file a second name in another folder, or copies it where that cannot be.
func (f *Folder) linkTo(e *entry, dst *Folder, name string) error {
	file, err := f.disk.Open(e.path())
	if errors.Is(err, fs.ErrNotExist) && f.find(e) {
		file, err = f.disk.Open(e.path())
	}
	if err != nil {
		return err
	}
	defer file.Close()
	err = dst.disk.LinkFile(file, name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w, err := dst.disk.Create(name, 0o600)
	if err != nil {
		return err
	}
	defer w.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for at := int64(0); at < info.Size; {
		n, err := file.ReadAt(buf, at)
		if n == 0 {
			return err
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		at += int64(n)
	}
	if err := durable.SetModTime(w, info.ModTime); err != nil {
		return err
	}
	return w.Sync()
}

// translate is flags of this folder as another account numbers its keywords.
func (f *Folder) translate(flags Flags, dst *Folder) (Flags, error) {
	if dst.account == f.account || flags < keywords {
		return flags, nil
	}
	out := flags & (keywords - 1)
	for n, name := range f.Keywords() {
		if flags&Keyword(n) != 0 && name != "" {
			k, err := dst.account.keyword(name, true)
			if err != nil {
				return 0, err
			}
			out |= Keyword(k)
		}
	}
	return out, nil
}

// Move renames messages into another folder; each is in one of the two at any moment.
func (f *Folder) Move(ctx context.Context, uids sequence.Set, dst *Folder) (from, to []uint32, err error) {
	return f.MoveWith(ctx, uids, dst, ^Flags(0))
}

// MoveWith is Move, and of the flags only those of may go along into another account.
func (f *Folder) MoveWith(ctx context.Context, uids sequence.Set, dst *Folder, may Flags) (from, to []uint32, err error) {
	if dst == f || dst.account != f.account {
		from, to, err = f.CopyWith(ctx, uids, dst, may)
		if err != nil {
			return nil, nil, err
		}
		var set sequence.Set
		for _, uid := range from {
			set.Add(uid)
		}
		_, err = f.remove(ctx, set, func(*entry) bool { return true })
		return from, to, err
	}
	first, second := f, dst
	if first.dir > second.dir {
		first, second = second, first
	}
	first.mu.Lock()
	defer first.mu.Unlock()
	second.mu.Lock()
	defer second.mu.Unlock()
	doneFirst, err := first.begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer doneFirst()
	doneSecond, err := second.begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer doneSecond()
	var list []entry
	f.within(uids, 0, func(e *entry) bool {
		list = append(list, *e)
		return true
	})
	return f.moveAll(list, dst)
}

// moveAll renames what can be renamed and writes both folders down. Both locks are held.
func (f *Folder) moveAll(list []entry, dst *Folder) (from, to []uint32, err error) {
	modseq := f.nextModSeq()
	if err := f.reserve(f.totals.uidNext, modseq); err != nil {
		return nil, nil, err
	}
	way, err := f.account.way(f.dir, dst.dir)
	if err != nil {
		return nil, nil, err
	}
	defer way.Close()
	var moved []entry
	var last error
	for i := range list {
		e := list[i]
		wasNew, sum := e.state&inNew != 0, hashName(e.key+e.ending())
		next := e
		next.state, next.cache, next.info, next.letters = recent, 0, "", dst.letters
		if err := f.rename(way, &e, dst, &next); err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				last = err
				break
			}
			continue
		}
		f.left(wasNew, sum)
		from = append(from, e.uid)
		moved = append(moved, next)
	}
	if len(moved) == 0 {
		return nil, nil, last
	}
	if err := f.disk.SyncDir("cur"); err != nil {
		return nil, nil, err
	}
	if err := dst.enter(moved, func(int) error { return nil }); err != nil {
		return nil, nil, err
	}
	f.touched()
	if err := f.bury(from, modseq); err != nil {
		return nil, nil, err
	}
	for i := range moved {
		to = append(to, moved[i].uid)
	}
	f.rotateIfLong(false)
	dst.rotateIfLong(false)
	return from, to, last
}

// rename moves one file into cur/ of another folder of the account, under its own key if that is free there.
func (f *Folder) rename(way durable.Disk, e *entry, dst *Folder, next *entry) error {
	from := func() string { return filepath.Join(f.dir, e.path()) }
	to := func() string { return filepath.Join(dst.dir, next.path()) }
	for try := 0; ; try++ {
		err := way.RenameNew(from(), to())
		switch {
		case err == nil || try > 3:
			return err
		case errors.Is(err, fs.ErrExist):
			next.over = &override{guid: guidOf([]byte(e.key))}
			next.key = cutSizes(newKey(wall(), f.account.host, 0, 0))
		case errors.Is(err, fs.ErrNotExist) && f.find(e):
			next.flags = e.flags
		default:
			return err
		}
	}
}

package mailbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"testing"

	"pennypost/internal/durable"
	"pennypost/internal/durable/faultdisk"
	"pennypost/internal/sequence"
	"pennypost/maildir"
)

// below is a directory of a faultdisk as a Disk of its own.
type below struct {
	*faultdisk.Disk
	root string
}

func (b below) at(name string) string { return path.Join(b.root, name) }

func (b below) Create(name string, perm fs.FileMode) (durable.File, error) {
	return b.Disk.Create(b.at(name), perm)
}
func (b below) Open(name string) (durable.File, error) { return b.Disk.Open(b.at(name)) }
func (b below) Append(name string, perm fs.FileMode) (durable.File, error) {
	return b.Disk.Append(b.at(name), perm)
}
func (b below) Rename(from, to string) error    { return b.Disk.Rename(b.at(from), b.at(to)) }
func (b below) RenameNew(from, to string) error { return b.Disk.RenameNew(b.at(from), b.at(to)) }
func (b below) Link(from, to string) error      { return b.Disk.Link(b.at(from), b.at(to)) }
func (b below) LinkFile(f durable.File, to string) error {
	return b.Disk.LinkFile(f, b.at(to))
}
func (b below) Remove(name string) error                  { return b.Disk.Remove(b.at(name)) }
func (b below) RemoveDir(name string) error               { return b.Disk.RemoveDir(b.at(name)) }
func (b below) Mkdir(name string, perm fs.FileMode) error { return b.Disk.Mkdir(b.at(name), perm) }
func (b below) SyncDir(name string) error                 { return b.Disk.SyncDir(b.at(name)) }
func (b below) ReadDir(name string) ([]string, error)     { return b.Disk.ReadDir(b.at(name)) }
func (b below) Stat(name string) (durable.Info, error)    { return b.Disk.Stat(b.at(name)) }
func (b below) Hold(...string) error                      { return nil }

// inMemory opens directories of a faultdisk.
func inMemory(disk *faultdisk.Disk) maildir.Opener {
	return func(root string) (durable.Disk, error) {
		if root = strings.TrimPrefix(root, "/"); root == "" {
			root = "."
		}
		if info, err := disk.Stat(root); err != nil {
			return nil, err
		} else if !info.Mode.IsDir() {
			return nil, fs.ErrInvalid
		}
		return below{disk, root}, nil
	}
}

// run makes the test another run of the machine.
func run(t *testing.T, boot string) {
	was := bootID
	boot = (boot + "------------")[:12] // as long as one is, else no log is of this run
	bootID = func() string { return boot }
	t.Cleanup(func() { bootID = was })
}

// witness is an IMAP client: what it was told, and what was promised to it.
type witness struct {
	t        *testing.T
	account  *Account
	box      *Folder
	other    *Folder
	validity map[string]uint32
	means    map[string]string // "INBOX 17" → the text of the message
	next     map[string]uint32
	model    map[string]*client
	kept     map[string]bool // texts whose APPEND was acknowledged
}

const memoryRoot = "/mail/bob/Maildir"

// client opens the account on a disk, as a process does after the machine has started.
func (w *witness) open(disk *faultdisk.Disk) error {
	var err error
	if w.account, err = openAccount(memoryRoot, Options{ExpungedDays: 14, Host: "test"}, inMemory(disk)); err != nil {
		return err
	}
	if w.box, err = w.account.Folder("INBOX"); err != nil {
		return err
	}
	w.other, err = w.account.Folder("Other")
	return err
}

func (w *witness) close() {
	if w.box != nil {
		w.box.Close()
	}
	if w.other != nil {
		w.other.Close()
	}
	w.box, w.other = nil, nil
}

// look takes note of all a client can see now.
func (w *witness) look() error {
	for _, f := range []*Folder{w.box, w.other} {
		v, err := f.Look(ctx)
		if err != nil {
			return err
		}
		if err := w.see(f.Name(), v); err != nil {
			return err
		}
	}
	return nil
}

func (w *witness) see(name string, v *View) error {
	n := v.Counts()
	if was := w.validity[name]; was != 0 && was != n.UIDValidity {
		w.t.Errorf("%s: UIDVALIDITY was %d and is %d", name, was, n.UIDValidity)
	}
	if n.UIDNext < w.next[name] {
		w.t.Errorf("%s: UIDNEXT was %d and is %d", name, w.next[name], n.UIDNext)
	}
	w.validity[name], w.next[name] = n.UIDValidity, n.UIDNext
	m := w.model[name]
	if m == nil {
		m = &client{Flags: map[uint32]Flags{}}
		w.model[name] = m
	}
	if n.HighestModSeq < m.ModSeq {
		w.t.Errorf("%s: HIGHESTMODSEQ was %d and is %d", name, m.ModSeq, n.HighestModSeq)
	}
	since := m.ModSeq
	for uid := range v.VanishedSince(since, nil).All {
		delete(m.Flags, uid)
	}
	for uid := range v.ChangedSince(since).All {
		i, _ := v.Find(uid)
		m.Flags[uid] = v.Flags(i)
	}
	m.ModSeq = n.HighestModSeq
	same := len(m.Flags) == v.Len()
	for i := range v.Len() {
		uid := v.UID(i)
		flags, ok := m.Flags[uid]
		same = same && ok && flags == v.Flags(i)
		file, err := v.Open(i)
		if err != nil {
			return err
		}
		text := make([]byte, file.Size)
		n, err := file.ReadAt(text, 0)
		file.Close()
		if n < len(text) {
			return err
		}
		w.says(name, uid, string(text))
	}
	if !same {
		w.t.Errorf("%s: a client that resynchronised since %d has %v", name, since, m.Flags)
	}
	return nil
}

func (w *witness) says(name string, uid uint32, text string) {
	what := fmt.Sprint(name, " ", uid)
	if was, ok := w.means[what]; ok && was != text {
		w.t.Errorf("%s was %q and is %q", what, was, text)
	}
	w.means[what] = text
}

func (w *witness) append(f *Folder, text string) error {
	a, err := f.Append()
	if err != nil {
		return err
	}
	io.WriteString(a, text)
	uids, err := f.CommitAll(ctx, []*Appender{a})
	if err != nil {
		return err
	}
	for uid := range uids.All {
		w.says(f.Name(), uid, text) // APPENDUID
	}
	w.kept[text] = true
	return nil
}

// acts are what the power may go in. Each ends with what a client then sees.
var acts = []struct {
	name string
	do   func(w *witness, disk *faultdisk.Disk) error
}{
	{"first look", func(w *witness, _ *faultdisk.Disk) error { return nil }},
	{"new mail", func(w *witness, disk *faultdisk.Disk) error {
		for i := range 3 {
			disk.Put(fmt.Sprintf("mail/bob/Maildir/new/17953215%02d.x", i), fmt.Sprintf("new %d\n", i))
			if err := w.look(); err != nil {
				return err
			}
		}
		return nil
	}},
	{"append", func(w *witness, _ *faultdisk.Disk) error {
		for i := range 3 {
			if err := w.append(w.box, fmt.Sprintf("appended %d\n", i)); err != nil {
				return err
			}
		}
		return nil
	}},
	{"store", func(w *witness, _ *faultdisk.Disk) error {
		for i := range 3 {
			if _, err := w.box.Store(ctx, sequence.Set{{Lo: 1, Hi: 2}}, Mode(i%2+1), Flagged, Unconditional); err != nil {
				return err
			}
			if err := w.look(); err != nil {
				return err
			}
		}
		return nil
	}},
	{"promise", func(w *witness, _ *faultdisk.Disk) error {
		defer func(least int, soon func(*Folder)) { promiseLeast, keepSoon = least, soon }(promiseLeast, keepSoon)
		promiseLeast, keepSoon = 1, func(*Folder) {}
		for i, flags := range []Flags{Flagged, Answered, Flagged} {
			if _, err := w.box.Store(ctx, sequence.Set{{Lo: 1, Hi: 3}}, Mode(i), flags, Unconditional); err != nil {
				return err
			}
			if err := w.look(); err != nil {
				return err
			}
			w.box.keepOn()
			if err := w.look(); err != nil {
				return err
			}
		}
		return nil
	}},
	{"expunge and append", func(w *witness, _ *faultdisk.Disk) error {
		if _, err := w.box.Store(ctx, sequence.Set{{Lo: 2, Hi: 3}}, Add, Deleted, Unconditional); err != nil {
			return err
		}
		if _, err := w.box.Expunge(ctx, nil); err != nil {
			return err
		}
		if err := w.look(); err != nil {
			return err
		}
		return w.append(w.box, "after the expunge\n")
	}},
	{"copy", func(w *witness, _ *faultdisk.Disk) error {
		from, to, err := w.box.Copy(ctx, sequence.Set{{Lo: 1, Hi: 2}}, w.other)
		if err != nil {
			return err
		}
		for i := range to { // COPYUID
			w.says("Other", to[i], w.means[fmt.Sprint("INBOX ", from[i])])
		}
		return nil
	}},
	{"move", func(w *witness, _ *faultdisk.Disk) error {
		from, to, err := w.box.Move(ctx, sequence.Set{{Lo: 1, Hi: 2}}, w.other)
		if err != nil {
			return err
		}
		for i := range to {
			w.says("Other", to[i], w.means[fmt.Sprint("INBOX ", from[i])])
		}
		return w.append(w.other, "after the move\n")
	}},
	{"rebuild", func(w *witness, disk *faultdisk.Disk) error {
		disk.Remove("mail/bob/Maildir/mb-index")
		w.close()
		if err := w.open(disk); err != nil {
			return err
		}
		if err := w.look(); err != nil {
			return err
		}
		return w.append(w.box, "after the rebuild\n")
	}},
	{"thin", func(w *witness, disk *faultdisk.Disk) error { // mb-uids written anew among changes
		defer func(was int64) { thinAbove = was }(thinAbove)
		thinAbove = 0
		w.box.Delete(ctx, sequence.Set{{Lo: 2, Hi: 3}})
		w.box.mu.Lock()
		done, err := w.box.begin(ctx)
		if err == nil {
			err = errors.Join(w.box.thin(), w.box.startOver())
			done()
		}
		if err != nil {
			w.box.opened = false
		}
		w.box.mu.Unlock()
		if err != nil {
			return err
		}
		if err := w.look(); err != nil {
			return err
		}
		return w.append(w.box, "after mb-uids was written anew\n")
	}},
	{"many", func(w *witness, disk *faultdisk.Disk) error { // beyond the reservation
		for i := range 600 {
			disk.Put(fmt.Sprintf("mail/bob/Maildir/new/17953216%03d.x", i), fmt.Sprintf("many %d\n", i))
		}
		if err := w.look(); err != nil {
			return err
		}
		return w.append(w.box, "after many\n")
	}},
}

// Whenever the power goes, and whatever of the unsynced survives: no UID a client has seen means another message afterwards, none is
// given again, acknowledged messages are there, and a client that resynchronises has what a fresh one has.
func TestS109PowerCut(t *testing.T) {
	for _, act := range acts {
		t.Run(act.name, func(t *testing.T) {
			step := 1
			if testing.Short() {
				step = 7
			}
			if act.name == "many" {
				step = 397
			}
			for luck := range 4 {
				for n := 1 + luck%step; ; n += step {
					if !cutAt(t, act.do, n, luck) || t.Failed() {
						break
					}
				}
			}
		})
	}
}

// cutAt lets the power go at the n-th step of do and looks at what is there then. It reports whether the power went.
func cutAt(t *testing.T, do func(*witness, *faultdisk.Disk) error, n, luck int) bool {
	run(t, "boot-one")
	disk := faultdisk.New()
	for i := range 3 {
		disk.Put(fmt.Sprintf("mail/bob/Maildir/new/1795321401.%d", i), fmt.Sprintf("old %d\n", i))
	}
	disk.Dirs("mail/bob/Maildir/cur", "mail/bob/Maildir/tmp", "mail/bob/Maildir/.Other/cur", "mail/bob/Maildir/.Other/new", "mail/bob/Maildir/.Other/tmp")
	w := &witness{t: t, validity: map[string]uint32{}, means: map[string]string{}, next: map[string]uint32{}, model: map[string]*client{}, kept: map[string]bool{}}
	if err := w.open(disk); err != nil {
		t.Fatal(err)
	}
	if n > 0 && strings.HasSuffix(t.Name(), "first_look") {
		disk.CrashAt(n).Luck(luck)
	}
	err := w.look()
	if err == nil && !disk.Crashed() {
		disk.CrashAt(n).Luck(luck)
		if err = do(w, disk); err == nil {
			err = w.look()
		}
	}
	if err != nil && !disk.Crashed() {
		t.Fatalf("without a cut: %v", err)
	}
	crashed, last := disk.Crashed(), disk.LastStep()
	after := disk.Restart()
	run(t, "boot-two")
	if err := w.open(after); err != nil {
		t.Fatalf("cut at %d (%s): %v", n, last, err)
	}
	if err := w.look(); err != nil {
		t.Errorf("cut at %d (%s), luck %d: %v", n, last, luck, err)
	}
	after.Put("mail/bob/Maildir/new/1795999999.later", "later\n") // it gets no UID somebody had
	after.Put("mail/bob/Maildir/.Other/new/1795999999.later", "later, too\n")
	if err := w.look(); err != nil {
		t.Errorf("cut at %d (%s), luck %d, second look: %v", n, last, luck, err)
	}
	there := map[string]bool{}
	for name, text := range after.Files() {
		if strings.Contains(name, "/cur/") || strings.Contains(name, "/new/") {
			there[text] = true
		}
	}
	for text := range w.kept {
		if !there[text] {
			t.Errorf("cut at %d (%s), luck %d: %q was acknowledged and is lost", n, last, luck, text)
		}
	}
	if t.Failed() {
		t.Logf("cut at %d (%s), luck %d", n, last, luck)
	}
	w.close()
	return crashed
}

// A promise that was kept is not kept again over what was stored after it, whatever the power leaves of mb-uids.
func TestPowerPromiseOnce(t *testing.T) {
	defer func(least int, soon func(*Folder)) { promiseLeast, keepSoon = least, soon }(promiseLeast, keepSoon)
	keepSoon = func(*Folder) {}
	for luck := range 64 {
		run(t, "boot-one")
		disk := faultdisk.New().Luck(luck)
		for i := range 3 {
			disk.Put(fmt.Sprintf("mail/bob/Maildir/cur/%d.m:2,S", i+1), fmt.Sprintf("text %d\n", i))
		}
		disk.Dirs("mail/bob/Maildir/new", "mail/bob/Maildir/tmp", "mail/bob/Maildir/.Other/cur", "mail/bob/Maildir/.Other/new", "mail/bob/Maildir/.Other/tmp")
		w := &witness{t: t, validity: map[string]uint32{}, means: map[string]string{}, next: map[string]uint32{}, model: map[string]*client{}, kept: map[string]bool{}}
		if err := errors.Join(w.open(disk), w.look()); err != nil {
			t.Fatal(err)
		}
		promiseLeast = 1
		w.box.Store(ctx, sequence.Set{{Lo: 1, Hi: 3}}, Add, Flagged, Unconditional)
		w.append(w.box, "this syncs mb-uids\n")
		promiseLeast = 100
		w.box.Store(ctx, sequence.Set{{Lo: 1, Hi: 3}}, Replace, Answered, Unconditional)
		after := disk.Restart()
		run(t, "boot-two")
		var later []string
		for name := range after.Files() {
			if key, ok := strings.CutSuffix(name, ".m:2,R"); ok {
				later = append(later, key+".m:2,R")
			}
		}
		if err := errors.Join(w.open(after), w.look()); err != nil {
			t.Fatal(err)
		}
		files := after.Files()
		for _, name := range later {
			if _, ok := files[name]; !ok {
				t.Errorf("luck %d: %s was stored after the promise was kept, and its name is another now", luck, name)
			}
		}
		w.close()
	}
}

// A disk that fails once, at any step: an error or an answer, and nothing is lost or renumbered.
func TestPowerOneFailure(t *testing.T) {
	for _, act := range acts {
		if act.name == "many" {
			continue
		}
		t.Run(act.name, func(t *testing.T) {
			for n := 1; ; n++ {
				run(t, "boot-one")
				disk := faultdisk.New()
				for i := range 3 {
					disk.Put(fmt.Sprintf("mail/bob/Maildir/new/1795321401.%d", i), fmt.Sprintf("old %d\n", i))
				}
				disk.Dirs("mail/bob/Maildir/cur", "mail/bob/Maildir/tmp", "mail/bob/Maildir/.Other/cur", "mail/bob/Maildir/.Other/new", "mail/bob/Maildir/.Other/tmp")
				w := &witness{t: t, validity: map[string]uint32{}, means: map[string]string{}, next: map[string]uint32{}, model: map[string]*client{}, kept: map[string]bool{}}
				if err := w.open(disk); err != nil {
					t.Fatal(err)
				}
				if err := w.look(); err != nil {
					t.Fatal(err)
				}
				disk.FailAt(n, errors.New("no space left on device"))
				act.do(w, disk)
				last := disk.LastStep()
				for try := 0; ; try++ {
					var err error
					if w.other == nil {
						w.close()
						err = w.open(disk)
					}
					if err == nil {
						err = w.look()
					}
					if err == nil {
						break
					}
					if try == 3 {
						t.Fatalf("failure at %d (%s): %v", n, last, err)
					}
				}
				if t.Failed() {
					t.Fatalf("failure at %d (%s)", n, last)
				}
				w.close()
				if !disk.Failed() {
					break
				}
			}
		})
	}
}

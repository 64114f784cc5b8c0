package mailbox

import (
	"path/filepath"
	"time"
)

// restMost is how many folders of the process that nobody uses are kept open at most: each takes some descriptors.
const restMost = 32

// resting counts them.
var resting = make(chan struct{}, restMost)

// rest keeps a folder open that its last user has left: who comes back in time finds it as it was, and need not read its index. It says no
// where too many rest already, or folders are not to. a.mu is held.
func (f *Folder) rest() bool {
	if f.account.o.Rest <= 0 || f.account.folders[f.dir] != f {
		return false
	}
	select {
	case resting <- struct{}{}:
	default:
		return false
	}
	f.pause = time.AfterFunc(f.account.o.Rest, f.retire)
	f.over = time.Now().Add(f.account.o.Rest)
	if f.mu.TryLock() { // else names are being verified just now: it will be read when somebody comes
		f.prick()
		f.mu.Unlock()
	}
	return true
}

// rouse ends the rest, because somebody uses the folder again. a.mu is held.
func (f *Folder) rouse() {
	if f.pause != nil {
		f.pause.Stop()
		f.pause = nil
		<-resting
	}
}

// retire closes a folder that has rested long enough.
func (f *Folder) retire() {
	a := f.account
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.pause != nil && !time.Now().Before(f.over) { // else it was roused just now, and rests anew perhaps
		f.rouse()
		f.shut()
	}
}

// retireAll closes the folders that rest.
func (a *Account) retireAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range a.folders {
		if f.pause != nil {
			f.rouse()
			f.shut()
		}
	}
}

// Still reports whether the account's Maildir is the one that its name leads to: it was not removed or moved away since it was opened.
func (a *Account) Still() bool {
	held, err := a.disk.Stat(".")
	if err != nil {
		return false
	}
	above, err := a.open(filepath.Dir(a.root))
	if err != nil {
		return false
	}
	defer above.Close()
	info, err := above.Stat(filepath.Base(a.root))
	return err == nil && info.Inode == held.Inode && info.Dev == held.Dev
}

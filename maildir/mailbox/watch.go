package mailbox

import (
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// pollEvery is how often a folder is looked at where inotify cannot say when.
const pollEvery = 2 * time.Second

// watch tells sessions that something has happened to the folder: inotify on new/, cur/ and the folder itself (the log), or a clock.
type watch struct {
	watcher   *fsnotify.Watcher
	listeners map[chan struct{}]bool
}

// Watch gives a channel that receives after something has happened to the folder, until stop is called.
func (f *Folder) Watch() (happened <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watch.listeners == nil {
		f.watch.listeners = map[chan struct{}]bool{}
	}
	f.watch.listeners[ch] = true
	if len(f.watch.listeners) == 1 {
		f.startWatch()
	}
	return ch, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watch.listeners, ch)
		if len(f.watch.listeners) == 0 {
			f.watch.end()
		}
	}
}

func (f *Folder) startWatch() {
	w, err := fsnotify.NewWatcher()
	if err == nil {
		dir := filepath.Join(f.account.root, f.dir)
		for _, sub := range []string{"new", "cur", "."} {
			if err = w.Add(filepath.Join(dir, sub)); err != nil {
				w.Close()
				w = nil
				break
			}
		}
	}
	if err != nil {
		w = nil
	}
	f.watch.watcher = w
	go f.tell(w)
}

// tell passes events on until the watcher is closed; without one it polls while somebody listens.
func (f *Folder) tell(w *fsnotify.Watcher) {
	var events chan fsnotify.Event
	if w != nil {
		events = w.Events
	}
	clock := time.NewTicker(pollEvery)
	defer clock.Stop()
	for {
		select {
		case _, ok := <-events:
			if !ok {
				return
			}
		case <-clock.C:
		}
		f.mu.Lock()
		n := len(f.watch.listeners)
		for ch := range f.watch.listeners {
			select {
			case ch <- struct{}{}:
			default:
			}
		}
		mine := f.watch.watcher == w
		f.mu.Unlock()
		if n == 0 || !mine {
			return
		}
	}
}

func (w *watch) end() {
	if w.watcher != nil {
		w.watcher.Close()
		w.watcher = nil
	}
}

// fineStamps reports whether this kernel gives every change of a directory a time of its own (since Linux 6.13): then an unchanged time means
// an unchanged directory.
var fineStamps = func() func() bool {
	var u unix.Utsname
	fine := false
	if unix.Uname(&u) == nil {
		major, minor, dot := 0, 0, false
		for _, c := range u.Release {
			switch {
			case c >= '0' && c <= '9' && !dot:
				major = major*10 + int(c-'0')
			case c >= '0' && c <= '9':
				minor = minor*10 + int(c-'0')
			case c == '.' && !dot:
				dot = true
				continue
			default:
				fine = major > 6 || major == 6 && minor >= 13
				return func() bool { return fine }
			}
		}
		fine = major > 6 || major == 6 && minor >= 13
	}
	return func() bool { return fine }
}()

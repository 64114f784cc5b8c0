package mailbox

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

const (
	pollEvery   = 2 * time.Second // how often a folder is looked at where inotify cannot be had
	verifyEvery = 15              // every so many polls, the others are too: what was missed is found
)

// watching is what the sessions of this process wait for. There is one inotify for all folders, because the system gives a user few of them.
var watching = &watcher{folders: map[*Folder]*watched{}, dirs: map[string][]*Folder{}}

type watcher struct {
	mu      sync.Mutex
	inotify *fsnotify.Watcher // nil: there is none, or not yet
	running bool
	folders map[*Folder]*watched
	dirs    map[string][]*Folder // who wants to hear of a directory
}

// watched is a folder somebody waits for.
type watched struct {
	listeners map[*listener]bool
	dirs      []string // that inotify watches for it; none: it is polled
}

type listener struct{ call func() }

// Watch gives a channel that receives after something has happened to the folder, until stop is called.
func (f *Folder) Watch() (happened <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	return ch, f.OnChange(func() {
		select {
		case ch <- struct{}{}:
		default:
		}
	})
}

// OnChange calls after something has happened to the folder, until stop is called: to its messages, its mb-meta, or folders below it. The
// call comes from a goroutine that all folders share, and must not wait.
func (f *Folder) OnChange(call func()) (stop func()) {
	l := &listener{call}
	w := watching
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.running {
		w.running = true
		if inotify, err := fsnotify.NewWatcher(); err == nil {
			w.inotify = inotify
		}
		go w.run()
	}
	if w.folders[f] == nil {
		w.folders[f] = &watched{listeners: map[*listener]bool{}}
		w.add(f)
	}
	w.folders[f].listeners[l] = true
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if e := w.folders[f]; e != nil && e.listeners[l] {
			if delete(e.listeners, l); len(e.listeners) == 0 {
				w.remove(f)
			}
		}
	}
}

// add has inotify watch the folder's directories, all or none.
func (w *watcher) add(f *Folder) {
	if w.inotify == nil {
		return
	}
	e := w.folders[f]
	for _, sub := range []string{"new", "cur", "."} {
		dir := filepath.Join(f.account.root, f.dir, sub)
		if len(w.dirs[dir]) == 0 {
			if err := w.inotify.Add(dir); err != nil {
				w.drop(f)
				return
			}
		}
		w.dirs[dir] = append(w.dirs[dir], f)
		e.dirs = append(e.dirs, dir)
	}
	f.heard.listen(true)
}

func (w *watcher) remove(f *Folder) {
	w.drop(f)
	delete(w.folders, f)
}

// drop ends the watches of a folder that nobody else has.
func (w *watcher) drop(f *Folder) {
	f.heard.listen(false)
	e := w.folders[f]
	for _, dir := range e.dirs {
		w.dirs[dir] = slices.DeleteFunc(w.dirs[dir], func(g *Folder) bool { return g == f })
		if len(w.dirs[dir]) == 0 {
			delete(w.dirs, dir)
			w.inotify.Remove(dir)
		}
	}
	e.dirs = nil
}

// forget ends all waiting for a folder that is closed.
func (w *watcher) forget(f *Folder) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.folders[f] != nil {
		w.remove(f)
	}
}

// run passes events on as long as the process lives.
func (w *watcher) run() {
	var events <-chan fsnotify.Event
	var errs <-chan error
	if w.inotify != nil {
		events, errs = w.inotify.Events, w.inotify.Errors
	}
	clock := time.NewTicker(pollEvery)
	for n := 1; ; {
		select {
		case e := <-events:
			if telling(e) {
				w.note(e)
				w.tell(filepath.Dir(e.Name), func(*watched) bool { return true })
			}
			if e.Has(fsnotify.Rename) || e.Has(fsnotify.Remove) {
				w.left(e.Name)
			}
		case <-errs: // the queue ran over
			w.miss()
			w.tell("", func(*watched) bool { return true })
		case <-clock.C:
			all := n%verifyEvery == 0
			n++
			w.tell("", func(e *watched) bool { return all || len(e.dirs) == 0 })
		}
	}
}

// note has the folders hear the name.
func (w *watcher) note(e fsnotify.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.dirs[filepath.Dir(e.Name)] {
		f.heard.note(e)
	}
}

// miss tells all folders that they have not heard all.
func (w *watcher) miss() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for f := range w.folders {
		f.heard.miss()
	}
}

// left tells that a directory which was watched has gone from its place.
func (w *watcher) left(dir string) {
	w.mu.Lock()
	folders := slices.Clone(w.dirs[dir])
	for _, f := range folders {
		w.drop(f)
		w.add(f) // another may be there by now; else it is polled
	}
	w.mu.Unlock()
	if len(folders) > 0 {
		w.tell("", func(e *watched) bool { return len(e.dirs) == 0 || slices.Contains(e.dirs, dir) })
	}
}

// telling reports whether an event can mean that something has changed for a client: caches and locks do not.
func telling(e fsnotify.Event) bool {
	name := filepath.Base(e.Name)
	return e.Op != fsnotify.Chmod && !strings.HasPrefix(name, "mb-cache") && !strings.HasPrefix(name, "mb-fts") && name != keysName && name != lockName && !strings.HasSuffix(name, ".tmp")
}

// tell calls the listeners of the folders that have dir, "" all, and are meant.
func (w *watcher) tell(dir string, meant func(*watched) bool) {
	w.mu.Lock()
	var calls []func()
	each := func(e *watched) {
		if meant(e) {
			for l := range e.listeners {
				calls = append(calls, l.call)
			}
		}
	}
	if dir != "" {
		for _, f := range w.dirs[dir] {
			each(w.folders[f])
		}
	} else {
		for _, e := range w.folders {
			each(e)
		}
	}
	w.mu.Unlock()
	for _, call := range calls {
		call()
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

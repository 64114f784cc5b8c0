package mailbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pennypost/internal/sequence"
	"pennypost/maildir"
)

// soakTime is how long TestSoak runs; make soak sets it to half an hour.
const soakTime = "PENNYPOST_SOAK"

// TestMain makes this binary the programs of TestSoak, too.
func TestMain(m *testing.M) {
	if role := os.Getenv("SOAK_ROLE"); role != "" {
		soakProgram(role, os.Getenv("SOAK_DIR"), os.Getenv("SOAK_NAME"))
		return
	}
	os.Exit(m.Run())
}

/*
TestSoak lets real processes loose on one Maildir: users of this package, a "mutt" that renames and removes, a script that
delivers, and somebody who deletes caches. Each is killed with SIGKILL at random and started again. Then:

  - every file is visible exactly once, and every message that was delivered or appended is somewhere;
  - a UID never means another message, and UIDVALIDITY stays;
  - UIDNEXT and HIGHESTMODSEQ never fall, whoever looks after whom, and no message's mod-sequence does;
  - a client that resynchronises by VANISHED and CHANGEDSINCE, or by the delta of two views, has what a fresh one has.

All the while the clock of each process is put on and back by hours, by itself.
*/
func TestSoak(t *testing.T) {
	long := 20 * time.Second
	if testing.Short() {
		long = 4 * time.Second
	}
	if v := os.Getenv(soakTime); v != "" {
		var err error
		if long, err = time.ParseDuration(v); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	s := &soak{T: t, dir: dir, root: filepath.Join(dir, "Maildir")}
	a, inbox := process(t, s.root)
	for _, name := range []string{"Box", "Other"} {
		if err := a.Create(name, ""); err != nil {
			t.Fatal(err)
		}
	}
	look(t, inbox)
	end := time.Now().Add(long)
	for round := 0; time.Now().Before(end) && !t.Failed(); round++ {
		s.round(min(5*time.Second, time.Until(end)))
		s.verify()
	}
	t.Logf("%d programs started, %d killed, %d messages", s.started, s.killed, len(s.born))
}

type soak struct {
	*testing.T
	dir, root       string
	started, killed int
	born            map[string]bool
}

// program is one of the processes.
type program struct {
	role, name string
	cmd        *exec.Cmd
	out        strings.Builder
	done       chan error
}

func (s *soak) start(p *program) {
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), "SOAK_ROLE="+p.role, "SOAK_DIR="+s.dir, "SOAK_NAME="+p.name, "GOMAXPROCS=1")
	p.out.Reset()
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.started++
	done := make(chan error, 1)
	p.done = done
	go func(cmd *exec.Cmd) { done <- cmd.Wait() }(p.cmd)
}

// round runs everything for a while.
func (s *soak) round(long time.Duration) {
	stop := filepath.Join(s.dir, "stop")
	os.Remove(stop)
	var programs []*program
	for i, role := range []string{"user", "user", "user", "mutt", "script", "janitor"} {
		p := &program{role: role, name: fmt.Sprintf("%s%d", role, i)}
		s.start(p)
		programs = append(programs, p)
	}
	for end := time.Now().Add(long); time.Now().Before(end) && !s.Failed(); {
		time.Sleep(time.Duration(100+rand.IntN(400)) * time.Millisecond)
		p := programs[rand.IntN(len(programs))]
		p.cmd.Process.Signal(syscall.SIGKILL)
		s.ended(p, <-p.done, true)
		s.killed++
		s.start(p)
	}
	os.WriteFile(stop, nil, 0o600)
	for _, p := range programs {
		select {
		case err := <-p.done:
			s.ended(p, err, false)
		case <-time.After(time.Minute):
			p.cmd.Process.Signal(syscall.SIGQUIT)
			s.ended(p, <-p.done, false)
		}
	}
}

func (s *soak) ended(p *program, err error, killed bool) {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() && killed {
		return
	}
	if err != nil || p.out.Len() > 0 {
		s.Errorf("%s: %v\n%s", p.name, err, p.out.String())
	}
}

// verify looks at what the programs left and wrote down, now that nobody is at work.
func (s *soak) verify() {
	// A change that hid behind one of ours (both between two stat(2) calls) is found by the scan that verifies, a second later.
	time.Sleep(1100 * time.Millisecond)
	present := map[string]bool{}
	for _, name := range soakFolders {
		a, err := OpenAccount(s.root, soakOptions)
		if err != nil {
			s.Fatal(err)
		}
		f, err := a.Folder(name)
		if err != nil {
			s.Fatal(err)
		}
		f.mu.Lock()
		done, err := f.begin(ctx) // so that what was promised is kept
		if err != nil {
			s.Fatal(err)
		}
		done()
		f.mu.Unlock()
		v := look(s.T, f)
		dir, _ := a.dirOf(name)
		files := map[string]int{}
		for _, sub := range []string{"new", "cur"} {
			entries, _ := os.ReadDir(filepath.Join(s.root, dir, sub))
			for _, e := range entries {
				files[maildir.Key(e.Name())]++
			}
		}
		if len(files) != v.Len() {
			s.Errorf("%s: %d files, %d messages", name, len(files), v.Len())
		}
		last := uint32(0)
		for i := range v.Len() {
			c, j := v.at(i)
			e := c.entry(j)
			if files[e.key] != 1 {
				s.Errorf("%s: UID %d has %d files", name, v.UID(i), files[e.key])
			}
			if _, err := f.disk.Stat(e.path()); err != nil {
				s.Errorf("%s: UID %d: no file has the name that says its flags: %v", name, v.UID(i), err)
			}
			if v.UID(i) <= last || v.UID(i) >= v.Counts().UIDNext {
				s.Errorf("%s: UID %d after %d, below %d", name, v.UID(i), last, v.Counts().UIDNext)
			}
			last = v.UID(i)
			id, err := idOf(v, i)
			if err != nil {
				s.Errorf("%s: UID %d: %v", name, v.UID(i), err)
			}
			present[id] = true
		}
		f.Close()
		a.Close()
	}
	for _, pattern := range []string{".expunged/*/cur/*", ".expunged/*/new/*"} {
		files, _ := filepath.Glob(s.root + pattern)
		for _, file := range files {
			text, _ := os.ReadFile(file)
			present[idIn(text)] = true
		}
	}
	s.born = map[string]bool{}
	meaning := map[string]string{}
	lines, _ := filepath.Glob(filepath.Join(s.dir, "said.*"))
	for _, file := range lines {
		text, _ := os.ReadFile(file)
		for _, row := range strings.Split(string(text), "\n") {
			w := strings.Fields(row)
			switch {
			case len(w) == 2 && w[0] == "born":
				s.born[w[1]] = true
			case len(w) == 2 && w[0] == "dead":
				present[w[1]] = true
			case len(w) == 4 && w[0] == "uid": // folder, validity.uid, id
				what := w[1] + " " + w[2]
				if was := meaning[what]; was != "" && was != w[3] {
					s.Errorf("%s was %s and is %s", what, was, w[3])
				}
				meaning[what] = w[3]
			}
		}
	}
	for id := range s.born {
		if !present[id] {
			s.Errorf("message %s is lost", id)
		}
	}
}

var (
	soakFolders = []string{"INBOX", "Box", "Other"}
	soakOptions = Options{ExpungedDays: 14, Host: "soak"}
)

func idIn(text []byte) string {
	row, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimPrefix(row, "X-Id: ")
}

func idOf(v *View, i int) (string, error) {
	m, err := v.Open(i)
	if err != nil {
		return "", err
	}
	defer m.Close()
	b := make([]byte, 200)
	n, err := m.ReadAt(b, 0)
	if n == 0 {
		return "", err
	}
	return idIn(b[:n]), nil
}

// worker is one process of the soak.
type worker struct {
	dir, root, name string
	said            *os.File
	rnd             *rand.Rand
	count           int
}

// stepping has the clock of this process put on or back at random moments, by up to a day.
func stepping() {
	var step atomic.Int64
	wall = func() time.Time { return time.Now().Round(0).Add(time.Duration(step.Load())) }
	go func() {
		for {
			step.Store(int64(rand.N(48*time.Hour) - 24*time.Hour))
			time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		}
	}()
}

func soakProgram(role, dir, name string) {
	stepping()
	promiseLeast = 4
	file, err := os.OpenFile(filepath.Join(dir, "said."+name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	begin := func(name string) *worker {
		return &worker{dir: dir, root: filepath.Join(dir, "Maildir"), name: name, said: file, rnd: rand.New(rand.NewPCG(uint64(os.Getpid()), uint64(time.Now().UnixNano())))}
	}
	w := begin(name)
	steps := map[string][]func(){"mutt": {w.mutt}, "script": {w.script}, "janitor": {w.janitor}}[role]
	if role == "user" { // two sessions of one process
		a, err := OpenAccount(w.root, soakOptions)
		if err != nil {
			w.wrong("%v", err)
		}
		steps = []func(){w.user(a), begin(name + "b").user(a)}
	}
	var all sync.WaitGroup
	for _, step := range steps {
		all.Go(func() {
			for {
				if _, err := os.Stat(filepath.Join(dir, "stop")); err == nil {
					return
				}
				step()
			}
		})
	}
	all.Wait()
}

func (w *worker) say(format string, args ...any) { fmt.Fprintf(w.said, format+"\n", args...) }

// wrong reports what must not be, and ends the process.
func (w *worker) wrong(format string, args ...any) {
	fmt.Printf(format+"\n", args...)
	os.Exit(1)
}

func (w *worker) newID() string {
	w.count++
	return fmt.Sprintf("%s-%d-%d", w.name, os.Getpid(), w.count)
}

func (w *worker) text(id string) string {
	return "X-Id: " + id + "\nSubject: " + id + "\n\n" + strings.Repeat("text\n", w.rnd.IntN(20))
}

func (w *worker) folderDir() string {
	return filepath.Join(w.root, []string{".", ".", ".Box", ".Other"}[w.rnd.IntN(4)])
}

// script delivers as scripts do: tmp/, then new/.
func (w *worker) script() {
	dir := w.folderDir()
	id := w.newID()
	name := fmt.Sprintf("%d.M%dP%dQ%d.host", wall().Unix(), wall().Nanosecond()/1000, os.Getpid(), w.count)
	os.WriteFile(filepath.Join(dir, "tmp", name), []byte(w.text(id)), 0o600)
	if os.Rename(filepath.Join(dir, "tmp", name), filepath.Join(dir, "new", name)) == nil {
		w.say("born %s", id)
	}
	time.Sleep(time.Duration(w.rnd.IntN(20)) * time.Millisecond)
}

// mutt moves new mail to cur/, toggles flags, puts mail back to new/ and removes it, and asks nobody.
func (w *worker) mutt() {
	dir := w.folderDir()
	from := []string{"new", "cur"}[w.rnd.IntN(2)]
	entries, _ := os.ReadDir(filepath.Join(dir, from))
	for range 5 {
		if len(entries) == 0 {
			break
		}
		name := entries[w.rnd.IntN(len(entries))].Name()
		path, key := filepath.Join(dir, from, name), maildir.Key(name)
		switch n := w.rnd.IntN(10); {
		case n == 0 && len(entries) > 20:
			text, err := os.ReadFile(path)
			if err == nil {
				w.say("dead %s", idIn(text))
				os.Remove(path)
			}
		case n == 1:
			os.Rename(path, filepath.Join(dir, "new", key))
		case n == 2: // a script that knows names better
			w.count++
			os.Rename(path, filepath.Join(dir, "cur", fmt.Sprintf("%d.P%dQ%d.renamed:2,", wall().Unix(), os.Getpid(), w.count)))
		default:
			os.Rename(path, filepath.Join(dir, "cur", key+":2,"+[]string{"", "S", "FS", "RS", "F", "Sa"}[w.rnd.IntN(6)]))
		}
	}
	time.Sleep(time.Duration(w.rnd.IntN(10)) * time.Millisecond)
}

// janitor deletes caches.
func (w *worker) janitor() {
	time.Sleep(time.Duration(100+w.rnd.IntN(900)) * time.Millisecond)
	dir := w.folderDir()
	patterns := []string{"mb-index", "mb-log.*", "mb-cache", "mb-fts*", "mb-[ilcf]*"}
	files, _ := filepath.Glob(filepath.Join(dir, patterns[w.rnd.IntN(len(patterns))]))
	for _, file := range files {
		if strings.HasPrefix(filepath.Base(file), "mb-lock") {
			continue
		}
		os.Remove(file)
	}
}

// client is what an IMAP client remembers of a mailbox.
type client struct {
	Validity uint32
	ModSeq   uint64
	Next     uint32
	Flags    map[uint32]Flags
}

// session is one user's work with one folder.
type userSession struct {
	w      *worker
	f      *Folder
	model  client // resynchronised by VANISHED and CHANGEDSINCE
	seen   client // kept up by deltas
	mod    map[uint32]uint64
	view   *View
	means  map[uint32]string
	numKey int
}

// user is a process with all folders open.
func (w *worker) user(a *Account) func() {
	var sessions []*userSession
	for _, name := range soakFolders {
		f, err := a.Folder(name)
		if err != nil {
			w.wrong("%v", err)
		}
		s := &userSession{w: w, f: f, means: map[uint32]string{}, mod: map[uint32]uint64{}}
		if text, err := os.ReadFile(s.saved()); err == nil { // a client that was away for a while
			json.Unmarshal(text, &s.model)
		}
		sessions = append(sessions, s)
		s.numKey, _ = f.KeywordNumber("$Work", true)
	}
	if os.Getpid()%2 == 0 { // what others do is heard by name, too
		for _, s := range sessions {
			s.f.OnChange(func() {})
		}
	}
	return func() {
		s := sessions[w.rnd.IntN(len(sessions))]
		s.look()
		s.change(sessions)
		if w.rnd.IntN(3) == 0 {
			time.Sleep(time.Duration(w.rnd.IntN(5)) * time.Millisecond)
		}
	}
}

func (s *userSession) saved() string {
	return filepath.Join(s.w.dir, "client."+s.w.name+"."+s.f.Name())
}

// look resynchronises the clients and compares them with the view.
func (s *userSession) look() {
	w := s.w
	least := s.highest()
	v, err := s.f.Look(context.Background())
	if err != nil {
		w.wrong("look at %s: %v", s.f.Name(), err)
	}
	n := v.Counts()
	if n.UIDNext < least.Next || n.HighestModSeq < least.ModSeq || least.Validity != 0 && n.UIDValidity != least.Validity {
		w.wrong("%s fell: UIDVALIDITY %d UIDNEXT %d HIGHESTMODSEQ %d, somebody has seen %+v", s.f.Name(), n.UIDValidity, n.UIDNext, n.HighestModSeq, least)
	}
	s.raise(client{Validity: n.UIDValidity, Next: n.UIDNext, ModSeq: n.HighestModSeq})
	if s.model.Flags == nil || s.model.Validity != n.UIDValidity {
		s.model = client{Validity: n.UIDValidity, Flags: map[uint32]Flags{}}
	}
	since := s.model.ModSeq
	for uid := range v.VanishedSince(since, nil).All {
		delete(s.model.Flags, uid)
	}
	for uid := range v.ChangedSince(since).All {
		i, _ := v.Find(uid)
		s.model.Flags[uid] = v.Flags(i)
	}
	s.model.ModSeq = n.HighestModSeq
	s.compare("resynchronised since "+strconv.FormatUint(since, 10), s.model.Flags, v)
	if s.view == nil {
		s.seen.Flags = map[uint32]Flags{}
		for i := range v.Len() {
			s.seen.Flags[v.UID(i)] = v.Flags(i)
		}
	} else {
		d := v.Since(s.view)
		for uid := range d.Vanished.All {
			delete(s.seen.Flags, uid)
		}
		for _, uid := range d.Changed {
			i, _ := v.Find(uid)
			s.seen.Flags[uid] = v.Flags(i)
		}
		for i := v.Len() - d.Added; i < v.Len(); i++ {
			s.seen.Flags[v.UID(i)] = v.Flags(i)
		}
		s.compare("by delta", s.seen.Flags, v)
	}
	s.view = v
	for i := range v.Len() {
		uid := v.UID(i)
		if v.ModSeq(i) < s.mod[uid] || v.ModSeq(i) > n.HighestModSeq {
			w.wrong("%s: MODSEQ of UID %d was %d and is %d of %d", s.f.Name(), uid, s.mod[uid], v.ModSeq(i), n.HighestModSeq)
		}
		s.mod[uid] = v.ModSeq(i)
		if s.means[uid] == "" || w.rnd.IntN(50) == 0 {
			id, err := idOf(v, i)
			if errors.Is(err, ErrExpunged) {
				continue
			}
			if err != nil {
				w.wrong("%s: UID %d: %v", s.f.Name(), uid, err)
			}
			if was := s.means[uid]; was != "" && was != id {
				w.wrong("%s: UID %d was %s and is %s", s.f.Name(), uid, was, id)
			}
			if s.means[uid] == "" {
				w.say("uid %s %d.%d %s", s.f.Name(), n.UIDValidity, uid, id)
			}
			s.means[uid] = id
		}
	}
	s.parse(v)
	if w.rnd.IntN(10) == 0 {
		text, _ := json.Marshal(s.model)
		os.WriteFile(s.saved()+".tmp", text, 0o600)
		os.Rename(s.saved()+".tmp", s.saved())
	}
}

// parse reads some messages through the cache of parsed ones: whatever happens to it, it never has another message.
func (s *userSession) parse(v *View) {
	r := v.Reader()
	defer r.Close()
	for range 20 {
		if v.Len() == 0 {
			return
		}
		i := s.w.rnd.IntN(v.Len())
		record, err := r.Get(i)
		if errors.Is(err, ErrExpunged) {
			continue
		}
		if err != nil {
			s.w.wrong("%s: UID %d: %v", s.f.Name(), v.UID(i), err)
		}
		if id := s.means[v.UID(i)]; id != "" && !strings.Contains(string(record.Header), "Subject: "+id+"\r\n") {
			s.w.wrong("%s: the cache has %q for UID %d, which is %s", s.f.Name(), record.Header, v.UID(i), id)
		}
	}
}

func (s *userSession) compare(how string, have map[uint32]Flags, v *View) {
	if len(have) != v.Len() {
		s.w.wrong("%s: a client %s has %d messages of %d", s.f.Name(), how, len(have), v.Len())
	}
	for i := range v.Len() {
		if flags, ok := have[v.UID(i)]; !ok || flags != v.Flags(i) {
			s.w.wrong("%s: a client %s has flags %x of UID %d (%v), which are %x, MODSEQ %d", s.f.Name(), how, flags, v.UID(i), ok, v.Flags(i), v.ModSeq(i))
		}
	}
}

// highest is the highest figures anybody has seen so far; raise tells what we have seen.
func (s *userSession) highest() (c client) {
	text, _ := os.ReadFile(s.figures())
	json.Unmarshal(text, &c)
	return c
}

func (s *userSession) figures() string { return filepath.Join(s.w.dir, "highest."+s.f.Name()) }

func (s *userSession) raise(c client) {
	lock, err := os.OpenFile(s.figures()+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		s.w.wrong("%v", err)
	}
	defer lock.Close()
	syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	have := s.highest()
	have.Validity, have.Next, have.ModSeq = c.Validity, max(have.Next, c.Next), max(have.ModSeq, c.ModSeq)
	text, _ := json.Marshal(have)
	temp := s.figures() + "." + s.w.name
	os.WriteFile(temp, text, 0o600)
	os.Rename(temp, s.figures())
}

// some is a few messages of the view.
func (s *userSession) some(n int) (set sequence.Set) {
	for range 1 + s.w.rnd.IntN(n) {
		if s.view.Len() > 0 {
			set = append(set, sequence.Range{Lo: s.view.UID(s.w.rnd.IntN(s.view.Len()))})
			set[len(set)-1].Hi = set[len(set)-1].Lo
		}
	}
	return set.Resolve(0)
}

// change does one thing to the folder.
func (s *userSession) change(all []*userSession) {
	w, ctx := s.w, context.Background()
	set := s.some(10)
	if len(set) == 0 {
		set = sequence.Set{{Lo: 1, Hi: 1}}
	}
	var err error
	switch n := w.rnd.IntN(12); {
	case n < 4:
		flags := []Flags{Seen, Flagged, Answered, Seen | Flagged, Keyword(s.numKey)}[w.rnd.IntN(5)]
		if w.rnd.IntN(4) == 0 {
			set = sequence.Set{{Lo: 1, Hi: s.view.Counts().UIDNext}} // and be killed before all of it is renamed
		}
		_, err = s.f.Store(ctx, set, Mode(w.rnd.IntN(3)), flags, Unconditional)
	case n < 6:
		if s.view.Len() > 20 {
			if _, err = s.f.Store(ctx, set, Add, Deleted, Unconditional); err == nil {
				_, err = s.f.Expunge(ctx, set)
			}
		}
	case n < 8:
		var list []*Appender
		var ids []string
		for range 1 + w.rnd.IntN(2) {
			a, err := s.f.Append()
			if err != nil {
				w.wrong("append: %v", err)
			}
			id := w.newID()
			io.WriteString(a, w.text(id))
			a.Flags = []Flags{0, Seen, Draft}[w.rnd.IntN(3)]
			list, ids = append(list, a), append(ids, id)
		}
		uids, err := s.f.CommitAll(ctx, list)
		if err != nil || uids.Count() != uint64(len(ids)) {
			w.wrong("append to %s: %v %v", s.f.Name(), uids, err)
		}
		at := 0
		for uid := range uids.All {
			w.say("born %s", ids[at])
			w.say("uid %s %d.%d %s", s.f.Name(), s.model.Validity, uid, ids[at])
			at++
		}
	case n < 9:
		_, err = s.f.Claim(ctx, set)
	case n < 10:
		dst := all[w.rnd.IntN(len(all))]
		if _, _, err = s.f.Copy(ctx, s.some(3), dst.f); errors.Is(err, ErrExpunged) {
			err = nil
		}
	default:
		dst := all[w.rnd.IntN(len(all))]
		if _, _, err = s.f.Move(ctx, s.some(3), dst.f); errors.Is(err, ErrExpunged) {
			err = nil
		}
	}
	if err != nil {
		w.wrong("change of %s: %v", s.f.Name(), err)
	}
}

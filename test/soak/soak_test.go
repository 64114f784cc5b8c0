/*
Package soak lets the programs themselves loose on one mailbox, all at once, and kills them:

	imapd         two of them, each with many sessions, and one for each session that comes through a tunnel
	pop3d         a client that leaves mail on the server, and removes some
	queue-run     with its deliver-local, for mail that comes by submission and sendmail; and a deliver-local for one message
	mutt          somebody who renames and removes files and asks nobody
	a script      that delivers by rename
	a janitor     who removes caches

What must hold is said at [soak.verify] and at [client]; [TestStress] has many clients and kills nobody. The store by itself, without programs, has its soak in maildir/mailbox.
*/
package soak

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pennypost/maildir"
	"pennypost/test/lab"
)

// soakTime is how long TestSoak runs; make soak sets it to half an hour.
const soakTime = "PENNYPOST_SOAK"

var folders = []string{"INBOX", "Box", "Other"}

// soak is one run.
type soak struct {
	*testing.T
	host   *lab.Host
	second string // where the second imapd listens

	mu      sync.Mutex
	born    map[string]bool   // ids of messages somebody has said OK to
	dead    map[string]bool   // ids of messages that mutt or POP3 removed
	meaning map[string]string // "folder validity uid": id
	highest map[string]counts // of a folder, by anybody
	tunnels map[*lab.IMAP]int // pid
	said    map[string]int    // what happened how often
	next    int
}

// counts may only grow, the validity may not change.
type counts struct {
	validity, next uint32
	modseq         uint64
}

func TestSoak(t *testing.T) {
	long := 40 * time.Second
	if testing.Short() {
		t.Skip("takes its time; make test runs it")
	}
	if v := os.Getenv(soakTime); v != "" {
		var err error
		if long, err = time.ParseDuration(v); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t)
	clients := []*client{}
	for i := range 4 {
		clients = append(clients, &client{soak: s, name: fmt.Sprintf("c%d", i), road: i % 3, known: map[string]*known{}})
	}
	for end := time.Now().Add(long); time.Now().Before(end) && !t.Failed(); {
		s.round(min(10*time.Second, time.Until(end)), clients)
		s.verify(clients)
	}
	t.Logf("%d messages, %v", len(s.born), s.said)
}

func open(t *testing.T) *soak {
	bin, err := lab.Bin()
	if err != nil {
		t.Skip(err)
	}
	l, err := lab.New(t.TempDir(), bin, lab.FreeBase())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Down)
	h, err := l.AddHost("demo.test", "127.0.0.1", "alice")
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []string{"messages", "recipients", "new_recipients"} { // alice sends as no honest user does
		h.Keys["outbound."+limit] = `"none"`
	}
	if err := l.Up(); err != nil {
		t.Fatal(err)
	}
	s := &soak{T: t, host: h, born: map[string]bool{}, dead: map[string]bool{}, meaning: map[string]string{}, highest: map[string]counts{}, tunnels: map[*lab.IMAP]int{}, said: map[string]int{}}
	c, err := h.IMAP("alice")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, name := range folders[1:] {
		if _, err := c.Do("CREATE %s", name); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// say counts what happened.
func (s *soak) say(what string) {
	s.mu.Lock()
	s.said[what]++
	s.mu.Unlock()
}

func (s *soak) newID(who string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	return fmt.Sprintf("%s-%d", who, s.next)
}

func (s *soak) isBorn(id string) {
	s.mu.Lock()
	s.born[id] = true
	s.mu.Unlock()
}

// isDead is said before the file goes.
func (s *soak) isDead(id string) {
	s.mu.Lock()
	s.dead[id] = true
	s.mu.Unlock()
}

func text(id string) string {
	return "X-Id: " + id + "\nSubject: " + id + "\nFrom: <alice@demo.test>\n\n" + strings.Repeat("some text\n", rand.IntN(30))
}

// round runs everything for a while; programs are killed all the time.
func (s *soak) round(long time.Duration, clients []*client) {
	stop := make(chan struct{})
	var group sync.WaitGroup
	begin := func(step func()) {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					step()
				}
			}
		})
	}
	s.another(stop, &group)
	for _, c := range clients {
		begin(c.session)
	}
	for _, step := range []func(){s.mutt, s.script, s.janitor, s.pop, s.submit, s.sendmail, s.deliver} {
		begin(step)
	}
	for end := time.Now().Add(long); time.Now().Before(end) && !s.Failed(); {
		time.Sleep(time.Duration(200+rand.IntN(600)) * time.Millisecond)
		s.kill()
	}
	close(stop)
	group.Wait()
}

// another is the second imapd on the same mail, on a port of its own; it is started again when it is killed.
func (s *soak) another(stop chan struct{}, group *sync.WaitGroup) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	s.second = l.Addr().String()
	l.Close()
	group.Go(func() {
		for {
			cmd := exec.Command(filepath.Join(s.host.Lab().Bin, "imapd"), "-c", s.host.Config(), "--listen", "imaps="+s.second)
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := cmd.Start(); err != nil {
				s.Error(err)
				return
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			select {
			case <-stop:
				time.Sleep(time.Second) // the clients' last words
				cmd.Process.Signal(syscall.SIGTERM)
				<-ended
				return
			case <-time.After(time.Duration(1000+rand.IntN(3000)) * time.Millisecond):
				cmd.Process.Kill()
				s.say("second imapd killed")
				<-ended
			}
		}
	})
}

// kill is kill -9 of a program.
func (s *soak) kill() {
	name := []string{"imapd", "imapd", "pop3d", "queue-run", "smtpd", "deliver-local", "tunnel", "tunnel"}[rand.IntN(8)]
	pid := 0
	switch {
	case name == "tunnel":
		s.mu.Lock()
		for _, pid = range s.tunnels {
			break
		}
		s.mu.Unlock()
	case name == "deliver-local":
		pid = lab.Pids(s.host.Lab().Dir, s.host.Name)[name]
	default:
		pid = s.host.Program(name).Pid()
	}
	if pid != 0 && syscall.Kill(pid, syscall.SIGKILL) == nil {
		s.say(name + " killed")
	}
}

/*
verify looks at what is there now that nobody is at work:

  - every file is visible exactly once, and every message somebody was told is safe is somewhere;
  - a client that resynchronises with QRESYNC has what a fresh one has.
*/
func (s *soak) verify(clients []*client) {
	err := lab.Until(time.Minute, func() error {
		if left := lab.Queued(s.host.Spool()); len(left) > 0 {
			return fmt.Errorf("still queued: %v", left)
		}
		if n := s.workers(); n > 1 {
			return fmt.Errorf("%d deliver-local, and some obey a queue-run that is no more", n)
		}
		return nil
	})
	if err != nil {
		s.Error(err)
	}
	s.still()
	c, err := s.host.IMAP("alice")
	if err != nil {
		s.Fatal(err)
	}
	defer c.Close()
	present := map[string]bool{}
	for _, folder := range folders {
		fresh := &client{soak: s, name: "fresh", imap: c, known: map[string]*known{}}
		if _, err := c.Do("ENABLE QRESYNC"); err != nil {
			s.Fatal(err)
		}
		if err := fresh.open(folder); err != nil {
			s.Fatal(err)
		}
		files := s.files(folder, present)
		ids := map[string]int{}
		for uid := range fresh.known[folder].flags {
			ids[s.meaning[fmt.Sprint(folder, " ", fresh.known[folder].validity, " ", uid)]]++
		}
		for id := range files {
			if files[id] != ids[id] {
				s.Errorf("%s: %s has %d files and %d messages; %s", folder, id, files[id], ids[id], s.since(folder, id))
			}
		}
		for id := range ids {
			if files[id] == 0 {
				s.Errorf("%s: %s has %d messages and no file", folder, id, ids[id])
			}
		}
		for _, old := range clients {
			if old.known[folder] == nil {
				continue
			}
			old.imap = c
			if err := old.open(folder); err != nil {
				s.Errorf("%s: %v", old.name, err)
			} else if got, want := fmt.Sprint(old.known[folder].flags), fmt.Sprint(fresh.known[folder].flags); got != want {
				s.Errorf("%s of %s: who comes back has\n%s\nwho is new has\n%s", folder, old.name, got, want)
			}
			old.imap = nil
		}
	}
	filepath.WalkDir(s.root()+".expunged", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			present[idOf(path)] = true
		}
		return nil
	})
	for id := range s.born {
		if !present[id] && !s.dead[id] {
			s.Errorf("message %s is lost", id)
		}
	}
}

// still waits until nothing has happened in the folders for a while: a change between two stat(2) calls is found by the scan that verifies, a second
// later, and sessions that have lost their client carry out what they were told.
func (s *soak) still() {
	for range 30 {
		time.Sleep(1100 * time.Millisecond)
		last := time.Hour
		for _, folder := range folders {
			for _, sub := range []string{"new", "cur"} {
				if info, err := os.Stat(filepath.Join(s.dir(folder), sub)); err == nil && time.Since(info.ModTime()) >= 0 { // else the janitor set it
					last = min(last, time.Since(info.ModTime()))
				}
			}
		}
		if last > 1100*time.Millisecond {
			return
		}
	}
	s.Error("the folders do not come to rest")
}

// workers counts the host's deliver-local: one that outlives its queue-run carries out what it was told.
func (s *soak) workers() (n int) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range lines {
		argv, _ := os.ReadFile(file)
		if strings.Contains(string(argv), "deliver-local\x00") && strings.Contains(string(argv), s.host.Config()) {
			n++
		}
	}
	return n
}

// since says of a message's files when they came to be where they are.
func (s *soak) since(folder, id string) (said string) {
	files, _ := filepath.Glob(filepath.Join(s.dir(folder), "[cn][ue][rw]", "*"))
	for _, file := range files {
		if idOf(file) == id {
			var st syscall.Stat_t
			syscall.Stat(file, &st)
			said += fmt.Sprintf("%s changed %v ago; ", file, time.Since(time.Unix(st.Ctim.Unix())))
		}
	}
	for _, sub := range []string{"new", "cur"} {
		info, err := os.Stat(filepath.Join(s.dir(folder), sub))
		if err == nil {
			said += fmt.Sprintf("%s of %v; ", sub, time.Since(info.ModTime()))
		}
	}
	return said
}

func (s *soak) root() string { return s.host.Maildir("alice") }

func (s *soak) dir(folder string) string {
	if folder == "INBOX" {
		return s.root()
	}
	return filepath.Join(s.root(), "."+folder)
}

// files counts the messages of a folder by id, and says that they are there.
func (s *soak) files(folder string, present map[string]bool) map[string]int {
	ids, keys := map[string]int{}, map[string]string{}
	for _, sub := range []string{"new", "cur"} {
		entries, _ := os.ReadDir(filepath.Join(s.dir(folder), sub))
		for _, e := range entries {
			if other := keys[maildir.Key(e.Name())]; other != "" {
				s.Errorf("%s: %s and %s", folder, other, e.Name())
			}
			keys[maildir.Key(e.Name())] = e.Name()
			id := idOf(filepath.Join(s.dir(folder), sub, e.Name()))
			ids[id]++
			present[id] = true
		}
	}
	return ids
}

// idOf reads a message's X-Id; "" when it is gone.
func idOf(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return idIn(string(b))
}

func idIn(text string) string {
	_, rest, found := strings.Cut("\n"+text, "\nX-Id: ")
	if !found {
		return ""
	}
	id, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(id)
}

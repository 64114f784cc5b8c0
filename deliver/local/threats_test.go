package local

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/address"
	"pennypost/internal/domains"
	"pennypost/internal/durable"
	"pennypost/internal/order"
	"pennypost/maildir"
	"pennypost/queue"
)

// S070: what was delivered to this address before has come round. Other people's Delivered-To are
// part of the message's story.
func TestS070Loop(t *testing.T) {
	for _, c := range []struct {
		header string
		kind   byte
		status string
	}{
		{"Delivered-To: bob@example.org\n", 'D', "5.4.6"},
		{"delivered-to:\tBOB@Example.ORG\n", 'D', "5.4.6"},
		{"X: y\nDelivered-To:\n  <bob@example.org>\n", 'D', "5.4.6"},
		{"Delivered-To: bob+list@example.org\n", 'K', "2.0.0"},
		{"Delivered-To: carol@example.org\nDelivered-To: alice@example.net\n", 'K', "2.0.0"},
		{"Subject: x\n\nDelivered-To: bob@example.org\n", 'K', "2.0.0"},
	} {
		b := newBench(t)
		b.one(b.deliver(b.order("bob@example.org"), plain(c.header+letter)), c.kind, c.status)
	}
}

// S085, S086: delivery looks for two fields and takes all the rest as it comes, in one pass.
func TestS085Opaque(t *testing.T) {
	for name, text := range map[string]string{
		"one field of 10 MiB": "X: " + strings.Repeat("x", 10<<20) + "\n\ntext\n",
		"500,000 fields":      strings.Repeat("X: y\n", 500_000) + "\ntext\n",
		"100,000 folds":       "To: a@b" + strings.Repeat(",\n a@b", 100_000) + "\n\ntext\n",
		"10,000 parts deep":   strings.Repeat("Content-Type: multipart/mixed; boundary=b\n\n--b\n", 10_000),
		"no header":           "\ntext\n",
		"nothing but a line":  "text",
		"NUL and 8 bit":       "X: \x00\xff\n\n\x00\xff\n",
		"only CR":             "X: y\r\n\r\ntext\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.one(b.deliver(b.order("bob@example.org"), plain(text)), 'K', "2.0.0")
			for name, got := range b.mail(b.bob.Maildir) {
				if !strings.HasSuffix(got, text) {
					t.Error("changed")
				}
				size, wire := maildir.Sizes(name)
				if int(size) != len(got) || int(wire) != len(got)+strings.Count(got, "\n")-strings.Count(got, "\r\n") {
					t.Errorf("%s: sizes", name)
				}
			}
		})
	}
}

// onlyName is what new/ will call the message of b.order.
func (b *bench) onlyName(text string) string {
	b.Helper()
	b.one(b.deliver(b.order("bob@example.org"), plain(text)), 'K', "2.0.0")
	for name := range b.mail(b.bob.Maildir) {
		os.Remove(filepath.Join(b.bob.Maildir, name))
		return name
	}
	b.Fatal("nothing delivered")
	return ""
}

// S124: something else has the name already. Nothing is followed, nothing is written through, nobody waits.
func TestS124InTheWay(t *testing.T) {
	b := newBench(t)
	name := filepath.Join(b.bob.Maildir, b.onlyName(letter))
	victim := filepath.Join(b.dir, "victim")
	for what, put := range map[string]func() error{
		"symlink":    func() error { return os.Symlink(victim, name) },
		"FIFO":       func() error { return unix.Mkfifo(name, 0o600) },
		"other file": func() error { return os.WriteFile(name, []byte("torn"), 0o600) },
	} {
		os.WriteFile(victim, []byte("victim"), 0o640)
		if err := put(); err != nil {
			t.Fatal(err)
		}
		b.one(b.deliver(b.order("bob@example.org"), plain(letter)), 'K', "2.0.0")
		if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s: %v %v", what, info, err)
		}
		if text, _ := os.ReadFile(victim); string(text) != "victim" {
			t.Errorf("%s: victim is %q", what, text)
		}
		os.Remove(name)
	}
	os.Mkdir(name, 0o700)
	b.one(b.deliver(b.order("bob@example.org"), plain(letter)), 'Z', "4.3.0")
	os.Remove(name)

	// new/ itself: a symlink is not entered.
	os.Remove(filepath.Join(b.bob.Maildir, "new"))
	elsewhere := filepath.Join(b.dir, "elsewhere")
	os.Mkdir(elsewhere, 0o700)
	os.Symlink(elsewhere, filepath.Join(b.bob.Maildir, "new"))
	fresh := *b
	fresh.agent = &Agent{Directory: b.agent.Directory, Hostname: "mx.example.org", Log: b.agent.Log}
	fresh.one(fresh.deliver(b.order("bob@example.org"), plain(letter)), 'Z', "4.3.0")
	if left := b.mail(elsewhere, "."); len(left) != 0 {
		t.Error("delivered through a symlink")
	}
}

// A Maildir that is removed or moved away while deliver-local holds it open (S125).
func TestS125Moved(t *testing.T) {
	b := newBench(t)
	now := time.Now()
	deliver := func(id string) {
		o := b.order("bob@example.org")
		o.ID = id
		r := newRound(b.agent, func([]order.Answer) error { return nil })
		r.now = func() time.Time { return now }
		f := b.file(plain(letter))
		fd, _ := syscall.Dup(int(f.Fd()))
		b.agent.accept(r, o, fd)
		r.commit(r.group())
		r.flush()
	}
	deliver("0fk2v9qk3x7m2c001-a")
	os.RemoveAll(filepath.Dir(b.bob.Maildir))
	deliver("0fk2v9qk3x7m2c002-a")
	if n := len(b.mail(b.bob.Maildir)); n != 1 {
		t.Errorf("after removal: %d messages", n)
	}
	os.Rename(b.bob.Maildir, b.bob.Maildir+".old")
	now = now.Add(2 * time.Second)
	deliver("0fk2v9qk3x7m2c003-a")
	if n, old := len(b.mail(b.bob.Maildir)), len(b.mail(b.bob.Maildir+".old")); n != 1 || old != 1 {
		t.Errorf("after a move: %d messages, %d in the old place", n, old)
	}
}

// watched is a Disk that knows what was asked of it.
type watched struct {
	durable.Disk
	mu      *sync.Mutex
	created *[]string
	listed  *int
	link    error // what LinkFile says
}

func (w watched) Create(name string, perm os.FileMode) (durable.File, error) {
	w.mu.Lock()
	*w.created = append(*w.created, name)
	w.mu.Unlock()
	return w.Disk.Create(name, perm)
}

func (w watched) ReadDir(name string) ([]string, error) {
	if name != "tmp" {
		w.mu.Lock()
		*w.listed++
		w.mu.Unlock()
	}
	return w.Disk.ReadDir(name)
}

func (w watched) LinkFile(f durable.File, to string) error {
	if w.link != nil {
		return &os.LinkError{Op: "link", New: to, Err: w.link}
	}
	return w.Disk.LinkFile(f, to)
}

// watch has the agent work on watched Disks.
func (b *bench) watch(link error) *watched {
	w := &watched{mu: new(sync.Mutex), created: new([]string), listed: new(int), link: link}
	b.agent.Store.Open = func(root string) (durable.Disk, error) {
		disk, err := durable.Open(root)
		if err != nil {
			return nil, err
		}
		return watched{disk, w.mu, w.created, w.listed, w.link}, nil
	}
	return w
}

// S127: a first delivery reads no directory, whatever is in it.
func TestS127NoScan(t *testing.T) {
	b := newBench(t)
	w := b.watch(nil)
	b.one(b.deliver(b.order("bob@example.org"), plain(letter)), 'K', "2.0.0")
	if *w.listed != 0 {
		t.Errorf("%d directories read", *w.listed)
	}
}

// S128: names in tmp/ cannot be guessed, not even by an earlier delivery of the same message.
func TestS128TemporaryNames(t *testing.T) {
	b := newBench(t)
	w := b.watch(nil)
	for range 3 {
		b.one(b.deliver(b.order("bob@example.org"), plain(letter)), 'K', "2.0.0")
	}
	seen := map[string]bool{}
	for _, name := range *w.created {
		if seen[name] || !strings.HasPrefix(name, "tmp/") {
			t.Errorf("created %q", *w.created)
		}
		seen[name] = true
	}
	if len(seen) != 3 {
		t.Errorf("created %q", *w.created)
	}
}

// S129: nobody else reads the mail, whatever umask we were started with.
func TestS129Modes(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o077} {
		old := unix.Umask(mask)
		b := newBench(t)
		b.bob.DetailFolders = []string{"Lists"}
		b.deliver(b.order("bob+lists@example.org"), plain(letter))
		unix.Umask(old)
		filepath.WalkDir(filepath.Join(b.dir, "mail", "example.org"), func(name string, e os.DirEntry, err error) error {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			if want := map[bool]os.FileMode{true: 0o700, false: 0o600}[e.IsDir()]; info.Mode().Perm() != want {
				t.Errorf("umask %03o: %s has mode %v", mask, name, info.Mode())
			}
			return nil
		})
	}
}

// S129: where anybody may write, nobody's mail goes.
func TestS129WorldWritable(t *testing.T) {
	b := newBench(t)
	os.MkdirAll(b.bob.Maildir, 0o700)
	os.Chmod(b.bob.Maildir, 0o777)
	b.one(b.deliver(b.order("bob@example.org"), plain(letter)), 'Z', "4.3.0")
	os.Chmod(b.bob.Maildir, 0o770)
	b.one(b.deliver(b.order("bob@example.org"), plain(letter)), 'K', "2.0.0")
}

// S143: many writers at the edge of a quota. Each may bring one message too many, no more.
func TestS143QuotaRace(t *testing.T) {
	const writers, size = 50, 2000
	b := newBench(t)
	b.bob.Quota = 20 * size
	text := "Subject: x\n\n" + strings.Repeat("x", size-12-1) + "\n"
	var wg sync.WaitGroup
	var mu sync.Mutex
	var full int
	for i := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			own := *b
			own.agent = &Agent{Directory: b.agent.Directory, State: b.agent.State, Hostname: "mx.example.org", Log: b.agent.Log}
			for j := range 3 {
				o := b.order("bob@example.org")
				o.ID = fmt.Sprintf("0fk2v9qk3x7m2%02d%02d-a", i, j)
				answers := own.deliver(o, plain(text))
				if a := answers[0]; a.Kind == 'Z' && a.Result.Enhanced == "4.2.2" {
					mu.Lock()
					full++
					mu.Unlock()
				} else if a.Kind != 'K' {
					t.Errorf("%+v", a)
				}
			}
		}()
	}
	wg.Wait()
	var used int64
	for _, text := range b.mail(b.bob.Maildir) {
		used += int64(len(text))
	}
	if used > b.bob.Quota+writers*size || used < b.bob.Quota-2*size || full == 0 {
		t.Errorf("%d octets of %d, %d refused", used, b.bob.Quota, full)
	}
	if _, err := os.Stat(filepath.Join(b.agent.State, "over", "bob@example.org")); err != nil {
		t.Error("smtpd was not told")
	}

	// The reader makes room with a program that counts nothing; what maildirsize says is no obstacle for long.
	for name := range b.mail(b.bob.Maildir) {
		os.Remove(filepath.Join(b.bob.Maildir, name))
	}
	b.agent.init()
	b.agent.recheck(time.Now())
	if _, err := os.Stat(filepath.Join(b.agent.State, "over", "bob@example.org")); err == nil {
		t.Error("smtpd was not told that there is room")
	}
	b.one(b.deliver(b.order("bob@example.org"), plain(text)), 'K', "2.0.0")
}

func TestQuota(t *testing.T) {
	b := newBench(t)
	b.bob.Quota = 3000
	b.one(b.deliver(b.order("bob@example.org"), plain(strings.Repeat("x", 5000)+"\n")), 'D', "5.2.3")
	b.one(b.deliver(b.order("bob@example.org"), plain(strings.Repeat("x", 2000)+"\n")), 'K', "2.0.0")
	o := b.order("bob@example.org")
	o.ID = "0fk2v9qk3x7m2c009-a"
	b.one(b.deliver(o, plain(strings.Repeat("x", 900)+"\n")), 'Z', "4.2.2")
	b.bob.Postmaster = true
	b.one(b.deliver(o, plain(strings.Repeat("x", 900)+"\n")), 'K', "2.0.0")
	b.bob.Postmaster, b.bob.Quota = false, 1000 // shrunk below what is there
	o.ID = "0fk2v9qk3x7m2c008-a"
	b.one(b.deliver(o, plain("x\n")), 'Z', "4.2.2")
	text, _ := os.ReadFile(filepath.Join(b.bob.Maildir, "maildirsize"))
	if !strings.HasPrefix(string(text), "1000S\n") {
		t.Errorf("maildirsize %q", text)
	}
	b.bob.Quota, b.bob.QuotaMessages = 0, 3 // there are two
	for i, want := range []byte{'K', 'Z'} {
		o.ID = fmt.Sprintf("0fk2v9qk3x7m2c00%d-a", i)
		b.one(b.deliver(o, plain("x\n")), want, map[byte]string{'K': "2.0.0", 'Z': "4.2.2"}[want])
	}
}

// S146: a file system or a limit that does not let us link: copied instead. A stale handle is opened again.
func TestS146NoLinks(t *testing.T) {
	ready := "Return-Path: <alice@example.net>\nDelivered-To: bob@example.org\n" + letter
	for _, errno := range []error{syscall.EXDEV, syscall.EPERM, syscall.EMLINK, syscall.EOPNOTSUPP} {
		b := newBench(t)
		b.watch(errno)
		o := b.order("bob@example.org")
		o.Ready, o.Size, o.Wire = true, int64(len(ready)), int64(len(ready)+strings.Count(ready, "\n"))
		for range 2 {
			b.one(b.deliver(o, ready), 'K', "2.0.0")
		}
		mail := b.mail(b.bob.Maildir)
		if len(mail) != 1 {
			t.Errorf("%v: %v", errno, mail)
		}
		for _, text := range mail {
			if text != ready {
				t.Errorf("%v: %q", errno, text)
			}
		}
	}
}

func TestFolders(t *testing.T) {
	b := newBench(t)
	b.bob.DetailFolders = []string{"Lists/Go", "Überblick"}
	for i, c := range []struct{ to, dir string }{
		{"bob+lists/go@example.org", ".Lists.Go"},
		{"bob+überblick@example.org", ".&ANw-berblick"},
		{"bob+other@example.org", ""},
		{"bob@example.org", ""},
	} {
		o := b.order("bob@example.org")
		o.ID = fmt.Sprintf("0fk2v9qk3x7m2c%03d-a", i)
		local, domain, _ := strings.Cut(c.to, "@")
		o.Rcpts[0].To = address.Path{Local: local, Domain: domain}
		before := len(b.mail(filepath.Join(b.bob.Maildir, c.dir)))
		for range 2 {
			b.one(b.deliver(o, plain(letter)), 'K', "2.0.0")
			o.Repeat = true
		}
		if after := len(b.mail(filepath.Join(b.bob.Maildir, c.dir))); after != before+1 {
			t.Errorf("%s: %d messages", c.to, after-before)
		}
	}
	if _, err := os.Stat(filepath.Join(b.bob.Maildir, ".Lists.Go", "maildirfolder")); err != nil {
		t.Error(err)
	}
}

// A forward file: the copies first, then the programs, then K with where it goes next.
func TestForward(t *testing.T) {
	b := newBench(t)
	out := filepath.Join(b.dir, "out")
	home := filepath.Dir(b.bob.Maildir)
	b.bob.Forward = []domains.ForwardLine{
		{Kind: '&', Target: addr("carol@example.net")},
		{Kind: '\\'},
		{Kind: '/', Arg: filepath.Join(home, "Archive") + "/"},
		{Kind: '|', Arg: "/usr/bin/tee " + out},
	}
	answers := b.deliver(b.order("bob@example.org"), plain(letter))
	b.one(answers, 'K', "2.0.0")
	if f := answers[0]; f.Kind != 'F' || f.Target != addr("carol@example.net") || f.Num != (queue.Num{N: 1}) {
		t.Errorf("%+v", answers)
	}
	want := "Return-Path: <alice@example.net>\nDelivered-To: bob@example.org\n" + letter
	for _, root := range []string{b.bob.Maildir, filepath.Join(home, "Archive")} {
		for _, text := range b.mail(root) {
			if text != want {
				t.Errorf("%s: %q", root, text)
			}
		}
		if len(b.mail(root)) != 1 {
			t.Errorf("%s: %v", root, b.mail(root))
		}
	}
	if text, _ := os.ReadFile(out); string(text) != want {
		t.Errorf("program got %q", text)
	}
	b.bob.Forward = []domains.ForwardLine{{Kind: '&', Target: addr("BOB@example.org")}} // to himself
	b.one(b.deliver(b.order("bob@example.org"), plain(letter)), 'K', "2.0.0")
	b.bob.Forward = []domains.ForwardLine{{Kind: '&', Target: addr("carol@example.net")}}
	if answers = b.deliver(b.order("bob@example.org"), plain(letter)); answers[1].Result.Text != "forwarded" {
		t.Errorf("%+v", answers)
	}
	for _, outside := range []string{"/etc/Maildir/", home + "/../eve/Maildir/", home + "/"} {
		b.bob.Forward = []domains.ForwardLine{{Kind: '/', Arg: outside}}
		b.one(b.deliver(b.order("bob@example.org"), plain(letter)), 'Z', "4.3.0")
	}
}

// S134: what a program gets and what it may do.
func TestS134Programs(t *testing.T) {
	script := func(t *testing.T, text string) string {
		name := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(name, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return name
	}
	run := func(b *bench, line string) []order.Answer {
		b.bob.Forward = []domains.ForwardLine{{Kind: '|', Arg: line}}
		return b.deliver(b.order("bob@example.org"), plain(letter))
	}
	for status, want := range map[int]string{0: "K2.0.0", 1: "Z4.3.0", 75: "Z4.3.0", 100: "D5.3.0", 111: "Z4.3.0", 77: "D5.3.0", 67: "D5.3.0", 73: "Z4.3.0"} {
		b := newBench(t)
		b.one(run(b, script(t, fmt.Sprint("cat >/dev/null; exit ", status))), want[0], want[1:])
	}
	t.Run("environment", func(t *testing.T) {
		t.Setenv("SECRET", "x")
		t.Setenv("ALLOWED", "yes")
		b := newBench(t)
		b.agent.Programs.Environment = []string{"ALLOWED", "MISSING"}
		out := filepath.Join(b.dir, "out")
		b.one(run(b, script(t, "env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= | sort >"+out+"; ls /proc/self/fd >>"+out+"; echo \"$# $1 $2\" >>"+out+"; umask >>"+out)+" $SECRET `x`;"), 'K', "2.0.0")
		got, _ := os.ReadFile(out)
		want := "ALLOWED=yes\nDOMAIN=example.org\nHOME=" + filepath.Dir(b.bob.Maildir) + "\nID=" + testID + "\nPATH=" + searchPath +
			"\nRECIPIENT=bob@example.org\nSENDER=alice@example.net\nUSER=bob\n0\n1\n2\n3\n2 $SECRET `x`;\n0077\n"
		if string(got) != want { // fd 3 is ls reading the directory
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
	t.Run("output", func(t *testing.T) {
		b := newBench(t)
		answers := run(b, script(t, "cat >/dev/null; echo no such list; head -c 5000000 /dev/zero; exit 100"))
		b.one(answers, 'D', "5.3.0")
		if text := answers[0].Result.Text; text != "no such list" {
			t.Errorf("text %.80q", text)
		}
	})
	t.Run("time", func(t *testing.T) {
		b := newBench(t)
		b.agent.Programs.Time = 300 * time.Millisecond
		pid := filepath.Join(b.dir, "pid")
		b.one(run(b, script(t, "sleep 600 & echo $! >"+pid+"; wait")), 'Z', "4.3.0")
		gone(t, pid)
	})
	t.Run("left behind", func(t *testing.T) {
		b := newBench(t)
		pid := filepath.Join(b.dir, "pid")
		b.one(run(b, script(t, "sleep 600 & echo $! >"+pid+"; exit 0")), 'K', "2.0.0")
		gone(t, pid)
	})
	t.Run("reads nothing", func(t *testing.T) {
		b := newBench(t)
		b.bob.Forward = []domains.ForwardLine{{Kind: '|', Arg: "/bin/true"}}
		b.one(b.deliver(b.order("bob@example.org"), plain(letter+strings.Repeat("x\n", 100_000))), 'K', "2.0.0")
	})
	for _, line := range []string{"true", "/no/such/program", "/etc", "../true"} {
		b := newBench(t)
		answers := run(b, line)
		if answers[0].Kind != 'Z' {
			t.Errorf("%s: %+v", line, answers[0])
		}
	}
}

// gone wants the process whose id is in file to be dead.
func gone(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	fmt.Sscan(string(text), &pid)
	for range 100 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	syscall.Kill(pid, syscall.SIGKILL)
	t.Errorf("process %d is still there", pid)
}

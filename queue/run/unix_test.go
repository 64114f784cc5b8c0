package run

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"pennypost/become/ask"
	"pennypost/internal/address"
	"pennypost/internal/domains"
	"pennypost/internal/order"
	"pennypost/internal/packet"
	"pennypost/internal/passwd"
	"pennypost/internal/status"
)

// unixDirectory is directory, and Unix users besides. "alice" keeps a copy and bob has the other; who "late" is takes a moment to find out.
type unixDirectory struct {
	directory
	waits *int
}

var unixPeople = map[string]*passwd.User{}

func init() {
	for i, name := range []string{"uma", "ulf", "late", "copy"} {
		unixPeople[name] = &passwd.User{Name: name, UID: uint32(61000 + i), GID: uint32(61000 + i), Groups: []uint32{61500}, Home: "/home/" + name}
	}
}

func (d unixDirectory) Lookup(to address.Path) (domains.Answer, error) {
	if to.Local == "null" {
		return domains.Answer{Kind: domains.Nowhere}, nil
	}
	u := unixPeople[to.Local]
	if u == nil {
		return d.directory.Lookup(to)
	}
	a := domains.Answer{Kind: domains.Mailbox, Account: &domains.Account{User: u.Name, Domain: to.Domain, Unix: u}}
	switch to.Local {
	case "late":
		if *d.waits--; *d.waits >= 0 {
			return domains.Answer{}, passwd.ErrWait
		}
	case "copy":
		a.Kind, a.Targets = domains.Alias, []address.Path{path("bob@example.org")}
	}
	return a, nil
}

// fakeBecome listens where become does, and is the programs that it starts.
type fakeBecome struct {
	mu    sync.Mutex
	lines []string // what was asked for
	b     *bench
	do    func(*order.Order) []order.Answer // nil: dies
	no    string                            // the answer, if it is none
}

func (f *fakeBecome) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.lines)
}

func newBecome(t *testing.T, b *bench) *fakeBecome {
	dir := t.TempDir()
	f := &fakeBecome{b: b, do: say(status.Result{Code: 250, Enhanced: "2.0.0", Text: "at home"})}
	l, err := packet.Listen(ask.Socket(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f.serve(c.(*net.UnixConn))
		}
	}()
	waits := 2
	b.run.Become, b.run.Processes = ask.Socket(dir), 2
	b.run.Routes.Domains = unixDirectory{b.run.Routes.Domains.(directory), &waits}
	return f
}

func (f *fakeBecome) serve(c *net.UnixConn) {
	defer c.Close()
	line, files, err := packet.Receive(c)
	if err != nil || len(files) != 1 {
		return
	}
	defer packet.Close(files)
	f.mu.Lock()
	f.lines = append(f.lines, line)
	no := f.no
	f.mu.Unlock()
	if no != "" {
		packet.Send(c, "no "+no, nil)
		return
	}
	fd, _ := unix.Dup(int(files[0].Fd()))
	conn, err := order.NewConn(fd)
	if err != nil {
		return
	}
	packet.Send(c, "ok", nil)
	go func() {
		defer conn.Close()
		for {
			orders, fds, err := conn.ReceiveOrders(0)
			if err != nil {
				return
			}
			for i := range orders {
				if fds[i] >= 0 {
					unix.Close(fds[i])
				}
				if orders[i].Verb == "quit" {
					return
				}
				f.b.mu.Lock()
				f.b.orders = append(f.b.orders, orders[i])
				f.b.mu.Unlock()
				f.mu.Lock()
				answers := f.do(&orders[i]) // one at a time, so that tests may keep count
				f.mu.Unlock()
				if answers == nil {
					return
				}
				conn.SendAnswers(answers)
			}
		}
	}()
}

// Each Unix user has a process, which takes what comes while it is there.
func TestUnixDeliver(t *testing.T) {
	b := newBench(t)
	f := newBecome(t, b)
	b.begin()
	for range 5 {
		b.put("mx", "alice@example.net", "uma@example.org", "ulf@example.org", "bob@example.org")
	}
	b.eventually("delivery", b.empty)
	b.end()
	lines := f.asked()
	slices.Sort(lines)
	want := []string{"deliver-local 61000 61000,61500 uma /home/uma", "deliver-local 61001 61001,61500 ulf /home/ulf"}
	if !slices.Equal(lines, want) {
		t.Errorf("become was asked for %q", lines)
	}
	sites := map[string]int{}
	for _, o := range b.delivers() {
		sites[o.Site] += len(o.Rcpts)
	}
	if sites["unix:uma"] != 5 || sites["unix:ulf"] != 5 || sites["local"] != 5 {
		t.Error(sites)
	}
}

// More users than processes: who has nothing to do makes room.
func TestUnixProcesses(t *testing.T) {
	b := newBench(t)
	newBecome(t, b)
	b.run.Processes = 1
	b.begin()
	for range 10 {
		b.put("mx", "alice@example.net", "uma@example.org")
		b.put("mx", "alice@example.net", "ulf@example.org")
	}
	b.eventually("delivery", b.empty)
	b.end()
}

// "copy: copy, bob" keeps one; and it is found again by the next runner.
func TestUnixCopy(t *testing.T) {
	b := newBench(t)
	newBecome(t, b)
	b.begin()
	b.put("mx", "alice@example.net", "copy@example.org")
	b.eventually("delivery", b.empty)
	b.end()
	var to []string
	for _, o := range b.delivers() {
		for _, r := range o.Rcpts {
			to = append(to, o.Site+" "+r.To.String())
		}
	}
	slices.Sort(to)
	if !slices.Equal(to, []string{"local bob@example.org", "unix:copy copy@example.org"}) {
		t.Errorf("%q", to)
	}
}

// Who a name is may take a while to find out: the loop goes on meanwhile, and nothing is deferred.
func TestUnixWait(t *testing.T) {
	b := newBench(t)
	newBecome(t, b)
	b.begin()
	id := b.put("mx", "alice@example.net", "late@example.org")
	b.eventually("delivery", b.empty)
	b.end()
	if got := b.events(id); !slices.Equal(got, []string{"deliver 1", "end 0"}) {
		t.Errorf("journal %v", got)
	}
}

// Without become, or where it says no, mail waits: nobody's fault and no crash.
func TestUnixNoBecome(t *testing.T) {
	for _, no := range []string{"", "uid 61000: see become.min_uid in mail.toml(5)"} {
		b := newBench(t)
		f := newBecome(t, b)
		f.mu.Lock()
		f.no = no
		f.mu.Unlock()
		if no == "" {
			b.run.Become = filepath.Join(t.TempDir(), "nobody")
		}
		b.begin()
		for range 5 {
			b.put("mx", "alice@example.net", "uma@example.org")
		}
		b.eventually("deferrals", func() bool {
			n := 0
			for _, name := range b.files() {
				if strings.HasSuffix(name, ".s") {
					n++
				}
			}
			return n == 5
		})
		b.end()
		if len(b.held()) != 0 {
			t.Error("messages were put aside")
		}
		if !strings.Contains(b.log.String(), "cannot deliver as that user now") {
			t.Errorf("log:\n%s", b.log)
		}
	}
}

// TestS134UnixDies: a process that its user kills costs that user's orders a repetition, and nobody else anything.
func TestS134UnixDies(t *testing.T) {
	b := newBench(t)
	f := newBecome(t, b)
	well, once := f.do, false
	f.do = func(o *order.Order) []order.Answer {
		if o.Site == "unix:uma" && !once {
			once = true
			return nil
		}
		return well(o)
	}
	b.begin()
	b.put("mx", "alice@example.net", "uma@example.org", "ulf@example.org")
	b.eventually("delivery", b.empty)
	b.end()
	n := 0
	for _, o := range b.delivers() {
		if o.Site == "unix:uma" {
			if n++; n == 2 && !o.Repeat {
				t.Error("the second order does not say that it may be a repetition")
			}
		} else if o.Repeat {
			t.Errorf("%s is repeated", o.Site)
		}
	}
	if n != 2 {
		t.Errorf("%d orders", n)
	}
}

// TestS131UnixFlood: what a process of a user says beyond its orders, or without end, harms nobody.
func TestS131UnixFlood(t *testing.T) {
	b := newBench(t)
	f := newBecome(t, b)
	well := f.do
	f.do = func(o *order.Order) []order.Answer {
		if o.Site != "unix:uma" {
			return well(o)
		}
		var list []order.Answer
		for seq := range uint64(20) { // orders of others
			list = append(list, order.Answer{Kind: 'D', Seq: seq, Num: o.Rcpts[0].Num, Result: status.Result{Outcome: status.Failed, Code: 550, Enhanced: "5.0.0", Text: "not mine"}})
		}
		for range 5000 {
			list = append(list, order.Answer{Kind: 'F', Seq: o.Seq, Num: o.Rcpts[0].Num, Target: path("x@example.net")})
		}
		return append(list, well(o)...)
	}
	b.begin()
	b.put("mx", "alice@example.net", "ulf@example.org", "uma@example.org", "bob@example.org")
	b.eventually("delivery", b.empty)
	b.end()
	if strings.Contains(b.log.String(), "not mine") {
		for line := range strings.Lines(b.log.String()) {
			if strings.Contains(line, "not mine") && !strings.Contains(line, "uma") {
				t.Error(line)
			}
		}
	}
	if strings.Count(b.log.String(), "deliver id=") < 3 {
		t.Errorf("log:\n%s", b.log)
	}
}

// A Unix user who is ourselves needs nobody: deliver-local is started as it is. Here it is a program that is not there.
func TestUnixOurselves(t *testing.T) {
	r := &Runner{Local: Worker{Program: filepath.Join(t.TempDir(), "deliver-local")}, Become: filepath.Join(t.TempDir(), "nobody")}
	_, end, err := order.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer end.Close()
	who := &passwd.User{Name: "me", UID: uint32(os.Getuid()), Home: "/home/me"}
	if _, err := r.startAs(who, end); !errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), "become") {
		t.Error(err)
	}
	who.UID++
	if _, err := r.startAs(who, end); err == nil || !strings.Contains(err.Error(), r.Become) {
		t.Error(err)
	}
}

// What an alias throws away is delivered as far as anybody is told, and no order says so.
func TestThrownAway(t *testing.T) {
	b := newBench(t)
	newBecome(t, b)
	b.begin()
	alone := b.put("mx", "alice@example.net", "null@example.org")
	both := b.put("mx", "alice@example.net", "null@example.org", "bob@example.org")
	b.eventually("delivery", b.empty)
	b.end()
	if got := b.events(alone); !slices.Equal(got, []string{"deliver 1", "end 0"}) {
		t.Errorf("journal %v", got)
	}
	if got := b.events(both); !slices.Equal(got, []string{"deliver 1", "deliver 2", "end 0"}) {
		t.Errorf("journal %v", got)
	}
	if n := len(b.delivers()); n != 1 {
		t.Errorf("%d orders", n)
	}
}

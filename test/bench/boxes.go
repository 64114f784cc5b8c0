package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pennypost/test/lab"
	"pennypost/test/peers"
)

// boxServer is one of those compared by reading: Maildirs, and ports to read them by.
type boxServer struct {
	name    string
	imap    string                // where the rounds go
	secure  bool                  // by TLS
	hello   func(string) string   // what is said before the greeting instead of LOGIN; nil LOGIN
	imaps   string                // with TLS, always
	pop3s   string                // the same
	pop3    string                // without TLS; "" rounds go to pop3s
	maildir func(u string) string // of a user
	meter   *meter
	stop    func()
}

// connect logs a user in where the rounds go.
func (s *boxServer) connect(user string) (*imapConn, error) {
	if s.hello != nil {
		return dialIMAP(s.imap, s.secure, s.hello(user))
	}
	return s.loginAt(s.imap, s.secure, user)
}

// errAbsent is what a server does not have.
var errAbsent = errors.New("not there")

func (s *boxServer) loginAt(addr string, secure bool, user string) (*imapConn, error) {
	if addr == "" {
		return nil, errAbsent
	}
	c, err := dialIMAP(addr, secure, "")
	if err != nil {
		return nil, err
	}
	return c, c.login(user+"@bench.test", lab.Password)
}

// box is a mailbox of one server in one round.
type box struct {
	s       *boxServer
	n       int
	user    string
	from    string // the Maildir it is linked from
	c       *imapConn
	samples []sample
	after   time.Duration // how long a server goes on working for a command that it has answered
}

// sample is one look at the clocks.
type sample struct {
	time, cpu time.Duration // of one operation
	found     int           // what came: all servers should find the same
}

// time measures f, which does ops operations.
func (b *box) time(ops int, f func() (found int, err error)) error {
	before, noCPU := b.s.meter.used()
	begun := time.Now()
	found, err := f()
	taken := time.Since(begun)
	if err != nil {
		return err
	}
	s := sample{time: taken / time.Duration(ops), found: found}
	if noCPU == nil {
		time.Sleep(max(b.after, 3*time.Millisecond)) // the server goes to sleep, and is charged
		if after, err := b.s.meter.used(); err == nil {
			s.cpu = (after - before) / time.Duration(ops)
		}
	}
	b.samples = append(b.samples, s)
	return nil
}

// do times one command, reps times.
func (b *box) do(reps int, format string, args ...any) error {
	for range reps {
		err := b.time(1, func() (int, error) {
			a, err := b.c.do(format, args...)
			return a.found(), err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// found is how much an answer says: the numbers of a search, else its lines.
func (a answer) found() int {
	for _, prefix := range []string{"* SEARCH", "* SORT"} {
		if strings.HasPrefix(a.first, prefix) {
			return len(strings.Fields(a.first)) - 2
		}
	}
	if strings.HasPrefix(a.first, "* THREAD") {
		return strings.Count(a.first, "(")
	}
	return a.lines
}

// fresh gives the box its Maildir as it was before any server had seen it.
func (b *box) fresh() error {
	b.leave()
	dir := b.s.maildir(b.user)
	for _, old := range []string{dir, dir + ".expunged"} {
		if err := os.RemoveAll(old); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	return link(b.from, dir, peers.Owner)
}

// leave ends the session that stays open.
func (b *box) leave() {
	if b.c != nil {
		b.c.close()
		b.c = nil
	}
}

// open selects the mailbox in a session that stays open.
func (b *box) open() error {
	if b.c != nil {
		return nil
	}
	c, err := b.s.connect(b.user)
	if err == nil {
		b.c = c
		_, err = c.do("SELECT INBOX")
	}
	return err
}

func boxUsers(sizes []int) []string {
	names := append(userNames(), "folders", "pop")
	for _, n := range sizes {
		names = append(names, fmt.Sprintf("box%d", n))
	}
	return names
}

// startReaders starts ours and those of the peers that are there.
func startReaders(d *disk, o options, sizes []int) ([]*boxServer, error) {
	names := boxUsers(sizes)
	keys := map[string]string{}
	for _, key := range o.keys {
		name, value, _ := strings.Cut(key, "=")
		keys[name] = value
	}
	for _, program := range []string{"imapd", "pop3d"} {
		keys[program+".max_connections"], keys[program+".per_ipv4"] = "20000", "20000"
	}
	m := newMeter("imapd")
	l, err := lab.New(filepath.Join(d.dir, "pennypost"), o.bin, o.base)
	if err != nil {
		return nil, err
	}
	l.Wrap = m.wrap()
	h, err := l.AddHost("bench.test", "127.0.0.1", names...)
	if err == nil {
		for key, value := range keys {
			h.Keys[key] = value
		}
		err = l.Up()
	}
	if err != nil {
		l.Down()
		return nil, err
	}
	ours := &boxServer{name: "pennypost", imap: h.Addr("IMAPS"), secure: true, imaps: h.Addr("IMAPS"), pop3s: h.Addr("POP3S"), maildir: h.Maildir, meter: m, stop: func() { l.Down(); m.close() }}
	all := []*boxServer{ours}
	if o.clear {
		if err := ours.inTheClear(h.Config(), fmt.Sprintf("127.0.0.1:%d", o.base+144), m); err != nil {
			ours.stop()
			return nil, err
		}
	}
	cert := filepath.Join(d.dir, "peer")
	if err := l.CA.Issue(cert, "mx.bench.test", "127.0.0.14", "127.0.0.15"); err != nil {
		ours.stop()
		return nil, err
	}
	for _, kind := range []struct {
		name, ip string
		start    func(peers.Options) (*peers.Peer, error)
	}{
		{"dovecot", "127.0.0.14", func(po peers.Options) (*peers.Peer, error) {
			p, err := peers.StartDovecot(po)
			if err != nil {
				return nil, err
			}
			return p.Peer, nil
		}},
		{"courier", "127.0.0.15", func(po peers.Options) (*peers.Peer, error) {
			p, err := peers.StartCourier(po)
			if err != nil {
				return nil, err
			}
			return p.Peer, nil
		}},
	} {
		if kind.name == "courier" && !(o.courier && o.clear) { // it has no TLS here
			continue
		}
		m := newMeter(kind.name)
		p, err := kind.start(peers.Options{Dir: d.dir, Domain: "bench.test", IP: kind.ip, Port: o.base + 143, Users: names, Cert: cert + ".pem", Key: cert + ".key", Wrap: m.wrap()})
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s is left out: %v\n", kind.name, err)
			m.close()
			continue
		}
		s := &boxServer{name: kind.name, imap: p.At(993), secure: true, imaps: p.At(993), pop3s: p.At(995), maildir: p.Maildir, meter: m, stop: func() { p.Stop(); m.close() }}
		if o.clear {
			s.imap, s.secure, s.pop3 = p.At(143), false, p.At(110)
		}
		if kind.name == "courier" {
			s.imaps, s.pop3, s.pop3s = "", "", ""
		}
		all = append(all, s)
	}
	return all, nil
}

// inTheClear starts our server once more, without TLS: imapd itself lets nobody log in so.
func (s *boxServer) inTheClear(config, addr string, m *meter) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	argv := append(m.wrap(), self, "imap-clear", config, addr)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // it ends when this process does
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := s.stop
	s.stop = func() { cmd.Process.Kill(); cmd.Wait(); stop() }
	s.imap, s.secure = addr, false
	s.hello = func(user string) string { return user + "@bench.test " + lab.Password + "\r\n" }
	return lab.Until(10*time.Second, func() error {
		c, err := s.connect("u0")
		if err == nil {
			c.close()
		}
		return err
	})
}

// compareReaders is bench boxes.
func compareReaders(o options) error {
	want, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	var sizes []int
	for _, text := range strings.Split(o.sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 500 {
			return fmt.Errorf("--sizes: %q is no number of messages from 500 on", text)
		}
		sizes = append(sizes, n)
	}
	if o.quick {
		sizes, o.reps = []int{1000}, 1
	}
	d, err := o.disk()
	if err != nil {
		return err
	}
	defer d.remove()
	servers, err := startReaders(d, o, sizes)
	if err != nil {
		return err
	}
	for _, s := range servers {
		defer s.stop()
	}
	mail := newCorpus()
	t := &boxTable{want: want, servers: servers}
	for _, n := range sizes {
		from := filepath.Join(d.dir, fmt.Sprintf("corpus%d", n))
		if err := mail.write(from, n, peers.Owner, o.sized); err != nil {
			return err
		}
		for round := range o.reps {
			if err := t.round(round, n, from, boxRows); err != nil {
				return err
			}
		}
		os.RemoveAll(from)
	}
	from := filepath.Join(d.dir, "corpus")
	if err := mail.write(from, 1000, peers.Owner, o.sized); err != nil {
		return err
	}
	for round := range o.reps {
		if err := t.round(round, 0, from, crowdRows()); err != nil {
			return err
		}
	}
	if err := t.round(0, 0, from, idleRows(o.idle)); err != nil {
		return err
	}
	transport := "TLS 1.3 on both sides"
	if o.clear {
		transport = "IMAP without TLS on both sides"
	}
	return o.print(t.report(fmt.Sprintf("%s, %d CPUs, %s, %s, %d rounds in turns, median (least–most).", time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), d.what, transport, o.reps)))
}

// round runs every row on every server; who is first changes from row to row.
func (t *boxTable) round(round, n int, from string, rows []boxRow) error {
	boxes := make([]*box, len(t.servers))
	for i, s := range t.servers {
		boxes[i] = &box{s: s, n: n, user: fmt.Sprintf("box%d", n), from: from}
		if n == 0 {
			boxes[i].user = userNames()[0]
		}
		if n > 20000 && s.name == "courier" {
			boxes[i] = nil // seconds for every command
		}
	}
	defer func() {
		for _, b := range boxes {
			if b != nil {
				b.leave()
			}
		}
	}()
	for k, r := range rows {
		if r.most > 0 && n > r.most || r.name != "" && !t.want.MatchString(r.name) {
			continue
		}
		syscall.Sync()
		for i := range boxes {
			b := boxes[(i+k+round)%len(boxes)]
			if b == nil {
				continue
			}
			b.samples = nil
			err := r.run(b)
			if r.name == "" && err == nil || errors.Is(err, errAbsent) {
				continue // preparation, or nothing to compare
			}
			f := boxFigure{row: r, n: n, server: b.s.name, samples: b.samples, err: err}
			fmt.Fprintf(os.Stderr, "round %d  %-44s %7d  %-10s %s\n", round+1, r.name, n, b.s.name, f.line())
			t.figures = append(t.figures, f)
		}
	}
	return nil
}

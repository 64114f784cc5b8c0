package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"pennypost/become"
	"pennypost/become/ask"
	"pennypost/internal/maillog"
	"pennypost/internal/packet"
	"pennypost/internal/passwd"
	"pennypost/test/peers"
	"pennypost/test/sink"
)

// firstUID is the uid of u0 of the Unix users; ours are known to who asks our helper, and Postfix's to its chroot.
const firstUID = peers.FirstUID

// unixNames are the ten users of the other rows, and two hundred more, to whom mail comes in turn: so that no process serves two messages.
func unixNames() []string {
	names := userNames()
	for i := range 200 {
		names = append(names, fmt.Sprintf("v%d", i))
	}
	return names
}

// each is a job: one message for each of the two hundred, again and again.
func each(row string, n, clients int) job {
	return job{row, func(s *server, _ *sink.Server) (int, time.Duration, error) {
		a, err := watchNew(s.maildirs, false)
		if err != nil {
			return 0, 0, err
		}
		defer a.close()
		begun := time.Now()
		l := load{addr: s.addr, from: "sender@elsewhere.test", rcpt: func(i int) string { return fmt.Sprintf("v%d@%s", i%200, s.domain) }, n: n, clients: clients, size: 4096}
		if _, err := l.run(); err != nil {
			return 0, 0, err
		}
		err = a.wait(int64(n), 60*time.Second)
		return n, time.Since(begun), err
	}}
}

// homesFor makes homes with Maildirs, for what is watched must be there.
func homesFor(home func(user string) string) error {
	for i, u := range unixNames() {
		for _, dir := range []string{"", "/Maildir", "/Maildir/tmp", "/Maildir/new", "/Maildir/cur"} {
			if err := os.MkdirAll(home(u)+dir, 0o700); err != nil {
				return err
			}
			if err := os.Chown(home(u)+dir, firstUID+i, firstUID+i); err != nil {
				return err
			}
		}
	}
	return nil
}

// compareUnix is delivery to ~/Maildir as Unix users, each by processes of their uid, beside Postfix's local(8).
func compareUnix(o options) error {
	if os.Getuid() != 0 {
		return fmt.Errorf("unix needs root, to be others")
	}
	want, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	d, err := o.disk()
	if err != nil {
		return err
	}
	defer d.remove()
	ours, stop, err := startPennypostUnix(d, o)
	if err != nil {
		return err
	}
	defer stop()
	servers := []*server{ours}
	if theirs, err := startPostfixUnix(d, o.base); err != nil {
		fmt.Fprintf(os.Stderr, "Postfix is left out: %v\n", err)
	} else {
		defer theirs.stop()
		servers = append(servers, theirs)
	}
	for _, s := range servers {
		if err := s.warm(); err != nil {
			return err
		}
		home := filepath.Dir(filepath.Dir(s.maildirs[0]))
		for _, u := range unixNames()[users:] {
			s.maildirs = append(s.maildirs, filepath.Join(home, u, "Maildir"))
		}
	}
	var figures []figure
	for rep := range o.reps {
		for _, j := range []job{
			deliver("to ~/Maildir, 4 KiB, 1 client", 500, 1, 4096, 0),
			deliver("to ~/Maildir, 4 KiB, 10 clients", 3000, 10, 4096, 0),
			deliver("to ~/Maildir, 100 KiB, 10 clients", 800, 10, 100<<10, 0),
			each("to ~/Maildir, 4 KiB, 200 users in turn", 2000, 10),
		} {
			if !want.MatchString(j.row) {
				continue
			}
			for i := range servers { // who is first changes with every round
				f := measure(servers[(i+rep)%len(servers)], j, nil)
				fmt.Fprintf(os.Stderr, "round %d  %-40s %-10s %s\n", rep+1, f.row, f.server, f.line())
				figures = append(figures, f)
			}
		}
	}
	caption := fmt.Sprintf("%s, %d CPUs, %s, ten Unix users, %d rounds in turns, median (least–most).", time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), d.what, o.reps)
	var b strings.Builder
	report(&b, figures, caption)
	return o.print(b.String())
}

// startPennypostUnix is startPennypost with the users of bench.test in homes of their own, and with become and who knows them.
func startPennypostUnix(d *disk, o options) (*server, func(), error) {
	s, h, err := startPennypost(d, o.bin, o.base, "", nil)
	if err != nil {
		return nil, nil, err
	}
	homes := filepath.Join(d.dir, "home")
	for dir := h.Dir; dir != "/"; dir = filepath.Dir(dir) { // users have to get at mail.toml
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o005 != 0o005 {
			os.Chmod(dir, info.Mode().Perm()|0o055)
		}
	}
	if err = os.MkdirAll(homes, 0o755); err == nil {
		err = homesFor(func(u string) string { return filepath.Join(homes, u) })
	}
	if err != nil {
		return nil, nil, err
	}
	s.maildirs = nil
	for _, u := range userNames() {
		s.maildirs = append(s.maildirs, filepath.Join(homes, u, "Maildir"))
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	argv := append(s.meter.wrap(), self, "unix-host", filepath.Join(h.Dir, "run"), homes, o.bin, h.Config())
	cmd := exec.Command(argv[0], argv[1:]...)
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	stop := func() {
		s.stop()
		cmd.Process.Kill()
		cmd.Wait()
	}
	for _, u := range userNames() { // what was virtual is Unix from now on
		os.RemoveAll(filepath.Join(h.Dir, "etc/domains/bench.test/users", u))
	}
	if err := os.WriteFile(filepath.Join(h.Dir, "etc/domains/bench.test/system"), nil, 0o644); err != nil {
		stop()
		return nil, nil, err
	}
	time.Sleep(2 * time.Second) // domains are looked at each second
	return s, stop, nil
}

// serveUnix is become and mailgetent of a host whose users are those of bench.test: u0 to u9 below homes.
func serveUnix(run, homes, bin, config string) error {
	people := map[string]*passwd.User{}
	for i, u := range unixNames() {
		people[u] = &passwd.User{Name: u, UID: uint32(firstUID + i), GID: uint32(firstUID + i), Home: filepath.Join(homes, u), Shell: "/bin/sh"}
	}
	if err := os.MkdirAll(filepath.Dir(passwd.Socket(run)), 0o755); err != nil {
		return err
	}
	on, err := packet.Listen(passwd.Socket(run))
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := on.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 512)
				n, _ := c.Read(b)
				answer := "nobody"
				if u := people[string(b[:n])]; u != nil {
					answer = u.String()
				}
				c.Write([]byte(answer))
			}()
		}
	}()
	programs := []become.Program{{Name: "deliver-local", Args: []string{"deliver-local", "--worker", "--config", config}, Client: 0}}
	server := &become.Server{Dir: bin, Programs: programs, MinUID: 1000, MinGID: 1000, Log: &maillog.Log{Program: "become"}}
	at, err := packet.Listen(ask.Socket(run))
	if err != nil {
		return err
	}
	return server.Serve(context.Background(), []net.Listener{at})
}

func startPostfixUnix(d *disk, base int) (*server, error) {
	m := newMeter("postfix")
	p, err := peers.StartPostfix(peers.Options{Dir: d.dir, Domain: "bench.test", IP: "127.0.0.11", Port: base + 25, Users: unixNames(), Unix: true, Wrap: m.wrap()}, false)
	if err != nil {
		return nil, err
	}
	s := &server{name: "postfix", addr: p.Addr, domain: "bench.test", meter: m, stop: func() { p.Stop(); m.close() }, queued: p.Queued}
	for _, u := range userNames() {
		s.maildirs = append(s.maildirs, p.Maildir(u))
	}
	return s, homesFor(func(u string) string { return filepath.Dir(p.Maildir(u)) })
}

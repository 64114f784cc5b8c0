package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"pennypost/test/lab"
	"pennypost/test/peers"
	"pennypost/test/sink"
)

// server is one of the two, ready for loads.
type server struct {
	name     string
	addr     string
	domain   string
	maildirs []string
	meter    *meter
	queued   func() int   // messages not yet gone
	hold     func() error // from now on keep what is to leave the host
	unhold   func() error // what comes before kick and is not measured
	kick     func() error // let it go
	stop     func()
	check    func() error // whether the work was done, where that is in doubt

	cpuFrom time.Duration // CPU used before what a job measures began
}

const users = 10

func userNames() []string {
	var names []string
	for i := range users {
		names = append(names, fmt.Sprintf("u%d", i))
	}
	return names
}

// startPennypost starts ours with the configuration a busy site would have; relay is where foreign mail goes.
func startPennypost(d *disk, bin string, base int, relay string, keys map[string]string, more ...func(*lab.Host) error) (*server, *lab.Host, error) {
	m := newMeter("pennypost")
	l, err := lab.New(filepath.Join(d.dir, "pennypost"), bin, base)
	if err != nil {
		return nil, nil, err
	}
	l.Wrap = m.wrap()
	h, err := l.AddHost("bench.test", "127.0.0.1", userNames()...)
	if err != nil {
		l.Down()
		return nil, nil, err
	}
	h.Keys["smtpd.relay_networks"] = `["127.0.0.0/8"]` // Postfix's mynetworks
	h.Keys["smtpd.max_messages"] = "1000000"
	h.Keys["queue.bounce_unverified"] = `"send"`
	for key, value := range keys {
		h.Keys[key] = value
	}
	if relay != "" {
		h.Extra = fmt.Sprintf("[route.\"*\"]\nnext = [\"smtp://%s\"]\n", relay)
	}
	for _, do := range more {
		if err := do(h); err != nil {
			l.Down()
			return nil, nil, err
		}
	}
	if err := l.Up(); err != nil {
		l.Down()
		return nil, nil, err
	}
	s := &server{name: "pennypost", addr: h.Addr("SMTP"), domain: "bench.test", meter: m, stop: func() { l.Down(); m.close() }}
	for _, u := range h.Users {
		s.maildirs = append(s.maildirs, h.Maildir(u))
	}
	s.queued = func() int { return len(lab.Queued(h.Spool())) }
	pause := filepath.Join(h.Spool(), "pause", "all")
	s.hold = func() error { return os.WriteFile(pause, nil, 0o644) }
	s.unhold = func() error { return nil }
	s.kick = func() error { return os.Remove(pause) }
	return s, h, nil
}

func startPostfix(d *disk, base int, relay string) (*server, error) {
	m := newMeter("postfix")
	p, err := peers.StartPostfix(peers.Options{Dir: d.dir, Domain: "bench.test", IP: "127.0.0.11", Port: base + 25, Users: userNames(),
		Relay: relay, Wrap: m.wrap()}, false)
	if err != nil {
		return nil, err
	}
	s := &server{name: "postfix", addr: p.Addr, domain: "bench.test", meter: m, stop: func() { p.Stop(); m.close() }}
	for _, u := range userNames() {
		s.maildirs = append(s.maildirs, p.Maildir(u))
	}
	s.queued = p.Queued
	s.hold = func() error {
		err := p.Defer(true)
		time.Sleep(5 * time.Second) // as below
		return err
	}
	s.unhold = func() error {
		err := p.Defer(false)
		time.Sleep(5 * time.Second) // its queue manager ends and another reads the new configuration
		return err
	}
	s.kick = p.Flush
	return s, nil
}

// warm sends each user a message, so that Maildirs and resident processes are there.
func (s *server) warm() error {
	l := load{addr: s.addr, from: "w@elsewhere.test", rcpt: s.rcpt, n: 5 * users, clients: 5, size: 4096}
	if _, err := l.run(); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	for _, dir := range s.maildirs {
		if _, _, err := lab.Find(20*time.Second, dir, "Subject", 5); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) rcpt(i int) string { return fmt.Sprintf("u%d@%s", i%users, s.domain) }

// settle waits until the queue is empty and what was delivered is removed, so that every round begins alike.
func (s *server) settle() error {
	err := lab.Until(60*time.Second, func() error {
		if n := s.queued(); n > 0 {
			return fmt.Errorf("%s: %d messages are queued", s.name, n)
		}
		return nil
	})
	for _, dir := range s.maildirs {
		files, _ := filepath.Glob(filepath.Join(dir, "new", "*"))
		for _, file := range files {
			os.Remove(file)
		}
	}
	syscall.Sync()
	time.Sleep(200 * time.Millisecond)
	return err
}

// job is a row of the table.
type job struct {
	row string
	run func(s *server, out *sink.Server) (n int, t time.Duration, err error)
}

// deliver is a job: messages in by SMTP, until their files are in new/.
func deliver(row string, n, clients, size, perConn int) job {
	return job{row, func(s *server, _ *sink.Server) (int, time.Duration, error) {
		a, err := watchNew(s.maildirs, false)
		if err != nil {
			return 0, 0, err
		}
		defer a.close()
		begun := time.Now()
		l := load{addr: s.addr, from: "sender@elsewhere.test", rcpt: s.rcpt, n: n, clients: clients, size: size, perConn: perConn}
		if _, err := l.run(); err != nil {
			return 0, 0, err
		}
		err = a.wait(int64(n), 60*time.Second)
		return n, time.Since(begun), err
	}}
}

// relay is a job: messages in by SMTP and out to the sink.
func relay(row string, n, clients int) job {
	return job{row, func(s *server, out *sink.Server) (int, time.Duration, error) {
		before := out.Count.Load()
		begun := time.Now()
		l := load{addr: s.addr, from: "sender@bench.test", rcpt: foreign, n: n, clients: clients, size: 4096}
		if _, err := l.run(); err != nil {
			return 0, 0, err
		}
		err := waitCount(&out.Count, before+int64(n), 60*time.Second)
		return n, time.Since(begun), err
	}}
}

// drain is a job: messages that wait are let go; the clock runs from then until the sink has all of them.
func drain(row string, n int) job {
	return job{row, func(s *server, out *sink.Server) (int, time.Duration, error) {
		if err := s.hold(); err != nil {
			return 0, 0, err
		}
		time.Sleep(1500 * time.Millisecond)
		before := out.Count.Load()
		l := load{addr: s.addr, from: "sender@bench.test", rcpt: foreign, n: n, clients: 20, size: 4096}
		_, err := l.run()
		time.Sleep(3 * time.Second) // what is being looked at is put aside
		if err2 := s.unhold(); err2 != nil {
			return 0, 0, err2
		}
		early := out.Count.Load() - before
		s.cpuFrom, _ = s.meter.used() // where there is no cgroup there is no CPU column
		begun := time.Now()
		if err2 := s.kick(); err2 != nil {
			return 0, 0, err2
		}
		if err != nil {
			return 0, 0, err
		}
		if early > 0 { // and the others are not to be counted as somebody else's
			waitCount(&out.Count, before+int64(n), 180*time.Second)
			return 0, 0, fmt.Errorf("%d messages left before they were let go", early)
		}
		err = waitCount(&out.Count, before+int64(n), 180*time.Second)
		return n, time.Since(begun), err
	}}
}

func foreign(i int) string { return fmt.Sprintf("user%d@sink.test", i) }

// measure runs one job on one server.
func measure(s *server, j job, out *sink.Server) figure {
	f := figure{row: j.row, server: s.name}
	if f.err = s.settle(); f.err != nil {
		return f
	}
	var noCPU error
	s.cpuFrom, noCPU = s.meter.used()
	n, t, err := j.run(s, out)
	if f.err = err; err != nil {
		return f
	}
	f.rate = float64(n) / t.Seconds()
	if noCPU == nil {
		lab.Until(5*time.Second, func() error { // removing from the queue is work too
			if s.queued() > 0 {
				return fmt.Errorf("not empty")
			}
			return nil
		})
		time.Sleep(300 * time.Millisecond)
		if after, err := s.meter.used(); err == nil {
			f.cpu = (after - s.cpuFrom) / time.Duration(n)
		}
	}
	return f
}

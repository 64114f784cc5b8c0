package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"pennypost/test/lab"
)

// frontServer is imapd, alone or behind maillogin and mailauthd.
type frontServer struct {
	*boxServer
	login, fetch []float64 // ms: wall of a LOGIN, CPU of a FETCH
	each         float64   // KiB of an idle connection
}

const (
	frontMessages = 2000
	frontLogins   = 200 // a round
)

// compareFronts is bench front: what login apart from mail costs.
func compareFronts(o options) error {
	d, err := o.disk()
	if err != nil {
		return err
	}
	defer d.remove()
	var all []*frontServer
	for i, name := range []string{"imapd alone", "behind maillogin"} {
		s, err := startFront(d, o, name, o.base+i*2000, i == 1)
		if err != nil {
			return err
		}
		defer s.stop()
		all = append(all, s)
	}
	for rep := range o.reps {
		for i := range all {
			if err := all[(i+rep)%len(all)].round(); err != nil {
				return err
			}
		}
	}
	for _, s := range all {
		if err := s.idlers(min(o.idle, 2000)); err != nil {
			return err
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s, %d rounds in turns, medians.\n\n| | %s | %s | |\n|---|---|---|---|\n", time.Now().UTC().Format("2006-01-02"), d.what, o.reps, all[0].name, all[1].name)
	alone, behind := median(all[0].login), median(all[1].login)
	fmt.Fprintf(&b, "| LOGIN over TLS, the password known, wall | %.2f ms | %.2f ms | %+.2f ms, aim ≤ 1 |\n", alone, behind, behind-alone)
	alone, behind = median(all[0].fetch), median(all[1].fetch)
	fmt.Fprintf(&b, "| FETCH BODY[] of %d messages over TLS, CPU | %.1f ms | %.1f ms | %+.1f %%, aim ≤ 10 |\n", frontMessages, alone, behind, 100*(behind-alone)/alone)
	fmt.Fprintf(&b, "| an idle connection over TLS, all processes | %.1f KiB | %.1f KiB | aim ≤ 30 |\n", all[0].each, all[1].each)
	return o.print(b.String())
}

// startFront starts a host in a lab of its own.
func startFront(d *disk, o options, name string, base int, split bool) (*frontServer, error) {
	m := newMeter(fmt.Sprintf("front%d", base))
	l, err := lab.New(filepath.Join(d.dir, strings.ReplaceAll(name, " ", "-")), o.bin, base)
	if err != nil {
		return nil, err
	}
	l.Wrap = m.wrap()
	h, err := l.AddHost("bench.test", "127.0.0.1", "box")
	if err == nil {
		h.Split = split
		for _, program := range []string{"imapd", "maillogin"} {
			h.Keys[program+".max_connections"], h.Keys[program+".per_ipv4"], h.Keys[program+".connect_rate"] = "20000", "20000", `"1000000/m"`
		}
		h.Keys["imapd.per_user"] = "20000"
		err = l.Up()
	}
	if err != nil {
		l.Down()
		return nil, err
	}
	s := &boxServer{name: name, imap: h.Addr("IMAPS"), secure: true, imaps: h.Addr("IMAPS"), maildir: h.Maildir, meter: m, stop: func() { l.Down(); m.close() }}
	return &frontServer{boxServer: s}, s.fill()
}

// fill puts messages into the box.
func (s *boxServer) fill() error {
	c, err := s.connect("box")
	if err != nil {
		return err
	}
	defer c.close()
	for i := range frontMessages {
		if err := c.append("INBOX", corpusMessage(i)); err != nil {
			return err
		}
	}
	return nil
}

// corpusMessage is a message of 1 to 16 KiB, as mail of people is.
func corpusMessage(i int) []byte {
	line := strings.Repeat("a line of an ordinary message ", 2) + "\r\n"
	return []byte(fmt.Sprintf("From: a@bench.test\r\nSubject: number %d\r\n\r\n", i) + strings.Repeat(line, 16+i%241))
}

// round measures logins and fetches once more.
func (s *frontServer) round() error {
	for range frontLogins {
		c, err := dialIMAP(s.imap, true, "")
		if err != nil {
			return err
		}
		begun := time.Now()
		err = c.login("box@bench.test", lab.Password)
		s.login = append(s.login, time.Since(begun).Seconds()*1000)
		c.close()
		if err != nil {
			return err
		}
	}
	c, err := s.connect("box")
	if err != nil {
		return err
	}
	defer c.close()
	if _, err := c.do("SELECT INBOX"); err != nil {
		return err
	}
	for range 5 {
		before, err := s.meter.used()
		if err != nil {
			return err
		}
		a, err := c.do("FETCH 1:* BODY.PEEK[]")
		if err == nil && a.lines != frontMessages {
			err = fmt.Errorf("%d messages", a.lines)
		}
		if err != nil {
			return err
		}
		after, err := s.meter.used()
		if err != nil {
			return err
		}
		s.fetch = append(s.fetch, (after-before).Seconds()*1000)
	}
	return nil
}

// idlers measures what a connection costs that waits.
func (s *frontServer) idlers(n int) error {
	time.Sleep(2 * time.Second)
	before, _, err := s.meter.memory()
	if err != nil {
		return err
	}
	conns := make([]*imapConn, n)
	var all sync.WaitGroup
	errs := make([]error, 8)
	for k := range errs {
		all.Go(func() {
			for i := k; i < n && errs[k] == nil; i += len(errs) {
				if conns[i], errs[k] = s.connect("box"); errs[k] == nil {
					if _, errs[k] = conns[i].do("SELECT INBOX"); errs[k] == nil {
						errs[k] = conns[i].idle()
					}
				}
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	time.Sleep(10 * time.Second)
	after, _, err := s.meter.memory()
	s.each = float64(after-before) / 1024 / float64(n)
	for _, c := range conns {
		c.conn.Close()
	}
	return err
}

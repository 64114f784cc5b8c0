package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"pennypost/test/peers"
)

// crowdRows are of many folders and many connections.
func crowdRows() []boxRow {
	const folders = 500
	return []boxRow{
		{name: fmt.Sprintf("STATUS of %d folders, a command for each", folders), limit: 10, run: func(b *box) error { return b.statuses(folders) }},
		{name: fmt.Sprintf("LIST RETURN STATUS of %d folders", folders), limit: 10, run: listStatus},
		{name: "LOGIN and LOGOUT over TLS, 8 clients", times: 1.5, unit: "/s", run: logins},
	}
}

// idleRows are measured once: what held many connections keeps memory, or processes. idle is how many wait at once in our server; a
// tenth of it in the others.
func idleRows(idle int) []boxRow {
	return []boxRow{
		{run: makeCrowd},
		{name: "memory of an idle connection over TLS", limit: 20, unit: "KiB", run: func(b *box) error { return b.idlers(idle) }},
	}
}

// statuses asks for all folders in one breath; the folders are made at the first call.
func (b *box) statuses(folders int) error {
	dir := b.s.maildir("folders")
	if _, err := os.Stat(filepath.Join(dir, ".f499")); err != nil {
		if err := makeFolders(b.from, dir, folders); err != nil {
			return err
		}
	}
	c, err := b.s.connect("folders")
	if err != nil {
		return err
	}
	defer c.close()
	ask := func() (int, error) {
		var last string
		for i := range folders {
			var err error
			if last, err = c.start("STATUS %s (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)", b.scratch(fmt.Sprintf("f%03d", i))); err != nil {
				return 0, err
			}
		}
		a, err := c.finish(last)
		return a.lines, err
	}
	if _, err := ask(); err != nil { // the first look at each
		return err
	}
	time.Sleep(settled)
	for range 3 {
		if err := b.time(1, ask); err != nil {
			return err
		}
	}
	return nil
}

func makeFolders(from, dir string, folders int) error {
	if err := link(from, dir, peers.Owner); err != nil {
		return err
	}
	cur, err := os.ReadDir(filepath.Join(from, "cur"))
	if err != nil {
		return err
	}
	for i := range folders {
		folder := filepath.Join(dir, fmt.Sprintf(".f%03d", i))
		for _, d := range []string{"", "cur", "new", "tmp"} {
			if err := os.MkdirAll(filepath.Join(folder, d), 0o700); err != nil {
				return err
			}
			if err := os.Chown(filepath.Join(folder, d), peers.Owner, peers.Owner); err != nil {
				return err
			}
		}
		for k := range 20 {
			name := cur[(20*i+k)%len(cur)].Name()
			if err := os.Link(filepath.Join(from, "cur", name), filepath.Join(folder, "cur", name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func listStatus(b *box) error {
	c, err := b.s.connect("folders")
	if err != nil {
		return err
	}
	defer c.close()
	if !c.can("LIST-STATUS") {
		return errAbsent
	}
	for range 3 {
		err := b.time(1, func() (int, error) {
			_, err := c.do(`LIST "" "f*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN))`)
			return 0, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// logins counts for three seconds.
func logins(b *box) error {
	var count atomic.Int64
	var failed atomic.Pointer[error]
	before, _ := b.s.meter.used() // no cgroup, no CPU column
	begun := time.Now()
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for k := w; time.Since(begun) < 3*time.Second && failed.Load() == nil; k++ {
				c, err := b.s.loginAt(b.s.imaps, true, userNames()[k%users])
				if err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				c.close()
				count.Add(1)
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	taken := time.Since(begun)
	after, _ := b.s.meter.used()
	n := time.Duration(count.Load())
	b.number(float64(n)/taken.Seconds(), (after-before)/n)
	return nil
}

// number records a figure that is no time: the table prints what it prints of milliseconds.
func (b *box) number(x float64, cpu time.Duration) {
	b.samples = append(b.samples, sample{time: time.Duration(x * float64(time.Millisecond)), cpu: cpu})
}

// makeCrowd gives ten users a mailbox of a thousand messages each.
func makeCrowd(b *box) error {
	for _, user := range userNames() {
		p := &box{s: b.s, user: user, from: b.from}
		if err := p.fresh(); err != nil {
			return err
		}
		c, err := b.s.loginAt(b.s.imaps, true, user)
		if err != nil {
			return err
		}
		_, err = c.do("SELECT INBOX")
		c.close()
		if err != nil {
			return err
		}
	}
	return nil
}

// idlers is the memory that a connection in IDLE takes, with TLS, in a mailbox of a thousand messages.
func (b *box) idlers(n int) error {
	if b.s.name != "pennypost" {
		n = max(100, n/10)
	}
	before, _, err := b.s.meter.memory()
	if err != nil {
		return err
	}
	conns := make([]*imapConn, n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.conn.Close()
			}
		}
		time.Sleep(2 * time.Second)
	}()
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				c, err := b.s.loginAt(b.s.imaps, true, userNames()[i%users])
				if err == nil {
					conns[i] = c
					if _, err = c.do("SELECT INBOX"); err == nil {
						err = c.idle()
					}
				}
				if err != nil {
					err = fmt.Errorf("connection %d: %w", i, err)
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	time.Sleep(3 * time.Second)
	after, processes, err := b.s.meter.memory()
	if err != nil {
		return err
	}
	cpu, _ := b.s.meter.used()
	time.Sleep(5 * time.Second)
	rest, _ := b.s.meter.used()
	fmt.Fprintf(os.Stderr, "%s: %d idle connections, %d processes, %d MiB and before them %d; %.1f ms CPU a second\n", b.s.name, n, processes, after>>20, before>>20, ms(rest-cpu)/5)
	b.number(float64(after-before)/1024/float64(n), 0)
	return nil
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

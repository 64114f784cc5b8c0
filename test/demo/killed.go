package demo

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"pennypost/test/lab"
)

// flow is mail that is sent without a pause while programs are killed.
type flow struct {
	mu    sync.Mutex
	acked []sent
}

// sent is a message that a server has answered for with 250.
type sent struct{ mark, maildir string }

// acknowledged outlives the fact that filled it: the facts after it look for the mail.
var acknowledged *flow

// victims are killed in turn, on both hosts.
var victims = []string{"smtpd", "queue-run", "deliver-local", "deliver-remote", "pop3d", "imapd", "queue-pickup"}

// guards are killed too where they are programs of their own, in front of the others.
var guards = []string{"maillogin", "mailauthd", "become", "mailgetent", "pamcheck", "mailkey"}

// send submits message after message until stop is closed: to bob here, to bob of the other host, and by way of the MX.
func (f *flow) send(c *checker, name string, stop chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		mark := fmt.Sprintf("%s%s-%d-", c.mark(), name, n)
		var err error
		var maildir string
		kinds := 3
		if c.here.Apart {
			kinds = 4
		}
		switch n % kinds {
		case 0:
			maildir = c.here.Maildir("bob")
			err = lab.Send(c.here.Addr("SMTP"), "carol@"+elsewhere, "bob@"+here, lab.Letter("carol@"+elsewhere, "bob@"+here, "flow", mark))
		case 1:
			maildir = c.there.Maildir("bob")
			err = c.here.Submit("alice", "bob@"+there, lab.Letter("alice@"+here, "bob@"+there, "flow", mark))
		case 2:
			maildir = c.here.Maildir("alice")
			_, err = c.here.Sendmail("To: alice@"+here+"\nSubject: flow\n\n"+mark+"\n", "-t", "-oi", "-f", "alice@"+here)
		case 3:
			maildir = c.carols()
			err = lab.Send(c.here.Addr("SMTP"), "carol@"+elsewhere, carol+"@"+unixHost, lab.Letter("carol@"+elsewhere, carol+"@"+unixHost, "flow", mark))
		}
		if err == nil { // else nothing was promised: the server died in the middle
			f.mu.Lock()
			f.acked = append(f.acked, sent{mark, maildir})
			f.mu.Unlock()
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func killed(c *checker) error {
	f := &flow{}
	acknowledged = f
	stop := make(chan struct{})
	var senders sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		senders.Go(func() { f.send(c, name, stop) })
	}
	err := c.killAll()
	close(stop)
	senders.Wait()
	if err != nil {
		return err
	}
	if len(f.acked) < 20 {
		return fmt.Errorf("only %d messages were taken meanwhile", len(f.acked))
	}
	return nil
}

// killAll kills every victim on both hosts and waits until each runs again under another pid.
func (c *checker) killAll() error {
	all := victims
	if c.here.Apart {
		all = append(slices.Clone(victims), guards...)
	}
	for _, name := range all {
		for _, h := range c.lab.Hosts {
			pid := lab.Pids(c.lab.Dir, h.Name)[name]
			if slices.Contains(guards, name) && h.Program(name) == nil {
				continue // of no use there
			}
			if pid == 0 {
				if name == "deliver-remote" && h == c.there {
					continue // that host has sent nothing: a worker that was not needed was perhaps not started
				}
				return fmt.Errorf("%s of %s does not run", name, h.Name)
			}
			time.Sleep(150 * time.Millisecond) // let mail flow
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				return err
			}
			err := lab.Until(10*time.Second, func() error {
				if now := lab.Pids(c.lab.Dir, h.Name)[name]; now == 0 || now == pid {
					return fmt.Errorf("%s of %s, pid %d, was not started again", name, h.Name, pid)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func nothingLost(c *checker) error {
	c.kick()
	kicked := time.Now()
	return lab.Until(20*time.Second, func() error {
		if time.Since(kicked) > 2*time.Second { // what was deferred when a peer was dead need not wait for its time
			c.kick()
			kicked = time.Now()
		}
		counts, err := c.count()
		if err != nil {
			return err
		}
		var missing []string
		for _, s := range acknowledged.acked {
			if counts[s.maildir+s.mark] == 0 {
				missing = append(missing, s.mark+" for "+filepath.Base(filepath.Dir(s.maildir)))
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("%d of %d are missing, the first is %s", len(missing), len(acknowledged.acked), missing[0])
		}
		return nil
	})
}

// kick tells both runners to try everything now, with the file that stands for it.
func (c *checker) kick() {
	for _, h := range c.lab.Hosts {
		os.WriteFile(filepath.Join(h.Spool(), "kick", "all"), nil, 0o644)
	}
}

// count is how often each message of the flow is in each Maildir: by Maildir and mark.
func (c *checker) count() (map[string]int, error) {
	counts := map[string]int{}
	for _, maildir := range []string{c.here.Maildir("bob"), c.here.Maildir("alice"), c.there.Maildir("bob"), c.carols()} {
		mails, err := lab.Mails(maildir)
		if err != nil {
			return nil, err
		}
		for _, text := range mails {
			if i := strings.LastIndex(text, "\nmark-"); i >= 0 {
				counts[maildir+strings.TrimSpace(text[i:])]++
			}
		}
	}
	return counts, nil
}

func nothingTwice(c *checker) error {
	counts, err := c.count()
	if err != nil {
		return err
	}
	for _, s := range acknowledged.acked {
		local := s.maildir != c.there.Maildir("bob") // between hosts SMTP may double, RFC 1047
		if n := counts[s.maildir+s.mark]; local && n > 1 {
			return fmt.Errorf("%s is there %d times", s.mark, n)
		}
	}
	return nil
}

func nothingHalf(c *checker) error {
	maildirs := []string{c.carols()}
	for _, h := range c.lab.Hosts {
		for _, user := range h.Users {
			maildirs = append(maildirs, h.Maildir(user))
		}
	}
	for _, maildir := range maildirs {
		mails, err := lab.Mails(maildir)
		if err != nil {
			return err
		}
		for file, text := range mails {
			if !strings.Contains(filepath.Base(file), fmt.Sprintf(",S=%d,", len(text))) || !strings.Contains(text, "\n\n") {
				return fmt.Errorf("%s has %d octets: %.100q", file, len(text), text)
			}
		}
	}
	return nil
}

// restart stops both hosts while a message waits for a host that is stopped first.
func restart(c *checker) error {
	mark := c.mark()
	c.there.Stop()
	if err := c.here.Submit("alice", "bob@"+there, lab.Letter("alice@"+here, "bob@"+there, "patience", mark)); err != nil {
		return err
	}
	begun := time.Now()
	c.here.Stop()
	if took := time.Since(begun); took > 30*time.Second {
		return fmt.Errorf("SIGTERM took %v to end %s", took.Round(time.Millisecond), here)
	}
	if err := c.lab.Up(); err != nil {
		return err
	}
	kicked := time.Time{}
	return lab.Until(20*time.Second, func() error {
		if time.Since(kicked) > time.Second {
			c.kick()
			kicked = time.Now()
		}
		_, _, err := lab.Find(0, c.there.Maildir("bob"), mark, 1)
		return err
	})
}

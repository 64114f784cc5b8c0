package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pennypost/test/lab"
	"pennypost/test/peers"
)

// settled is how long a directory must have been still before any server takes its time stamp for the truth.
const settled = 2500 * time.Millisecond

// boxRows are in the order of a new user's day: nothing is known of the mailbox at the first, all of it at the last.
var boxRows = []boxRow{
	{run: func(b *box) error {
		if err := b.fresh(); err != nil {
			return err
		}
		time.Sleep(settled / 2)
		return nil
	}},
	{name: "SELECT first ever", times: 1.6, run: selectFirst},
	{name: "FETCH UID FLAGS", times: 2, byCPU: true, run: command(3, "FETCH 1:* (UID FLAGS)")},
	{name: "FETCH ENVELOPE first", times: 4, byCPU: true, run: command(1, "FETCH 1:* ENVELOPE")},
	{name: "FETCH ENVELOPE again", times: 4, byCPU: true, run: command(3, "FETCH 1:* ENVELOPE")},
	{name: "FETCH BODYSTRUCTURE first", times: 2, byCPU: true, run: command(1, "FETCH 1:* BODYSTRUCTURE")},
	{name: "FETCH BODYSTRUCTURE again", times: 1.2, byCPU: true, run: command(3, "FETCH 1:* BODYSTRUCTURE")},
	{name: "FETCH RFC822.SIZE INTERNALDATE first", run: command(1, "FETCH 1:* (RFC822.SIZE INTERNALDATE)")},
	{name: "FETCH RFC822.SIZE INTERNALDATE again", run: command(3, "FETCH 1:* (RFC822.SIZE INTERNALDATE)")},
	{name: "FETCH header fields first", run: command(1, "FETCH 1:* BODY.PEEK[HEADER.FIELDS (From To Cc Subject Date Message-ID References In-Reply-To)]")},
	{name: "FETCH header fields again", run: command(3, "FETCH 1:* BODY.PEEK[HEADER.FIELDS (From To Cc Subject Date Message-ID References In-Reply-To)]")},
	{name: "FETCH BODY[] of 2,000", times: 1.2, byCPU: true, run: bodies},
	{name: "FETCH BODY[], one of 500 after the other", run: bodyOneByOne},
	{name: "FETCH the last page of 50", run: page},
	{name: "SEARCH UNSEEN", run: command(3, "UID SEARCH UNSEEN")},
	{name: "SEARCH SUBJECT", times: 4, run: command(3, "UID SEARCH SUBJECT "+needleSubject)},
	{name: "SEARCH FROM", run: command(3, "UID SEARCH FROM p17@example")},
	{name: "SEARCH HEADER List-Id first", run: command(1, "UID SEARCH HEADER List-Id list7.")},
	{name: "SEARCH HEADER List-Id again", run: command(3, "UID SEARCH HEADER List-Id list7.")},
	{name: "SEARCH BODY first", times: 2.5, run: command(1, "UID SEARCH BODY "+needleBody)},
	{name: "SEARCH BODY again", times: 50, run: command(3, "UID SEARCH BODY "+needleBody)},
	{name: "SORT REVERSE DATE first", run: command(1, "UID SORT (REVERSE DATE) UTF-8 ALL")},
	{name: "SORT REVERSE DATE", times: 4, run: command(3, "UID SORT (REVERSE DATE) UTF-8 ALL")},
	{name: "SORT SUBJECT first", run: command(1, "UID SORT (SUBJECT) UTF-8 ALL")},
	{name: "SORT SUBJECT", times: 4, run: command(3, "UID SORT (SUBJECT) UTF-8 ALL")},
	{name: "THREAD REFERENCES first", run: command(1, "UID THREAD REFERENCES UTF-8 ALL")},
	{name: "THREAD REFERENCES", times: 2, run: command(3, "UID THREAD REFERENCES UTF-8 ALL")},
	{name: "SELECT unchanged", times: 10, run: selectUnchanged},
	{name: "SELECT unchanged, open elsewhere", run: selectOpen},
	{name: "SELECT after a foreign change", times: 4, run: selectChanged},
	{name: "STORE all messages +FLAGS", times: 1.2, run: storeAll(`STORE 1:* +FLAGS (\Flagged)`)},
	{name: "STORE all messages -FLAGS.SILENT", times: 1.2, run: storeAll(`STORE 1:* -FLAGS.SILENT (\Flagged)`)},
	{name: "STORE one message", times: 7, run: storeOne},
	{name: "STORE one message, a session for it", run: storeFresh},
	{name: "APPEND 4 KiB", times: 2, run: appendMany},
	{name: "COPY up to 10,000", times: 1.4, run: copyMany},
	{name: "MOVE up to 10,000", times: 2.5, run: moveMany},
	{name: "EXPUNGE up to 10,000", times: 1.2, run: expungeMany},
	{name: "a file in new/ until EXISTS in IDLE", limit: 10, run: arrivalInIdle},
	{name: "flags changed by mv until FETCH in IDLE", limit: 50, run: flagsInIdle},
	{run: func(b *box) error { b.leave(); return nil }, most: 20000},
	{name: "POP3 session, cold", times: 2.8, most: 20000, run: popCold},
	{name: "POP3 session, warm", times: 2, most: 20000, run: popWarm},
	{run: func(b *box) error { return os.RemoveAll(b.s.maildir("pop")) }},
}

// command is a row of one command in the session that stays open.
func command(reps int, text string) func(*box) error {
	return func(b *box) error {
		if err := b.open(); err != nil {
			return err
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(text, "UID "), " ")
		if (name == "SORT" || name == "THREAD") && !b.c.can(map[string]string{"SORT": "SORT", "THREAD": "THREAD=REFERENCES"}[name]) {
			return errAbsent
		}
		return b.do(reps, "%s", text)
	}
}

func selectFirst(b *box) (err error) {
	if b.c, err = b.s.connect(b.user); err != nil {
		return err
	}
	return b.selects(b.c)
}

// selects times SELECT in a session.
func (b *box) selects(c *imapConn) error {
	return b.time(1, func() (int, error) {
		a, err := c.do("SELECT INBOX")
		return a.exists, err
	})
}

// selectUnchanged: nobody else has the mailbox open, and the directories have been still for a while.
func selectUnchanged(b *box) error {
	b.leave()
	time.Sleep(settled)
	for range 5 {
		if err := b.selectOnce(); err != nil {
			return err
		}
	}
	return nil
}

func selectOpen(b *box) error {
	if err := b.open(); err != nil {
		return err
	}
	for range 5 {
		if err := b.selectOnce(); err != nil {
			return err
		}
	}
	return nil
}

func (b *box) selectOnce() error {
	c, err := b.s.connect(b.user)
	if err != nil {
		return err
	}
	defer c.close()
	return b.selects(c)
}

// selectChanged: a shell has renamed one file since the mailbox was last looked at.
func selectChanged(b *box) error {
	b.leave()
	for range 3 {
		time.Sleep(settled)
		turn, err := b.flip()
		if err == nil {
			err = turn()
		}
		if err != nil {
			return err
		}
		if err := b.selectOnce(); err != nil {
			return err
		}
	}
	return b.open()
}

// flip chooses a message; what it returns turns its flag F by mv.
func (b *box) flip() (func() error, error) {
	cur := filepath.Join(b.s.maildir(b.user), "cur")
	names, err := os.ReadDir(cur)
	if err != nil {
		return nil, err
	}
	name := names[rand.IntN(len(names))].Name()
	base, flags, _ := strings.Cut(name, ":2,")
	if strings.Contains(flags, "F") {
		flags = strings.ReplaceAll(flags, "F", "")
	} else {
		at := strings.IndexFunc(flags, func(r rune) bool { return r > 'F' })
		if at < 0 {
			at = len(flags)
		}
		flags = flags[:at] + "F" + flags[at:]
	}
	return func() error { return os.Rename(filepath.Join(cur, name), filepath.Join(cur, base+":2,"+flags)) }, nil
}

func bodies(b *box) error {
	if err := b.open(); err != nil {
		return err
	}
	return b.do(3, "FETCH 1:%d (UID BODY.PEEK[])", min(2000, b.n))
}

func bodyOneByOne(b *box) error {
	if err := b.open(); err != nil {
		return err
	}
	return b.time(500, func() (int, error) {
		for i := range 500 {
			if _, err := b.c.do("FETCH %d (UID FLAGS BODY.PEEK[])", 1+i*7919%b.n); err != nil {
				return 0, err
			}
		}
		return 500, nil
	})
}

func page(b *box) error {
	if err := b.open(); err != nil {
		return err
	}
	return b.do(5, "FETCH %d:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (References List-Id X-Spam-Status)])", b.n-49)
}

// storeAll is timed until the answer; what a server does after that for the command is in its CPU.
func storeAll(text string) func(*box) error {
	return func(b *box) error {
		b.after = time.Second
		defer func() { b.after = 0 }()
		return command(1, text)(b)
	}
}

func storeOne(b *box) error {
	if err := b.open(); err != nil {
		return err
	}
	return b.time(100, func() (int, error) {
		for i := range 100 {
			if _, err := b.c.do(`STORE %d +FLAGS (\Answered)`, 1+i*7919%b.n); err != nil {
				return 0, err
			}
		}
		return 100, nil
	})
}

func storeFresh(b *box) error {
	for i := range 3 {
		c, err := b.s.connect(b.user)
		if err != nil {
			return err
		}
		if _, err = c.do("SELECT INBOX"); err == nil {
			err = b.time(1, func() (int, error) {
				_, err := c.do(`STORE %d -FLAGS (\Answered)`, 1+i*7919%b.n)
				return 1, err
			})
		}
		c.close()
		if err != nil {
			return err
		}
	}
	return nil
}

func appendMany(b *box) error {
	if err := b.open(); err != nil {
		return err
	}
	if _, err := b.c.do("CREATE %s", b.scratch("appended")); err != nil {
		return err
	}
	text := append([]byte("From: a@example.org\r\nTo: b@example.org\r\nSubject: put here by APPEND\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\n\r\n"), load{size: 4300}.body()...)
	return b.time(100, func() (int, error) {
		for range 100 {
			if err := b.c.append(b.scratch("appended"), text); err != nil {
				return 0, err
			}
		}
		return 100, nil
	})
}

// scratch is the name of a mailbox of the box's own; Courier wants all below INBOX.
func (b *box) scratch(name string) string {
	if b.s.name == "courier" {
		return "INBOX." + name
	}
	return name
}

func copyMany(b *box) error {
	if err := b.open(); err != nil {
		return err
	}
	if _, err := b.c.do("CREATE %s", b.scratch("copied")); err != nil {
		return err
	}
	return b.do(1, "COPY 1:%d %s", min(10000, b.n), b.scratch("copied"))
}

func moveMany(b *box) error {
	c, err := b.s.connect(b.user)
	if err != nil {
		return err
	}
	defer c.close()
	if _, err := c.do("CREATE %s", b.scratch("moved")); err != nil {
		return err
	}
	if _, err := c.do("SELECT %s", b.scratch("copied")); err != nil {
		return err
	}
	return b.time(1, func() (int, error) {
		a, err := c.do("MOVE 1:* %s", b.scratch("moved"))
		return a.lines, err
	})
}

func expungeMany(b *box) error {
	c, err := b.s.connect(b.user)
	if err != nil {
		return err
	}
	defer c.close()
	if _, err := c.do("SELECT %s", b.scratch("moved")); err != nil {
		return err
	}
	if _, err := c.do(`STORE 1:* +FLAGS.SILENT (\Deleted)`); err != nil {
		return err
	}
	time.Sleep(time.Second) // the files have their names
	return b.time(1, func() (int, error) {
		_, err := c.do("EXPUNGE")
		return min(10000, b.n), err
	})
}

// waiting does something some times while a session is in IDLE, and measures until a line ends so. prepare is not measured.
func (b *box) waiting(times int, end string, prepare func(i int) (func() error, error)) error {
	c, err := b.s.connect(b.user)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if _, err := c.do("SELECT INBOX"); err != nil {
		return err
	}
	if err := c.idle(); err != nil {
		return err
	}
	time.Sleep(settled) // Dovecot needs a second until it notices anything
	for i := range times {
		act, err := prepare(i)
		if err != nil {
			return err
		}
		err = b.time(1, func() (int, error) {
			if err := act(); err != nil {
				return 0, err
			}
			return 1, c.await(end, 20*time.Second)
		})
		if err != nil {
			return err
		}
		time.Sleep(700 * time.Millisecond)
	}
	return nil
}

func arrivalInIdle(b *box) error {
	dir := b.s.maildir(b.user)
	round := time.Now().UnixNano()
	return b.waiting(8, "EXISTS", func(i int) (func() error, error) {
		name := fmt.Sprintf("%d.M%dP%d.bench", time.Now().Unix(), round, i)
		tmp := filepath.Join(dir, "tmp", name)
		if err := os.WriteFile(tmp, []byte("From: a@example.org\nSubject: here it is\n\nhello\n"), 0o600); err != nil {
			return nil, err
		}
		if err := os.Chown(tmp, peers.Owner, peers.Owner); err != nil {
			return nil, err
		}
		return func() error { return os.Rename(tmp, filepath.Join(dir, "new", name)) }, nil
	})
}

func flagsInIdle(b *box) error {
	return b.waiting(5, ")", func(int) (func() error, error) { return b.flip() })
}

func popCold(b *box) error {
	p := &box{s: b.s, user: "pop", from: b.from}
	if err := p.fresh(); err != nil {
		return err
	}
	time.Sleep(settled)
	return b.pop(1)
}

func popWarm(b *box) error { return b.pop(2) }

func (b *box) pop(reps int) error {
	addr, secure := b.s.pop3s, true
	if b.s.pop3 != "" {
		addr, secure = b.s.pop3, false
	}
	if addr == "" {
		return errAbsent
	}
	for range reps {
		err := b.time(1, func() (int, error) { return popSession(addr, secure, "pop@bench.test", lab.Password) })
		if err != nil {
			return err
		}
	}
	return nil
}

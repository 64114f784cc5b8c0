package demo

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pennypost/test/lab"
)

// A fact is something that must be true of two hosts that are up.
type fact struct {
	text string
	see  func(*checker) error
}

// checker goes through the facts.
type checker struct {
	lab         *lab.Lab
	here, there *lab.Host
	out         io.Writer
	begun       time.Time
	marks       int
	failed      int
}

// Check is maildemo check: a lab of its own, the facts, an error if one of them is not so.
func Check(out io.Writer, keep bool) error {
	dir := os.Getenv(inside)
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "maildemo-"); err != nil {
			return err
		}
	}
	apart, why := ownUsers(dir)
	fmt.Fprintln(out, form(apart, why))
	l, err := build(dir, lab.FreeBase(), apart)
	if l != nil {
		defer l.Down()
	}
	if err != nil {
		return err
	}
	c := &checker{lab: l, here: l.Host(here), there: l.Host(there), out: out, begun: time.Now()}
	all := facts
	if apart {
		all = append(slices.Clone(apartFacts), facts...)
	}
	c.judge(fact{"every port of both hosts answers", func(c *checker) error { return c.lab.Up() }})
	if c.failed == 0 {
		for _, f := range all {
			c.judge(f)
		}
	}
	total := len(all) + 1
	if c.failed > 0 {
		fmt.Fprintf(out, "%d of %d facts are not so; the files are in %s\n", c.failed, total, dir)
		return fmt.Errorf("check failed")
	}
	fmt.Fprintf(out, "%d facts, all so, in %.0f s\n", total, time.Since(c.begun).Seconds())
	if keep {
		fmt.Fprintf(out, "the files are in %s\n", dir)
		return nil
	}
	l.Down()
	return os.RemoveAll(dir)
}

func (c *checker) judge(f fact) {
	begun := time.Now()
	err := f.see(c)
	took := time.Since(begun).Milliseconds()
	if err != nil {
		c.failed++
		fmt.Fprintf(c.out, "FAIL %s (%d ms)\n     %v\n", f.text, took, err)
		return
	}
	fmt.Fprintf(c.out, "ok   %s (%d ms)\n", f.text, took)
}

// mark is a word that is in one message only.
func (c *checker) mark() string {
	c.marks++
	return fmt.Sprintf("mark-%d-%d-", c.begun.UnixNano(), c.marks)
}

// facts are judged in this order: each leaves the hosts as it found them, mail aside.
var facts = []fact{
	{"submission offers no AUTH before TLS", noAuthInClear},
	{"submission refuses a wrong password with 535", wrongPassword},
	{"local mail arrives", localMail},
	{"its first lines are Return-Path, Delivered-To and Received", traceLines},
	{"its file name says its size: ,S= and ,W=", nameSays},
	{"nothing of it is left in the spool", spoolEmpties},
	{"mail crosses from host to host", acrossHosts},
	{"under TLS", acrossTLS},
	{"to a certificate that fits the TLSA records of a signed zone: tls=dane in the results", underDANE},
	{"and back by the MTA-STS policy of one that is not signed: tls=mta-sts", underSTS},
	{"submission with TLS from the first octet takes mail", implicitTLS},
	{"LMTP delivers", lmtp},
	{"it was judged on the way in, and the verdict is on top of it", verdicts},
	{"it carries two signatures of its domain, and both are good: dkim=pass twice", signedTwice},
	{"DNS has all that mailkey dns prints: mailkey check says so of both domains", recordsGreen},
	{"the other host reports what it found of our mail and of TLS with us, once; mailreport reads it", reported},
	{"mail that pretends to be from a protected domain is refused with the reason", spoofed},
	{"where the domain asks for quarantine it lands in the folder Junk", putAside},
	{"an unknown user is refused in the session", unknownUser},
	{"a stranger's mail for others is refused", noRelay},
	{"alice cannot send as bob", checkSender},
	{"a bare LF before a dot is refused and ends nothing", bareLF},
	{"an alias reaches everybody in it", alias},
	{"alice+detail is alice", detail},
	{"sendmail -t from a script is delivered", scripted},
	{"mail for a host that is down stays queued, mailq says why", deadHost},
	{"mail for somebody who does not exist bounces", bounces},
	{"POP3 gives the octets of the file, with CRLF", popOctets},
	{"POP3 deletes at QUIT and not before", popDelete},
	{"POP3's UIDL is the same in the next session", popUIDL},
	{"IMAP: a delivery, a flag set by mv and an rm reach a client that waits", imapIdle},
	{"IMAP: UIDs stay when imapd is killed and its caches are removed", imapUIDs},
	{"IMAP offers no login before TLS", noLoginInClear},
	{"IMAP has mailboxes for drafts, sent mail, rubbish, junk and the archive", specialMailboxes},
	{"IMAP gives the octets of the file, and its flags are in the file's name", imapOctets},
	{"a message held by hand waits, and goes when released", holdRelease},
	{"mailq works while queue-run is stopped", mailqAlone},
	{"every message has a UID", rememberUIDs},
	{"kill -9 of every program while mail flows: each is started again", killed},
	{"nothing acknowledged meanwhile is lost", nothingLost},
	{"no local message is there twice", nothingTwice},
	{"no empty or half message is in any Maildir", nothingHalf},
	{"IMAP's UIDs are what they were", sameUIDs},
	{"SIGTERM ends everything; brought up again, mail that waited is there", restart},
	{"no program has panicked", noPanic},
}

func noAuthInClear(c *checker) error {
	t, err := talk(c.here.Addr("SUBMISSION"))
	if err != nil {
		return err
	}
	defer t.Close()
	reply, err := t.Do("EHLO check.test")
	if err == nil && strings.Contains(reply, "AUTH") || !strings.Contains(reply, "STARTTLS") {
		return fmt.Errorf("EHLO says %q", reply)
	}
	return err
}

func wrongPassword(c *checker) error {
	err := c.here.SubmitAs("alice", "guess", "bob@"+here, "Subject: x\r\n\r\nx\r\n")
	if err == nil || !strings.Contains(err.Error(), "535") {
		return fmt.Errorf("the answer is %v", err)
	}
	return nil
}

// deliverHere submits a letter to bob and returns the file it became and its text.
func (c *checker) deliverHere(subject string) (file, text string, err error) {
	mark := c.mark()
	if err := c.here.Submit("alice", "bob@"+here, lab.Letter("alice@"+here, "bob@"+here, subject, mark)); err != nil {
		return "", "", err
	}
	files, texts, err := lab.Find(10*time.Second, c.here.Maildir("bob"), mark, 1)
	if err != nil {
		return "", "", err
	}
	return files[0], texts[0], nil
}

func localMail(c *checker) error {
	_, _, err := c.deliverHere("local")
	return err
}

func traceLines(c *checker) error {
	_, text, err := c.deliverHere("trace")
	if err != nil {
		return err
	}
	for i, want := range []string{"Return-Path: <alice@demo.test>", "Delivered-To: bob@demo.test", "Received: "} {
		lines := strings.SplitN(text, "\n", 5)
		if !strings.HasPrefix(lines[i], want) {
			return fmt.Errorf("line %d is %q", i+1, lines[i])
		}
	}
	return nil
}

func nameSays(c *checker) error {
	file, text, err := c.deliverHere("name")
	if err != nil {
		return err
	}
	for _, want := range []string{fmt.Sprintf(",S=%d", len(text)), fmt.Sprintf(",W=%d", len(text)+strings.Count(text, "\n"))} {
		if !strings.Contains(filepath.Base(file), want) {
			return fmt.Errorf("%s has no %s", filepath.Base(file), want)
		}
	}
	return nil
}

func spoolEmpties(c *checker) error {
	return lab.Until(5*time.Second, func() error {
		if names := lab.Queued(c.here.Spool()); len(names) > 0 {
			return fmt.Errorf("there is %v", names)
		}
		return nil
	})
}

func acrossHosts(c *checker) error {
	_, err := c.across()
	return err
}

func (c *checker) across() (text string, err error) {
	mark := c.mark()
	if err := c.here.Submit("alice", "bob@"+there, lab.Letter("alice@"+here, "bob@"+there, "across", mark)); err != nil {
		return "", err
	}
	_, texts, err := lab.Find(15*time.Second, c.there.Maildir("bob"), mark, 1)
	if err != nil {
		return "", err
	}
	return texts[0], nil
}

func acrossTLS(c *checker) error {
	text, err := c.across()
	if err == nil && !overTLS(text) {
		return fmt.Errorf("no Received line says ESMTPS or UTF8SMTPS")
	}
	return err
}

func implicitTLS(c *checker) error {
	t, err := talkTLS(c.here.Addr("SUBMISSIONS"), c.lab.CA.Pool())
	if err != nil {
		return err
	}
	defer t.Close()
	mark := c.mark()
	if err := t.Login("alice@"+here, lab.Password); err != nil {
		return err
	}
	if err := t.Transaction("alice@"+here, "bob@"+here, "Subject: x\r\n\r\n"+mark+"\r\n"); err != nil {
		return err
	}
	_, _, err = lab.Find(10*time.Second, c.here.Maildir("bob"), mark, 1)
	return err
}

func lmtp(c *checker) error {
	t, err := talk(c.here.Addr("LMTP"))
	if err != nil {
		return err
	}
	defer t.Close()
	mark := c.mark()
	for _, step := range []struct{ say, want string }{
		{"LHLO check.test", "250"}, {"MAIL FROM:<carol@" + there + ">", "250"}, {"RCPT TO:<bob@" + here + ">", "250"}, {"DATA", "354"},
		{"Subject: lmtp\r\n\r\n" + mark + "\r\n.", "250"},
	} {
		if err := t.Want(step.say, step.want); err != nil {
			return err
		}
	}
	_, _, err = lab.Find(10*time.Second, c.here.Maildir("bob"), mark, 1)
	return err
}

// refused hands RCPT to the MX and wants the code.
func (c *checker) refused(rcpt, code string) error {
	t, err := talk(c.here.Addr("SMTP"))
	if err != nil {
		return err
	}
	defer t.Close()
	for _, step := range []struct{ say, want string }{
		{"EHLO check.test", "250"}, {"MAIL FROM:<carol@" + there + ">", "250"}, {"RCPT TO:<" + rcpt + ">", code}, {"QUIT", "221"},
	} {
		if err := t.Want(step.say, step.want); err != nil {
			return err
		}
	}
	return nil
}

func unknownUser(c *checker) error { return c.refused("nobody@"+here, "550 5.1.1") }
func noRelay(c *checker) error     { return c.refused("carol@elsewhere.test", "550 5.7.1") }

func checkSender(c *checker) error {
	t, err := talkTLS(c.here.Addr("SUBMISSIONS"), c.lab.CA.Pool())
	if err != nil {
		return err
	}
	defer t.Close()
	if err := t.Login("alice@"+here, lab.Password); err != nil {
		return err
	}
	err = t.Transaction("bob@"+here, "bob@"+here, "Subject: x\r\n\r\nx\r\n")
	if err == nil || !strings.Contains(err.Error(), "5.7.1") {
		return fmt.Errorf("the answer is %v", err)
	}
	return nil
}

func bareLF(c *checker) error {
	t, err := talk(c.here.Addr("SMTP"))
	if err != nil {
		return err
	}
	defer t.Close()
	mark := c.mark()
	for _, step := range []struct{ say, want string }{
		{"EHLO check.test", "250"}, {"MAIL FROM:<carol@" + there + ">", "250"}, {"RCPT TO:<bob@" + here + ">", "250"}, {"DATA", "354"},
		{"Subject: x\r\n\r\n" + mark + "\n.\nMAIL FROM:<smuggled@" + there + ">\r\n.", "5"},
	} {
		if err := t.Want(step.say, step.want); err != nil {
			return err
		}
	}
	time.Sleep(200 * time.Millisecond)
	if files, _, err := lab.Find(0, c.here.Maildir("bob"), mark, 1); err == nil {
		return fmt.Errorf("it was delivered: %v", files)
	}
	return nil
}

func alias(c *checker) error {
	mark := c.mark()
	if err := lab.Send(c.here.Addr("SMTP"), "carol@"+elsewhere, "team@"+here, lab.Letter("carol@"+elsewhere, "team@"+here, "all", mark)); err != nil {
		return err
	}
	for _, user := range []string{"alice", "bob"} {
		if _, _, err := lab.Find(10*time.Second, c.here.Maildir(user), mark, 1); err != nil {
			return err
		}
	}
	return nil
}

func detail(c *checker) error {
	mark := c.mark()
	if err := lab.Send(c.here.Addr("SMTP"), "carol@"+elsewhere, "alice+shops@"+here, lab.Letter("carol@"+elsewhere, "alice+shops@"+here, "offer", mark)); err != nil {
		return err
	}
	_, _, err := lab.Find(10*time.Second, c.here.Maildir("alice"), mark, 1)
	return err
}

func scripted(c *checker) error {
	mark := c.mark()
	if _, err := c.here.Sendmail("To: bob@"+here+"\nSubject: Cron\n\n"+mark+"\n", "-t", "-oi", "-f", "alice@"+here); err != nil {
		return err
	}
	_, _, err := lab.Find(15*time.Second, c.here.Maildir("bob"), mark, 1)
	return err
}

func deadHost(c *checker) error {
	if err := c.here.Submit("alice", "carol@"+dead, lab.Letter("alice@"+here, "carol@"+dead, "there?", c.mark())); err != nil {
		return err
	}
	return lab.Until(10*time.Second, func() error {
		out, err := c.here.Run("", "mailq")
		if err == nil && (!strings.Contains(out, "carol@"+dead) || !strings.Contains(out, "refused")) {
			return fmt.Errorf("mailq says %q", out)
		}
		return err
	})
}

func bounces(c *checker) error {
	mark := c.mark()
	if err := c.here.Submit("alice", "nobody@"+there, lab.Letter("alice@"+here, "nobody@"+there, mark, mark)); err != nil {
		return err
	}
	_, texts, err := lab.Find(15*time.Second, c.here.Maildir("alice"), mark, 1)
	if err != nil {
		return err
	}
	for _, want := range []string{"Return-Path: <>", "multipart/report", "rfc822;", "nobody@" + there, "Action: failed", "Status: 5.1.1"} {
		if !strings.Contains(texts[0], want) {
			return fmt.Errorf("the report has no %q:\n%s", want, texts[0])
		}
	}
	return nil
}

func popOctets(c *checker) error {
	file, text, err := c.deliverHere("octets")
	if err != nil {
		return err
	}
	p, err := c.here.POP("bob")
	if err != nil {
		return err
	}
	defer p.Close()
	list, err := p.Lines("LIST")
	if err != nil {
		return err
	}
	wire := strings.ReplaceAll(text, "\n", "\r\n")
	for _, line := range list {
		n, size, _ := strings.Cut(line, " ")
		got, err := p.Lines("RETR " + n)
		if err != nil {
			return err
		}
		if strings.Join(got, "\r\n")+"\r\n" != wire {
			continue
		}
		if size != fmt.Sprint(len(wire)) {
			return fmt.Errorf("LIST says %s octets, it has %d", size, len(wire))
		}
		_, err = p.Do("QUIT")
		return err
	}
	return fmt.Errorf("none of %d messages is that of %s", len(list), file)
}

func popDelete(c *checker) error {
	if _, _, err := c.deliverHere("to be deleted"); err != nil {
		return err
	}
	count := func(p *lab.POP) (n int, err error) {
		text, err := p.Do("STAT")
		if err == nil {
			_, err = fmt.Sscan(text, &n)
		}
		return n, err
	}
	var before int
	for _, end := range []string{"drop", "QUIT", "look"} {
		p, err := c.here.POP("bob")
		if err != nil {
			return err
		}
		n, err := count(p)
		if err != nil {
			return err
		}
		switch end {
		case "drop":
			before = n
		case "QUIT":
			if n != before {
				return fmt.Errorf("%d messages, and %d after a connection that was cut", before, n)
			}
		case "look":
			if n != before-1 {
				return fmt.Errorf("%d messages, and %d after DELE and QUIT", before, n)
			}
		}
		if end != "look" {
			if _, err := p.Do("DELE 1"); err != nil {
				return err
			}
		}
		if end != "drop" {
			if _, err := p.Do("QUIT"); err != nil {
				return err
			}
		}
		p.Close()
		time.Sleep(50 * time.Millisecond) // the server sees the cut connection
	}
	return nil
}

func popUIDL(c *checker) error {
	var last string
	for range 2 {
		p, err := c.here.POP("bob")
		if err != nil {
			return err
		}
		lines, err := p.Lines("UIDL")
		p.Do("QUIT")
		p.Close()
		if err != nil {
			return err
		}
		if now := strings.Join(lines, "\n"); last != "" && now != last {
			return fmt.Errorf("%q, then %q", last, now)
		} else {
			last = now
		}
	}
	return nil
}

// imapIdle: what a shell does to the Maildir is told as it happens.
func imapIdle(c *checker) error {
	p, err := c.here.IMAP("alice")
	if err != nil {
		return err
	}
	defer p.Close()
	if _, err := p.Do("CREATE Waiting"); err != nil {
		return err
	}
	if _, err := p.Do("SELECT Waiting"); err != nil {
		return err
	}
	if err := p.Idle(); err != nil {
		return err
	}
	dir := filepath.Join(c.here.Maildir("alice"), ".Waiting")
	file := func(name string) string { return filepath.Join(dir, name) }
	steps := []struct {
		do   func() error
		want []string
	}{
		{func() error {
			if err := os.WriteFile(file("tmp/1.shell"), []byte("Subject: waiting\n\nhere\n"), 0o600); err != nil {
				return err
			}
			if err := lab.Adopt(file("tmp/1.shell")); err != nil {
				return err
			}
			return os.Rename(file("tmp/1.shell"), file("new/1.shell"))
		}, []string{"* 1 EXISTS", "* 1 RECENT"}},
		{func() error { return os.Rename(file("cur/1.shell:2,"), file("cur/1.shell:2,F")) }, []string{`* 1 FETCH (FLAGS (\Flagged \Recent))`}},
		{func() error { return os.Remove(file("cur/1.shell:2,F")) }, []string{"* 1 EXPUNGE"}},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return err
		}
		for _, want := range step.want {
			if _, err := p.Await(5*time.Second, want); err != nil {
				return err
			}
		}
	}
	_, err = p.Done()
	return err
}

// imapUIDs: a client that comes back finds its messages under the same UIDs.
func imapUIDs(c *checker) error {
	uids := func() (string, error) {
		p, err := c.here.IMAP("bob")
		if err != nil {
			return "", err
		}
		defer p.Close()
		lines, err := p.Do("STATUS INBOX (UIDVALIDITY)")
		if err != nil {
			return "", err
		}
		if _, err := p.Do("SELECT INBOX"); err != nil {
			return "", err
		}
		more, err := p.Do("UID FETCH 1:* (RFC822.SIZE)")
		return strings.Join(append(lines, more...), "\n"), err
	}
	before, err := uids()
	if err != nil {
		return err
	}
	if err := c.here.Program("imapd").Kill(); err != nil {
		return err
	}
	for _, pattern := range []string{"mb-index", "mb-log.*", "mb-cache.*", "mb-fts.*"} {
		files, _ := filepath.Glob(filepath.Join(c.here.Maildir("bob"), pattern))
		for _, file := range files {
			os.Remove(file)
		}
	}
	return lab.Until(10*time.Second, func() error {
		after, err := uids()
		if err == nil && after != before {
			err = fmt.Errorf("%s\nand then\n%s", before, after)
		}
		return err
	})
}

func holdRelease(c *checker) error {
	mark := c.mark()
	runner := c.here.Program("queue-run")
	// the message for the dead host is the one that waits: hold it, see it in hold/, release it, see it in the queue again
	var id string
	for _, name := range lab.Queued(c.here.Spool()) {
		id = filepath.Base(name)
	}
	if id == "" || runner.Pid() == 0 {
		return fmt.Errorf("no message waits (%s)", mark)
	}
	if _, err := c.here.Run("", "mailq", "hold", id); err != nil {
		return err
	}
	held := filepath.Join(c.here.Spool(), "hold", id)
	if err := lab.Until(5*time.Second, func() error { _, err := os.Stat(held); return err }); err != nil {
		return err
	}
	if _, err := c.here.Run("", "mailq", "release", id); err != nil {
		return err
	}
	return lab.Until(5*time.Second, func() error {
		for _, name := range lab.Queued(c.here.Spool()) {
			if filepath.Base(name) == id {
				return nil
			}
		}
		return fmt.Errorf("%s is neither in hold/ nor in the queue", id)
	})
}

func mailqAlone(c *checker) error {
	runner := c.here.Program("queue-run")
	runner.Pause()
	defer runner.Resume()
	out, err := c.here.Run("", "mailq")
	if err == nil && !strings.Contains(out, "carol@"+dead) {
		return fmt.Errorf("mailq says %q", out)
	}
	return err
}

func noPanic(c *checker) error {
	for _, h := range c.lab.Hosts {
		text, err := os.ReadFile(filepath.Join(h.Dir, "log"))
		if err != nil {
			return err
		}
		for _, word := range []string{"panic:", "fatal error:", "DATA RACE"} {
			if i := strings.Index(string(text), word); i >= 0 {
				return fmt.Errorf("%s: %.300s", h.Name, text[i:])
			}
		}
	}
	return nil
}

package demo

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"pennypost/test/lab"
)

// stranger is an address nobody lets send in his name.
const stranger = "127.0.0.9"

// spoof brings a message to a host from the stranger's address, and returns the answer to it.
func spoof(to *lab.Host, from, rcpt, mark string) (string, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(stranger)}, Timeout: 5 * time.Second}
	conn, err := d.Dial("tcp", to.Addr("SMTP"))
	if err != nil {
		return "", err
	}
	t, err := newTalker(conn)
	if err != nil {
		return "", err
	}
	defer t.Close()
	for _, step := range []struct{ say, want string }{
		{"EHLO mx." + dead, "250"}, {"MAIL FROM:<" + from + ">", "250"}, {"RCPT TO:<" + rcpt + ">", "250"}, {"DATA", "354"},
	} {
		if err := t.Want(step.say, step.want); err != nil {
			return "", err
		}
	}
	return t.Do(lab.Letter(from, rcpt, "your account", mark) + ".")
}

func spoofed(c *checker) error {
	mark := c.mark()
	reply, err := spoof(c.there, "alice@"+here, "bob@"+there, mark)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(reply, "550 5.7.1 "+here+" ") || !strings.Contains(reply, "DMARC") {
		return fmt.Errorf("answered %q", reply)
	}
	mails, err := lab.Mails(c.there.Maildir("bob"))
	if err != nil {
		return err
	}
	for name, text := range mails {
		if strings.Contains(text, mark) {
			return fmt.Errorf("refused, and in %s", filepath.Base(name))
		}
	}
	return nil
}

// verdicts looks at mail that crossed from host to host.
func verdicts(c *checker) error {
	mark := c.mark()
	if err := c.here.Submit("alice", "bob@"+there, lab.Letter("alice@"+here, "bob@"+there, "from next door", mark)); err != nil {
		return err
	}
	_, texts, err := lab.Find(15*time.Second, c.there.Maildir("bob"), mark, 1)
	if err != nil {
		return err
	}
	header, _, _ := strings.Cut(texts[0], "\n\n")
	if n := strings.Count(header, "\tdkim=pass header.d="+here); n != 2 {
		return fmt.Errorf("%d signatures pass, not both, in\n%s", n, header)
	}
	for _, want := range []string{"\nAuthentication-Results: mx." + there + ";", "\tspf=pass smtp.mailfrom=alice@" + here, "\tiprev=pass", "\tdmarc=pass header.from=" + here} {
		if !strings.Contains(header, want) {
			return fmt.Errorf("no %q in\n%s", want, header)
		}
	}
	return nil
}

// putAside brings two messages in the name of a domain that wants such put aside: one that is linked into the mailbox, one that is copied.
func putAside(c *checker) error {
	mark := c.mark()
	for _, to := range []string{"bob@" + there, "team@" + there} {
		reply, err := spoof(c.there, "alice@"+careful, to, mark)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(reply, "250 ") {
			return fmt.Errorf("mail for %s was answered %q", to, reply)
		}
	}
	_, texts, err := lab.Find(10*time.Second, filepath.Join(c.there.Maildir("bob"), ".Junk"), mark, 2)
	if err != nil {
		return err
	}
	for _, text := range texts {
		if !strings.Contains(text, "\nX-Pennypost-Checks: ") || !strings.Contains(text, " do=quarantine ") {
			return fmt.Errorf("not marked:\n%s", text)
		}
	}
	return nil
}

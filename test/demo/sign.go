package demo

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"pennypost/test/lab"
)

// signed has both hosts sign, and the name server know the keys and all else that mailkey dns prints.
func signed(l *lab.Lab) error {
	for _, h := range l.Hosts {
		if err := h.PublishRecords(); err != nil {
			return err
		}
	}
	return nil
}

// signedTwice: what alice writes reaches bob at the other host with two signatures that are good there, of RSA and of Ed25519.
func signedTwice(c *checker) error {
	mark := c.mark()
	if err := c.here.Submit("alice", "bob@"+there, lab.Letter("alice@"+here, "bob@"+there, "signed", mark)); err != nil {
		return err
	}
	_, texts, err := lab.Find(15*time.Second, c.there.Maildir("bob"), mark, 1)
	if err != nil {
		return err
	}
	header, _, _ := strings.Cut(texts[0], "\n\n")
	if n := strings.Count(header, "dkim=pass header.d="+here); n != 2 || !strings.Contains(header, "header.a=ed25519-sha256") || !strings.Contains(header, "dmarc=pass") {
		return fmt.Errorf("dkim=pass %d times in\n%s", n, header)
	}
	return nil
}

// recordsGreen: mailkey check finds nothing to say of either domain.
func recordsGreen(c *checker) error {
	for _, h := range []*lab.Host{c.here, c.there} {
		out, err := exec.Command(filepath.Join(c.lab.Bin, "mailkey"), h.Mailkey("check")...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("mailkey check %s: %v\n%s", h.Name, err, out)
		}
	}
	return nil
}

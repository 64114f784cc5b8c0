package demo

import (
	"fmt"
	"strings"
	"time"

	"pennypost/test/lab"
)

// published says which way mail must be brought: both hosts publish TLSA and MTA-STS, but the zone of here is not signed, so that
// nobody can believe its TLSA.
func published(l *lab.Lab) error {
	for _, h := range l.Hosts {
		if err := h.PublishTLS(); err != nil {
			return err
		}
	}
	l.Validate()
	l.Unsigned(here)
	return nil
}

// verdict sends a letter to bob at the other host, and wants the word in the results of the host that brought it.
func (c *checker) verdict(from, to *lab.Host, want string) error {
	sender, rcpt := "alice@"+from.Name, "bob+tls"+strings.ReplaceAll(want, "-", "")+"@"+to.Name
	if err := from.Submit("alice", rcpt, lab.Letter(sender, rcpt, "sealed", c.mark())); err != nil {
		return err
	}
	return lab.Until(15*time.Second, func() error {
		lines, err := from.Results(" deliver ", "to="+rcpt+" ")
		if err == nil && (len(lines) == 0 || !strings.Contains(lines[0], " tls="+want+" ")) {
			err = fmt.Errorf("no tls=%s in %q, see %s/log", want, lines, from.Dir)
		}
		return err
	})
}

func underDANE(c *checker) error { return c.verdict(c.here, c.there, "dane") }
func underSTS(c *checker) error  { return c.verdict(c.there, c.here, "mta-sts") }

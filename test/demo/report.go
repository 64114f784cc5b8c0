package demo

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"pennypost/test/lab"
)

// reported: the other host tells this domain what it found of its mail, as it would when the day is over; the report arrives, signed, and mailreport
// reads it.
func reported(c *checker) error {
	now := time.Now().UTC()
	for _, kind := range []string{"dmarc", "tls"} {
		dir := filepath.Join(c.there.Dir, "state/reports", kind)
		err := os.Rename(filepath.Join(dir, now.Format(time.DateOnly)), filepath.Join(dir, now.AddDate(0, 0, -1).Format(time.DateOnly)))
		if err != nil {
			return err
		}
	}
	out, err := c.report(c.there, "", "send")
	if err != nil || !strings.Contains(out, "sent dmarc ") || !strings.Contains(out, "sent tls ") {
		return fmt.Errorf("mailreport send: %v\n%s", err, out)
	}
	_, texts, err := lab.Find(15*time.Second, c.here.Maildir("alice"), "Report Domain: "+here, 2)
	if err != nil {
		return err
	}
	for _, text := range texts {
		if !strings.Contains(text, "dmarc=pass header.from="+there) {
			return fmt.Errorf("a report that is not signed:\n%.2000s", text)
		}
		if out, err := c.report(c.here, text, "read"); err != nil || !strings.Contains(out, "1 reports, 1 of them new") {
			return fmt.Errorf("mailreport read: %v\n%s", err, out)
		}
	}
	if out, err = c.report(c.here, "", "senders", here); err != nil || !strings.Contains(out, "127.0.0.1") {
		return fmt.Errorf("mailreport senders: %v\n%s", err, out)
	}
	if out, err = c.report(c.there, "", "send"); err != nil || strings.Contains(out, "sent ") {
		return fmt.Errorf("mailreport send, once more: %v\n%s", err, out)
	}
	return nil
}

// report runs mailreport for a host.
func (c *checker) report(h *lab.Host, in string, args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(c.lab.Bin, "mailreport"), append([]string{"-c", h.Config()}, args...)...)
	cmd.Stdin = strings.NewReader(in)
	as, err := h.As("mailreport")
	if err != nil {
		return "", err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

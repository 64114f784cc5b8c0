package demo

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"pennypost/test/lab"
)

// inbox is a session of the user's with INBOX open.
func inbox(h *lab.Host, user string) (*lab.IMAP, error) {
	c, err := h.IMAP(user)
	if err != nil {
		return nil, err
	}
	if _, err := c.Do("SELECT INBOX"); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// waiting delivers a letter to bob and returns a client of his that sees it and waits, in IDLE, and the file the letter is in.
func waiting(h *lab.Host, mark string) (c *lab.IMAP, file string, err error) {
	if err := h.Submit("alice", "bob@"+h.Name, lab.Letter("alice@"+h.Name, "bob@"+h.Name, "flag me", mark)); err != nil {
		return nil, "", err
	}
	if _, _, err := lab.Find(10*time.Second, h.Maildir("bob"), mark, 1); err != nil {
		return nil, "", err
	}
	if c, err = inbox(h, "bob"); err != nil {
		return nil, "", err
	}
	if err := c.Idle(); err != nil {
		c.Close()
		return nil, "", err
	}
	files, _, err := lab.Find(10*time.Second, h.Maildir("bob"), mark, 1) // SELECT may have moved it to cur/
	if err != nil {
		c.Close()
		return nil, "", err
	}
	return c, files[0], nil
}

// flagged is where mv puts a file to say that it is flagged.
func flagged(file string) string {
	key, _, _ := strings.Cut(filepath.Base(file), ":")
	return filepath.Join(filepath.Dir(filepath.Dir(file)), "cur", key+":2,F")
}

// mv is the chapter of a flag that comes from a shell.
func (s *story) mv(mark string) ([]string, error) {
	c, file, err := waiting(s.here, mark)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	begun := time.Now()
	if err := os.Rename(file, flagged(file)); err != nil {
		return nil, err
	}
	line, err := c.Await(10*time.Second, `\Flagged`)
	if err != nil {
		return nil, err
	}
	took := time.Since(begun)
	return []string{
		"mv " + rel(file) + " \\\n       " + rel(flagged(file)),
		fmt.Sprintf("bob's IMAP client, waiting in IDLE, reads %.1f ms later: %s", float64(took.Microseconds())/1000, line),
	}, nil
}

// number is what stands behind a key of a reply.
func number(lines []string, key string) string {
	if m := regexp.MustCompile(key + ` (\d+)`).FindStringSubmatch(strings.Join(lines, "\n")); m != nil {
		return m[1]
	}
	return ""
}

func noLoginInClear(c *checker) error {
	t, err := dial(c.here.Addr("IMAP"))
	if err != nil {
		return err
	}
	s, err := lab.NewIMAP(t)
	if err != nil {
		return err
	}
	defer s.Close()
	said, err := s.Do("CAPABILITY")
	if text := strings.Join(said, "\n"); err == nil && (!strings.Contains(text, "STARTTLS") || !strings.Contains(text, "LOGINDISABLED") || strings.Contains(text, "AUTH=")) {
		return fmt.Errorf("it says %q", text)
	}
	if _, err := s.Do("LOGIN bob@%s %s", here, lab.Password); err == nil {
		return fmt.Errorf("LOGIN is taken")
	}
	return err
}

func specialMailboxes(c *checker) error {
	s, err := c.here.IMAP("bob")
	if err != nil {
		return err
	}
	defer s.Close()
	said, err := s.Do(`LIST "" "*" RETURN (SPECIAL-USE)`)
	for _, use := range []string{"Drafts", "Sent", "Trash", "Junk", "Archive"} {
		if err == nil && !strings.Contains(strings.Join(said, "\n"), `\`+use) {
			return fmt.Errorf("none is \\%s: %q", use, said)
		}
	}
	return err
}

// imapOctets: a letter as IMAP gives it, and a flag of IMAP's in the name of its file.
func imapOctets(c *checker) error {
	_, text, err := c.deliverHere("by IMAP")
	if err != nil {
		return err
	}
	s, err := inbox(c.here, "bob")
	if err != nil {
		return err
	}
	defer s.Close()
	said, err := s.Do("FETCH * (UID BODY.PEEK[])")
	if err != nil {
		return err
	}
	if !strings.Contains(strings.Join(said, "\n"), strings.ReplaceAll(text, "\n", "\r\n")) {
		return fmt.Errorf("FETCH gives %.300q", said)
	}
	if _, err := s.Do(`UID STORE %s +FLAGS (\Flagged)`, number(said, "UID")); err != nil {
		return err
	}
	mark := text[strings.LastIndex(text, "mark-"):]
	files, _, err := lab.Find(0, c.here.Maildir("bob"), strings.TrimSpace(mark), 1)
	if err == nil && !strings.HasSuffix(files[0], ":2,F") {
		return fmt.Errorf("the file is %s", files[0])
	}
	return err
}

// uids is UIDVALIDITY of alice's INBOX, and which UID is which message.
func (c *checker) uids() (view []string, err error) {
	s, err := c.here.IMAP("alice")
	if err != nil {
		return nil, err
	}
	defer s.Close()
	opened, err := s.Do("EXAMINE INBOX")
	if err != nil {
		return nil, err
	}
	view = []string{"UIDVALIDITY " + number(opened, "UIDVALIDITY")}
	said, err := s.Do("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE SUBJECT)])")
	for _, line := range said {
		if _, message, is := strings.Cut(line, " FETCH "); is {
			view = append(view, message)
		}
	}
	return view, err
}

// before is what alice's INBOX was before programs were killed.
var before []string

func rememberUIDs(c *checker) (err error) {
	before, err = c.uids()
	if err == nil && len(before) < 2 {
		err = fmt.Errorf("there is no mail: %q", before)
	}
	return err
}

func sameUIDs(c *checker) error {
	now, err := c.uids()
	if err != nil {
		return err
	}
	for _, row := range before {
		if !slices.Contains(now, row) {
			return fmt.Errorf("%.200q is not there any more; now there is %.300q", row, now)
		}
	}
	return nil
}

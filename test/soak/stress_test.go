package soak

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pennypost/test/lab"
)

// stressTime is how long TestStress runs; make stress sets it to ten minutes.
const stressTime = "PENNYPOST_STRESS"

/*
TestStress is 50 connections of one user in three mailboxes that do at random what clients do, in the manner of Dovecot's imaptest: each believes
what the server tells it and nothing else, by message numbers, and holds the server to this:

  - a number is the UID it was, up to an EXPUNGE below it, and that UID's message is the one it was for everybody (RFC 9051 sections 2.3.1, 7.5.1);
  - EXISTS never falls, EXPUNGE and FETCH name messages there are, and no EXPUNGE comes in the answer to FETCH, STORE, SEARCH or SORT;
  - RFC822.SIZE is the size; nothing is BAD, and NO only where somebody else has removed the message;
  - every five seconds all stand still: what each has heard of flags is what there is.
*/
func TestStress(t *testing.T) {
	long := 8 * time.Second
	if testing.Short() {
		t.Skip("takes its time; make test runs it")
	}
	if v := os.Getenv(stressTime); v != "" {
		var err error
		if long, err = time.ParseDuration(v); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t)
	var stressed []*stressor
	for range 50 {
		stressed = append(stressed, &stressor{soak: s})
	}
	for end := time.Now().Add(long); time.Now().Before(end) && !t.Failed(); {
		pausing := time.Now().Add(min(5*time.Second, time.Until(end)))
		var group sync.WaitGroup
		for _, c := range stressed {
			group.Go(func() {
				for time.Now().Before(pausing) && !t.Failed() {
					c.step()
				}
			})
		}
		group.Wait()
		time.Sleep(1100 * time.Millisecond) // what one connection's change hid of another's is found
		for _, c := range stressed {
			c.stand()
		}
	}
	said := s.said
	t.Logf("%d connections, %d commands: %v", len(stressed), said["commands"], said)
}

// stressor is one connection.
type stressor struct {
	*soak
	imap *lab.IMAP
	box  string // selected, or ""
	list []heard
}

// heard is a message as the server has told of it.
type heard struct {
	uid   uint32 // 0: not yet
	flags string // of known
	known bool
	why   []string // how it came to be known
}

func (m *heard) now(why, flags string) {
	m.flags, m.why = flags, append(m.why[max(0, len(m.why)-8):], why+" ("+flags+")")
}

// step is one command, or a new connection.
func (c *stressor) step() {
	if c.imap == nil {
		var err error
		if c.imap, err = c.host.IMAP("alice"); err != nil {
			c.Errorf("login: %v", err)
			return
		}
		c.say("connections")
	}
	if c.box == "" || rand.IntN(60) == 0 {
		c.list, c.box = nil, folders[rand.IntN(len(folders))]
		lines, err := c.imap.Do("SELECT %s", c.box)
		c.list = nil // what came of the mailbox before is of no interest
		c.hear("SELECT", afterClosed(lines), err)
		return
	}
	switch n := rand.IntN(100); {
	case n < 20:
		c.do("FETCH %s (UID FLAGS RFC822.SIZE INTERNALDATE)", c.some(20))
	case n < 30:
		c.do("FETCH %s (UID RFC822.SIZE BODY.PEEK[])", c.some(3))
	case n < 35:
		c.do("FETCH %s (UID ENVELOPE BODYSTRUCTURE)", c.some(10))
	case n < 38:
		c.do("UID FETCH 1:* (FLAGS)")
	case n < 58:
		silent := []string{"", ".SILENT"}[rand.IntN(2)]
		numbers, op, flag := c.some(5), []string{"+", "-"}[rand.IntN(2)], []string{`\Seen`, `\Flagged`, `\Answered`, `\Draft`, `$Work`}[rand.IntN(5)]
		if len(c.list) > 150 {
			op, flag = "+", `\Deleted`
		}
		c.do("STORE %s %sFLAGS%s (%s)", numbers, op, silent, flag)
	case n < 66:
		if len(c.list) < 300 {
			id := c.newID("s")
			message := strings.ReplaceAll(text(id), "\n", "\r\n")
			c.do("APPEND %s (\\Seen) {%d+}\r\n%s", folders[rand.IntN(3)], len(message), message)
		}
	case n < 70:
		if len(c.list) < 300 {
			c.do("COPY %s %s", c.some(3), folders[rand.IntN(3)])
		}
	case n < 72:
		c.do("MOVE %s %s", c.some(2), folders[rand.IntN(3)])
	case n < 77:
		c.do("EXPUNGE")
	case n < 81:
		c.do("SEARCH %s", []string{"UNSEEN", "SUBJECT s-1", "TEXT some", "DELETED", "NOT FLAGGED SINCE 1-Jan-2020"}[rand.IntN(5)])
	case n < 83:
		c.do("SORT (REVERSE SUBJECT) UTF-8 ALL")
	case n < 85:
		c.do("THREAD REFERENCES UTF-8 ALL")
	case n < 88:
		c.do("STATUS %s (MESSAGES UIDNEXT UNSEEN)", folders[rand.IntN(3)])
	case n < 89:
		c.do(`LIST "" "*" RETURN (STATUS (MESSAGES))`)
	case n < 91:
		if lines, err := c.imap.Do("CLOSE"); err != nil {
			c.Errorf("CLOSE: %v %v", lines, err)
		}
		c.box, c.list = "", nil
	case n < 92:
		if err := c.imap.Idle(); err != nil {
			c.Errorf("IDLE: %v", err)
			return
		}
		pause(200)
		lines, err := c.imap.Done()
		c.hear("IDLE", lines, err)
	case n < 93:
		if rand.IntN(2) == 0 {
			c.imap.Do("LOGOUT")
		}
		c.imap.Close() // in the other half without a word
		c.imap, c.box, c.list = nil, "", nil
	default:
		c.do("NOOP")
	}
}

// some is up to n numbers of messages, ascending.
func (c *stressor) some(n int) string {
	if len(c.list) == 0 {
		return "1"
	}
	picked := map[uint32]string{}
	for range 1 + rand.IntN(n) {
		picked[uint32(1+rand.IntN(len(c.list)))] = ""
	}
	return set(picked)
}

func (c *stressor) do(format string, args ...any) {
	say := fmt.Sprintf(format, args...)
	verb, _, _ := strings.Cut(say, " ")
	if len(c.list) == 0 && slices.Contains([]string{"FETCH", "STORE", "COPY", "MOVE"}, verb) {
		say, verb = "NOOP", "NOOP"
	}
	lines, err := c.imap.Do("%s", say)
	if m := silently.FindStringSubmatch(say); m != nil {
		c.apply(m[1], m[2], m[3], err == nil)
	}
	if verb == "STORE" {
		verb = say
	}
	c.hear(verb, lines, err)
}

var (
	silently = regexp.MustCompile(`^STORE (\S+) ([+-])FLAGS\.SILENT \((\S+)\)`)
	untagged = regexp.MustCompile(`(?s)^\* (\d+) (EXISTS|EXPUNGE|FETCH \((.*)\))$`)
	sizeIn   = regexp.MustCompile(`\bRFC822\.SIZE (\d+)`)
	bodyIn   = regexp.MustCompile(`(?s)BODY\[\] \{(\d+)\}\r\n(X-Id: (\S+)\r\n)?`)
)

// apply is what a silent STORE has done, where it was taken; what others did to the same message comes in its answer. Of one that was refused, since
// one of its messages had gone, the client does not know (RFC 2180 section 4.2).
func (c *stressor) apply(numbers, op, flag string, taken bool) {
	for _, n := range strings.Split(numbers, ",") {
		i, _ := strconv.Atoi(n)
		m := &c.list[i-1]
		if m.known = m.known && taken; !m.known {
			continue
		}
		flags := slices.DeleteFunc(strings.Fields(m.flags), func(f string) bool { return f == flag })
		if op == "+" {
			flags = append(flags, flag)
		}
		slices.Sort(flags)
		m.now("STORE "+op+"FLAGS.SILENT "+flag, strings.Join(flags, " "))
	}
}

// afterClosed leaves away what SELECT says of the mailbox that was selected before (RFC 9051 section 7.1, CLOSED).
func afterClosed(lines []string) []string {
	for i, line := range lines {
		if strings.HasPrefix(line, "* OK [CLOSED]") {
			return lines[i+1:]
		}
	}
	return lines
}

// hear takes in an answer.
func (c *stressor) hear(verb string, lines []string, err error) {
	c.say("commands")
	if err != nil {
		switch text := err.Error(); {
		case strings.Contains(text, "[EXPUNGEISSUED]"):
			c.say("EXPUNGEISSUED")
		default:
			c.Errorf("%s: %v", verb, err)
		}
	}
	for _, line := range lines {
		m := untagged.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		n, _ := strconv.Atoi(m[1])
		switch {
		case m[2] == "EXISTS":
			if n < len(c.list) {
				c.Errorf("%s: %d EXISTS, there were %d", verb, n, len(c.list))
				return
			}
			c.list = append(c.list, make([]heard, n-len(c.list))...)
		case n < 1 || n > len(c.list):
			c.Errorf("%s: %.80q, and there are %d", verb, line, len(c.list))
			return
		case m[2] == "EXPUNGE":
			if first, _, _ := strings.Cut(verb, " "); slices.Contains([]string{"FETCH", "STORE", "SEARCH", "SORT", "THREAD"}, first) {
				c.Errorf("EXPUNGE in the answer to %s", verb)
			}
			c.list = slices.Delete(c.list, n-1, n)
		default:
			c.fetched(verb, n, m[3])
		}
	}
}

// fetched takes in a FETCH response.
func (c *stressor) fetched(verb string, n int, items string) {
	m := &c.list[n-1]
	head, _, _ := strings.Cut(items, "BODY[]")
	if uid := uidIn.FindStringSubmatch(head); uid != nil {
		v, _ := strconv.ParseUint(uid[1], 10, 32)
		if m.uid != 0 && m.uid != uint32(v) {
			c.Errorf("%s: message %d was UID %d and is UID %d", c.box, n, m.uid, v)
		}
		m.uid = uint32(v)
		if n > 1 && c.list[n-2].uid >= m.uid {
			c.Errorf("%s: message %d has UID %d, the one before %d", c.box, n, m.uid, c.list[n-2].uid)
		}
	}
	if flags := flagsIn.FindStringSubmatch(head); flags != nil {
		f := slices.DeleteFunc(strings.Fields(flags[1]), func(f string) bool { return f == `\Recent` })
		slices.Sort(f)
		m.now(verb, strings.Join(f, " "))
		m.known = true
	}
	if body := bodyIn.FindStringSubmatch(items); body != nil {
		if size := sizeIn.FindStringSubmatch(head); size == nil || size[1] != body[1] {
			c.Errorf("%s: UID %d has %s octets, RFC822.SIZE is %v", c.box, m.uid, body[1], size)
		}
		c.means(fmt.Sprint(c.box, " ", m.uid), body[3])
	}
}

// stand compares what the connection has heard with what there is, while nobody does anything.
func (c *stressor) stand() {
	if c.imap == nil || c.box == "" {
		return
	}
	c.do("NOOP")
	before := slices.Clone(c.list)
	c.do("FETCH 1:* (UID FLAGS)")
	if len(before) != len(c.list) {
		c.Errorf("%s: %d messages after NOOP, and %d while nobody did anything", c.box, len(before), len(c.list))
	}
	for i := range min(len(before), len(c.list)) {
		if was, is := before[i], c.list[i]; was.known && was.flags != is.flags {
			c.Errorf("%s: the flags of message %d, UID %d, are (%s), and it was told of (%s): %q", c.box, i+1, is.uid, is.flags, was.flags, is.why)
		}
	}
	c.say("stood")
}

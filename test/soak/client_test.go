package soak

import (
	"crypto/tls"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pennypost/test/lab"
)

/*
client is an IMAP client that keeps what it knows from session to session and resynchronises by QRESYNC (RFC 7162 section 3.2.5).
It holds the server to this:

  - UIDVALIDITY stays, UIDNEXT and HIGHESTMODSEQ never fall, whoever has seen the greater one (RFC 9051 section 2.3.1.1, RFC 7162 section 3.1.2.2);
  - a UID is one message for ever.
*/
type client struct {
	*soak
	name  string
	road  int // 0 imaps, 1 the second imapd, 2 a tunnel
	imap  *lab.IMAP
	known map[string]*known
}

// known is what a client has of a folder.
type known struct {
	validity uint32
	modseq   uint64 // up to which it knows everything
	next     uint32 // UIDNEXT at that time
	flags    map[uint32]string
}

// session is one connection, until it has had enough or the server is killed.
func (c *client) session() {
	defer pause(50)
	var err error
	if c.imap, err = c.connect(); err != nil {
		return // just killed
	}
	defer func() {
		c.mu.Lock()
		delete(c.tunnels, c.imap)
		c.mu.Unlock()
		c.imap.Close()
		c.imap = nil
	}()
	if _, err = c.imap.Do("ENABLE QRESYNC"); err != nil {
		return
	}
	for range 1 + rand.IntN(4) {
		folder := folders[rand.IntN(len(folders))]
		if c.open(folder) != nil {
			return
		}
		for range rand.IntN(12) {
			if c.change(folder) != nil {
				return
			}
		}
	}
	c.say("IMAP sessions ended well")
	c.imap.Do("LOGOUT")
}

func (c *client) connect() (*lab.IMAP, error) {
	switch c.road {
	case 0:
		return c.host.IMAP("alice")
	case 1:
		conn, err := tls.Dial("tcp", c.second, &tls.Config{ServerName: "mx.demo.test", RootCAs: c.host.Lab().CA.Pool()})
		if err != nil {
			return nil, err
		}
		return lab.LoginIMAP(conn, "alice@demo.test")
	}
	i, pid, err := lab.RunIMAPPid(filepath.Join(c.host.Lab().Bin, "imapd"), "-c", c.host.Config(), "--user", "alice@demo.test")
	if err == nil {
		c.mu.Lock()
		c.tunnels[i] = pid
		c.mu.Unlock()
	}
	return i, err
}

var (
	code     = regexp.MustCompile(`\[(UIDVALIDITY|UIDNEXT|HIGHESTMODSEQ) (\d+)\]`)
	fetched  = regexp.MustCompile(`^\* \d+ FETCH \((.*)\)$`)
	uidIn    = regexp.MustCompile(`\bUID (\d+)`)
	flagsIn  = regexp.MustCompile(`\bFLAGS \(([^)]*)\)`)
	vanished = regexp.MustCompile(`^\* VANISHED (?:\(EARLIER\) )?(\S+)$`)
)

// open selects a folder and brings what the client knows up to date; the error is that of a connection that has ended.
func (c *client) open(folder string) error {
	c.mu.Lock()
	least := c.highest[folder]
	c.mu.Unlock()
	k := c.known[folder]
	say, rest := "SELECT "+folder, ""
	if k != nil {
		say += fmt.Sprintf(" (QRESYNC (%d %d", k.validity, k.modseq)
		if len(k.flags) > 0 && rand.IntN(2) == 0 { // then it is told of these only, and asks for what is new
			say += " " + set(k.flags)
			rest = fmt.Sprintf("UID FETCH %d:* (FLAGS MODSEQ)", k.next)
		}
		say += "))"
	}
	lines, err := c.imap.Do("%s", say)
	if err != nil {
		return err
	}
	var now counts
	for _, m := range code.FindAllStringSubmatch(strings.Join(lines, "\n"), -1) {
		n, _ := strconv.ParseUint(m[2], 10, 64)
		switch m[1] {
		case "UIDVALIDITY":
			now.validity = uint32(n)
		case "UIDNEXT":
			now.next = uint32(n)
		case "HIGHESTMODSEQ":
			now.modseq = n
		}
	}
	if least.validity != 0 && now.validity != least.validity || now.next < least.next || now.modseq < least.modseq {
		c.Errorf("%s: %s fell: %+v, somebody has seen %+v", c.name, folder, now, least)
	}
	c.mu.Lock()
	h := c.highest[folder]
	c.highest[folder] = counts{now.validity, max(h.next, now.next), max(h.modseq, now.modseq)}
	c.mu.Unlock()
	if k == nil {
		k = &known{validity: now.validity, flags: map[uint32]string{}}
		rest = "UID FETCH 1:* (FLAGS MODSEQ)"
	}
	if rest != "" {
		all, err := c.imap.Do("%s", rest)
		if err != nil {
			return err
		}
		lines = append(lines, all...)
	}
	c.known[folder] = k
	c.apply(folder, lines)
	k.modseq, k.next = now.modseq, now.next
	return c.learn(folder)
}

// apply takes over what the server says.
func (c *client) apply(folder string, lines []string) {
	k := c.known[folder]
	for _, line := range lines {
		if m := vanished.FindStringSubmatch(line); m != nil {
			for _, r := range strings.Split(m[1], ",") {
				from, to := numbers(r)
				maps.DeleteFunc(k.flags, func(uid uint32, _ string) bool { return uid >= from && uid <= to })
			}
		} else if m := fetched.FindStringSubmatch(line); m != nil {
			uid, flags := uidIn.FindStringSubmatch(m[1]), flagsIn.FindStringSubmatch(m[1])
			if uid == nil {
				c.Errorf("%s: no UID in %s (RFC 7162 section 3.2.4)", c.name, line)
			} else if flags != nil {
				n, _ := strconv.ParseUint(uid[1], 10, 32)
				f := slices.DeleteFunc(strings.Fields(flags[1]), func(f string) bool { return f == `\Recent` })
				slices.Sort(f)
				k.flags[uint32(n)] = strings.Join(f, " ")
			}
		}
	}
}

// learn fetches the ids of messages whose UID nobody has met, and of one that somebody has.
func (c *client) learn(folder string) error {
	k := c.known[folder]
	ask := map[uint32]string{}
	c.mu.Lock()
	for uid := range k.flags {
		if c.meaning[fmt.Sprint(folder, " ", k.validity, " ", uid)] == "" || len(ask) == 0 {
			ask[uid] = ""
		}
	}
	c.mu.Unlock()
	if len(ask) == 0 {
		return nil
	}
	lines, err := c.imap.Do("UID FETCH %s BODY.PEEK[HEADER.FIELDS (X-Id)]", set(ask))
	for _, line := range lines {
		if uid := uidIn.FindStringSubmatch(line); uid != nil && strings.Contains(line, " FETCH ") && strings.Contains(line, "BODY[") {
			if id := idIn(strings.ReplaceAll(line, "\r", "")); id != "" {
				c.means(fmt.Sprint(folder, " ", k.validity, " ", uid[1]), id)
			} else if !strings.Contains(line, "NIL") {
				c.Errorf("%s: UID %s has no id: %q", folder, uid[1], line)
			}
		}
	}
	c.apply(folder, slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "BODY[") }))
	return err
}

// change does one of the things people do.
func (c *client) change(folder string) error {
	k := c.known[folder]
	uids := slices.Collect(maps.Keys(k.flags))
	some := "1"
	if len(uids) > 0 {
		i := rand.IntN(len(uids))
		some = set(map[uint32]string{uids[i]: "", uids[rand.IntN(len(uids))]: ""})
	}
	other := folders[rand.IntN(len(folders))]
	var say string
	switch n := rand.IntN(20); {
	case n < 7:
		say = fmt.Sprintf("UID STORE %s %sFLAGS (%s)", some, []string{"+", "-", ""}[rand.IntN(3)], []string{`\Seen`, `\Flagged`, `\Answered`, `$Work`, `\Seen \Flagged`}[rand.IntN(5)])
	case n < 10:
		id := c.newID(c.name)
		message := strings.ReplaceAll(text(id), "\n", "\r\n")
		lines, err := c.imap.Do("APPEND %s (\\Seen) {%d+}\r\n%s", other, len(message), message)
		if err == nil {
			c.isBorn(id)
			c.say("appended")
		}
		c.apply(folder, lines)
		return err
	case n < 12 && len(uids) < 300:
		say = fmt.Sprintf("UID COPY %s %s", some, other)
	case n < 14 && other != folder:
		say = fmt.Sprintf("UID MOVE %s %s", some, other)
	case n < 16:
		lines, err := c.imap.Do("UID STORE %s +FLAGS.SILENT (\\Deleted)", some)
		c.apply(folder, lines)
		if err != nil {
			return c.ended(err)
		}
		say = "UID EXPUNGE " + some
	case n == 16:
		if err := c.imap.Idle(); err != nil {
			return err
		}
		pause(100)
		lines, err := c.imap.Done()
		c.apply(folder, lines)
		return err
	default:
		say = "NOOP"
	}
	lines, err := c.imap.Do("%s", say)
	c.apply(folder, lines)
	return c.ended(err)
}

// ended is nil when the server has only said no: a message that somebody else has removed.
func (c *client) ended(err error) error {
	if err != nil && strings.Contains(err.Error(), ": NO ") {
		c.say("NO")
		return nil
	}
	if err != nil && strings.Contains(err.Error(), ": BAD ") {
		c.Errorf("%s: %v", c.name, err)
	}
	return err
}

// set writes UIDs as a sequence set, each by itself.
func set(uids map[uint32]string) string {
	sorted := slices.Sorted(maps.Keys(uids))
	var b strings.Builder
	for i, uid := range sorted {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(uint64(uid), 10))
	}
	return b.String()
}

// numbers reads N or N:M.
func numbers(r string) (from, to uint32) {
	a, b, is := strings.Cut(r, ":")
	x, _ := strconv.ParseUint(a, 10, 32)
	y := x
	if is {
		y, _ = strconv.ParseUint(b, 10, 32)
	}
	return uint32(min(x, y)), uint32(max(x, y))
}

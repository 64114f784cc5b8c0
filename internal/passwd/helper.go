package passwd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/escape"
)

// Socket is where mailgetent(8) is asked, below the run directory of mail.toml(5).
func Socket(run string) string { return filepath.Join(run, "getent", "sock") }

// helped reports whether there is a helper to ask. A socket that is there and does not answer is an error, not a reason to do it here.
func (l *Lookup) helped() bool {
	if l.Socket == "" {
		return false
	}
	_, err := os.Lstat(l.Socket)
	return err == nil
}

// mostLine is the longest packet.
const mostLine = 4 << 10

// helper asks mailgetent. It remembers for all.
func (l *Lookup) helper(name string) (*User, error) {
	c, err := (&net.Dialer{Timeout: l.limit()}).Dial("unixpacket", l.Socket)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(l.limit() + time.Second))
	if _, err := c.Write([]byte(name)); err != nil {
		return nil, err
	}
	line := make([]byte, mostLine)
	n, err := c.Read(line)
	if err != nil {
		return nil, err
	}
	return parseAnswer(name, string(line[:n]))
}

// Answer is the line for a question: "user NAME UID GID[,GID…] HOME SHELL", "nobody" or "later WHY".
func (l *Lookup) Answer(name string) string {
	u, err := l.User(name)
	switch {
	case errors.Is(err, ErrUnknown):
		return "nobody"
	case err != nil:
		return "later " + word(err.Error())
	}
	return u.String()
}

// String is the line that describes u.
func (u *User) String() string {
	gids := make([]string, 0, 8)
	for _, g := range u.GIDs() {
		gids = append(gids, strconv.FormatUint(uint64(g), 10))
	}
	return fmt.Sprintf("user %s %d %s %s %s", word(u.Name), u.UID, strings.Join(gids, ","), word(u.Home), word(u.Shell))
}

func parseAnswer(name, line string) (*User, error) {
	words := strings.Split(line, " ")
	bad := fmt.Errorf("mailgetent says %.200q of %s", line, name)
	switch {
	case line == "nobody":
		return nil, ErrUnknown
	case len(words) == 2 && words[0] == "later":
		why, err := escape.Parse(words[1])
		if err != nil {
			return nil, bad
		}
		return nil, errors.New(why)
	case len(words) != 6 || words[0] != "user":
		return nil, bad
	}
	u := &User{}
	uid, err := strconv.ParseUint(words[2], 10, 32)
	if err != nil {
		return nil, bad
	}
	u.UID = uint32(uid)
	for i, w := range strings.Split(words[3], ",") {
		g, err := strconv.ParseUint(w, 10, 32)
		if err != nil {
			return nil, bad
		}
		if i == 0 {
			u.GID = uint32(g)
		} else {
			u.Groups = append(u.Groups, uint32(g))
		}
	}
	for i, to := range map[int]*string{1: &u.Name, 4: &u.Home, 5: &u.Shell} {
		if *to, err = escape.Parse(words[i]); err != nil {
			return nil, bad
		}
	}
	if u.Name != name || !filepath.IsAbs(u.Home) {
		return nil, bad
	}
	return u, nil
}

// Serve answers the questions of one connection to its end. Each is a packet.
func (l *Lookup) Serve(c net.Conn) error {
	defer c.Close()
	name := make([]byte, mostLine)
	for {
		c.SetDeadline(time.Now().Add(time.Minute))
		n, err := c.Read(name)
		if n == 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err == nil {
			_, err = c.Write([]byte(l.Answer(string(name[:n]))))
		}
		if err != nil {
			return err
		}
	}
}

func word(s string) string { return string(escape.Append(nil, s[:min(len(s), 1000)])) }

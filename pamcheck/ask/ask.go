// Package ask asks pamcheck(8) whether a Unix user's password is right, and later whether the account still is good.
package ask

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pennypost/internal/escape"
)

// Socket is where pamcheck is asked, below the run directory of mail.toml(5).
func Socket(run string) string { return filepath.Join(run, "pam", "sock") }

// There reports whether there is a pamcheck to ask.
func There(socket string) bool {
	_, err := os.Lstat(socket)
	return err == nil
}

// Longest is the longest name, and the longest password.
const Longest = 512

// answerTime bounds the wait; a check takes its time itself.
const answerTime = 45 * time.Second

// Question is one check.
type Question struct {
	Name, Password, Service, Remote string
	Account                         bool // whether there is such a user whose account is good, whatever the password: only Name is said
}

// Append writes q as a packet: four words, each with a NUL behind it, or the name alone.
func (q Question) Append(b []byte) []byte {
	if q.Account {
		return append(append(b, q.Name...), 0)
	}
	for _, w := range []string{q.Name, q.Password, q.Service, q.Remote} {
		b = append(append(b, w...), 0)
	}
	return b
}

// ErrQuestion is a packet that is none.
var ErrQuestion = errors.New("not NAME PASSWORD SERVICE ADDRESS, nor NAME")

// Parse reads a packet.
func Parse(packet []byte) (q Question, err error) {
	words := strings.Split(string(packet), "\x00")
	if len(words) == 2 && words[0] != "" && words[1] == "" && len(words[0]) <= Longest {
		return Question{Name: words[0], Account: true}, nil
	}
	if len(words) != 5 || words[4] != "" || words[0] == "" || len(words[0]) > Longest || len(words[1]) > Longest || len(words[2]) > 64 || len(words[3]) > 64 {
		return q, ErrQuestion
	}
	return Question{Name: words[0], Password: words[1], Service: words[2], Remote: words[3]}, nil
}

// Ask asks. The error is temporary: nobody can say now.
func Ask(ctx context.Context, socket string, q Question) (yes bool, err error) {
	packet := q.Append(nil)
	if _, err := Parse(packet); err != nil {
		return false, nil // no user has such a name, or such a password
	}
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unixpacket", socket)
	if err != nil {
		return false, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(answerTime))
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Now()) })()
	if _, err := c.Write(packet); err != nil {
		return false, err
	}
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil {
		return false, err
	}
	switch word, why, _ := strings.Cut(string(b[:n]), " "); word {
	case "yes":
		return true, nil
	case "no":
		return false, nil
	case "later":
		if text, err := escape.Parse(why); err == nil {
			why = text
		}
		return false, errors.New("pamcheck: " + why)
	}
	return false, fmt.Errorf("pamcheck says %.100q", b[:n])
}

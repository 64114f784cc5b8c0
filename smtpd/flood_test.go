package smtpd

import (
	"errors"
	"io"
	"strings"
	"testing"

	"pennypost/internal/maillog"
)

// Commands that lead to nothing end after a hundred, mistakes after ten (S079).
func TestS079Storms(t *testing.T) {
	for name, c := range map[string]struct {
		say  string
		most int // answers before 421
	}{
		"NOOP":   {"NOOP\r\n", 100},
		"RSET":   {"RSET\r\n", 100},
		"HELP":   {"HELP\r\n", 100},
		"VRFY":   {"VRFY x\r\n", 100},
		"EHLO":   {"EHLO x\r\n", 100},
		"HELO":   {"HELO x\r\n", 100},
		"errors": {"WHAT\r\n", 10},
		"mixed":  {"NOOP\r\nRSET\r\nEHLO x\r\n", 100},
	} {
		srv, _, _ := newServer(t)
		srv.Settings.TrustedNetworks = nil
		all := codes(play(t, srv, "mx", strings.Repeat(c.say, 500)))
		said := strings.Fields(all)
		if last := said[len(said)-1]; last != "421" || len(said) > c.most+3 {
			t.Errorf("%s: %d answers, the last is %s", name, len(said), last)
		}
	}
}

// full is a log on a disk that is full, and in the way.
type full struct{ lines int }

func (f *full) Write([]byte) (int, error) {
	f.lines++
	return 0, errors.New("no space left on device")
}

// A log that cannot be written to stops no mail (S083).
func TestS083LogFull(t *testing.T) {
	srv, spool, _ := newServer(t)
	log := new(full)
	srv.Log = &maillog.Log{Program: "smtpd", Out: log}
	heard := play(t, srv, "mx", letter, body+"QUIT\r\n")
	if got := codes(heard); !strings.HasSuffix(got, "354 250 221") || len(spool.files) != 1 || log.lines == 0 {
		t.Errorf("%s, %d messages, %d lines", got, len(spool.files), log.lines)
	}
}

// Whatever an attacker says, a connection is some lines in the log and no more: refusals end it, and what it says before has no line (S083).
func TestS083Lines(t *testing.T) {
	srv, _, log := newServer(t)
	srv.Settings.TrustedNetworks = nil
	play(t, srv, "mx", strings.Repeat("EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<nobody@example.org>\r\nWHAT\r\nRSET\r\n", 1000))
	if n := strings.Count(log.String(), "\n"); n > 120 {
		t.Errorf("%d lines", n)
	}
}

var _ io.Writer = (*full)(nil)

package mailuser

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pennypost/internal/config"
	"pennypost/login"
)

// Logins is the history of an account, oldest first.
func (s *Store) Logins(who string) ([]login.Login, error) {
	if _, err := s.account(who); err != nil {
		return nil, err
	}
	a, err := s.domains.Login(who)
	if err != nil {
		return nil, err
	}
	list, err := s.state.History(a)
	return append([]login.Login{}, list...), err
}

// Approve lets a credential in from a network it has tried from, from all such where network is "".
func (s *Store) Approve(who, name, network string) ([]string, error) {
	if _, err := s.account(who); err != nil {
		return nil, err
	}
	a, err := s.domains.Login(who)
	if err != nil {
		return nil, err
	}
	return s.state.Approve(a, name, network)
}

// AddTOTP makes the credential main want a code behind the password, and gives the key to type into a program for codes.
func (s *Store) AddTOTP(who string) (key string, err error) {
	key = login.NewTOTP()
	return key, s.editMain(who, func(lines []string) ([]string, error) {
		if slices.ContainsFunc(lines, isTOTP) {
			return nil, errors.New("has TOTP already; mailuser totp remove ends it")
		}
		return append(lines, "totp: "+key), nil
	})
}

// RemoveTOTP makes the password good alone again.
func (s *Store) RemoveTOTP(who string) error {
	return s.editMain(who, func(lines []string) ([]string, error) {
		n := len(lines)
		if lines = slices.DeleteFunc(lines, isTOTP); len(lines) == n {
			return nil, errors.New("has no TOTP")
		}
		return lines, nil
	})
}

func isTOTP(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "totp:") }

// editMain changes the lines of an account's credential main, and keeps the others as they are.
func (s *Store) editMain(who string, edit func([]string) ([]string, error)) error {
	dir, err := s.account(who)
	if err != nil {
		return err
	}
	unlock, err := s.lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	file := dir + "/credentials/main"
	text, err := os.ReadFile(filepath.Join(s.Dir, file))
	if err != nil {
		return err
	}
	lines, err := edit(strings.Split(strings.TrimRight(string(text), "\n"), "\n"))
	if err != nil {
		return fmt.Errorf("%s %w", who, err)
	}
	edited := strings.Join(lines, "\n") + "\n"
	if _, err := login.ParseCredential(file, edited); err != nil {
		return err
	}
	return s.write(file, edited, 0o640, true)
}

// PrintSettings writes what to type into a device.
func (s *Store) PrintSettings(w io.Writer, c *config.Config, who, password string, scope []string) error {
	address := who
	if a, err := s.domains.Login(who); err == nil {
		address = a.Path().String()
	}
	rows := [][]string{{"user name", address}, {"password", password}}
	for _, service := range []struct {
		scope, label string
		listen       []string
		port         string
	}{
		{"imap", "IMAP", slices.Concat(c.Maillogin.IMAPS, c.IMAPD.IMAPS), "993"},
		{"pop3", "POP3", slices.Concat(c.Maillogin.POP3S, c.POP3D.POP3S), "995"},
		{"smtp", "SMTP", c.SMTPD.Submissions, "465"},
	} {
		if len(scope) > 0 && !slices.Contains(scope, service.scope) {
			continue
		}
		port := service.port
		if len(service.listen) > 0 {
			if _, p, err := net.SplitHostPort(service.listen[0]); err == nil {
				port = p
			}
		}
		rows = append(rows, []string{service.label, c.Hostname + " port " + port + ", TLS (not STARTTLS)"})
	}
	return table(w, rows)
}

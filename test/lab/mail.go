package lab

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Send hands a message to an SMTP server without a login, as another mail host would.
func Send(addr, from, to, text string) error {
	c, err := dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Hello("lab.test"); err != nil {
		return err
	}
	return transact(c, from, to, text)
}

// Submit hands a message to the submission service as the user, under STARTTLS.
func (h *Host) Submit(user, to, text string) error {
	return h.SubmitAs(user, Password, to, text)
}

// SubmitAs is Submit with any password.
func (h *Host) SubmitAs(user, password, to, text string) error {
	c, err := dial(h.Addr("SUBMISSION"))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.StartTLS(&tls.Config{ServerName: "mx." + h.Name, RootCAs: h.lab.CA.Pool()}); err != nil {
		return err
	}
	from := h.account(user)
	if err := c.Auth(plainAuth{from, password}); err != nil {
		return err
	}
	return transact(c, from, to, text)
}

// account is a user of the host's own domain, or of the domain that is named with him.
func (h *Host) account(user string) string {
	if strings.Contains(user, "@") {
		return user
	}
	return user + "@" + h.Name
}

// plainAuth is AUTH PLAIN; the one of net/smtp wants the server's name to be the address we dialled.
type plainAuth struct{ user, password string }

func (a plainAuth) Start(*smtp.ServerInfo) (string, []byte, error) {
	return "PLAIN", []byte("\x00" + a.user + "\x00" + a.password), nil
}

func (a plainAuth) Next([]byte, bool) ([]byte, error) { return nil, nil }

func dial(addr string) (*smtp.Client, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	host, _, _ := net.SplitHostPort(addr)
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func transact(c *smtp.Client, from, to, text string) error {
	if err := c.Mail(from); err != nil {
		return err
	}
	for rcpt := range strings.FieldsSeq(to) {
		if err := c.Rcpt(rcpt); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// Letter is a plain message.
func Letter(from, to, subject, body string) string {
	return fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%d.%s>\r\n\r\n%s\r\n",
		from, strings.ReplaceAll(to, " ", ", "), subject, time.Now().Format(time.RFC1123Z), time.Now().UnixNano(), from, body)
}

// Mails are the messages in a Maildir's new and cur, by file name.
func Mails(maildir string) (map[string]string, error) {
	mails := map[string]string{}
	for _, sub := range []string{"new", "cur"} {
		files, err := filepath.Glob(filepath.Join(maildir, sub, "*"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				continue // moved from new to cur meanwhile: the next look finds it
			}
			mails[file] = string(text)
		}
	}
	return mails, nil
}

// Find waits for messages in a Maildir that contain the text and returns their file names and texts, at least n of them.
func Find(limit time.Duration, maildir, text string, n int) (files, texts []string, err error) {
	err = Until(limit, func() error {
		mails, err := Mails(maildir)
		if err != nil {
			return err
		}
		files, texts = nil, nil
		for _, file := range sorted(mails) {
			if strings.Contains(mails[file], text) {
				files, texts = append(files, file), append(texts, mails[file])
			}
		}
		if len(files) < n {
			return fmt.Errorf("%s has %d of %d messages with %q", maildir, len(files), n, text)
		}
		return nil
	})
	return files, texts, err
}

// Queued are the message files that wait in a spool, below the spool: in/mx/new/ID, q/DAY/MINUTE/ID.
func Queued(spool string) []string {
	var found []string
	for _, pattern := range []string{"in/*/new/*", "q/*/*/*", "drop/new/*"} {
		files, _ := filepath.Glob(filepath.Join(spool, pattern))
		for _, file := range files {
			name := filepath.Base(file)
			if ext := filepath.Ext(name); ext == ".s" || ext == ".r" || strings.HasPrefix(name, ".") {
				continue // a side file of a message
			}
			rel, err := filepath.Rel(spool, file)
			if err == nil {
				found = append(found, rel)
			}
		}
	}
	return found
}

// Run runs one of the programs of the host with its configuration and returns what it wrote.
func (h *Host) Run(stdin, program string, args ...string) (stdout string, err error) {
	cmd := exec.Command(filepath.Join(h.lab.Bin, program), append([]string{"-c", h.Config()}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// Sendmail runs sendmail(8) as a script on the host would; the configuration is found by the environment.
func (h *Host) Sendmail(stdin string, args ...string) (stdout string, err error) {
	return h.Run(stdin, "sendmail", args...)
}

// POP is a POP3 session under TLS, logged in.
type POP struct {
	conn net.Conn
	r    *bufio.Reader
}

// POP logs in as the user.
func (h *Host) POP(user string) (*POP, error) {
	conn, err := tls.Dial("tcp", h.Addr("POP3S"), &tls.Config{ServerName: "mx." + h.Name, RootCAs: h.lab.CA.Pool()})
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	p := &POP{conn, bufio.NewReader(conn)}
	if _, err := p.line(); err != nil {
		p.Close()
		return nil, err
	}
	for _, command := range []string{"USER " + h.account(user), "PASS " + Password} {
		if _, err := p.Do(command); err != nil {
			p.Close()
			return nil, err
		}
	}
	return p, nil
}

func (p *POP) Close() error { return p.conn.Close() }

func (p *POP) line() (string, error) {
	line, err := p.r.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

// Do sends a command and returns the text of its +OK.
func (p *POP) Do(command string) (string, error) {
	if _, err := fmt.Fprintf(p.conn, "%s\r\n", command); err != nil {
		return "", err
	}
	line, err := p.line()
	if err != nil {
		return "", err
	}
	text, ok := strings.CutPrefix(line, "+OK")
	if !ok {
		verb, _, _ := strings.Cut(command, " ")
		return "", fmt.Errorf("%s: %s", verb, line)
	}
	return strings.TrimSpace(text), nil
}

// Lines sends a command with an answer of many lines.
func (p *POP) Lines(command string) ([]string, error) {
	if _, err := p.Do(command); err != nil {
		return nil, err
	}
	var lines []string
	for {
		line, err := p.line()
		if err != nil || line == "." {
			return lines, err
		}
		lines = append(lines, strings.TrimPrefix(line, "."))
	}
}

package login

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"pennypost/internal/domains"
	"pennypost/internal/escape"
	"pennypost/internal/packet"
)

/*
Session is one that has logged in, on its way to who serves the mail.

maillogin speaks with the client, and once mailauthd has said "ok" to what the client showed, hands it the session on the same connection:
a line with the descriptor. mailauthd serves nobody but who has just logged in there, once. It adds who that is, and hands line and
descriptor to imapd or pop3d: to the resident one of vmail at its socket, or to one that become(8) starts as a Unix user, on descriptor 0.
There it is a packet of package packet, and the answer is "ok", or "no" and why:

	session service=imap user=alice@example.org authcid=alice authzid=- credential=main token=… ip=192.0.2.9 mechanism=PLAIN tls=TLS%201.3 tag=a1 sasl=- early=-

Who takes a session over answers the client. Words are escaped as in order(5); early is in base64.
*/
type Session struct {
	Opening
	Service    string // imap, pop3
	Remote     netip.Addr
	User       string // the account, as user@domain
	Authcid    string
	Authzid    string
	Credential string
	token      string
}

// Opening is what whoever spoke with the client knows of a session, and mailauthd does not.
type Opening struct {
	Mechanism string
	TLS       string // what protects the connection, for the log; "" nothing
	Tag       string // of the IMAP command that waits for its answer
	SASL      string // mechanisms that POP3's CAPA has told
	Early     []byte // came after the login
}

// mostEarly is what a reader before login has room for; the whole line fits into a packet.
const mostEarly = 8<<10 + 256

// word is a field of a line.
type word struct {
	key string
	at  *string
}

func (o *Opening) fields() []word {
	return []word{{"mechanism", &o.Mechanism}, {"tls", &o.TLS}, {"tag", &o.Tag}, {"sasl", &o.SASL}}
}

func (s *Session) fields() []word {
	return append([]word{{"service", &s.Service}, {"user", &s.User}, {"authcid", &s.Authcid}, {"authzid", &s.Authzid},
		{"credential", &s.Credential}, {"token", &s.token}}, s.Opening.fields()...)
}

// writeSession writes "session key=value …".
func writeSession(fields []word, early []byte) string {
	text := base64.RawURLEncoding.EncodeToString(early)
	b := []byte("session")
	for _, w := range append(fields, word{"early", &text}) {
		b = escape.Append(append(append(append(b, ' '), w.key...), '='), *w.at)
	}
	return string(b)
}

// readSession reads a line into its fields, each of which must be there once.
func readSession(line string, fields []word, early *[]byte) error {
	var text string
	fields = append(fields, word{"early", &text})
	words := strings.Split(line, " ")
	if len(words) != 1+len(fields) || words[0] != "session" {
		return errSession
	}
	for i, w := range fields {
		value, ok := strings.CutPrefix(words[1+i], w.key+"=")
		if !ok {
			return errSession
		}
		var err error
		if *w.at, err = escape.Parse(value); err != nil {
			return errSession
		}
	}
	var err error
	if *early, err = base64.RawURLEncoding.DecodeString(text); err != nil || len(*early) > mostEarly {
		return errSession
	}
	return nil
}

var errSession = errors.New("that is no session")

func (s *Session) String() string {
	ip := writeRemote(s.Remote)
	return writeSession(append(s.fields(), word{"ip", &ip}), s.Early)
}

// ParseSession reads what String writes.
func ParseSession(line string) (*Session, error) {
	s, ip := &Session{}, ""
	if err := readSession(line, append(s.fields(), word{"ip", &ip}), &s.Early); err != nil {
		return nil, err
	}
	var ok bool
	if s.Remote, ok = readRemote(ip); !ok || s.User == "" {
		return nil, errSession
	}
	return s, nil
}

// Identity is who has logged in, as our domains have it.
func (s *Session) Identity(where *domains.Domains) (*Identity, error) {
	a, err := where.Login(s.User)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.User, err)
	}
	return &Identity{Account: a, Authcid: s.Authcid, Authzid: s.Authzid, Credential: s.Credential, token: s.token}, nil
}

// session is that of an identity on a service.
func session(service string, remote netip.Addr, id *Identity, o Opening) *Session {
	return &Session{Opening: o, Service: service, Remote: remote, User: id.Account.User + "@" + id.Account.Domain,
		Authcid: id.Authcid, Authzid: id.Authzid, Credential: id.Credential, token: id.token}
}

// handTime bounds the wait until a session is taken: its account is opened, which may mean to read a large directory.
const handTime = time.Minute

// Hand gives a session to who serves it, at the other end of c, with its descriptor, which stays the caller's.
func (s *Session) Hand(ctx context.Context, c *net.UnixConn, f syscall.Conn) error {
	until := time.Now().Add(handTime)
	if d, ok := ctx.Deadline(); ok && d.Before(until) {
		until = d
	}
	c.SetDeadline(until)
	if err := packet.Send(c, s.String(), f); err != nil {
		return err
	}
	answer, files, err := packet.Receive(c)
	packet.Close(files)
	if err != nil {
		return err
	}
	switch answer {
	case "ok":
		return nil
	case "no " + tooMany:
		return ErrSessions
	}
	return errors.New(strings.TrimPrefix(answer, "no "))
}

// ErrSessions is why a session is not served whose account has as many as it may.
var ErrSessions = errors.New("too many sessions of this account")

const tooMany = "limit" // the same as a word of our answers

// Take takes a session over from mailauthd, at the other end of c: enter is asked whether it can be had, before the other end is
// told.
func Take(c *net.UnixConn, enter func(*Session) error) (*Session, net.Conn, error) {
	c.SetDeadline(time.Now().Add(handTime))
	line, files, err := packet.Receive(c)
	if err != nil {
		return nil, nil, err
	}
	defer packet.Close(files)
	if len(files) != 1 {
		return nil, nil, errSession
	}
	s, err := ParseSession(line)
	if err != nil {
		return nil, nil, err
	}
	conn, err := net.FileConn(files[0])
	if err != nil {
		return nil, nil, err
	}
	if err := enter(s); err != nil {
		conn.Close()
		why := err.Error()
		if errors.Is(err, ErrSessions) {
			why = tooMany
		}
		packet.Send(c, "no "+why, nil)
		return nil, nil, err
	}
	if err := packet.Send(c, "ok", nil); err != nil { // nobody waits any more, and the client has heard so
		conn.Close()
		return nil, nil, err
	}
	return s, conn, nil
}

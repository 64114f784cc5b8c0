package login

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/escape"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/internal/packet"
)

/*
Service answers smtpd, pop3d and imapd over a unix socket, so that they hold no hash and read no credential. A request is a line and so
is its answer; words are escaped as in order(5), "-" is the empty one:

	offers bound [certificate]                             ok SCRAM-SHA-256-PLUS SCRAM-SHA-256 …
	check imap 192.0.2.9 AUTHZID AUTHCID PASSWORD          ok ACCOUNT AUTHCID AUTHZID CREDENTIAL TOKEN
	                                                       no AUTHCID
	                                                       later WHY
	start imap 192.0.2.9 SCRAM-SHA-256-PLUS KIND=HEX …     go, or none: no such mechanism
	next BASE64                                            more BASE64, bad WHY, or what check answers
	still TOKEN                                            yes, or no: end the session
	session mechanism=… tls=… tag=… sasl=… early=…         ok, limit, or later WHY: with the client's descriptor, after an "ok" of the two above

A connection carries one exchange at a time and as many requests as its client likes. Who may connect, and for which services, is said by
uid, as the kernel tells it; what is no request ends the connection and nothing else (S131). Anybody may ask "still", once a connection: a Unix user's own
imapd does, and its token is nothing that others could make use of.
*/
type Service struct {
	Checker Verifier
	Allowed map[uint32][]string                                                        // uids, besides root and our own, and the services that each may ask about; nil: all
	Serve   func(ctx context.Context, s *Session, id *Identity, client *os.File) error // has a session served; nil: there are none
	Log     *maillog.Log

	IdleTime time.Duration // between requests; 0 is 10 minutes
}

const (
	longestRequest = 32 << 10
	requestTime    = 10 * time.Second // for a line that has begun, and for an answer to be taken
	mostClients    = 4096
)

// ServeAll answers whoever connects until ctx ends.
func (s *Service) ServeAll(ctx context.Context, listeners []net.Listener) error {
	slots := make(chan struct{}, mostClients)
	return listen.Serve(ctx, listeners, listen.Limits{}, func(c net.Conn) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			s.Handle(ctx, c)
		default:
			c.Close()
		}
	}, func(net.Conn) {})
}

// Handle answers one connection to its end.
func (s *Service) Handle(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer func() {
		if r := recover(); r != nil {
			s.Log.Warn("panic", fmt.Errorf("%v: %s", r, debug.Stack()))
		}
	}()
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return
	}
	uid, err := packet.Peer(u)
	if err != nil {
		s.Log.Refuse("login", "local", err.Error())
		return
	}
	services, allowed := s.Allowed[uid]
	stranger := uid != 0 && uid != uint32(os.Geteuid()) && !allowed
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now()) })
	defer stop()
	idle := s.IdleTime
	if idle == 0 {
		idle = 10 * time.Minute
	}
	d := &dialogue{s: s, services: services}
	defer d.drop()
	in := bufio.NewReaderSize(&withFile{UnixConn: u, d: d}, longestRequest)
	for ctx.Err() == nil {
		conn.SetReadDeadline(time.Now().Add(idle))
		if _, err := in.Peek(1); err != nil {
			return
		}
		conn.SetReadDeadline(time.Now().Add(requestTime))
		line, err := in.ReadSlice('\n')
		if err != nil {
			return // too long, or cut off
		}
		text := strings.TrimSuffix(string(line), "\n")
		clear(line)
		if stranger && !strings.HasPrefix(text, "still ") {
			s.Log.Refuse("login", "local", fmt.Sprintf("uid %d may not ask, see login.clients in mail.toml(5)", uid))
			return
		}
		answer, ok := d.answer(ctx, text)
		if !ok {
			s.Log.Refuse("login", "local", "that is no request")
			return
		}
		conn.SetWriteDeadline(time.Now().Add(requestTime))
		if _, err := conn.Write([]byte(answer + "\n")); err != nil || stranger {
			return
		}
	}
}

// dialogue is one connection.
type dialogue struct {
	s        *Service
	services []string // that may be asked about; nil: all
	x        Exchange // under way
	p        Peer
	who      *Session // who has just logged in, and may be served; nil: nobody
	id       *Identity
	file     *os.File // came with what is being read
	odd      bool     // more than one came
}

// may reports whether the client may ask about a service: whoever speaks with strangers for one of them tries no passwords for the others.
func (d *dialogue) may(service string) bool {
	return d.services == nil || slices.Contains(d.services, service)
}

func (d *dialogue) drop() {
	if d.file != nil {
		d.file.Close()
		d.file = nil
	}
}

// withFile reads from a connection and keeps the descriptor that comes with it.
type withFile struct {
	*net.UnixConn
	d *dialogue
}

func (w *withFile) Read(p []byte) (int, error) {
	var rights [64]byte
	n, on, flags, _, err := w.ReadMsgUnix(p, rights[:])
	if err != nil {
		return 0, err // with n = -1
	}
	for _, f := range packet.Files(rights[:on]) {
		if w.d.file == nil {
			w.d.file = f
		} else {
			f.Close()
			w.d.odd = true
		}
	}
	w.d.odd = w.d.odd || flags&unix.MSG_CTRUNC != 0
	return n, err
}

func (d *dialogue) answer(ctx context.Context, line string) (answer string, ok bool) {
	verb, rest, _ := strings.Cut(line, " ")
	if verb == "session" {
		return d.session(ctx, line)
	}
	d.who, d.id = nil, nil
	words, ok := readWords(rest)
	if !ok || d.file != nil || d.odd {
		return "", false
	}
	switch {
	case verb == "offers" && (len(words) == 1 || len(words) == 2 && words[1] == "certificate"):
		return strings.Join(append([]string{"ok"}, d.s.Checker.Offers(words[0] == "bound", len(words) == 2)...), " "), true
	case verb == "check" && len(words) == 5 && d.may(words[0]):
		r := Request{Service: words[0], Authzid: words[2], Authcid: words[3], Password: words[4]}
		if r.Remote, ok = readRemote(words[1]); !ok {
			return "", false
		}
		return d.check(ctx, r), true
	case verb == "start" && len(words) >= 3 && d.may(words[0]):
		return d.start(words)
	case verb == "next" && len(words) == 1 && d.x != nil:
		return d.next(ctx, words[0], strings.TrimSpace(rest) == "-")
	case verb == "still" && len(words) == 1:
		if d.s.Checker.Still(words[0]) {
			return "yes", true
		}
		return "no", true
	}
	return "", false
}

func (d *dialogue) check(ctx context.Context, r Request) string {
	id, err := d.s.Checker.Check(ctx, r)
	switch {
	case errors.Is(err, ErrCredentials):
		return writeWords("no", r.Authcid)
	case err != nil:
		d.s.Log.Warn("login", err)
		return writeWords("later", "see the log of mailauthd")
	}
	d.who, d.id = session(r.Service, r.Remote, id, Opening{}), id
	return writeWords("ok", d.who.User, id.Authcid, id.Authzid, id.Credential, id.token)
}

// session has the session of who has just logged in served.
func (d *dialogue) session(ctx context.Context, line string) (answer string, ok bool) {
	who, id := d.who, d.id
	if d.who = nil; who == nil || d.file == nil || d.odd || d.s.Serve == nil {
		return "", false
	}
	defer d.drop()
	if readSession(line, who.Opening.fields(), &who.Early) != nil {
		return "", false
	}
	if err := d.s.Serve(ctx, who, id, d.file); errors.Is(err, ErrSessions) {
		return tooMany, true
	} else if err != nil {
		d.s.Log.Warn(who.Service+" session of "+who.User, err)
		return writeWords("later", "see the log of mailauthd"), true
	}
	return "ok", true
}

func (d *dialogue) start(words []string) (string, bool) {
	p := Peer{Service: words[0], Bindings: map[string][]byte{}}
	var ok bool
	if p.Remote, ok = readRemote(words[1]); !ok {
		return "", false
	}
	for _, w := range words[3:] {
		kind, text, _ := strings.Cut(w, "=")
		b, err := hex.DecodeString(text)
		if err != nil {
			return "", false
		}
		if kind == "certificate" {
			p.Certificate = b
		} else {
			p.Bindings[kind] = b
		}
	}
	if d.x, ok = d.s.Checker.Start(words[2], p); !ok {
		d.x = nil
		return "none", true
	}
	d.p = p
	return "go", true
}

func (d *dialogue) next(ctx context.Context, word string, none bool) (string, bool) {
	var response []byte
	if !none {
		var err error
		if response, err = base64.StdEncoding.DecodeString(strings.TrimPrefix(word, "=")); err != nil {
			return "", false
		}
		if response == nil {
			response = []byte{}
		}
	}
	challenge, done, r, err := d.x.Next(response)
	switch {
	case err != nil:
		d.x = nil
		return writeWords("bad", err.Error()), true
	case !done:
		return "more =" + base64.StdEncoding.EncodeToString(challenge), true
	}
	d.x = nil
	r.Service, r.Remote = d.p.Service, d.p.Remote
	return d.check(ctx, r), true
}

func readRemote(word string) (netip.Addr, bool) {
	if word == "" {
		return netip.Addr{}, true
	}
	a, err := netip.ParseAddr(word)
	return a, err == nil
}

func writeRemote(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func writeWords(verb string, words ...string) string {
	b := []byte(verb)
	for _, w := range words {
		b = escape.Append(append(b, ' '), w)
	}
	return string(b)
}

func readWords(line string) (words []string, ok bool) {
	if line == "" {
		return nil, true
	}
	words = strings.Split(line, " ")
	for i, w := range words {
		var err error
		if words[i], err = escape.Parse(w); err != nil || w == "" {
			return nil, false
		}
	}
	return words, true
}

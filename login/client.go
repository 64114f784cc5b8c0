package login

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"pennypost/internal/domains"
	"pennypost/internal/packet"
)

// Verifier is what a server asks: a Checker in its own process, or a Client.
type Verifier interface {
	Check(ctx context.Context, r Request) (*Identity, error)
	Negotiator
	Reviser
}

// Client asks a Service, mailauthd or what stands in its place. It reads no credential; whatever goes wrong between the two is temporary.
type Client struct {
	Socket   string
	Domains  *domains.Domains // of the accounts that are named to us; nil: we know their names only
	Sessions bool             // who has logged in is handed over: Session is called for every identity

	mu     sync.Mutex
	idle   []*line              // connections nobody uses
	offers map[string]offersNow // by what is asked
}

// offersNow is an answer that serves for a while.
type offersNow struct {
	names []string
	until time.Time
}

const offersTime = 10 * time.Second

const (
	mostIdle   = 16
	answerTime = 90 * time.Second // the longest wait of a guess, and argon2id after it
)

// line is a connection to the Service.
type line struct {
	*net.UnixConn
	in *bufio.Reader
}

func (l *line) ask(ctx context.Context, request string) (verb string, words []string, err error) {
	return l.askWith(ctx, request, nil)
}

func (l *line) askWith(ctx context.Context, request string, f syscall.Conn) (verb string, words []string, err error) {
	until := time.Now().Add(answerTime)
	if d, ok := ctx.Deadline(); ok && d.Before(until) {
		until = d
	}
	l.SetDeadline(until)
	if err := packet.Write(l.UnixConn, request+"\n", f); err != nil {
		return "", nil, err
	}
	text, err := l.in.ReadString('\n')
	if err != nil {
		return "", nil, err
	}
	verb, rest, _ := strings.Cut(strings.TrimSuffix(text, "\n"), " ")
	words, ok := readWords(rest)
	if !ok {
		return "", nil, errAnswer
	}
	return verb, words, nil
}

var errAnswer = errors.New("mailauthd: an answer that is none")

// ask asks on a connection that is kept by the caller, who gives it back. A kept one that the other end has closed is made anew once.
func (c *Client) ask(ctx context.Context, request string) (l *line, verb string, words []string, err error) {
	for {
		l, fresh, err := c.dial(ctx)
		if err != nil {
			return nil, "", nil, err
		}
		verb, words, err = l.ask(ctx, request)
		if err == nil {
			return l, verb, words, nil
		}
		l.Close()
		if fresh || ctx.Err() != nil || errors.Is(err, errAnswer) {
			return nil, "", nil, fmt.Errorf("%s: %w", c.Socket, err)
		}
	}
}

func (c *Client) dial(ctx context.Context) (l *line, fresh bool, err error) {
	c.mu.Lock()
	if n := len(c.idle); n > 0 {
		l, c.idle = c.idle[n-1], c.idle[:n-1]
	}
	c.mu.Unlock()
	if l != nil {
		return l, false, nil
	}
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", c.Socket)
	if err != nil {
		return nil, true, err
	}
	return &line{conn.(*net.UnixConn), bufio.NewReader(conn)}, true, nil
}

func (c *Client) back(l *line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) < mostIdle {
		c.idle = append(c.idle, l)
		return
	}
	l.Close()
}

// Check asks.
func (c *Client) Check(ctx context.Context, r Request) (*Identity, error) {
	if r.outcome != nil {
		return r.outcome.id, r.outcome.err
	}
	l, verb, words, err := c.ask(ctx, writeWords("check", r.Service, writeRemote(r.Remote), r.Authzid, r.Authcid, r.Password))
	if err != nil {
		return nil, err
	}
	return c.found(l, verb, words)
}

// found reads who it is, and gives the connection back unless it will be asked to serve them.
func (c *Client) found(l *line, verb string, words []string) (*Identity, error) {
	id, err := c.identity(verb, words)
	if err == nil && c.Sessions {
		id.asked = l
	} else {
		c.back(l)
	}
	return id, err
}

// Leave forgets who has just logged in: there will be no session.
func (c *Client) Leave(id *Identity) {
	if l := id.asked; l != nil {
		id.asked = nil
		c.back(l)
	}
}

// Session has the session of who has just logged in served by who has the mail. f is the client's connection, or what leads to it, and stays ours.
func (c *Client) Session(ctx context.Context, id *Identity, o Opening, f syscall.Conn) error {
	l := id.asked
	if id.asked = nil; l == nil {
		return errors.New("mailauthd has not been asked, or has served already")
	}
	verb, words, err := l.askWith(ctx, writeSession(o.fields(), o.Early), f)
	if err != nil {
		l.Close()
		return fmt.Errorf("%s: %w", c.Socket, err)
	}
	c.back(l)
	switch verb {
	case "ok":
		return nil
	case tooMany:
		return ErrSessions
	}
	return fmt.Errorf("mailauthd: %s", strings.Join(words, " "))
}

func (c *Client) identity(verb string, words []string) (*Identity, error) {
	switch {
	case verb == "no":
		return nil, ErrCredentials
	case verb == "later" && len(words) == 1:
		return nil, errors.New("mailauthd: " + words[0])
	case verb != "ok" || len(words) != 5:
		return nil, errAnswer
	}
	if c.Domains == nil {
		name, domain := words[0], ""
		if at := strings.LastIndexByte(name, '@'); at >= 0 {
			name, domain = name[:at], name[at+1:]
		}
		return &Identity{Account: &domains.Account{User: name, Domain: domain}, Authcid: words[1], Authzid: words[2], Credential: words[3], token: words[4]}, nil
	}
	a, err := c.Domains.Login(words[0])
	if errors.Is(err, domains.ErrNoAccount) { // its domains are not ours
		return nil, fmt.Errorf("mailauthd knows %s and we do not", words[0])
	}
	if err != nil {
		return nil, err
	}
	return &Identity{Account: a, Authcid: words[1], Authzid: words[2], Credential: words[3], token: words[4]}, nil
}

// Offers asks; what is offered while nobody answers is what needs nothing but a later question.
func (c *Client) Offers(bound, certificate bool) []string {
	word := "plain"
	if bound {
		word = "bound"
	}
	if certificate {
		word += " certificate"
	}
	c.mu.Lock()
	known := c.offers[word]
	c.mu.Unlock()
	if time.Now().Before(known.until) {
		return known.names
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	l, verb, words, err := c.ask(ctx, "offers "+word)
	if err != nil {
		return Mechanisms
	}
	c.back(l)
	if verb != "ok" {
		return Mechanisms
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.offers == nil {
		c.offers = map[string]offersNow{}
	}
	c.offers[word] = offersNow{words, time.Now().Add(offersTime)}
	return words
}

// Still asks; while nobody answers, sessions go on.
func (c *Client) Still(token string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	l, verb, _, err := c.ask(ctx, writeWords("still", token))
	if err != nil {
		return true
	}
	c.back(l)
	return verb != "no"
}

// Start begins an exchange on a connection of its own. What shows us a password needs none: Check asks.
func (c *Client) Start(mechanism string, p Peer) (Exchange, bool) {
	if x, ok := Start(mechanism); ok {
		return x, ok
	}
	words := []string{p.Service, writeRemote(p.Remote), mechanism}
	request := writeWords("start", words...)
	if len(p.Certificate) > 0 {
		request += " certificate=" + hex.EncodeToString(p.Certificate)
	}
	for kind, data := range p.Bindings {
		request += " " + kind + "=" + hex.EncodeToString(data)
	}
	l, verb, _, err := c.ask(context.Background(), request)
	if err != nil {
		return nil, false
	}
	if verb != "go" {
		c.back(l)
		return nil, false
	}
	x := &remoteExchange{c: c, l: l}
	l.SetDeadline(time.Time{})
	return x, true
}

// remoteExchange is an exchange that a Service speaks. One that a client of ours leaves in the middle is closed with the memory it takes.
type remoteExchange struct {
	c *Client
	l *line // nil when it is over
}

func (x *remoteExchange) Next(response []byte) (challenge []byte, done bool, r Request, err error) {
	if x.l == nil {
		return nil, false, Request{}, errFinished
	}
	if len(response) > maxSCRAM {
		x.end(false)
		return nil, false, Request{}, errTooLong
	}
	request := "next -"
	if response != nil {
		request = writeWords("next", "="+base64.StdEncoding.EncodeToString(response))
	}
	verb, words, err := x.l.ask(context.Background(), request)
	switch {
	case err != nil: // temporary, and Check will say so
		x.end(false)
		return nil, true, Request{outcome: &outcome{err: err}}, nil
	case verb == "more" && len(words) == 1:
		challenge, err = base64.StdEncoding.DecodeString(strings.TrimPrefix(words[0], "="))
		return challenge, false, Request{}, err
	case verb == "bad" && len(words) == 1:
		x.end(true)
		return nil, false, Request{}, errors.New(words[0])
	}
	id, err := x.c.found(x.l, verb, words)
	x.l = nil
	r.outcome = &outcome{id, err}
	switch {
	case err == nil:
		r.Authcid, r.Authzid = id.Authcid, id.Authzid
	case verb == "no" && len(words) == 1:
		r.Authcid = words[0]
	}
	return nil, true, r, nil
}

func (x *remoteExchange) end(keep bool) {
	if x.l == nil {
		return
	}
	if keep {
		x.c.back(x.l)
	} else {
		x.l.Close()
	}
	x.l = nil
}

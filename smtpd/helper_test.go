package smtpd

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/internal/maillog"
	"pennypost/login"
	"pennypost/queue"
)

// memory is a spool that keeps files in a map and can fail.
type memory struct {
	mu    sync.Mutex
	n     int
	files map[string]string // committed: "mx/ID" or "mx/ID.m"
	open  int               // neither committed nor aborted
	hints int
	fail  func(step string) error // begin, write, commit
	free  uint64
	none  bool // keep no text
}

func newMemory() *memory { return &memory{files: map[string]string{}, free: 1 << 40} }

func (m *memory) NewID() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n++
	return fmt.Sprintf("%017d-a", m.n)
}

func (m *memory) step(name string) error {
	if m.fail == nil {
		return nil
	}
	return m.fail(name)
}

func (m *memory) Begin(producer string, env *queue.Envelope) (Writer, error) {
	return m.begin(producer+"/"+env.ID, env.Append(nil))
}

func (m *memory) BeginReady(producer, id string) (Writer, error) {
	return m.begin(producer+"/"+id+".m", nil)
}

func (m *memory) begin(name string, head []byte) (Writer, error) {
	if err := m.step("begin"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.open++
	m.mu.Unlock()
	return &memoryWriter{m: m, name: name, text: *bytes.NewBuffer(head)}, nil
}

func (m *memory) Free() (uint64, uint64, error) { return m.free, 1000, nil }

type memoryWriter struct {
	m    *memory
	name string
	text bytes.Buffer
	late int // where Later was said
	done bool
}

func (w *memoryWriter) Write(p []byte) (int, error) {
	if err := w.m.step("write"); err != nil {
		return 0, err
	}
	if w.m.none {
		return len(p), nil
	}
	return w.text.Write(p)
}

func (w *memoryWriter) Later(int) { w.late = w.text.Len() }

func (w *memoryWriter) Fill(checks string, text func(int) []byte) error {
	if err := w.m.step("fill"); err != nil {
		return err
	}
	all := w.text.String()
	w.text.Reset()
	head := all[:w.late]
	if !strings.HasSuffix(w.name, ".m") {
		head = strings.Replace(head, "\n\n", "\nchecks: "+checks+"\n\n", 1)
	}
	w.text.WriteString(head + string(text(0)) + all[w.late:])
	return nil
}

func (w *memoryWriter) Commit() error {
	w.end()
	if err := w.m.step("commit"); err != nil {
		return err
	}
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if !w.m.none {
		w.m.files[w.name] = w.text.String()
	}
	return nil
}

func (w *memoryWriter) end() {
	if !w.done {
		w.done = true
		w.m.mu.Lock()
		w.m.open--
		w.m.mu.Unlock()
	}
}

func (w *memoryWriter) Abort() { w.end() }
func (w *memoryWriter) Hint() {
	w.m.mu.Lock()
	w.m.hints++
	w.m.mu.Unlock()
}

// people are the domain example.org: bob takes mail as it comes, dora forwards hers, full is over quota, aliases lead to
// those behind the words in their names (team.nobody.bob to nobody and bob, loop to itself, deep0 to deep1 and on); lookups for broken.example.org fail.
type people struct{}

func (people) Lookup(to address.Path) (domains.Answer, error) {
	switch to.Domain {
	case "example.org":
	case "broken.example.org":
		return domains.Answer{}, fmt.Errorf("open users: input/output error")
	default:
		return domains.Answer{}, nil
	}
	name, detail, _ := strings.Cut(to.Unquoted(), "+")
	a := &domains.Account{User: strings.ToLower(name), Domain: "example.org"}
	switch a.User {
	case "bob", "alice", "full", "carol":
	case "postmaster":
		a.Postmaster = true
	case "dora":
		a.Forward = []domains.ForwardLine{{Kind: '&', Target: address.Path{Local: "d", Domain: "example.net"}}}
	case "all":
		return alias("bob"), nil
	case "loop":
		return alias("loop"), nil
	default:
		if n, ok := strings.CutPrefix(a.User, "deep"); ok {
			i, _ := strconv.Atoi(n)
			return alias("deep" + strconv.Itoa(i+1)), nil
		}
		if names, ok := strings.CutPrefix(a.User, "team."); ok {
			return alias(strings.Split(names, ".")...), nil
		}
		return domains.Answer{Kind: domains.Unknown}, nil
	}
	return domains.Answer{Kind: domains.Mailbox, Account: a, Detail: detail}, nil
}

// alias leads to names of example.org; outside and broken are names elsewhere.
func alias(names ...string) domains.Answer {
	a := domains.Answer{Kind: domains.Alias}
	for _, name := range names {
		domain := map[string]string{"outside": "example.net", "broken": "broken.example.org"}[name]
		if domain == "" {
			domain = "example.org"
		}
		a.Targets = append(a.Targets, address.Path{Local: name, Domain: domain})
	}
	return a
}

func (people) Owns(a *domains.Account, from address.Path) (bool, error) {
	name, _, _ := strings.Cut(from.Unquoted(), "+")
	return from.DomainUnicode() == a.Domain && strings.EqualFold(name, a.User), nil
}

// door lets alice in with "secret".
type door struct{}

func (door) Check(_ context.Context, r login.Request) (*login.Identity, error) {
	if r.Authcid == "busy@example.org" {
		return nil, login.ErrBusy
	}
	if r.Authcid != "alice@example.org" || r.Password != "secret" || r.Service != "smtp" {
		return nil, login.ErrCredentials
	}
	return &login.Identity{Account: &domains.Account{User: "alice", Domain: "example.org"}, Authcid: r.Authcid, Credential: "main"}, nil
}

// certificate is made once; it is for mx.example.org.
var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.org"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// buffer is a log that can be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newServer is a server with the people above.
func newServer(t testing.TB) (*Server, *memory, *buffer) {
	t.Helper()
	log := &buffer{}
	spool := newMemory()
	set := config.Default().SMTPD
	set.MaxSize = 1 << 20
	srv := &Server{
		Hostname: "mx.example.org", Origin: "example.org", Settings: &set,
		Spool: spool, Domains: people{}, Login: door{},
		TLS:   &tls.Config{Certificates: []tls.Certificate{certificate()}, MinVersion: tls.VersionTLS12, NextProtos: []string{"smtp"}},
		Log:   &maillog.Log{Program: "smtpd", Out: log},
		Sleep: func(time.Duration) {},
	}
	return srv, spool, log
}

// connect is a connection to a service of srv over loopback.
func connect(t testing.TB, srv *Server, service string) net.Conn {
	t.Helper()
	srv.prepare()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	svc, ok := serviceNamed(service)
	if !ok {
		t.Fatal("no service", service)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.serve(svc, server)
	}()
	t.Cleanup(func() {
		client.Close()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("the session does not end")
		}
	})
	client.SetDeadline(time.Now().Add(10 * time.Second))
	return client
}

package imapd

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/internal/maillog"
	"pennypost/login"
	"pennypost/maildir"
	"pennypost/maildir/mailbox"
)

var update = flag.Bool("update", false, "rewrite the S: lines of the transcripts")

// house is a server for example.org, whose users are alice, bob and carol, each with the password "secret word"; dora's domain is another.
type house struct {
	*testing.T
	srv *Server
	dir string
	all *domains.Domains

	quota     int64
	quotaMost int64
	delimiter string
	prefix    string
	layout    string
}

var certificate = sync.OnceValue(func() tls.Certificate {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.org"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// Check lets them in.
func (h *house) Check(_ context.Context, r login.Request) (*login.Identity, error) {
	if r.Password != "secret word" || r.Service != "imap" {
		return nil, login.ErrCredentials
	}
	a, err := h.all.Login(r.Authcid)
	if err != nil {
		return nil, login.ErrCredentials
	}
	return &login.Identity{Account: a, Authcid: a.Path().String()}, nil
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{T: t, dir: t.TempDir(), delimiter: "/", layout: maildir.PlusPlus}
	for _, user := range []string{"example.org/users/alice", "example.org/users/bob", "example.org/users/carol.x", "example.net/users/dora"} {
		if err := os.MkdirAll(filepath.Join(h.dir, "domains", user), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i, user := range []string{"alice", "bob", "carol.x"} { // in different accounts UIDVALIDITY is never the same by chance
		for _, dir := range []string{"new", "cur", "tmp"} {
			if err := os.MkdirAll(filepath.Join(h.maildir(user), dir), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(h.maildir(user), "mb-uidvalidity"), []byte(strconv.Itoa(2_000_000_000+i*100_000_000)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// open makes the server, after the house was furnished.
func (h *house) open() {
	h.all = domains.Open(filepath.Join(h.dir, "domains"), domains.Settings{MailPath: h.dir + "/mail/%d/%n/Maildir", DefaultDomain: "example.org",
		Layout: h.layout, Delimiter: h.delimiter, Prefix: h.prefix, Quota: h.quota, QuotaMessages: h.quotaMost})
	h.srv = &Server{
		Hostname: "mx.example.org",
		Checker:  h,
		Domains:  h.all,
		Account: func(id *login.Identity) (string, mailbox.Options) {
			a := id.Account
			return a.Maildir, mailbox.Options{Layout: a.Layout, Delimiter: a.Delimiter[0], Prefix: a.Prefix, Quota: a.Quota, QuotaMost: a.QuotaMessages, ExpungedDays: 14, Host: "mx"}
		},
		TLS:       &tls.Config{Certificates: []tls.Certificate{certificate()}},
		MaxSize:   100_000,
		IdleTime:  20 * time.Second,
		LoginTime: 20 * time.Second,
		Log:       &maillog.Log{Program: "imapd", Out: io.Discard},
	}
}

func (h *house) maildir(user string) string {
	return filepath.Join(h.dir, "mail/example.org", user, "Maildir")
}

// client is the other end of a connection.
type client struct {
	*testing.T
	net.Conn
	in *bufio.Reader
}

func (h *house) dial(implicit bool) *client {
	h.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		h.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		h.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.srv.Handle(context.Background(), s, implicit)
	}()
	h.Cleanup(func() { c.Close(); <-done })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	k := &client{h.T, c, bufio.NewReader(c)}
	if implicit {
		k.tls()
	}
	return k
}

func (c *client) tls() {
	c.Conn = tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	c.in = bufio.NewReader(c.Conn)
}

func (c *client) line() string {
	text, err := c.in.ReadString('\n')
	if err == io.EOF && text == "" {
		return "(closed)"
	}
	if err != nil && text == "" {
		return "(" + err.Error() + ")"
	}
	if rest, ok := strings.CutSuffix(text, "\r\n"); ok {
		return rest
	}
	return text + "(no CRLF)"
}

// say sends a command and gives its responses; the tagged one is last.
func (c *client) say(command string) (lines []string) {
	c.Helper()
	if _, err := io.WriteString(c.Conn, command+"\r\n"); err != nil {
		c.Fatal(err)
	}
	tag, _, _ := strings.Cut(command, " ")
	for {
		line := c.line()
		lines = append(lines, line)
		if strings.HasPrefix(line, tag+" ") || strings.HasPrefix(line, "(") {
			return lines
		}
	}
}

// want sends a command and wants its tagged response to begin so.
func (c *client) want(command, answer string) []string {
	c.Helper()
	lines := c.say(command)
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, answer) {
		c.Fatalf("%s: got %q, want %q", command, lines, answer)
	}
	return lines
}

// enter is a client that has logged in.
func (h *house) enter(user string) *client {
	h.Helper()
	c := h.dial(true)
	c.line()
	c.want("in LOGIN "+user+` "secret word"`, "in OK")
	return c
}

// TestSessions plays the transcripts. "C:" is sent, "C>" is sent together with the next C, "S:" is received; "bob:C:" and "bob:S:" are
// another connection, of bob. "TLS" is a handshake, "IMPLICIT" at the top is IMAPS, "USER alice" logs in there and drops what that says.
// "FILE user path text" puts a file into a Maildir, "MV user path path" renames one, "RM user path" removes it. "SET key value" furnishes. Numbers that are never
// the same twice are written as $name in S: lines: they stand for what came there first.
func TestSessions(t *testing.T) {
	files, _ := filepath.Glob("testdata/session/*.txt")
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := &play{house: newHouse(t), clients: map[string]*client{}, values: map[string]string{}, tags: map[string]string{}, retired: map[string]bool{}}
			script := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
			got := p.play(script)
			if *update {
				os.WriteFile(file, []byte(strings.Join(got, "\n")+"\n"), 0o644)
				return
			}
			for i := range got {
				if i >= len(script) || got[i] != script[i] {
					t.Fatalf("line %d:\n got %s\nwant %s", i+1, got[i], script[i])
				}
			}
		})
	}
}

// play is a transcript on stage.
type play struct {
	*house
	clients map[string]*client
	values  map[string]string // of what changes
	names   []string          // of them, in order
	retired map[string]bool   // those that stand for their value in C: lines only
	send    strings.Builder
	tags    map[string]string // of the commands under way
}

// changing finds what is different in every run.
var changing = regexp.MustCompile(`UIDVALIDITY \d+|UIDNEXT \d{6,}|MODSEQ \(?\d+\)?|MAILBOXID \([^)]*\)|(APPENDUID|COPYUID) \d+|EMAILID \([^)]*\)|THREADID \([^)]*\)|VANISHED \(EARLIER\) \d{6,}`)

var digits = regexp.MustCompile(`\d{4,}|F[0-9a-f]{20,}|E[0-9a-f]{32}`)

// steady writes $name for a value that changes; the same value has the same name.
func (p *play) steady(line string) string {
	if strings.Contains(line, "[CLOSED]") { // mod-sequences of two mailboxes may be the same or not, by the second
		for name, value := range p.values {
			if len(value) > 12 && strings.Trim(value, "0123456789") == "" {
				p.retired[name] = true
			}
		}
	}
	return changing.ReplaceAllStringFunc(line, func(found string) string {
		return digits.ReplaceAllStringFunc(found, func(value string) string {
			for _, name := range p.names {
				if p.values[name] == value && !p.retired[name] {
					return "$" + name
				}
			}
			name := string(rune('a' + len(p.names)%26))
			if n := len(p.names) / 26; n > 0 {
				name += strconv.Itoa(n)
			}
			p.names = append(p.names, name)
			p.values[name] = value
			return "$" + name
		})
	})
}

var named = regexp.MustCompile(`\$[a-z]\d*`)

// say is a C: line with the names replaced.
func (p *play) expand(line string) string {
	line = named.ReplaceAllStringFunc(line, func(name string) string {
		if value, ok := p.values[name[1:]]; ok {
			return value
		}
		return name
	})
	return strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\0`, "\x00", `\xff`, "\xff", `\xcc\x88`, "\xcc\x88").Replace(line)
}

func (p *play) client(who string) *client {
	if c := p.clients[who]; c != nil {
		return c
	}
	if p.srv == nil {
		p.open()
	}
	p.clients[who] = p.enter(strings.TrimRight(who, "0123456789"))
	return p.clients[who]
}

func (p *play) play(script []string) (got []string) {
	if !slices.ContainsFunc(script, func(l string) bool { return strings.HasPrefix(l, "USER ") }) {
		p.clients[""] = nil
	}
	told := "-" // -update: whose last answer is written down already
	for _, l := range script {
		who, rest := "", l
		if name, after, ok := strings.Cut(l, ":"); ok && (strings.HasPrefix(after, "C: ") || strings.HasPrefix(after, "S:") || strings.HasPrefix(after, "C> ")) {
			who, rest = name, after
		}
		word, args, _ := strings.Cut(rest, " ")
		switch word {
		case "SET":
			p.set(args)
		case "FILE", "MV", "RM":
			p.file(word, args)
		case "IMPLICIT", "PLAIN":
			p.open()
			p.clients[""] = p.dial(word == "IMPLICIT")
		case "USER":
			if p.srv == nil {
				p.open()
			}
			p.clients[""] = p.enter(args)
		case "TLS":
			p.clients[""].tls()
		case "C>":
			p.begin(who, args)
			p.send.WriteString(p.expand(args) + "\r\n")
		case "C:", "C-": // C- is sent without an end of line
			end := "\r\n"
			if word == "C-" {
				end = ""
			}
			p.send.WriteString(p.expand(args) + end)
			p.begin(who, args)
			io.WriteString(p.client(who).Conn, p.send.String())
			p.send.Reset()
			if *update && word == "C:" {
				got = append(append(got, l), p.answer(who)...)
				told = who
				continue
			}
		case "S:", "S":
			if told == who {
				continue
			}
			l = strings.TrimSuffix(l, rest) + strings.TrimRight("S: "+p.steady(p.client(who).line()), " ")
		}
		told = "-"
		got = append(got, l)
	}
	return got
}

// begin notes the tag of a command, unless it goes on.
func (p *play) begin(who, line string) {
	if p.tags[who] == "" {
		p.tags[who], _, _ = strings.Cut(line, " ")
	}
}

// answer is what comes until a command is answered or may go on.
func (p *play) answer(who string) (lines []string) {
	prefix := ""
	if who != "" {
		prefix = who + ":"
	}
	for {
		line := p.client(who).line()
		lines = append(lines, strings.TrimRight(prefix+"S: "+p.steady(line), " "))
		switch {
		case strings.HasPrefix(line, "+ "):
			return lines
		case strings.HasPrefix(line, p.tags[who]+" "), strings.HasPrefix(line, "("), strings.HasPrefix(line, "* BAD"):
			p.tags[who] = ""
			return append(lines, p.drain(who, prefix)...)
		}
	}
}

// drain is what comes after that, of commands sent together.
func (p *play) drain(who, prefix string) (lines []string) {
	c := p.client(who)
	defer c.SetDeadline(time.Now().Add(20 * time.Second))
	c.SetReadDeadline(time.Now().Add(60 * time.Millisecond))
	for {
		line := c.line()
		if strings.HasPrefix(line, "(") && line != "(closed)" {
			return lines
		}
		lines = append(lines, strings.TrimRight(prefix+"S: "+p.steady(line), " "))
		if line == "(closed)" {
			return lines
		}
	}
}

func (p *play) set(args string) {
	key, value, _ := strings.Cut(args, " ")
	switch key {
	case "quota":
		q, err := config.ParseQuota(value)
		if err != nil {
			p.Fatal(err)
		}
		p.quota, p.quotaMost = q.Octets, q.Messages
	case "delimiter":
		p.delimiter = value
	case "prefix":
		p.prefix = value
	case "layout":
		p.layout = value
	default:
		p.Fatal("SET " + args)
	}
}

func (p *play) file(word, args string) {
	user, rest, _ := strings.Cut(args, " ")
	path, text, _ := strings.Cut(rest, " ")
	path = filepath.Join(p.maildir(user), path)
	var err error
	switch word {
	case "FILE":
		os.MkdirAll(filepath.Dir(path), 0o700)
		for _, dir := range []string{"new", "cur", "tmp"} {
			os.MkdirAll(filepath.Join(filepath.Dir(filepath.Dir(path)), dir), 0o700)
		}
		temp := filepath.Join(filepath.Dir(filepath.Dir(path)), "tmp", filepath.Base(path))
		if err = os.WriteFile(temp, []byte(p.expand(text)), 0o600); err == nil {
			err = os.Rename(temp, path)
		}
	case "MV":
		err = os.Rename(path, filepath.Join(p.maildir(user), text))
	case "RM":
		err = os.Remove(path)
	}
	if err != nil {
		p.Fatal(err)
	}
}

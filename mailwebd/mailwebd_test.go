package mailwebd

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pennypost/internal/config"
	"pennypost/internal/maillog"
	"pennypost/mailcert"
	"pennypost/mailkey"
)

// quiet is where a log goes that tests read.
type quiet struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (q *quiet) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.b.Write(p)
}

func (q *quiet) String() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.b.String()
}

// setUp makes two domains, a certificate and a configuration.
func setUp(t *testing.T) (*config.Config, *maillog.Log, *quiet) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"example.org", "example.net"} {
		if err := os.MkdirAll(filepath.Join(dir, "domains", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put(t, dir+"/domains/example.org/mta-sts", "enforce\n")
	put(t, dir+"/domains/example.net/mta-sts", "off\n")
	pair, err := mailcert.Open(dir+"/mx.pem", dir+"/mx.key")
	if err != nil {
		t.Fatal(err)
	}
	defer pair.Close()
	if err := pair.Self([]string{"mx.example.org", "mta-sts.example.org", "autoconfig.example.org"}, ""); err != nil {
		t.Fatal(err)
	}
	conf := &config.Config{Hostname: "MX.example.org", Domains: dir + "/domains"}
	conf.TLS = config.TLS{Certificates: []string{dir + "/mx.pem"}, Keys: []string{dir + "/mx.key"}}
	conf.IMAPD.IMAPS, conf.IMAPD.IMAP, conf.SMTPD.Submissions = []string{":993"}, []string{":143"}, []string{":465"}
	out := &quiet{}
	return conf, &maillog.Log{Program: "mailwebd", Out: out}, out
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// start serves on loopback, and returns the addresses by service.
func start(t *testing.T, srv *Server) map[string]string {
	t.Helper()
	on, at := map[string][]net.Listener{}, map[string]string{}
	for name := range configured {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		on[name], at[name] = []net.Listener{l}, l.Addr().String()
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- srv.Serve(ctx, on) }()
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
	return at
}

// say sends a request as it is and returns all that is answered.
func say(t *testing.T, c net.Conn, request string) string {
	t.Helper()
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, request)
	text, err := io.ReadAll(c)
	if err != nil && len(text) == 0 {
		return err.Error()
	}
	return string(text)
}

func dial(t *testing.T, at, sni string, conf *tls.Config) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	conf.ServerName = sni
	return tls.Client(c, conf)
}

// The policy comes as RFC 8461 section 3.3 wants it fetched: with the name of the policy host in SNI and a certificate for it.
func TestPolicy(t *testing.T) {
	conf, log, out := setUp(t)
	srv, _, err := New(conf, log)
	if err != nil {
		t.Fatal(err)
	}
	at := start(t, srv)
	roots := x509.NewCertPool()
	text, err := os.ReadFile(conf.TLS.Certificates[0])
	if err != nil || !roots.AppendCertsFromPEM(text) {
		t.Fatal(err)
	}
	got := say(t, dial(t, at["https"], "mta-sts.example.org", &tls.Config{RootCAs: roots}), "GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.example.org\r\nConnection: close\r\n\r\n")
	head, body, _ := strings.Cut(got, "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") || !strings.Contains(head, "\r\nContent-Type: text/plain; charset=utf-8\r\n") ||
		body != "version: STSv1\r\nmode: enforce\r\nmx: mx.example.org\r\nmax_age: 2592000\r\n" {
		t.Errorf("%s", got)
	}
	store, _ := mailkey.Open(conf.Domains)
	if policy, err := store.STS(mailkey.Name{Dir: "example.org", ASCII: "example.org"}, mailkey.Host{Name: "mx.example.org"}); err != nil || string(policy) != body {
		t.Errorf("mailkey says %q, %v", policy, err)
	}
	if said := out.String(); !strings.Contains(said, "autoconfig.example.net") || strings.Contains(said, "not mta-sts.example") {
		t.Errorf("warned of the names without a certificate: %s", said)
	}
}

// There is what there is, at exactly its place, and nothing else: no redirect, nothing of a request in an answer.
func TestS041Routes(t *testing.T) {
	conf, log, _ := setUp(t)
	srv, _, err := New(conf, log)
	if err != nil {
		t.Fatal(err)
	}
	at := start(t, srv)
	for _, c := range []struct {
		method, host, path string
		code               int
	}{
		{"GET", "mta-sts.example.org", "/.well-known/mta-sts.txt", 200},
		{"HEAD", "MTA-STS.Example.ORG.:443", "/.well-known/mta-sts.txt", 200},
		{"GET", "mta-sts.example.org", "/.well-known/mta-sts.txt?x=1", 200},
		{"GET", "mta-sts.example.net", "/.well-known/mta-sts.txt", 404}, // off
		{"GET", "example.org", "/.well-known/mta-sts.txt", 404},
		{"GET", "mta-sts.other.example", "/.well-known/mta-sts.txt", 404},
		{"GET", "mta-sts.example.org", "/.well-known/mta-sts.txt/", 404},
		{"GET", "mta-sts.example.org", "/.well-known//mta-sts.txt", 404},
		{"GET", "mta-sts.example.org", "/x/../.well-known/mta-sts.txt", 404},
		{"GET", "mta-sts.example.org", "/.well-known/mta-sts%2etxt", 404},
		{"GET", "mta-sts.example.org", "/.WELL-KNOWN/mta-sts.txt", 404},
		{"GET", "mta-sts.example.org", "/", 404},
		{"GET", "mta-sts.example.org", "/../../etc/passwd", 404},
		{"GET", "../../etc", "/passwd", 404},
		{"POST", "mta-sts.example.org", "/.well-known/mta-sts.txt", 405},
		{"OPTIONS", "mta-sts.example.org", "*", 405},
		{"GET", "autoconfig.example.org", "/mail/config-v1.1.xml?emailaddress=%3Cscript%3E", 200},
		{"GET", "autoconfig.example.org", "/.well-known/autoconfig/mail/config-v1.1.xml", 200},
		{"GET", "example.net", "/.well-known/autoconfig/mail/config-v1.1.xml", 200},
		{"GET", "example.net", "/mail/config-v1.1.xml", 404},
		{"CONNECT", "example.net:25", "example.net:25", 405},
		{"GET", "", "/.well-known/mta-sts.txt", 404},
		{"GET", "mta-sts.example.org", "http://mta-sts.example.org/.well-known/mta-sts.txt", 200}, // the form proxies get
		{"GET", "mta-sts.example.org", "http://other.example/.well-known/mta-sts.txt", 404},
	} {
		conn, err := net.Dial("tcp", at["http"])
		if err != nil {
			t.Fatal(err)
		}
		got := say(t, conn, c.method+" "+c.path+" HTTP/1.1\r\nHost: "+c.host+"\r\nConnection: close\r\n\r\n")
		if want := fmt.Sprintf("HTTP/1.1 %d ", c.code); !strings.HasPrefix(got, want) && !(c.host == "../../etc" && strings.HasPrefix(got, "HTTP/1.1 400")) {
			t.Errorf("%s %s%s: %.60q, want %d", c.method, c.host, c.path, got, c.code)
		}
		if strings.Contains(got, "Location:") || strings.Contains(got, "script") || len(got) > maxPage {
			t.Errorf("%s %s%s: %s", c.method, c.host, c.path, got)
		}
	}
	got := say(t, dial(t, at["https"], "autoconfig.example.org", &tls.Config{InsecureSkipVerify: true}), "GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.example.org\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 421 ") {
		t.Errorf("asked for one name and then another: %.60q", got)
	}
	if _, err := tls.Dial("tcp", at["https"], &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}); err == nil {
		t.Error("HTTP/2")
	}
}

// A client can take neither much of us nor long.
func TestLimits(t *testing.T) {
	conf, log, _ := setUp(t)
	srv, _, err := New(conf, log)
	if err != nil {
		t.Fatal(err)
	}
	srv.Limits.PerIPv4 = 2
	at := start(t, srv)
	connect := func() net.Conn {
		c, err := net.Dial("tcp", at["http"])
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if got := say(t, connect(), "GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", 32<<10)+"\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 431 ") && !strings.Contains(got, "reset") {
		t.Errorf("a large header: %.60q", got)
	}
	a, b := connect(), connect()
	defer a.Close()
	defer b.Close()
	var got string
	for range 100 { // the two are counted when they are accepted
		if got = say(t, connect(), ""); strings.HasPrefix(got, "HTTP/1.1 503 ") {
			break
		}
	}
	if !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("a third connection: %q", got)
	}
	a.Close()
	b.Close()
	for range 1000 {
		if got = say(t, connect(), "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); strings.HasPrefix(got, "HTTP/1.1 404 ") {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("closed connections still count: %q", got)
}

// A slip of an editor takes no policy away; what is written right is there after a reload.
func TestReload(t *testing.T) {
	conf, log, out := setUp(t)
	site, err := FromConfig(conf, log.Warn)
	if err != nil {
		t.Fatal(err)
	}
	mode := func() string {
		p, _ := site.find("mta-sts.example.org", stsPath)
		_, rest, _ := strings.Cut(p.Text, "mode: ")
		word, _, _ := strings.Cut(rest, "\r\n")
		return word
	}
	file := conf.Domains + "/example.org/mta-sts"
	for _, c := range []struct{ text, want string }{{"enforce", "enforce"}, {"enfocre", "enforce"}, {"testing", "testing"}, {"off", ""}, {"none", "none"}} {
		put(t, file, c.text)
		site.Reload()
		if got := mode(); got != c.want {
			t.Errorf("%s: %q, want %q", c.text, got, c.want)
		}
	}
	if said := out.String(); !strings.Contains(said, "enfocre") {
		t.Errorf("%s", said)
	}
	put(t, file, "off")
	if mode() != "none" {
		t.Error("made anew at each request")
	}
	site.made = time.Now().Add(-2 * every)
	if mode() != "" {
		t.Error("not made anew")
	}
}

func TestAutoconfig(t *testing.T) {
	conf, log, _ := setUp(t)
	site, err := FromConfig(conf, log.Warn)
	if err != nil {
		t.Fatal(err)
	}
	page, _ := site.find("autoconfig.example.net", configPath)
	var c struct {
		Provider struct {
			ID       string   `xml:"id,attr"`
			Domain   []string `xml:"domain"`
			Incoming []struct {
				Type string `xml:"type,attr"`
				Host string `xml:"hostname"`
				Port int    `xml:"port"`
				TLS  string `xml:"socketType"`
				User string `xml:"username"`
			} `xml:"incomingServer"`
			Outgoing []struct {
				Port int `xml:"port"`
			} `xml:"outgoingServer"`
		} `xml:"emailProvider"`
	}
	if err := xml.Unmarshal([]byte(page.Text), &c); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(c.Provider)
	if want := "{example.net [example.net] [{imap mx.example.org 993 SSL %EMAILADDRESS%} {imap mx.example.org 143 STARTTLS %EMAILADDRESS%}] [{465}]}"; got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
	if strings.Contains(clientConfig(`a"<&`, "h", nil), `"a"<`) {
		t.Error("not escaped")
	}
}

func TestStatic(t *testing.T) {
	conf, log, _ := setUp(t)
	dir := t.TempDir()
	var out bytes.Buffer
	write := func(want string) {
		t.Helper()
		out.Reset()
		if err := Write(conf, log, &out, dir); err != nil || out.String() != want {
			t.Errorf("%q %v, want %q", out.String(), err, want)
		}
	}
	write("7 written, 0 removed\n")
	write("0 written, 0 removed\n")
	site, err := FromConfig(conf, log.Warn)
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		rel, _ := filepath.Rel(dir, name)
		host, path, _ := strings.Cut(rel, "/")
		text, err := os.ReadFile(name)
		if page, ok := site.find(host, "/"+path); err != nil || !ok || page.Text != string(text) {
			t.Errorf("%s is not what is served: %v", rel, err)
		}
		return nil
	})
	if files != 7 {
		t.Errorf("%d files", files)
	}
	put(t, conf.Domains+"/example.org/mta-sts", "off")
	put(t, conf.Domains+"/example.net/mta-sts", "testing")
	write("1 written, 1 removed\n")
	if _, err := os.Stat(dir + "/mta-sts.example.org/.well-known/mta-sts.txt"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	conf.IMAPD, conf.SMTPD = config.IMAPD{}, config.SMTPD{} // no settings without a service
	write("0 written, 6 removed\n")
	dir = ""
	write("mx.example.org mta-sts.example.net\n")
	conf.IMAPD.IMAPS = []string{":993"}
	write("mx.example.org mta-sts.example.net autoconfig.example.net autoconfig.example.org\n")
}

func TestWithout(t *testing.T) {
	conf, log, _ := setUp(t)
	conf.TLS = config.TLS{}
	srv, _, err := New(conf, log)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := srv.Serve(context.Background(), map[string][]net.Listener{"https": {l}}); err == nil {
		t.Error("https without a certificate")
	}
	conf.Hostname = "mx"
	if _, _, err := New(conf, log); err == nil {
		t.Error("a hostname that is no full name")
	}
}

package smtpd

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the S: and F: lines of testdata/session")

// Transcripts. Lines of a file:
//
//	# comment
//	service: submission          else mx
//	set: {"MaxErrors": 3}        settings, else the defaults with max_size 1 MiB
//	ready:                       the link-ready form is on
//	S: what the server says      in the order it does
//	C: what the client says
//	C+ the same                  sent at once with the next line
//	C= "octets\n"                as a Go string, without a line end of its own
//	TLS                          the client starts TLS
//	closed                       the server closes the connection
//	F: what is in the spool      at the end
func TestSession(t *testing.T) {
	files, err := filepath.Glob("testdata/session/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { transcript(t, file) })
	}
}

func transcript(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	srv, spool, _ := newServer(t)
	service := "mx"
	for _, l := range lines {
		key, value, _ := strings.Cut(l, ": ")
		switch key {
		case "service":
			service = value
		case "set":
			if err := json.Unmarshal([]byte(value), srv.Settings); err != nil {
				t.Fatal(err)
			}
		case "ready:":
			srv.Ready = true
		case "over":
			srv.Over = t.TempDir()
			if err := os.WriteFile(filepath.Join(srv.Over, value), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := &player{t: t, conn: connect(t, srv, service)}
	p.in = bufio.NewReader(p.conn)
	var out []string
	greeted := service == "submissions" // there the banner comes after TLS
	for i := 0; i < len(lines); i++ {
		l := lines[i]
		if !greeted && strings.HasPrefix(l, "C") {
			greeted = true
			out = append(out, p.drain()...)
		}
		switch {
		case strings.HasPrefix(l, "S: "):
			if *update {
				continue
			}
			if got := p.line(); got != l[3:] {
				t.Fatalf("%s:%d: %q, want %q", file, i+1, got, l[3:])
			}
		case strings.HasPrefix(l, "F: "), l == "F:":
			if *update {
				continue
			}
		case strings.HasPrefix(l, "C"):
			send := said(t, l)
			for out = append(out, l); strings.HasPrefix(lines[i], "C+ "); out = append(out, lines[i]) {
				i++
				send += said(t, lines[i])
			}
			if _, err := p.conn.Write([]byte(send)); err != nil {
				t.Fatal(err)
			}
			out = append(out, p.drain()...)
			continue
		case l == "TLS":
			p.startTLS()
			out = append(append(out, l), p.drain()...)
			continue
		case l == "closed":
			if l, err := p.in.ReadString('\n'); err == nil {
				t.Fatalf("%s:%d: %q, want the end", file, i+1, l)
			}
		}
		out = append(out, l)
	}
	p.conn.Close()
	found := kept(spool)
	if *update {
		out = append(out, found...)
		if err := os.WriteFile(file, []byte(strings.Join(out, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	var want []string
	for _, l := range lines {
		if strings.HasPrefix(l, "F:") {
			want = append(want, l)
		}
	}
	if !slices.Equal(want, found) {
		t.Errorf("%s: spool has\n%s\nwant\n%s", file, strings.Join(found, "\n"), strings.Join(want, "\n"))
	}
}

// said is what a C line sends.
func said(t *testing.T, l string) string {
	if l == "C:" {
		return "\r\n"
	}
	if l[1] != '=' {
		return l[3:] + "\r\n"
	}
	s, err := strconv.Unquote(l[3:])
	if err != nil {
		t.Fatal(l, err)
	}
	return s
}

// player is the client.
type player struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func (p *player) line() string {
	l, err := p.in.ReadString('\n')
	if err != nil {
		p.t.Fatalf("%q, then %v", l, err)
	}
	return clean(strings.TrimSuffix(l, "\r\n"))
}

// drain collects what the server says until it is silent, for -update.
func (p *player) drain() (out []string) {
	if !*update {
		return nil
	}
	for {
		p.conn.SetReadDeadline(time.Now().Add(40 * time.Millisecond))
		l, err := p.in.ReadString('\n')
		p.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if err != nil {
			return out
		}
		out = append(out, "S: "+clean(strings.TrimSuffix(l, "\r\n")))
	}
}

func (p *player) startTLS() {
	c := tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		p.t.Fatal(err)
	}
	p.conn, p.in = c, bufio.NewReader(c)
}

var (
	date   = regexp.MustCompile(`(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d+ \w+ \d+ \d\d:\d\d:\d\d [+-]\d{4}`)
	moment = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
)

// clean takes out what is different every time.
func clean(s string) string {
	return moment.ReplaceAllString(date.ReplaceAllString(s, "DATE"), "MOMENT")
}

// kept are the files of the spool as F: lines.
func kept(m *memory) (out []string) {
	time.Sleep(5 * time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name := range m.files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		out = append(out, "F: in/"+strings.Replace(name, "/", "/new/", 1))
		for l := range strings.SplitSeq(strings.TrimSuffix(m.files[name], "\n"), "\n") {
			out = append(out, strings.TrimRight(fmt.Sprintf("F:   %s", clean(l)), " "))
		}
	}
	return out
}

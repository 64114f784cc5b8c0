package maillog

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/status"
)

var (
	alice = address.Path{Local: "alice", Domain: "example.org"}
	bob   = address.Path{Local: "bob", Domain: "example.net"}
	null  address.Path
)

func TestLines(t *testing.T) {
	var out bytes.Buffer
	l := &Log{Program: "queue-run", Out: &out}
	const id = "0fk2v9qk3x7m2c000-a"
	for _, c := range []struct {
		say  func()
		want string
	}{
		{func() { l.Start("mx", "127.0.0.1:25") }, `start service=mx listen=127.0.0.1:25`},
		{func() { l.AuthFail("192.0.2.1", "al ice\n") }, `auth-fail ip=192.0.2.1 user="al ice\n"`},
		{func() { l.Accept(id, null, 1, 4096, "mx esmtps", "192.0.2.1", "", "", "") },
			`accept id=` + id + ` from=<> rcpts=1 size=4096 via="mx esmtps" ip=192.0.2.1`},
		{func() { l.Reject("192.0.2.1", alice, null, 550, "5.7.1", "no", "") },
			`reject ip=192.0.2.1 from=<alice@example.org> code=550 status=5.7.1 why=no`},
		{func() {
			l.Defer(id, bob, "", "", status.Result{Enhanced: "4.4.1", Text: "mx1.example.net: timed out"}, 1, 15*time.Minute, "")
		}, `defer id=` + id + ` to=<bob@example.net> status=4.4.1 next=15m why="mx1.example.net: timed out" attempt=1`},
		{func() {
			l.Deliver(id, address.Path{Local: `"a b"`, Domain: "x"}, "s", "h[::1]", "dane", status.Result{Code: 250, Enhanced: "2.0.0"}, 1, 15*time.Millisecond)
		},
			`deliver id=` + id + ` to=<%22a%20b%22@x> site=s host=h[::1] tls=dane status=2.0.0 code=250 attempt=1 delay=0.015s`},
		{func() { l.Warn("x", errors.New("a\x1b[2J")) }, `warn what=x why="a\x1b[2J"`},
		{func() { l.Expire(id, bob, status.Result{}, 5*24*time.Hour+time.Minute, "") }, `expire id=` + id + ` to=<bob@example.net> age=5d1m`},
	} {
		out.Reset()
		c.say()
		if got := out.String(); got != "queue-run: "+c.want+"\n" {
			t.Errorf("got  %swant queue-run: %s", got, c.want)
		}
	}
	(*Log)(nil).Deliver(id, bob, "", "", "", status.Result{}, 1, 0) // says nothing, and is not hurt
	(*Log)(nil).Defer(id, bob, "", "", status.Result{}, 1, 0, "")
	(*Log)(nil).Scan(1, 2, 3)
	(*Log)(nil).Flush()
}

// writes counts the writes and remembers the longest.
type writes struct {
	bytes.Buffer
	n, longest int
}

func (w *writes) Write(p []byte) (int, error) {
	w.n++
	w.longest = max(w.longest, len(p))
	if !bytes.HasSuffix(p, []byte("\n")) {
		panic("half a line")
	}
	return w.Buffer.Write(p)
}

func TestGather(t *testing.T) {
	var out writes
	l := &Log{Out: &out, Gather: true}
	for i := range 1000 {
		l.Release(strconv.Itoa(i))
	}
	l.Flush()
	l.Flush()
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 1000 || lines[0] != "release id=0" || lines[999] != "release id=999" {
		t.Errorf("%d lines", len(lines))
	}
	if out.n > 10 || out.longest > together {
		t.Errorf("%d writes of up to %d octets", out.n, out.longest)
	}
	if n := testing.AllocsPerRun(100, func() { l.Deliver("id", bob, "s", "h", "none", status.Result{Enhanced: "2.0.0"}, 1, time.Second) }); n != 0 {
		t.Errorf("a line allocates %v times", n)
	}
}

// TestManual holds maillog(5) to what the code can write: every event, and under it every key.
func TestManual(t *testing.T) {
	page, err := os.ReadFile("../../man/maillog.5")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for _, part := range strings.Split(string(page), "\n.It Cm ")[1:] {
		name, text, _ := strings.Cut(part, "\n")
		said[name] = text
	}
	for event, keys := range eventsOfCode(t) {
		text, ok := said[event]
		if !ok {
			t.Errorf("maillog(5) does not know the event %s", event)
			continue
		}
		for _, key := range keys {
			if !regexp.MustCompile(`(?m)(^|[ ])` + regexp.QuoteMeta(key) + `( |$)`).MatchString(text) {
				t.Errorf("maillog(5) does not say that %s has %s=", event, key)
			}
		}
		delete(said, event)
	}
	for event := range said {
		t.Errorf("maillog(5) lists %s, which no program can write", event)
	}
}

// eventsOfCode reads the methods of this package: event name to keys.
func eventsOfCode(t *testing.T) map[string][]string {
	files, _ := filepath.Glob("*.go")
	shared := map[string][]string{"result": {"status", "code", "why"}, "where": {"site", "host"}, "err": {"why"}}
	events := map[string][]string{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv == nil || !f.Name.IsExported() {
				continue
			}
			event, keys := "", []string(nil)
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				sel, ok := call.Fun.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				first := ""
				if len(call.Args) > 0 {
					if lit, ok := call.Args[0].(*ast.BasicLit); ok {
						first, _ = strconv.Unquote(lit.Value)
					}
				}
				switch what := sel.Sel.Name; what {
				case "event":
					event = first
					if id, ok := call.Args[1].(*ast.BasicLit); !ok || id.Value != `""` {
						keys = append(keys, "id")
					}
				case "str", "path", "num", "count", "span":
					keys = append(keys, first)
				default:
					keys = append(keys, shared[what]...)
				}
				return true
			})
			if event != "" {
				events[event] = append(events[event], keys...)
			}
		}
	}
	return events
}

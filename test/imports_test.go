// Package test holds what concerns the tree as a whole; the programs are tested against each other in its directories.
package test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// rules say who may not import whom. A name ending in /... means the packages below it too.
var rules = []struct {
	who    []string
	whom   []string
	butFor []string // of who
	why    string
}{
	{[]string{"smtpd/..."}, stations("smtpd"), nil, stationsMeetOnDisk},
	{[]string{"pop3d/..."}, stations("pop3d"), nil, stationsMeetOnDisk},
	{[]string{"imapd/..."}, stations("imapd"), nil, stationsMeetOnDisk},
	{[]string{"deliver/local/..."}, stations("deliver/local"), nil, stationsMeetOnDisk},
	{[]string{"deliver/remote/..."}, stations("deliver/remote"), nil, stationsMeetOnDisk},
	{[]string{"queue/run/..."}, []string{"smtpd/...", "pop3d/...", "deliver/..."}, nil,
		"queue-run knows the delivery programs by exec and descriptor only"},
	{[]string{"maildir/..."}, []string{"smtpd/...", "pop3d/...", "deliver/...", "queue/...", "login/..."}, nil, "a store does not know its users"},
	{[]string{"queue"}, []string{"smtpd/...", "pop3d/...", "deliver/...", "maildir/...", "login/...", "queue/..."}, nil,
		"the spool knows nobody who uses it"},
	{[]string{"queue/dsn/...", "queue/control/...", "queue/route/...", "queue/site/...", "queue/outbound/..."}, []string{"smtpd/...", "pop3d/...", "deliver/...", "maildir/...", "queue/run/..."}, nil,
		"parts of the queue do not know the loop that uses them"},
	{[]string{"internal/..."}, []string{"smtpd/...", "pop3d/...", "deliver/...", "maildir/...", "queue/...", "login/...", "mailuser/...", "cmd/...", "test/..."}, []string{"internal/order"},
		"nouns do not know who uses them"},
	{[]string{"internal/order"}, []string{"smtpd/...", "pop3d/...", "deliver/...", "maildir/...", "queue/run/...", "login/..."}, nil,
		"an order speaks of a message and its recipients, and of nobody who carries it out"},
	{[]string{"msgauth/...", "mailkey/..."}, []string{"smtpd/...", "pop3d/...", "imapd/...", "deliver/...", "maildir/...", "queue/...", "login/...", "mailuser/..."}, nil,
		"who judges and signs does not know who asks"},
	{[]string{"mailcert/..."}, []string{"smtpd/...", "pop3d/...", "imapd/...", "deliver/...", "maildir/...", "queue/...", "login/...", "mailuser/...", "mailkey/...", "msgauth/...", "internal/domains"}, nil,
		"who gets certificates knows nobody who serves with them"},
	{[]string{"mailwebd/..."}, []string{"smtpd/...", "pop3d/...", "imapd/...", "deliver/...", "maildir/...", "queue/...", "login/...", "mailuser/..."}, nil,
		"who serves pages knows records and names, and nobody's mail"},
	{[]string{"mailreport/..."}, []string{"smtpd/...", "pop3d/...", "imapd/...", "deliver/...", "maildir/...", "queue/...", "login/...", "mailuser/...", "mailkey/...", "msgauth/..."}, []string{"mailreport/send"},
		"who reads what others say needs nothing that acts"},
	{[]string{"mailreport/send"}, []string{"smtpd/...", "pop3d/...", "imapd/...", "deliver/...", "maildir/...", "queue/...", "login/...", "mailuser/...", "mailkey/..."}, nil,
		"who tells others hands mail to sendmail, like everybody"},
	{[]string{"maillogin/...", "imapd/front/...", "pop3d/front/..."}, []string{"imapd", "pop3d", "smtpd/...", "deliver/...", "maildir/mailbox/...", "queue/...", "mailuser/..."}, nil,
		"who speaks with strangers has no mail behind it"},
	{[]string{"become/..."}, []string{"imapd/...", "pop3d/...", "smtpd/...", "deliver/...", "maildir/...", "queue/...", "login/...", "internal/domains", "internal/order"}, nil,
		"root knows names of programs and nothing of mail"},
	{[]string{"msgauth/..."}, []string{"mailkey/...", "internal/domains"}, nil, "the side that asks for a signature links no code that reads keys"},
	{[]string{"smtpd/...", "pop3d/...", "deliver/...", "maildir/...", "queue/...", "login/...", "mailuser/...", "internal/..."},
		[]string{"cmd/...", "test/..."}, nil, "programs are not libraries"},
}

const stationsMeetOnDisk = "stations never import each other: they meet on disk"

func stations(but string) []string {
	var others []string
	for _, s := range []string{"smtpd", "pop3d", "imapd", "deliver/local", "deliver/remote", "queue/run"} {
		if s != but {
			others = append(others, s+"/...")
		}
	}
	return others
}

// owners say which module only these packages of ours may import in code that is not a test.
var owners = []struct {
	module string
	who    []string
}{
	{"github.com/urfave/cli", []string{"cmd/..."}},
	{"github.com/BurntSushi/toml", []string{"internal/config"}},
	{"golang.org/x/net/dns/dnsmessage", []string{"internal/dns/..."}},
	{"golang.org/x/crypto/argon2", []string{"login/...", "mailuser/...", "test/..."}},
	{"blitiri.com.ar/go/spf", []string{"msgauth"}},
	{"github.com/mholt/acmez", []string{"mailcert"}},
	{"github.com/ebitengine/purego", []string{"pamcheck"}}, // C code, in a process that checks one password
	{"github.com/xdg-go/scram", []string{"login/...", "mailuser/..."}},
	{"github.com/landlock-lsm/go-landlock", []string{"internal/confine"}},
	{"github.com/coreos/go-systemd", []string{"internal/listen", "cmd/..."}},
	{"github.com/fsnotify/fsnotify", []string{"internal/domains", "internal/certs", "queue/...", "maildir/mailbox", "test/..."}},
	// for tests only
	{"github.com/emersion/go-smtp", nil},
	{"github.com/google/go-cmp", nil},
	{"pgregory.net/rapid", nil},
	{"github.com/emersion/go-msgauth", nil},
	{"gopkg.in/yaml.v3", nil},
	{"github.com/rogpeppe/go-internal", nil},
	{"testing", nil},
}

// links say what a program must not contain, however it would come in: it has no use for it.
var links = []struct {
	program string
	without []string
}{
	{"smtpd", []string{"pennypost/maildir", "pennypost/queue/run", "pennypost/mailkey", "pennypost/msgauth/signer", "github.com/emersion/go-maildir"}},
	{"pop3d", []string{"pennypost/queue/run", "pennypost/queue/dsn", "pennypost/internal/dns"}},
	{"queue-run", []string{"pennypost/maildir", "crypto/tls", "pennypost/login", "golang.org/x/crypto/argon2"}},
	{"queue-pickup", []string{"crypto/tls", "pennypost/login", "pennypost/maildir", "net/http"}},
	{"sendmail", []string{"crypto/tls", "pennypost/login", "pennypost/maildir"}},
	{"deliver-local", []string{"crypto/tls", "pennypost/login", "golang.org/x/crypto/argon2", "pennypost/internal/dns"}},
	{"deliver-remote", []string{"pennypost/maildir", "pennypost/login", "pennypost/internal/domains", "golang.org/x/crypto/argon2"}},
	{"mailkey", []string{"crypto/tls", "pennypost/queue", "pennypost/login", "pennypost/maildir"}},
	{"mailverify", []string{"crypto/tls", "pennypost/queue", "pennypost/login", "pennypost/maildir", "pennypost/mailkey"}},
	{"mailcert", []string{"pennypost/queue", "pennypost/login", "pennypost/maildir", "pennypost/internal/domains"}},
	{"mailwebd", []string{"pennypost/queue", "pennypost/login", "pennypost/maildir"}},
	{"mailreport", []string{"pennypost/queue", "pennypost/login", "pennypost/maildir", "pennypost/mailkey"}},
	{"maillogin", []string{"pennypost/maildir/mailbox", "pennypost/queue", "pennypost/smtpd", "pennypost/imapd", "pennypost/pop3d", "pennypost/internal/dns"}},
	{"become", []string{"pennypost/maildir", "pennypost/queue", "pennypost/login", "pennypost/internal/domains", "pennypost/internal/dns"}},
	{"mailauthd", []string{"pennypost/maildir", "pennypost/queue", "pennypost/smtpd", "pennypost/imapd", "pennypost/pop3d", "pennypost/internal/dns"}},
	{"mailq", []string{"crypto/tls", "pennypost/login", "pennypost/maildir", "pennypost/queue/run"}},
	{"*", []string{"net/http", "encoding/gob", "html/template", "net/rpc"}},
}

// speakHTTP are the programs that may link net/http: ACME is HTTP, and so is what must be at a URL; reports about TLS are sent by it.
var speakHTTP = []string{"mailreport", "mailcert", "mailwebd"}

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Dir        string
	Name       string
	GoFiles    []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps,Dir,Name,GoFiles", "pennypost/...")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// in reports whether a package of ours, less "pennypost/", is one of the patterns.
func in(name string, patterns []string) bool {
	for _, p := range patterns {
		below, tree := strings.CutSuffix(p, "/...")
		if name == p || tree && (name == below || strings.HasPrefix(name, below+"/")) {
			return true
		}
	}
	return false
}

func TestImports(t *testing.T) {
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, "pennypost/")
		for _, imported := range p.Imports {
			ours, isOurs := strings.CutPrefix(imported, "pennypost/")
			for _, r := range rules {
				if isOurs && ours != name && in(name, r.who) && in(ours, r.whom) && !in(name, r.butFor) {
					t.Errorf("%s imports %s: %s", name, ours, r.why)
				}
			}
			for _, o := range owners {
				if (imported == o.module || strings.HasPrefix(imported, o.module+"/")) && !in(name, o.who) {
					t.Errorf("%s imports %s, which only %v may", name, imported, o.who)
				}
			}
		}
		program, isProgram := strings.CutPrefix(name, "cmd/")
		for _, l := range links {
			if !isProgram || program == "maildemo" || l.program != program && l.program != "*" {
				continue
			}
			for _, dep := range p.Deps {
				if in(dep, l.without) && (dep != "net/http" || !in(program, speakHTTP)) {
					t.Errorf("%s links %s and has no use for it", program, dep)
				}
			}
		}
	}
}

// lacking say which functions a program must not contain although it imports their package: the linker leaves out what nothing calls.
var lacking = []struct {
	program string
	without []string
	why     string
}{
	{"maillogin", []string{"crypto/argon2.IDKey", "crypto/bcrypt.CompareHashAndPassword", "crypto/scrypt.Key", "login.shaCrypt", "login.(*Checker)", "login.ReadCredentials", "login.ParseCredential", "login.(*State)"},
		"who speaks with strangers has no code that reads a credential or compares a password"},
}

func TestLacking(t *testing.T) {
	for _, l := range lacking {
		file := filepath.Join(t.TempDir(), l.program)
		build := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-o", file, "pennypost/cmd/"+l.program)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		symbols, err := exec.Command("go", "tool", "nm", file).Output()
		if err != nil || !strings.Contains(string(symbols), "pennypost/login.(*Client).Check") {
			t.Fatalf("%s: its symbols cannot be read: %v", l.program, err)
		}
		for _, function := range l.without {
			if strings.Contains(string(symbols), function) {
				t.Errorf("%s contains %s: %s", l.program, function, l.why)
			}
		}
	}
}

// durable are the calls whose order decides whether mail survives: only internal/durable makes them, and the tests.
// A method Sync is one of them too, but in a file that has internal/durable or queue: there it is theirs.
var durableCalls = map[string]bool{
	"os.Rename": true, "os.Link": true, "os.Symlink": true,
	"unix.Rename": true, "unix.Renameat": true, "unix.Renameat2": true, "unix.Link": true, "unix.Linkat": true,
	"unix.Fsync": true, "unix.Fdatasync": true, "unix.Syncfs": true, "unix.Sync": true, "unix.SyncFileRange": true,
	"syscall.Rename": true, "syscall.Renameat": true, "syscall.Link": true, "syscall.Fsync": true, "syscall.Fdatasync": true,
	"syscall.Sync": true,
}

func TestOnlyDurableRenames(t *testing.T) {
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("..", file)
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch {
			case rel != "." && strings.HasPrefix(d.Name(), "."), rel == "internal/durable", rel == "test", rel == "bin", rel == "demo", d.Name() == "testdata":
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		return durableCallsIn(t, rel, file)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func durableCallsIn(t *testing.T, rel, file string) error {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, nil, 0)
	if err != nil {
		return err
	}
	theirs := false
	for _, i := range tree.Imports {
		if path, _ := strconv.Unquote(i.Path.Value); path == "pennypost/internal/durable" || path == "pennypost/queue" || strings.HasPrefix(rel, "queue/") {
			theirs = true
		}
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		line := set.Position(call.Pos()).Line
		if x, ok := sel.X.(*ast.Ident); ok && durableCalls[x.Name+"."+sel.Sel.Name] {
			t.Errorf("%s:%d calls %s.%s: only internal/durable does", rel, line, x.Name, sel.Sel.Name)
		}
		if sel.Sel.Name == "Sync" && len(call.Args) == 0 && !theirs {
			t.Errorf("%s:%d calls Sync: only internal/durable does", rel, line)
		}
		return true
	})
	return nil
}

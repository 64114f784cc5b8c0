package passwd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// programs makes a directory with a getent and an id that say what a test wants. Each question is a line in the file asked.
func programs(t *testing.T, getent, id string) string {
	t.Helper()
	dir := t.TempDir()
	for name, script := range map[string]string{"getent": getent, "id": id} {
		text := "#!/bin/sh\necho " + name + " \"$@\" >>" + dir + "/asked\n" + script + "\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func asked(dir string) int {
	text, _ := os.ReadFile(dir + "/asked")
	return strings.Count(string(text), "\n")
}

const alice = `case $1 in
passwd) echo alice:x:1234:1235:Alice:/home/alice:/usr/sbin/nologin;;
initgroups) echo alice 1235 27 2000;;
esac`

// Each case is what the host's programs say, and what that means.
func TestUser(t *testing.T) {
	for _, c := range []struct{ name, getent, id, want string }{
		{"alice", alice, "", "alice 1234 [1235 2000] /home/alice"}, // group 27 is below the minimum
		{"bob", "exit 2", "echo \"id: 'bob': no such user\" >&2; exit 1", ErrUnknown.Error()},
		{"bob", "exit 2", "echo id: unknown user bob >&2; exit 1", ErrUnknown.Error()},
		{"bob", "exit 2", "echo \"id: 'bob': no such user: Connection refused\" >&2; exit 1", "id -u -- bob: exit status 1: id: 'bob': no such user: Connection refused"},
		{"bob", "exit 2", "exit 1", "id -u -- bob: exit status 1: "},
		{"bob", "exit 2", "echo 1000", "getent does not know bob, and id does"},
		{"bob", "exit 1", "", "getent passwd -- bob: exit status 1"},
		{"bob", "exit 127", "", "getent passwd -- bob: exit status 127"},
		{"bob", "kill -9 $$", "", "getent passwd -- bob: signal: killed"},
		{"bob", "echo root:x:0:0:root:/root:/bin/sh", "", `getent passwd -- bob: says "root:x:0:0:root:/root:/bin/sh\n"`},
		{"bob", "echo bob:x:1000:1000", "", `getent passwd -- bob: says "bob:x:1000:1000\n"`},
		{"bob", "echo bob:x:-1:1000::/:", "", `getent passwd -- bob: strconv.ParseUint: parsing "-1": invalid syntax`},
		{"bob", "echo bob:x:1000:1000::nowhere:", "", `home directory of bob is "nowhere"`},
		{"daemon", "echo daemon:x:1:1::/:", "", ErrUnknown.Error()},
		{"nobody", "echo nobody:x:65534:65534::/:", "", ErrUnknown.Error()},
		{"bob", "head -c 100000 /dev/zero", "", "getent passwd -- bob: prints too much"},
	} {
		l := &Lookup{Path: programs(t, c.getent, c.id) + ":/bin", MinUID: 1000, MinGID: 1000}
		u, err := l.User(c.name)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprintf("%s %d %v %s", u.Name, u.UID, u.GIDs(), u.Home)
		}
		if got != c.want {
			t.Errorf("%s, %q %q:\n got %s\nwant %s", c.name, c.getent, c.id, got, c.want)
		}
	}
}

// TestS114Names: what no user can be called never reaches a program.
func TestS114Names(t *testing.T) {
	dir := programs(t, alice, "")
	l := &Lookup{Path: dir}
	for _, name := range []string{"", "0", "1000", "-s", "--help", "a b", "a;b", "a\x00", "../x", "%n", "*", "(x)", `a"b`, "a'b", "\\x", "ä", ".x", "a/b", "a@b", "+x", "a\n", strings.Repeat("a", 129)} {
		if _, err := l.User(name); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := l.Quick(name); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if n := asked(dir); n != 0 {
		t.Errorf("%d programs were started", n)
	}
}

// What is known is not asked for again within its minute; what is not, once for all that wait.
func TestRemembered(t *testing.T) {
	dir := programs(t, alice, "echo \"id: 'x': no such user\" >&2; exit 1")
	clock := time.Now()
	l := &Lookup{Path: dir, now: func() time.Time { return clock }}
	all := make(chan error)
	for range 20 {
		go func() { _, err := l.User("alice"); all <- err }()
	}
	for range 20 {
		if err := <-all; err != nil {
			t.Fatal(err)
		}
	}
	if n := asked(dir); n != 2 {
		t.Errorf("%d programs for one name", n)
	}
	clock = clock.Add(fresh - time.Second) // old: answered, and asked for behind our back
	if _, err := l.Quick("alice"); err != nil {
		t.Error(err)
	}
	for l.pending() {
		time.Sleep(time.Millisecond)
	}
	if n := asked(dir); n != 4 {
		t.Errorf("%d programs for one name twice", n)
	}
	clock = clock.Add(2 * fresh)
	if _, err := l.Quick("alice"); !errors.Is(err, ErrWait) {
		t.Error(err)
	}
}

func (l *Lookup) pending() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.asking) > 0
}

// A directory service that hangs costs its time and no more, and is not taken for "nobody".
func TestHangs(t *testing.T) {
	l := &Lookup{Path: programs(t, "sleep 60 & sleep 60", "") + ":/bin", Time: 200 * time.Millisecond}
	if _, err := l.User("alice"); err == nil || errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "no answer in time") {
		t.Error(err)
	}
	l = &Lookup{Path: "/nowhere"}
	if _, err := l.User("alice"); err == nil || errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}

// The helper says what we would find ourselves; one that is there and dead is no reason to look elsewhere.
func TestHelper(t *testing.T) {
	run := t.TempDir()
	l := &Lookup{Socket: Socket(run), Path: programs(t, "exit 2", "exit 1")}
	server := &Lookup{Path: programs(t, `case $3 in
bob) exit 2;;
carol) exit 3;;
dave) echo dave:x:1236:1236:::; exit;;
esac
`+alice, "echo \"id: 'bob': no such user\" >&2; exit 1")}
	os.Mkdir(run+"/getent", 0o755)
	on, err := net.Listen("unixpacket", l.Socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := on.Accept()
			if err != nil {
				return
			}
			go server.Serve(c)
		}
	}()
	for name, want := range map[string]string{
		"alice": "user alice 1234 1235,27,2000 /home/alice /usr/sbin/nologin <nil>",
		"bob":   "no such Unix user",
		"carol": "getent passwd -- carol: exit status 3",
		"dave":  "home directory of dave is \"\"",
	} {
		u, err := l.User(name)
		got := fmt.Sprint(err)
		if u != nil {
			got = u.String() + " " + got
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	on.Close()
	os.WriteFile(l.Socket, nil, 0o600)
	if _, err := l.User("erin"); err == nil || errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}

// What the host really says of root, and of nobody at all.
func TestHost(t *testing.T) {
	l := &Lookup{}
	if _, err := l.User("root"); !errors.Is(err, ErrUnknown) {
		t.Error("root is no person:", err)
	}
	if _, err := l.User("no-such-user-here"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	out, _, _, err := l.run(context.Background(), "getent", "passwd", "--", "root")
	if u, err2 := parse("root", out); err != nil || err2 != nil || u.UID != 0 || u.Home == "" {
		t.Error(u, err, err2)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("user alice 1 2,3 /home/a /bin/sh")
	f.Add("later x%20y")
	f.Fuzz(func(t *testing.T, line string) {
		u, err := parseAnswer("alice", line)
		if (u == nil) == (err == nil) {
			t.Fatal(u, err)
		}
		if u != nil {
			if again, err := parseAnswer("alice", u.String()); err != nil || again.String() != u.String() {
				t.Errorf("%q became %v %v", line, again, err)
			}
		}
	})
}

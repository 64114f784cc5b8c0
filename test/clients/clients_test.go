/*
Package clients drives stock mail programs against the lab: one file, one table, a test for each. A program that is not installed is
skipped by name; make packages, as root, installs them all.
*/
package clients

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/test/lab"
	"pennypost/test/peers"
)

// house is the lab all clients use: one host, as in the demo.
var house struct {
	lab  *lab.Lab
	host *lab.Host
	err  error
	skip string
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "pennypost-clients-")
	if err != nil {
		panic(err)
	}
	if bin, err := lab.Bin(); err != nil {
		house.skip = err.Error()
	} else {
		house.err = open(dir, bin)
	}
	code := m.Run()
	if house.lab != nil {
		if code != 0 {
			text, _ := os.ReadFile(filepath.Join(house.host.Dir, "log")) // for the reader of a failure
			fmt.Printf("log of the lab:\n%s\n", last(string(text), 4000))
		}
		house.lab.Down()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func open(dir, bin string) error {
	var err error
	if house.lab, err = lab.New(dir, bin, lab.FreeBase()); err != nil {
		return err
	}
	if house.host, err = house.lab.AddHost("demo.test", "127.0.0.1", "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "kim", "leo", "mia", "nora", "olga", "pat", "quinn", "ruth", "sven"); err != nil {
		return err
	}
	house.host.Split = os.Getenv("PENNYPOST_APART") != ""
	return house.lab.Up()
}

// host is the lab's host; the test is skipped without the programs it drives.
func host(t *testing.T, programs ...string) *lab.Host {
	t.Helper()
	if testing.Short() {
		t.Skip("not with -short")
	}
	if house.skip != "" {
		t.Skip(house.skip)
	}
	if house.err != nil {
		t.Fatal(house.err)
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	return house.host
}

// client is a home directory and what runs in it.
type client struct {
	t    *testing.T
	home string
	env  []string
}

func newClient(t *testing.T) *client {
	c := &client{t: t, home: t.TempDir()}
	c.env = append(os.Environ(), "HOME="+c.home, "XDG_CONFIG_HOME="+c.home, "MAILRC=/dev/null", "LC_ALL=C.UTF-8", "TERM=dumb")
	return c
}

// file writes a configuration file that only its owner reads, as mail clients want it.
func (c *client) file(name, text string) string {
	path := filepath.Join(c.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// run runs a program to its end and returns what it wrote to both outputs.
func (c *client) run(stdin string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdin = c.env, c.home, strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// must is run for what has to succeed.
func (c *client) must(stdin string, argv ...string) string {
	c.t.Helper()
	out, err := c.run(stdin, argv...)
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, last(out, 4000))
	}
	return out
}

func last(s string, n int) string { return s[max(0, len(s)-n):] }

func mark() string { return fmt.Sprintf("mark-%d", time.Now().UnixNano()) }

// arrives waits for the message in the user's Maildir.
func arrives(t *testing.T, h *lab.Host, user, mark string) string {
	t.Helper()
	_, texts, err := lab.Find(15*time.Second, h.Maildir(user), mark, 1)
	if err != nil {
		t.Fatal(err)
	}
	return texts[0]
}

// letters puts n messages into a user's Maildir by SMTP; the last line of each is a dot to be stuffed.
func letters(t *testing.T, h *lab.Host, user string, n int) string {
	t.Helper()
	m := mark()
	to := user + "@" + h.Name
	for i := range n {
		text := lab.Letter("sender@elsewhere.test", to, fmt.Sprintf("letter %d", i), fmt.Sprintf("%s\r\n.dot\r\n..\r\n", m))
		if err := lab.Send(h.Addr("SMTP"), "sender@elsewhere.test", to, text); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := lab.Find(15*time.Second, h.Maildir(user), m, n); err != nil {
		t.Fatal(err)
	}
	return m
}

func split(t *testing.T, addr string) (ip, port string) {
	t.Helper()
	ip, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return ip, port
}

// cache is where packages.sh puts what is not installed.
func cache() string { return peers.Cache() }

func ca() string { return house.lab.CA.File() }

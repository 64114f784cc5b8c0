package clients

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/test/lab"
)

// want is how the messages of letters must look at the end of a client's road, with LF.
func want(t *testing.T, texts []string, mark string, n int) {
	t.Helper()
	good := 0
	for _, text := range texts {
		text = strings.ReplaceAll(text, "\r\n", "\n")
		if strings.Contains(text, mark+"\n.dot\n..\n") {
			good++
		}
	}
	if good != n {
		t.Errorf("%d of %d messages are whole, of %d fetched:\n%.3000s", good, n, len(texts), strings.Join(texts, "\n----\n"))
	}
}

// maildir makes an empty one for a client to deliver into.
func (c *client) maildir(name string) string {
	dir := filepath.Join(c.home, name)
	for _, sub := range []string{"new", "cur", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			c.t.Fatal(err)
		}
	}
	return dir
}

func texts(t *testing.T, maildir string) []string {
	t.Helper()
	mails, err := lab.Mails(maildir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, text := range mails {
		all = append(all, text)
	}
	return all
}

func TestCurlFetches(t *testing.T) {
	h := host(t, "curl")
	c := newClient(t)
	m := letters(t, h, "alice", 2)
	_, pop3s := split(t, h.Addr("POP3S"))
	_, pop3 := split(t, h.Addr("POP3"))
	for _, url := range []string{"pop3s://localhost:" + pop3s, "pop3://localhost:" + pop3} {
		args := []string{"curl", "-sS", "--cacert", ca(), "--ssl-reqd", "-u", "alice@demo.test:" + lab.Password}
		list := c.must("", append(args, url+"/")...)
		var all []string
		for line := range strings.Lines(list) {
			n, _, ok := strings.Cut(strings.TrimSpace(line), " ")
			if ok {
				all = append(all, c.must("", append(args, url+"/"+n)...))
			}
		}
		want(t, all, m, 2)
	}
}

func TestMpop(t *testing.T) {
	h := host(t, "mpop")
	c := newClient(t)
	m := letters(t, h, "carol", 3)
	_, port := split(t, h.Addr("POP3"))
	dir := c.maildir("in")
	conf := c.file("mpoprc", fmt.Sprintf("account default\nhost localhost\nport %s\ntls on\ntls_starttls on\ntls_trust_file %s\nauth user\nuser carol@demo.test\npassword %s\n"+
		"delivery maildir %s\nuidls_file %s/uidls\nkeep on\n", port, ca(), lab.Password, dir, c.home))
	c.must("", "mpop", "-C", conf)
	want(t, texts(t, dir), m, 3)
	before := len(texts(t, dir))
	c.must("", "mpop", "-C", conf) // by UIDL: nothing is fetched twice
	if now := len(texts(t, dir)); now != before {
		t.Errorf("%d messages, then %d: the UIDLs have changed", before, now)
	}
	conf = c.file("mpoprc2", strings.Replace(readFile(t, conf), "keep on", "keep off", 1))
	c.must("", "mpop", "-C", conf)
	if left := texts(t, h.Maildir("carol")); len(left) != 0 {
		t.Errorf("%d messages are left on the server", len(left))
	}
}

// By SCRAM, as GNU SASL speaks it.
func TestMpopSCRAM(t *testing.T) {
	h := host(t, "mpop")
	c := newClient(t)
	m := letters(t, h, "dave", 2)
	_, port := split(t, h.Addr("POP3"))
	for _, mechanism := range []string{"scram-sha-256", "scram-sha-1"} {
		dir := c.maildir("in-" + mechanism)
		conf := c.file("mpoprc", fmt.Sprintf("account default\nhost localhost\nport %s\ntls on\ntls_starttls on\ntls_trust_file %s\nauth %s\nuser dave@demo.test\npassword %s\n"+
			"delivery maildir %s\nuidls_file %s/uidls-%s\nkeep on\n", port, ca(), mechanism, lab.Password, dir, c.home, mechanism))
		c.must("", "mpop", "-C", conf)
		want(t, texts(t, dir), m, 2)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFetchmail(t *testing.T) {
	h := host(t, "fetchmail")
	c := newClient(t)
	m := letters(t, h, "dave", 3)
	for _, how := range []struct{ service, ssl string }{{"POP3S", "ssl"}, {"POP3", "sslproto TLS1.2+"}} {
		t.Run(how.service, func(t *testing.T) {
			_, port := split(t, h.Addr(how.service))
			dir := c.maildir(how.service)
			// an MDA that writes a file: fetchmail delivers to one program, or by SMTP
			mda := c.file("mda", "#!/bin/sh\nf="+dir+"/new/$$.$(date +%N)\ncat >$f\n")
			os.Chmod(mda, 0o700)
			conf := c.file("fetchmailrc", fmt.Sprintf("poll localhost protocol POP3 port %s auth password uidl user \"dave@demo.test\" password %q %s sslcertck sslcertfile %q keep fetchall mda %q\n",
				port, lab.Password, how.ssl, ca(), mda))
			c.must("", "fetchmail", "--nosyslog", "--nodetach", "-f", conf, "-i", filepath.Join(c.home, "ids."+how.service), "--pidfile", filepath.Join(c.home, "pid"))
			want(t, texts(t, dir), m, 3)
		})
	}
}

func TestGetmail(t *testing.T) {
	h := host(t, "getmail")
	c := newClient(t)
	m := letters(t, h, "erin", 3)
	_, port := split(t, h.Addr("POP3S"))
	dir := c.maildir("in")
	c.file("getmailrc", fmt.Sprintf("[retriever]\ntype = SimplePOP3SSLRetriever\nserver = localhost\nport = %s\nusername = erin@demo.test\npassword = %s\nca_certs = %s\n"+
		"[destination]\ntype = Maildir\npath = %s/\n[options]\ndelete = true\ndelivered_to = false\nreceived = false\n", port, lab.Password, ca(), dir))
	args := unprivileged(t, c, "getmail", "--getmaildir", c.home, "--rcfile", "getmailrc")
	c.must("", args...)
	want(t, texts(t, dir), m, 3)
	if left := texts(t, h.Maildir("erin")); len(left) != 0 {
		t.Errorf("%d messages are left on the server", len(left))
	}
}

// unprivileged is argv for a program that refuses to write a Maildir as root.
func unprivileged(t *testing.T, c *client, argv ...string) []string {
	t.Helper()
	if os.Getuid() != 0 {
		return argv
	}
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skipf("%s does not run as root, and setpriv is not installed", argv[0])
	}
	for _, d := range []string{filepath.Dir(c.home), c.home} {
		os.Chmod(d, 0o755)
	}
	if err := chownAll(c.home, 65534); err != nil {
		t.Fatal(err)
	}
	makeReadable(t, ca())
	return append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, argv...)
}

func chownAll(dir string, uid int) error {
	return filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, uid, uid)
	})
}

// makeReadable opens the directories above a file of the lab: it lies in a temporary directory of root's.
func makeReadable(t *testing.T, file string) {
	t.Helper()
	for dir := filepath.Dir(file); dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// Mutt reads the Maildir itself, as on a shell host: it sees the message, marks it read and moves it to cur.
func TestMutt(t *testing.T) {
	h := host(t, "mutt", "script")
	c := newClient(t)
	m := letters(t, h, "frank", 2)
	maildir := h.Maildir("frank")
	out := filepath.Join(c.home, "printed")
	rc := c.file("muttrc", fmt.Sprintf("set folder=%s\nset record=\"\"\nset mbox_type=Maildir\nset print=yes\nset print_command=\"cat >>%s\"\nset mark_old=no\nset quit=yes\nset move=no\nset wait_key=no\n"+
		"push \"<first-entry><print-message><next-entry><print-message><display-message><exit><quit>\"\n", c.home, out))
	// mutt wants a terminal; script(1) gives it one
	c.must("", "script", "-qec", fmt.Sprintf("TERM=xterm mutt -F %s -f %s", rc, maildir), "/dev/null")
	want(t, strings.SplitAfter(strings.TrimSpace(readFile(t, out))+"\n", "\n..\n"), m, 2)
	err := lab.Until(2*time.Second, func() error {
		seen, err := filepath.Glob(filepath.Join(maildir, "cur", "*:2,S"))
		if err == nil && len(seen) == 0 {
			return fmt.Errorf("mutt has left nothing in cur/ with the flag S")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	// and POP3 goes on with what mutt has left
	p, err := h.POP("frank")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if text, err := p.Do("STAT"); err != nil || !strings.HasPrefix(text, "2 ") {
		t.Errorf("STAT after mutt: %q, %v", text, err)
	}
}

package clients

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pennypost/test/lab"
)

// imap is a client of ours, to look at what the others did.
func imap(t *testing.T, h *lab.Host, user string) *lab.IMAP {
	t.Helper()
	c, err := h.IMAP(user)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// do says something that must be answered with OK.
func do(t *testing.T, c *lab.IMAP, format string, args ...any) string {
	t.Helper()
	lines, err := c.Do(format, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// put appends a message and returns its UID.
func put(t *testing.T, c *lab.IMAP, mailbox, flags, text string) string {
	t.Helper()
	text = strings.ReplaceAll(text, "\n", "\r\n")
	said := do(t, c, "APPEND %s (%s) {%d+}\r\n%s", mailbox, flags, len(text), text)
	uid := regexp.MustCompile(`APPENDUID \d+ (\d+)`).FindStringSubmatch(said)
	if uid == nil {
		t.Fatalf("no APPENDUID: %s", said)
	}
	return uid[1]
}

// flags are those of the messages of a mailbox by subject.
func flags(t *testing.T, c *lab.IMAP, mailbox string) map[string]string {
	t.Helper()
	do(t, c, "SELECT %s", mailbox)
	found := map[string]string{}
	for _, m := range regexp.MustCompile(`FLAGS \(([^)]*)\) BODY\[HEADER\.FIELDS \(SUBJECT\)\] \{\d+\}\s+Subject: ([^\r\n]*)`).FindAllStringSubmatch(
		do(t, c, "FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])"), -1) {
		if _, twice := found[m[2]]; twice {
			t.Errorf("%s has %q twice", mailbox, m[2])
		}
		words := strings.Fields(strings.ReplaceAll(m[1], `\Recent`, ""))
		found[m[2]] = strings.Join(words, " ")
	}
	return found
}

// seek is the only file of a Maildir that contains the text.
func seek(t *testing.T, maildir, text string) string {
	t.Helper()
	files, _, err := lab.Find(5*time.Second, maildir, text, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 {
		t.Fatalf("%q is in %v", text, files)
	}
	return files[0]
}

// move is mv: the flags of a message as mutt or a script would set them.
func move(t *testing.T, file, letters string) {
	t.Helper()
	key, _, _ := strings.Cut(filepath.Base(file), ":")
	to := filepath.Join(filepath.Dir(filepath.Dir(file)), "cur", key+":2,"+letters)
	if err := os.Rename(file, to); err != nil {
		t.Fatal(err)
	}
}

const plain = "Subject: %[1]s\nMessage-ID: <%[1]s@elsewhere.test>\nDate: Tue, 01 Apr 2025 12:00:00 +0000\n\nbody of %[1]s\n"

// isync writes a configuration for mbsync.
func (c *client) isync(port, user, tls string) string {
	return c.file("mbsyncrc", fmt.Sprintf("IMAPAccount a\nHost localhost\nPort %s\nUser %s\nPass %s\n%s\n\nIMAPStore far\nAccount a\n\nMaildirStore near\nSubFolders Verbatim\nPath %[5]s/mail/\nInbox %[5]s/mail/INBOX\n\n"+
		"Channel c\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSync All\nSyncState %[5]s/state/\nCopyArrivalDate yes\n", port, user, lab.Password, tls, c.home))
}

// Mbsync, both ways: new mail, flags, deletions, mailboxes.
func TestMbsync(t *testing.T) {
	h := host(t, "mbsync")
	c := newClient(t)
	os.MkdirAll(filepath.Join(c.home, "mail"), 0o700)
	os.MkdirAll(filepath.Join(c.home, "state"), 0o700)
	s := imap(t, h, "grace")
	do(t, s, `CREATE Lists/go`)
	for _, name := range []string{"one", "two", "three"} {
		put(t, s, "INBOX", "", fmt.Sprintf(plain, name))
	}
	put(t, s, "Lists/go", `\Seen`, fmt.Sprintf(plain, "list"))
	_, port := split(t, h.Addr("IMAPS"))
	conf := c.isync(port, "grace@demo.test", "SSLType IMAPS\nCertificateFile "+ca())
	mbsync := func() string { return c.must("", "mbsync", "-c", conf, "-V", "c") }
	mbsync()
	inbox := filepath.Join(c.home, "mail/INBOX")
	for _, at := range []struct{ maildir, text string }{{inbox, "body of one"}, {inbox, "body of two"}, {inbox, "body of three"}, {filepath.Join(c.home, "mail/Lists/go"), "body of list"}} {
		seek(t, at.maildir, at.text)
	}
	// here one is answered, two removed and four new; there three is flagged and list unseen
	move(t, seek(t, inbox, "body of one"), "RS")
	os.Remove(seek(t, inbox, "body of two"))
	if err := os.WriteFile(filepath.Join(inbox, "new/1743508800.1.here"), fmt.Appendf(nil, plain, "four"), 0o600); err != nil {
		t.Fatal(err)
	}
	do(t, s, "SELECT INBOX")
	do(t, s, `STORE 3 +FLAGS (\Flagged)`)
	do(t, s, "SELECT Lists/go")
	do(t, s, `STORE 1 -FLAGS (\Seen)`)
	mbsync()
	got, want := flags(t, s, "INBOX"), map[string]string{"one": `\Answered \Seen`, "three": `\Flagged`, "four": ""}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the server has %v, not %v", got, want)
	}
	if file := seek(t, inbox, "body of three"); !strings.HasSuffix(file, ":2,F") {
		t.Errorf("the flag of three has not come: %s", file)
	}
	if file := seek(t, filepath.Join(c.home, "mail/Lists/go"), "body of list"); strings.Contains(file, ":2,S") {
		t.Errorf("list is still seen: %s", file)
	}
	names := mails(t, inbox)
	out := mbsync()
	if again := mails(t, inbox); strings.Join(again, " ") != strings.Join(names, " ") {
		t.Errorf("a third run, with nothing to do, makes %v of %v\n%s", again, names, out)
	}
}

func mails(t *testing.T, maildir string) []string {
	t.Helper()
	var names []string
	for _, sub := range []string{"new", "cur"} {
		list, err := os.ReadDir(filepath.Join(maildir, sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			names = append(names, sub+"/"+e.Name())
		}
	}
	return names
}

// Offlineimap, both ways.
func TestOfflineimap(t *testing.T) {
	h := host(t, "offlineimap")
	c := newClient(t)
	s := imap(t, h, "heidi")
	for _, name := range []string{"one", "two", "three"} {
		put(t, s, "INBOX", "", fmt.Sprintf(plain, name))
	}
	_, port := split(t, h.Addr("IMAPS"))
	conf := c.file("offlineimaprc", fmt.Sprintf("[general]\naccounts = a\nmetadata = %[1]s/meta\nui = basic\n[Account a]\nlocalrepository = near\nremoterepository = far\n"+
		"[Repository near]\ntype = Maildir\nlocalfolders = %[1]s/mail\n[Repository far]\ntype = IMAP\nremotehost = localhost\nremoteport = %[2]s\nremoteuser = heidi@demo.test\nremotepass = %[3]s\nssl = yes\nsslcacertfile = %[4]s\n",
		c.home, port, lab.Password, ca()))
	offlineimap := func() { c.must("", "offlineimap", "-o", "-c", conf) }
	offlineimap()
	inbox := filepath.Join(c.home, "mail/INBOX")
	move(t, seek(t, inbox, "body of one"), "FS")
	os.Remove(seek(t, inbox, "body of two"))
	do(t, s, "SELECT INBOX")
	do(t, s, `STORE 3 +FLAGS (\Answered)`)
	if err := os.WriteFile(filepath.Join(inbox, "cur/1743508800.1.here:2,S"), fmt.Appendf(nil, plain, "four"), 0o600); err != nil {
		t.Fatal(err)
	}
	offlineimap()
	got, want := flags(t, s, "INBOX"), map[string]string{"one": `\Flagged \Seen`, "three": `\Answered`, "four": `\Seen`}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the server has %v, not %v", got, want)
	}
	if file := seek(t, inbox, "body of three"); !strings.HasSuffix(file, ":2,R") {
		t.Errorf("the flag of three has not come: %s", file)
	}
}

// Mutt and neomutt by IMAP: read a message, flag it, copy it to another mailbox, delete one.
func TestMuttByIMAP(t *testing.T) {
	for _, program := range []struct{ name, user string }{{"mutt", "ivan"}, {"neomutt", "judy"}} {
		t.Run(program.name, func(t *testing.T) {
			h := host(t, program.name, "script")
			c := newClient(t)
			s := imap(t, h, program.user)
			for _, name := range []string{"one", "two", "three"} {
				put(t, s, "INBOX", "", fmt.Sprintf(plain, name))
			}
			_, port := split(t, h.Addr("IMAPS"))
			rc := c.file("muttrc", fmt.Sprintf("set imap_user=%[1]s@demo.test imap_pass=%[2]s certificate_file=%[3]s ssl_force_tls=yes ssl_usesystemcerts=no\nset folder=imaps://localhost:%[4]s/ spoolfile=+INBOX\nset record=\"\" mark_old=no quit=yes delete=yes move=no wait_key=no confirmcreate=no confirmappend=no resolve=no sort=mailbox-order\n"+
				"push \"<first-entry><display-message><exit><flag-message><copy-message>=Kept<enter><first-entry><next-entry><next-entry><delete-message><sync-mailbox><quit>\"\n", program.user, lab.Password, ca(), port))
			out, err := c.run("", "script", "-qec", "TERM=xterm "+program.name+" -F "+rc, "/dev/null")
			if err != nil {
				t.Fatalf("%v\n%s", err, last(out, 2000))
			}
			got, want := flags(t, s, "INBOX"), map[string]string{"one": `\Flagged \Seen`, "two": ""}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("INBOX has %v, not %v\n%s", got, want, last(out, 2000))
			}
			if got := flags(t, s, "Kept"); len(got) != 1 || !strings.Contains(got["one"], `\Flagged`) {
				t.Errorf("Kept has %v", got)
			}
		})
	}
}

// Curl lists, searches, fetches, appends and stores, over imaps and with STARTTLS.
func TestCurlIMAP(t *testing.T) {
	h := host(t, "curl")
	c := newClient(t)
	s := imap(t, h, "kim")
	uid := put(t, s, "INBOX", "", fmt.Sprintf(plain, "one"))
	_, imaps := split(t, h.Addr("IMAPS"))
	_, starttls := split(t, h.Addr("IMAP"))
	for i, url := range []string{"imaps://localhost:" + imaps, "imap://localhost:" + starttls} {
		curl := func(args ...string) string {
			return c.must("", append([]string{"curl", "-sS", "--cacert", ca(), "--ssl-reqd", "-u", "kim@demo.test:" + lab.Password}, args...)...)
		}
		if out := curl(url); !strings.Contains(out, "INBOX") || !strings.Contains(out, `\Drafts`) {
			t.Errorf("LIST is\n%s", out)
		}
		if out := curl(url + "/INBOX;UID=" + uid); strings.ReplaceAll(out, "\r\n", "\n") != fmt.Sprintf(plain, "one") {
			t.Errorf("the message is %q", out)
		}
		name := fmt.Sprintf("sent-by-curl-%d", i)
		curl("-T", c.file("letter", strings.ReplaceAll(fmt.Sprintf(plain, name), "\n", "\r\n")), url+"/INBOX")
		curl(url+"/INBOX", "-X", fmt.Sprintf(`STORE %d +FLAGS (\Flagged)`, i+2))
		if out := curl(url + "/INBOX?SUBJECT%20" + name); strings.TrimSpace(out) != fmt.Sprintf("* SEARCH %d", i+2) {
			t.Errorf("SEARCH is %q", out)
		}
	}
	got, want := flags(t, s, "INBOX"), map[string]string{"one": `\Seen`, "sent-by-curl-0": `\Flagged \Seen`, "sent-by-curl-1": `\Flagged \Seen`}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("INBOX has %v, not %v", got, want)
	}
}

// Fetchmail takes what is unseen, and leaves it seen.
func TestFetchmailIMAP(t *testing.T) {
	h := host(t, "fetchmail")
	c := newClient(t)
	m := letters(t, h, "leo", 3)
	_, port := split(t, h.Addr("IMAPS"))
	dir := c.maildir("in")
	mda := c.file("mda", "#!/bin/sh\nf="+dir+"/new/$$.$(date +%N)\ncat >$f\n")
	os.Chmod(mda, 0o700)
	conf := c.file("fetchmailrc", fmt.Sprintf("poll localhost protocol IMAP port %s auth password user \"leo@demo.test\" password %q ssl sslcertck sslcertfile %q keep mda %q\n", port, lab.Password, ca(), mda))
	argv := []string{"fetchmail", "--nosyslog", "--nodetach", "-f", conf, "--pidfile", filepath.Join(c.home, "pid")}
	c.must("", argv...)
	want(t, texts(t, dir), m, 3)
	out, err := c.run("", argv...) // 1: there was no mail
	if code := exitCode(err); code != 1 || len(texts(t, dir)) != 3 {
		t.Errorf("the second run says %v, and there are %d messages\n%s", err, len(texts(t, dir)), out)
	}
	if unseen := do(t, imap(t, h, "leo"), "STATUS INBOX (UNSEEN MESSAGES)"); !strings.Contains(unseen, "UNSEEN 0") || !strings.Contains(unseen, "MESSAGES 3") {
		t.Errorf("it leaves %s", unseen)
	}
}

func exitCode(err error) int {
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.ExitCode()
	}
	return 0
}

// Getmail fetches from two mailboxes and deletes there.
func TestGetmailIMAP(t *testing.T) {
	h := host(t, "getmail")
	c := newClient(t)
	m := letters(t, h, "mia", 2)
	s := imap(t, h, "mia")
	do(t, s, "CREATE Lists/go")
	put(t, s, "Lists/go", "", fmt.Sprintf(plain, "list")+m+"\n.dot\n..\n")
	_, port := split(t, h.Addr("IMAPS"))
	dir := c.maildir("in")
	c.file("getmailrc", fmt.Sprintf("[retriever]\ntype = SimpleIMAPSSLRetriever\nserver = localhost\nport = %s\nusername = mia@demo.test\npassword = %s\nca_certs = %s\nmailboxes = (\"INBOX\", \"Lists/go\")\n"+
		"[destination]\ntype = Maildir\npath = %s/\n[options]\ndelete = true\ndelivered_to = false\nreceived = false\n", port, lab.Password, ca(), dir))
	c.must("", unprivileged(t, c, "getmail", "--getmaildir", c.home, "--rcfile", "getmailrc")...)
	want(t, texts(t, dir), m, 3)
	for _, mailbox := range []string{"INBOX", "Lists/go"} {
		if left := do(t, s, "STATUS %s (MESSAGES)", mailbox); !strings.Contains(left, "MESSAGES 0") {
			t.Errorf("it leaves %s", left)
		}
	}
}

// flowModules is where imapflow is, "" if it is not there.
func flowModules() string {
	dirs, _ := filepath.Glob(filepath.Join(cache(), "imapflow@*/node_modules"))
	if _, err := exec.LookPath("node"); err != nil || len(dirs) == 0 {
		return ""
	}
	return dirs[len(dirs)-1]
}

// flow is an imapflow script, or a skip.
func (c *client) flow(args ...string) string {
	c.t.Helper()
	modules := flowModules()
	if modules == "" {
		c.t.Skip("imapflow is not there; make packages fetches it, with npm")
	}
	c.env = append(c.env, "NODE_PATH="+modules)
	script, err := filepath.Abs("testdata/flow.js")
	if err != nil {
		c.t.Fatal(err)
	}
	return c.must("", append([]string{"node", script}, args...)...)
}

// Imapflow, twice on one mailbox: IDLE, CONDSTORE and QRESYNC between them.
func TestImapflow(t *testing.T) {
	h := host(t, "node")
	_, port := split(t, h.Addr("IMAPS"))
	newClient(t).flow("tour", port, "nora@demo.test", lab.Password, ca())
}

// The client of go-imap v2, by nearly everything it knows: it reads what we say with a grammar that none of us wrote.
func TestGoIMAP(t *testing.T) {
	h := host(t, "go")
	program := filepath.Join(t.TempDir(), "goimap")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir, build.Env = "testdata/goimap", append(os.Environ(), "CGO_ENABLED=0", "GOPROXY=off", "GOFLAGS=-mod=readonly")
	if out, err := build.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "GOPROXY=off") {
			t.Skip("go-imap is not there; make packages fetches it")
		}
		t.Fatalf("%v\n%s", err, out)
	}
	_, port := split(t, h.Addr("IMAPS"))
	newClient(t).must("", program, port, "sven@demo.test", lab.Password, ca())
}

package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pennypost/test/lab"
)

// sealed is Python's smtplib, which passes on what it is told to ask for.
const sealed = `
import smtplib, ssl, sys
host, port = sys.argv[1].rsplit(":", 1)
s = smtplib.SMTP(host, int(port))
c = ssl.create_default_context(cafile=sys.argv[2])
c.check_hostname = False
s.starttls(context=c)
s.ehlo()
assert s.has_extn("requiretls"), "REQUIRETLS is not offered under TLS"
s.login("alice@demo.test", sys.argv[3])
s.sendmail("alice@demo.test", [sys.argv[4]], "From: alice@demo.test\r\nTo: %s\r\nSubject: sealed\r\n\r\n%s\r\n" % (sys.argv[4], sys.argv[5]), mail_options=["REQUIRETLS"])
s.quit()
`

// A message with REQUIRETLS (RFC 8689) reaches a host that DNSSEC vouches for, and comes back from the way to one that
// nobody vouches for.
func TestPythonREQUIRETLS(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	bin, err := lab.Bin()
	if err != nil {
		t.Skip(err)
	}
	if _, err := os.Stat(filepath.Join(bin, "mailwebd")); err != nil {
		t.Skip(err)
	}
	l, err := lab.New(t.TempDir(), bin, lab.FreeBase())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Down()
	var hosts []*lab.Host
	for name, ip := range map[string]string{"demo.test": "127.0.0.1", "partner.test": "127.0.0.2"} {
		h, err := l.AddHost(name, ip, "alice", "bob")
		if err == nil {
			err = h.PublishTLS()
		}
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	here, there := l.Host("demo.test"), l.Host("partner.test")
	if err := l.Name("plain.test", "127.0.0.2"); err != nil {
		t.Fatal(err)
	}
	l.Validate()
	l.Unsigned("plain.test")
	if err := l.Up(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, h := range hosts {
			if text, _ := os.ReadFile(filepath.Join(h.Dir, "log")); t.Failed() { // for the reader of a failure
				t.Logf("%s:\n%s", h.Name, text[max(0, len(text)-3000):])
			}
		}
	}()
	send := func(to, mark string) {
		t.Helper()
		if out, err := exec.Command(python, "-c", sealed, here.Addr("SUBMISSION"), l.CA.File(), lab.Password, to, mark).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	m := mark()
	send("bob@partner.test", m)
	if _, _, err := lab.Find(15*time.Second, there.Maildir("bob"), m, 1); err != nil {
		t.Error(err)
	}
	if err := lab.Until(5*time.Second, func() error {
		lines, err := here.Results(" deliver ", "to=bob@partner.test ", " tls=dane ")
		if err == nil && len(lines) != 1 {
			err = os.ErrNotExist
		}
		return err
	}); err != nil {
		t.Errorf("no tls=dane in the results: %v", err)
	}
	m = mark()
	send("bob@plain.test", m)
	_, texts, err := lab.Find(15*time.Second, here.Maildir("alice"), "bob@plain.test", 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Action: failed", "Status: 5.7.30", "REQUIRETLS"} {
		if !strings.Contains(texts[0], want) {
			t.Errorf("the report has no %q:\n%s", want, texts[0])
		}
	}
}

package clients

import (
	"fmt"
	"strings"
	"testing"

	"pennypost/test/lab"
)

func TestSwaks(t *testing.T) {
	h := host(t, "swaks")
	c := newClient(t)
	for _, how := range []struct {
		name, service string
		args          []string
	}{
		{"STARTTLS and AUTH PLAIN", "SUBMISSION", []string{"--tls", "--auth", "PLAIN"}},
		{"STARTTLS and AUTH LOGIN", "SUBMISSION", []string{"--tls", "--auth", "LOGIN"}},
		{"TLS at once", "SUBMISSIONS", []string{"--tls-on-connect", "--auth", "PLAIN"}},
		{"pipelining", "SUBMISSION", []string{"--tls", "--auth", "PLAIN", "--pipeline"}},
	} {
		t.Run(how.name, func(t *testing.T) {
			m := mark()
			args := append([]string{"swaks", "--server", h.Addr(how.service), "--auth-user", "alice@demo.test", "--auth-password", lab.Password,
				"--from", "alice@demo.test", "--to", "bob@demo.test", "--body", m, "--tls-verify", "--tls-ca-path", ca()}, how.args...)
			out, err := c.run("", args...)
			if err != nil && strings.Contains(out, "unavailable") {
				t.Skip("swaks has no TLS here (IO::Socket::SSL or Net::SSLeay missing)")
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			arrives(t, h, "bob", m)
		})
	}
	t.Run("LMTP", func(t *testing.T) {
		m := mark()
		c.must("", "swaks", "--protocol", "LMTP", "--server", h.Addr("LMTP"), "--from", "x@elsewhere.test", "--to", "bob@demo.test", "--body", m)
		arrives(t, h, "bob", m)
	})
	t.Run("wrong password", func(t *testing.T) {
		out, err := c.run("", "swaks", "--server", h.Addr("SUBMISSION"), "--tls", "--auth", "PLAIN", "--auth-user", "alice@demo.test", "--auth-password", "wrong",
			"--from", "alice@demo.test", "--to", "bob@demo.test")
		if err == nil || !strings.Contains(out, "535 5.7.8") {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("unknown recipient", func(t *testing.T) {
		out, err := c.run("", "swaks", "--server", h.Addr("SMTP"), "--from", "x@elsewhere.test", "--to", "nobody@demo.test")
		if err == nil || !strings.Contains(out, "550 5.1.1") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

func TestMsmtp(t *testing.T) {
	h := host(t, "msmtp")
	c := newClient(t)
	for _, service := range []string{"SUBMISSION", "SUBMISSIONS"} {
		t.Run(service, func(t *testing.T) {
			_, port := split(t, h.Addr(service))
			starttls := map[string]string{"SUBMISSION": "on", "SUBMISSIONS": "off"}[service]
			conf := c.file("msmtprc", fmt.Sprintf("account default\nhost localhost\nport %s\ntls on\ntls_starttls %s\ntls_trust_file %s\nauth on\nuser alice@demo.test\n"+
				"password %s\nfrom alice@demo.test\n", port, starttls, ca(), lab.Password))
			m := mark()
			c.must("From: alice@demo.test\nTo: bob@demo.test\nSubject: msmtp\n\n.\n"+m+"\n", "msmtp", "-C", conf, "-t")
			if text := arrives(t, h, "bob", m); !strings.Contains(text, "\n.\n"+m) {
				t.Errorf("the dot line is not as it was:\n%s", text)
			}
		})
	}
}

// By SCRAM, as GNU SASL speaks it; a wrong password is refused, and a name that does not exist as well.
func TestMsmtpSCRAM(t *testing.T) {
	h := host(t, "msmtp")
	c := newClient(t)
	_, port := split(t, h.Addr("SUBMISSIONS"))
	send := func(mechanism, user, password, m string) (string, error) {
		conf := c.file("msmtprc", fmt.Sprintf("account default\nhost localhost\nport %s\ntls on\ntls_starttls off\ntls_trust_file %s\nauth %s\nuser %s\n"+
			"password %s\nfrom alice@demo.test\n", port, ca(), mechanism, user, password))
		return c.run("From: alice@demo.test\nTo: bob@demo.test\nSubject: msmtp\n\n"+m+"\n", "msmtp", "-C", conf, "-t")
	}
	for _, mechanism := range []string{"scram-sha-256", "scram-sha-1", "login", "plain"} {
		m := mark()
		if out, err := send(mechanism, "alice@demo.test", lab.Password, m); err != nil {
			t.Errorf("%s: %v\n%s", mechanism, err, out)
			continue
		}
		arrives(t, h, "bob", m)
	}
	for _, user := range []string{"alice@demo.test", "nobody@demo.test"} {
		if out, err := send("scram-sha-256", user, "wrong", mark()); err == nil || !strings.Contains(out, "535 5.7.8") {
			t.Errorf("%s: %v\n%s", user, err, out)
		}
	}
}

func TestSnail(t *testing.T) {
	h := host(t, "s-nail")
	c := newClient(t)
	_, port := split(t, h.Addr("SUBMISSIONS"))
	m := mark()
	c.must(m+"\n", "s-nail", "-:/", "-S", "v15-compat", "-S", "sendwait", "-S", "tls-verify=strict", "-S", "tls-ca-file="+ca(), "-S", "tls-ca-no-defaults",
		"-S", "mta=smtps://alice%40demo.test:"+lab.Password+"@localhost:"+port, "-S", "smtp-auth=plain", "-S", "from=alice@demo.test",
		"-s", "Grüße von s-nail", "bob@demo.test")
	if text := arrives(t, h, "bob", m); !strings.Contains(text, "From: alice@demo.test") {
		t.Errorf("no From:\n%s", text)
	}
}

func TestCurlSends(t *testing.T) {
	h := host(t, "curl")
	c := newClient(t)
	_, smtps := split(t, h.Addr("SUBMISSIONS"))
	_, submission := split(t, h.Addr("SUBMISSION"))
	for _, how := range [][]string{{"--url", "smtps://localhost:" + smtps}, {"--ssl-reqd", "--url", "smtp://localhost:" + submission}} {
		m := mark()
		letter := c.file("letter", "From: alice@demo.test\r\nTo: bob@demo.test, carol@demo.test\r\nSubject: curl\r\n\r\n"+m+"\r\n")
		c.must("", append([]string{"curl", "-sS", "--cacert", ca(), "-u", "alice@demo.test:" + lab.Password, "--mail-from", "alice@demo.test", "--mail-rcpt", "bob@demo.test",
			"--mail-rcpt", "carol@demo.test", "-T", letter}, how...)...)
		arrives(t, h, "bob", m)
		arrives(t, h, "carol", m)
	}
}

func TestGitSendEmail(t *testing.T) {
	h := host(t, "git")
	c := newClient(t)
	if out, err := c.run("", "git", "send-email", "-h"); strings.Contains(out, "is not a git command") {
		t.Skipf("git has no send-email here: %v", err)
	}
	c.env = append(c.env, "GIT_COMMITTER_NAME=Alice", "GIT_COMMITTER_EMAIL=alice@demo.test", "GIT_AUTHOR_NAME=Alice", "GIT_AUTHOR_EMAIL=alice@demo.test")
	_, port := split(t, h.Addr("SUBMISSION"))
	m := mark()
	patch := c.file("0001-x.patch", "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\nFrom: Alice <alice@demo.test>\nDate: Tue, 24 Nov 2026 12:00:00 +0000\n"+
		"Subject: [PATCH] "+m+"\n\n---\n x | 1 +\n")
	c.must("", "git", "send-email", "--smtp-server", "localhost", "--smtp-server-port", port, "--smtp-encryption", "tls", "--smtp-ssl-cert-path", ca(),
		"--smtp-user", "alice@demo.test", "--smtp-pass", lab.Password, "--from", "alice@demo.test", "--to", "bob@demo.test", "--confirm=never", "--quiet", patch)
	arrives(t, h, "bob", m)
}

// Cron, PHP, logwatch and git's own hooks call sendmail like this.
func TestSendmailOfScripts(t *testing.T) {
	h := host(t)
	for _, call := range []struct {
		name string
		args []string
		text string
	}{
		{"cron", []string{"-FCronDaemon", "-i", "-B8BITMIME", "-oem", "bob@demo.test"}, "From: root (Cron Daemon)\nTo: bob\nSubject: Cron <root@mx> true\n\n"},
		{"PHP", []string{"-t", "-i"}, "To: bob@demo.test\nSubject: php\nX-PHP-Originating-Script: 0:x.php\n\n"},
		{"logwatch", []string{"-t"}, "To: bob@demo.test\nFrom: root\nSubject: Logwatch\nPrecedence: bulk\n\n"},
		{"git hook", []string{"-oi", "-t", "-f", "alice@demo.test"}, "From: alice@demo.test\nTo: bob@demo.test\nSubject: [SCM]\n\n"},
		{"mutt", []string{"-oem", "-oi", "-f", "alice@demo.test", "--", "bob@demo.test"}, "From: alice@demo.test\nTo: bob@demo.test\nSubject: mutt\n\n"},
		{"Bcc", []string{"-oi", "-t"}, "To: carol@demo.test\nBcc: bob@demo.test\nSubject: bcc\n\n"},
	} {
		t.Run(call.name, func(t *testing.T) {
			m := mark()
			if out, err := h.Sendmail(call.text+m+"\n", call.args...); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if text := arrives(t, h, "bob", m); strings.Contains(text, "\nBcc:") {
				t.Errorf("bob can read the Bcc line:\n%s", text)
			}
		})
	}
}

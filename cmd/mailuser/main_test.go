package main

import (
	"bytes"
	"os"
	"path/filepath"
	"pennypost/cmd/internal/argv"
	"strings"
	"testing"
)

// S119: there is no flag that would take a password.
func TestS119NoPasswordInArguments(t *testing.T) {
	for _, noun := range commands() {
		for _, verb := range noun.Subcommands {
			for _, f := range verb.Flags {
				if name := f.Names()[0]; strings.Contains(name, "pass") || strings.Contains(name, "secret") {
					t.Errorf("%s %s --%s", noun.Name, verb.Name, name)
				}
			}
		}
	}
}

// What an admin types, and what is said.
func TestCommands(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "mail.toml")
	if err := os.WriteFile(file, []byte("domains = 'domains'\nstate = 'state'\nhostname = 'mx.example.org'\n[smtpd]\nwrong = 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "domains"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		said string
		want string // a part of what is printed, or of the error
		code int
	}{
		{"domain list --json", "[]\n", 0},
		{"domain add example.org", "added example.org", 0},
		{"domain add example.org", "is there already", 1},
		{"user add alice@example.org --no-credential --quota 1GiB", "added alice@example.org; mail goes to /var/mail/pennypost/example.org/alice/Maildir\n", 0},
		{"user list", "alice@example.org  1GiB  credentials: none\n", 0},
		{"alias add sales@example.org alice bob@example.net", "sales: alice@example.org, bob@example.net\n", 0},
		{"alias list example.org --json", `"name": "sales@example.org"`, 0},
		{"user show alice@example.org", "nobody can log in", 0},
		{"user show bob@example.org", "no such account", 1},
		{"user add", "write: mailuser user add USER@DOMAIN", 64},
		{"", "say domain, user, credential, device", 64},
		{"credential list alice@example.org --json", "[]\n", 0},
		{"totp add alice@example.org", "no such file", 74},
		{"user add carol@example.org", "password: ", 0},
		{"totp add carol@example.org", "otpauth://totp/mail:carol@example.org?secret=", 0},
		{"totp add carol@example.org", "has TOTP already", 1},
		{"user show carol@example.org", "with a code (TOTP)", 0},
		{"device add carol@example.org phone --scope imap --approval yes", "IMAP       mx.example.org port 993", 0},
		{"device add carol@example.org main", "own password", 64},
		{"device list carol@example.org", "phone  for imap", 0},
		{"device approve carol@example.org phone", "nothing of that name waits", 1},
		{"device remove carol@example.org phone", "removed credential phone", 0},
		{"totp remove carol@example.org", "good without a code", 0},
		{"totp remove carol@example.org", "has no TOTP", 1},
		{"logins carol@example.org --json", "[]\n", 0},
		{"logins nobody@example.org", "no such account", 1},
	} {
		var out bytes.Buffer
		app := newApp()
		app.Writer = &out
		err := app.Run(argv.Sort(app, append([]string{"mailuser", "-c", file}, strings.Fields(c.said)...)))
		code := 0
		if err != nil {
			code = exit(err)
			out.WriteString(err.Error())
		}
		if code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: exit %d\n%s", c.said, code, out.String())
		}
	}
}

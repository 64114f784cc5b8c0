package test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pennypost/test/lab"
)

// pages are all manual pages, by file name.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../man/*.[1578]")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manual pages: %v", err)
	}
	text := map[string]string{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text[filepath.Base(file)] = string(b)
	}
	return text
}

func TestManLint(t *testing.T) {
	if _, err := exec.LookPath("mandoc"); err != nil {
		t.Skip("mandoc is not installed")
	}
	for name := range pages(t) {
		out, err := exec.Command("mandoc", "-Tlint", "-Wwarning", filepath.Join("../man", name)).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// Every program has a page, every file format and the log have theirs, and no page speaks of a program that is not there.
func TestManPages(t *testing.T) {
	have := pages(t)
	programs, err := filepath.Glob("../cmd/*/main.go")
	if err != nil || len(programs) == 0 {
		t.Fatalf("%d programs: %v", len(programs), err)
	}
	for _, file := range programs {
		name := filepath.Base(filepath.Dir(file))
		if have[name+".8"] == "" && have[name+".1"] == "" {
			t.Errorf("%s has no page", name)
		}
	}
	for _, page := range []string{"spool.5", "mail.toml.5", "domains.5", "aliases.5", "maillog.5", "order.5", "pennypost.7"} {
		if have[page] == "" {
			t.Errorf("%s is missing", page)
		}
	}
	for page := range have {
		name := strings.TrimSuffix(page, filepath.Ext(page))
		if ext := filepath.Ext(page); ext != ".8" && ext != ".1" {
			continue
		}
		if _, err := os.Stat(filepath.Join("../cmd", name)); err != nil {
			t.Errorf("%s is the page of no program", page)
		}
	}
}

// xref is a reference to one of our own pages or to one of another system.
var xref = regexp.MustCompile(`(?m)^\.Xr (\S+) ([1-8])`)

// foreign are pages of others that ours may name.
var foreign = map[string]bool{"getent.1": true, "id.1": true}

func init() {
	for _, name := range strings.Fields(`rename.2 fsync.2 link.2 openat2.2 getdents.2 unlink.2 open.2 mkfifo.3 syslog.3 mutt.1 mail.1 cron.8
		crontab.5 inetd.8 systemd.socket.5 systemd.service.5 curl.1 swaks.1 newaliases.1 forward.5 maildir.5 resolv.conf.5 hosts.5
		openssl.1 umask.2 crypt.3 crypt.5 getpasswd.3 passwd.5 group.5 signal.7 unix.7 socketpair.2 mv.1 rm.1 touch.1 cat.1 ls.1 grep.1 chmod.1 chown.1
		mkdir.1 mailq.1 sendmsg.2 pread.2 execve.2 fcntl.2 git-send-email.1 logger.1 procmail.1 sh.1 strftime.3 fifo.7 xattr.7 tmpfiles.d.5 wall.1
		sysexits.3 ssh.1 cp.1 tar.1 rsync.1 write.2 inotify.7 zgrep.1 gzip.1 flock.2 mbsync.1 rspamd.8 certbot.1 dig.1 jq.1 tar.1 rsync.1 cp.1 write.2`) {
		foreign[name] = true
	}
}

func TestManReferences(t *testing.T) {
	have := pages(t)
	for page, text := range have {
		for _, m := range xref.FindAllStringSubmatch(text, -1) {
			if name := m[1] + "." + m[2]; have[name] == "" && !foreign[name] {
				t.Errorf("%s refers to %s, which is not there", page, name)
			}
		}
	}
}

// flag is an option in the help text of urfave/cli: "   --listen, -l value  …".
var flag = regexp.MustCompile(`(?m)^\s+(-{1,2}[a-zA-Z0-9][a-zA-Z0-9-]*(?: value)?(?:, -{1,2}[a-zA-Z0-9][a-zA-Z0-9-]*)*)`)

// Every flag a program has is in its page. Sendmail reads its flags by itself and prints no such help.
func TestManFlags(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the built programs")
	}
	bin, err := lab.Bin()
	if err != nil {
		t.Skip(err)
	}
	for page, text := range pages(t) {
		name := strings.TrimSuffix(page, filepath.Ext(page))
		if ext := filepath.Ext(page); ext != ".8" && ext != ".1" {
			continue
		}
		for _, help := range helps(t, filepath.Join(bin, name)) {
			for _, m := range flag.FindAllStringSubmatch(help, -1) {
				for word := range strings.SplitSeq(m[1], ",") {
					word = strings.TrimSuffix(strings.TrimSpace(word), " value")
					if word == "--help" || word == "-h" {
						continue
					}
					if !documents(text, word) {
						t.Errorf("%s does not mention %s", page, word)
					}
				}
			}
		}
	}
}

// helps are the help texts of a program and of its commands.
func helps(t *testing.T, program string) []string {
	t.Helper()
	run := func(args ...string) string {
		var out bytes.Buffer
		cmd := exec.Command(program, args...)
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.Run() // help may end with any status
		return out.String()
	}
	if filepath.Base(program) == "sendmail" {
		return nil
	}
	all := []string{run("--help")}
	_, commands, found := strings.Cut(all[0], "COMMANDS:\n")
	for line := range strings.Lines(commands) {
		if !found || strings.TrimSpace(line) == "" {
			break
		}
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name = strings.TrimSuffix(name, ","); name != "help" {
			all = append(all, run(name, "--help"))
		}
	}
	return all
}

// documents reports whether an mdoc page has the flag in an Fl macro.
func documents(page, flag string) bool {
	name := strings.TrimPrefix(flag, "-")
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, ".") {
			continue
		}
		f := strings.Fields(line)
		for i, word := range f[:len(f)-1] {
			if strings.TrimPrefix(word, ".") != "Fl" {
				continue
			}
			for _, arg := range f[i+1:] { // .Fl c , -config Ar file
				if strings.ReplaceAll(arg, `\-`, "-") == name {
					return true
				}
			}
		}
	}
	return false
}

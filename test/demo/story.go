package demo

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pennypost/test/lab"
)

// story is the mail that goes round when the demo starts.
type story struct {
	lab         *lab.Lab
	out         io.Writer
	here, there *lab.Host
}

func (s *story) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// tell sends the messages, says where each of them is, and what can be typed to go on.
func (s *story) tell() {
	s.say("%s is 127.0.0.1 and %s is 127.0.0.2, each with alice and bob, password %q.", here, there, lab.Password)
	s.say("Everything lies in %s. A program that dies is started again: kill -9 one.\n", rel(s.lab.Dir))
	if s.here.Apart {
		s.say("%s@%s is a Unix user, with the same password. Who runs what:\n%s\n", carol, unixHost, s.who())
	}
	type chapter struct {
		title string
		run   func(mark string) (where []string, err error)
	}
	chapters := []chapter{
		{"alice writes to bob, same host", s.local},
		{"alice writes to bob of " + there + ", host to host with STARTTLS", s.across},
		{"somebody at 127.0.0.9 writes to bob of " + there + " as alice", s.spoof},
		{"cron runs sendmail -t", s.cron},
		{"alice writes to carol@" + dead + ", a host that is down", s.dead},
		{"alice writes to nobody@" + there + ", who does not exist", s.bounce},
		{"a shell sets a flag, and an IMAP client waits", s.mv},
	}
	if s.here.Apart {
		chapters = append(chapters, chapter{"alice writes to " + carol + "@" + unixHost + ", a Unix user, who reads it", s.carol})
	}
	for _, chapter := range chapters {
		mark := fmt.Sprintf("demo-%d", time.Now().UnixNano())
		begun := time.Now()
		where, err := chapter.run(mark)
		if err != nil {
			s.say("- %s\n    failed: %v\n    see %s", chapter.title, err, rel(filepath.Join(s.here.Dir, "log")))
			continue
		}
		s.say("- %s (%d ms)", chapter.title, time.Since(begun).Milliseconds())
		for _, line := range where {
			s.say("    %s", line)
		}
	}
	s.paste()
}

func (s *story) local(mark string) ([]string, error) {
	err := s.here.Submit("alice", "bob@"+here, lab.Letter("alice@"+here, "bob@"+here, "lunch?", mark))
	if err != nil {
		return nil, err
	}
	files, _, err := lab.Find(10*time.Second, s.here.Maildir("bob"), mark, 1)
	return paths("delivered: ", files), err
}

func (s *story) across(mark string) ([]string, error) {
	err := s.here.Submit("alice", "bob@"+there, lab.Letter("alice@"+here, "bob@"+there, "greetings from next door", mark))
	if err != nil {
		return nil, err
	}
	files, texts, err := lab.Find(15*time.Second, s.there.Maildir("bob"), mark, 1)
	if err != nil {
		return nil, err
	}
	where := paths("delivered: ", files)
	err = lab.Until(5*time.Second, func() error {
		lines, err := s.here.Results(" deliver ", "to=bob@"+there+" ", " tls=")
		if err == nil && len(lines) == 0 {
			err = fmt.Errorf("no result of it in %s", rel(s.here.Spool()))
		}
		if err == nil {
			_, how, _ := strings.Cut(lines[len(lines)-1], " tls=")
			how, _, _ = strings.Cut(how, " ")
			where = append(where, "TLS, as the host that brought it found: tls="+how)
		}
		return err
	})
	return append(where, judged(texts[0])...), err
}

// judged is the field in which the host that took a message says what it found.
func judged(text string) (lines []string) {
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "Authentication-Results:"), len(lines) > 0 && strings.HasPrefix(line, "\t"):
			lines = append(lines, strings.TrimRight(line, "\n"))
		case len(lines) > 0:
			return lines
		}
	}
	return lines
}

// overTLS: RFC 3848 and RFC 6531 section 4.3 have the words.
func overTLS(text string) bool {
	return strings.Contains(text, "with ESMTPS") || strings.Contains(text, "with UTF8SMTPS")
}

func (s *story) spoof(mark string) ([]string, error) {
	reply, err := spoof(s.there, "alice@"+here, "bob@"+there, mark)
	return []string{"the answer: " + reply}, err
}

func (s *story) cron(mark string) ([]string, error) {
	text := "From: root@" + here + "\nTo: alice@" + here + "\nSubject: Cron <root> backup\n\n" + mark + "\n"
	if _, err := s.here.Sendmail(text, "-t", "-oi", "-f", "root@"+here); err != nil {
		return nil, err
	}
	files, _, err := lab.Find(15*time.Second, s.here.Maildir("alice"), mark, 1)
	return paths("delivered: ", files), err
}

func (s *story) dead(mark string) ([]string, error) {
	err := s.here.Submit("alice", "carol@"+dead, lab.Letter("alice@"+here, "carol@"+dead, "are you there?", mark))
	if err != nil {
		return nil, err
	}
	file, err := s.queued(mark)
	if err != nil {
		return nil, err
	}
	return []string{"waits in: " + rel(file), "mailq says why: " + s.command("mailq")}, nil
}

// queued waits for a message with the text in the queue, tried once.
func (s *story) queued(mark string) (file string, err error) {
	err = lab.Until(10*time.Second, func() error {
		for _, name := range lab.Queued(s.here.Spool()) {
			text, err := os.ReadFile(filepath.Join(s.here.Spool(), name))
			if err == nil && strings.HasPrefix(name, "q/") && strings.Contains(string(text), mark) {
				file = filepath.Join(s.here.Spool(), name)
				return nil
			}
		}
		return fmt.Errorf("it is not in the queue")
	})
	return file, err
}

func (s *story) bounce(mark string) ([]string, error) {
	err := s.here.Submit("alice", "nobody@"+there, lab.Letter("alice@"+here, "nobody@"+there, "hello "+mark, mark))
	if err != nil {
		return nil, err
	}
	files, _, err := lab.Find(15*time.Second, s.here.Maildir("alice"), mark, 1)
	return paths("the report is in: ", files), err
}

// paste prints what can be typed while the demo is up.
func (s *story) paste() {
	port := func(service string) string {
		_, port, _ := net.SplitHostPort(s.here.Addr(service))
		return port
	}
	ca := rel(s.lab.CA.File())
	s.say("\nTo type in another terminal:\n")
	lines := []string{
		"printf 'Subject: hi\\n\\nhi\\n' | curl -s --crlf --cacert " + ca + " --url smtps://localhost:" + port("SUBMISSIONS") + " -u alice@" + here + ":demo --mail-from alice@" + here + " --mail-rcpt bob@" + there + " -T -",
		"swaks --server 127.0.0.1:" + port("SUBMISSION") + " --tls --au alice@" + here + " --ap demo --from alice@" + here + " --to bob@" + here,
		"curl -s --cacert " + ca + " -u bob@" + here + ":demo pop3s://localhost:" + port("POP3S") + "/1",
		"curl -s --cacert " + ca + " -u bob@" + here + ":demo 'imaps://localhost:" + port("IMAPS") + "/INBOX?ALL'",
		"openssl s_client -quiet -crlf -CAfile " + ca + " -connect localhost:" + port("IMAPS") + "   # then: a login bob@" + here + " demo, b select inbox, c idle",
		"mutt -e 'set imap_user=bob@" + here + " imap_pass=demo certificate_file=" + ca + "' -f imaps://localhost:" + port("IMAPS") + "/INBOX",
		"f=$(ls -d " + rel(s.here.Maildir("bob")) + "/cur/* | head -n 1); mv \"$f\" \"${f%:2,*}:2,F\"   # who idles sees the flag",
		"mutt -f " + rel(s.here.Maildir("bob")),
		s.command("mailq"),
		"tail -f " + rel(filepath.Join(s.here.Dir, "log")),
		"kill -9 $(" + rel(filepath.Join(s.lab.Bin, "maildemo")) + " env --dir " + rel(s.lab.Dir) + " | sed -n 's/^PID_QUEUE_RUN=//p')",
	}
	if s.here.Apart {
		lines = append(lines, s.homely()...)
	}
	for _, line := range lines {
		s.say("  %s", line)
	}
	s.say("\nCtrl-C ends it; the mail stays in %s.", rel(s.lab.Dir))
}

func (s *story) command(program string) string {
	return rel(filepath.Join(s.lab.Bin, program)) + " -c " + rel(s.here.Config())
}

func paths(before string, files []string) []string {
	var lines []string
	for _, file := range files {
		lines = append(lines, before+rel(file))
	}
	return lines
}

// rel is the file name as seen from here, where that is shorter.
func rel(file string) string {
	wd, err := os.Getwd()
	if err != nil {
		return file
	}
	if r, err := filepath.Rel(wd, file); err == nil && len(r) < len(file) && !strings.HasPrefix(r, "../..") {
		return r
	}
	return file
}

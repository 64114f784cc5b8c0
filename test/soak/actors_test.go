package soak

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"pennypost/maildir"
)

func pause(most int) { time.Sleep(time.Duration(rand.IntN(most)) * time.Millisecond) }

func (s *soak) anyDir() string { return s.dir(folders[rand.IntN(len(folders))]) }

// script delivers as scripts do: tmp/, then new/.
func (s *soak) script() {
	dir, id := s.anyDir(), s.newID("script")
	name := fmt.Sprintf("%d.M%dQ%s.host", time.Now().Unix(), time.Now().Nanosecond()/1000, id)
	os.WriteFile(filepath.Join(dir, "tmp", name), []byte(text(id)), 0o600)
	if os.Rename(filepath.Join(dir, "tmp", name), filepath.Join(dir, "new", name)) == nil {
		s.isBorn(id)
	}
	pause(80)
}

// mutt moves new mail to cur/, sets flags, puts mail back to new/ and removes it, and asks nobody.
func (s *soak) mutt() {
	dir := s.anyDir()
	from := []string{"new", "cur", "cur"}[rand.IntN(3)]
	entries, _ := os.ReadDir(filepath.Join(dir, from))
	for range min(5, len(entries)) {
		name := entries[rand.IntN(len(entries))].Name()
		path, key := filepath.Join(dir, from, name), maildir.Key(name)
		switch n := rand.IntN(10); {
		case n == 0 || len(entries) > 300:
			if id := idOf(path); id != "" {
				s.isDead(id)
				os.Remove(path)
			}
		case n == 1:
			os.Rename(path, filepath.Join(dir, "new", key))
		case n == 2: // a script that knows names better
			os.Rename(path, filepath.Join(dir, "cur", fmt.Sprintf("%d.Q%s.renamed:2,S", time.Now().Unix(), s.newID("mutt"))))
		default:
			os.Rename(path, filepath.Join(dir, "cur", key+":2,"+[]string{"", "S", "FS", "RS", "F", "Sa"}[rand.IntN(6)]))
		}
	}
	pause(30)
}

// janitor removes caches: what is in them is elsewhere, too. Sometimes he sets the times of the directories, as a clock that was put
// back or forth would.
func (s *soak) janitor() {
	pause(1000)
	dir := s.anyDir()
	if rand.IntN(3) == 0 {
		when := time.Now().Add(time.Duration(rand.IntN(7200)-3600) * time.Second)
		os.Chtimes(filepath.Join(dir, []string{"new", "cur"}[rand.IntN(2)]), when, when)
		s.say("clock set")
		return
	}
	patterns := []string{"mb-index", "mb-log.*", "mb-cache*", "mb-fts*", "mb-keys*"}
	files, _ := filepath.Glob(filepath.Join(dir, patterns[rand.IntN(len(patterns))]))
	for _, file := range files {
		if os.Remove(file) == nil {
			s.say("caches removed")
		}
	}
}

// submit brings a message by smtpd, queue-run and its deliver-local.
func (s *soak) submit() {
	id := s.newID("submit")
	if s.host.Submit("alice", "alice@demo.test", text(id)) == nil {
		s.isBorn(id)
		s.say("submitted")
	}
	pause(150)
}

// sendmail brings one by queue-pickup.
func (s *soak) sendmail() {
	id := s.newID("sendmail")
	if _, err := s.host.Sendmail(text(id), "-f", "alice@demo.test", "alice@demo.test"); err == nil {
		s.isBorn(id)
		s.say("sent by sendmail")
	}
	pause(300)
}

// deliver is deliver-local for one message; at times it is killed.
func (s *soak) deliver() {
	id := s.newID("deliver")
	cmd := exec.Command(filepath.Join(s.host.Lab().Bin, "deliver-local"), "-c", s.host.Config(), "-s", "soak@partner.test", "alice@demo.test", "alice@demo.test")
	cmd.Stdin = strings.NewReader(text(id))
	if err := cmd.Start(); err != nil {
		s.Error(err)
		return
	}
	if rand.IntN(4) == 0 {
		pause(30)
		cmd.Process.Kill()
	}
	if cmd.Wait() == nil {
		s.isBorn(id)
		s.say("delivered")
	}
	pause(300)
}

// pop is a POP3 session: UIDL must never name another message, RETR gives what UIDL named, DELE removes.
func (s *soak) pop() {
	defer pause(300)
	p, err := s.host.POP("alice")
	if err != nil {
		return // killed, or another session has the mailbox
	}
	defer p.Close()
	lines, err := p.Lines("UIDL")
	if err != nil || len(lines) == 0 {
		return
	}
	var dying []string
	for range 3 {
		n, uidl, _ := strings.Cut(lines[rand.IntN(len(lines))], " ")
		message, err := p.Lines("RETR " + n)
		if err != nil {
			continue // somebody removed it
		}
		id := idIn(strings.Join(message, "\n"))
		s.means("pop3 "+uidl, id)
		if rand.IntN(4) == 0 {
			s.isDead(id)
			if _, err := p.Do("DELE " + n); err == nil {
				dying = append(dying, id)
			}
		}
	}
	if _, err := p.Do("QUIT"); err == nil {
		s.said2("POP3 sessions", "removed by POP3", len(dying))
	}
}

func (s *soak) said2(one, many string, n int) {
	s.mu.Lock()
	s.said[one]++
	s.said[many] += n
	s.mu.Unlock()
}

// means holds that a name has one meaning for ever.
func (s *soak) means(name, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, known := s.meaning[name]; known && was != id {
		s.Errorf("%s was %s and is %s", name, was, id)
	}
	s.meaning[name] = id
}

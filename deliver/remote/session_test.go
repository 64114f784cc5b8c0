package remote

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what was said into testdata/session")

// TestSessions plays the transcripts of testdata/session. A file begins with comments and the letter:
//
//	from: alice@we.test
//	mail: BODY=8BITMIME        what MAIL said when the message came in
//	rcpt: bob@example.test NOTIFY=NEVER
//	text: Subject: hi          a line of the message; more lines, more text:
//
// then comes the session, as the host (S:) and we (C:) speak it, a blank line before another connection, and at the end the
// answers (A:). The host says its lines whatever it hears; -update writes ours anew.
func TestSessions(t *testing.T) {
	files, err := filepath.Glob("testdata/session/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { play(t, file) })
	}
}

func play(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var l letter
	var head []string
	var connections [][]string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch key {
		case "from":
			l.from = value
		case "mail":
			l.mail = value
		case "rcpt":
			l.rcpts = append(l.rcpts, value)
		case "text":
			l.text += value + "\n"
		case "S", "C":
			if len(connections) == 0 {
				connections = [][]string{nil}
			}
			last := &connections[len(connections)-1]
			*last = append(*last, line)
			continue
		case "A":
			continue
		case "":
			if len(connections) > 0 {
				connections = append(connections, nil)
			}
			continue
		}
		head = append(head, line)
	}
	said := make([]string, len(connections))
	done := make(chan bool, 10)
	p := newPeer(t, "tcp", "127.0.0.1:0", func(d *dialogue) {
		if d.n <= len(connections) {
			said[d.n-1] = d.follow(connections[d.n-1])
		}
		done <- true
	})
	c, _ := newClient(t, zone, p.port, nil)
	answers := deliver(t, c, site, l)
	c.Close()
	for range p.connections() {
		<-done
	}
	var got strings.Builder
	got.WriteString(strings.Join(head, "\n") + "\n")
	for _, s := range said {
		if s != "" {
			got.WriteString("\n" + s)
		}
	}
	got.WriteString("\nA: " + strings.ReplaceAll(answers, "\n", "\nA: ") + "\n")
	if *update {
		os.WriteFile(file, []byte(got.String()), 0644)
	} else if got.String() != string(text) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got.String(), text)
	}
}

// follow says the S: lines of a session and listens where there are C: lines.
func (d *dialogue) follow(lines []string) string {
	var got strings.Builder
	for _, line := range lines {
		if said, ok := strings.CutPrefix(line, "S: "); ok {
			d.say(said)
			got.WriteString(line + "\n")
			continue
		}
		heard, err := d.r.ReadString('\n')
		if err != nil {
			break
		}
		checkWire(d.p.t, []byte(heard))
		got.WriteString("C: " + strings.TrimSuffix(heard, "\r\n") + "\n")
	}
	return got.String()
}

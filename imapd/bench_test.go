package imapd

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// correspondence is an INBOX of n messages of about 4 KiB such as people have: threads, accents, quoted-printable, base64, HTML.
func correspondence(b *testing.B, n int) (root string, c *talker) {
	root, srv := newStore(b)
	rng := rand.New(rand.NewPCG(1, 2))
	vocabulary := strings.Fields("the meeting about invoice project café Übersicht déjà status release next week please find attached of and to in for with that")
	for i := range n {
		var text strings.Builder
		for text.Len() < 3500 {
			text.WriteString(vocabulary[rng.IntN(len(vocabulary))])
			text.WriteByte(" \n"[rng.IntN(10)/9])
			if rng.IntN(20) == 0 {
				fmt.Fprintf(&text, "w%x ", rng.IntN(5000))
			}
		}
		head := fmt.Sprintf("From: \"Person %d\" <p%d@example.org>\nTo: me@example.net, Other <o%d@example.com>\nSubject: Re: topic %d of %s\nDate: %02d Jan 2024 10:%02d:00 +0100\n"+
			"Message-ID: <%d@x.example.org>\nReferences: <%d@x.example.org>\nReceived: from a by b; somewhen\nMIME-Version: 1.0\n",
			i%97, i%97, i%13, rng.IntN(n/3+1), vocabulary[i%len(vocabulary)], 1+i%28, i%60, i, i-i%7)
		body := text.String()
		switch i % 3 {
		case 0:
			body = "Content-Type: text/plain; charset=utf-8\n\n" + body
		case 1:
			body = strings.NewReplacer("é", "=C3=A9", "Ü", "=C3=9C", "à", "=C3=A0", "=", "=3D").Replace(body)
			body = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n" + body
		case 2:
			body = "Content-Type: multipart/alternative; boundary=xx\n\n--xx\nContent-Type: text/plain; charset=utf-8\n\n" + body[:1500] + "\n--xx\nContent-Type: text/html; charset=utf-8\n\n<p>" + body[:1500] + "\n--xx--\n"
		}
		put(b, root, fmt.Sprintf("cur/%d.M%d.h:2,S", 1700000000+i, i), head+body)
	}
	c = talk(b, srv)
	c.say("SELECT INBOX")
	return root, c
}

// What clients ask of 10,000 messages, of the record first: go test ./imapd -run '^$' -bench Correspondence
func BenchmarkCorrespondence(b *testing.B) {
	const size = 10000
	root, c := correspondence(b, size)
	for _, row := range []struct{ name, command, forget string }{
		{"ENVELOPE first", "FETCH 1:* ENVELOPE", "mb-*"},
		{"ENVELOPE again", "FETCH 1:* ENVELOPE", ""},
		{"SUBJECT", "UID SEARCH SUBJECT topic", ""},
		{"SUBJECT few", "UID SEARCH SUBJECT \"topic 77 \"", ""},
		{"SORT SUBJECT", "UID SORT (SUBJECT) UTF-8 ALL", ""},
		{"SORT SUBJECT unseen", "UID SORT (SUBJECT) UTF-8 NOT FROM p17", ""},
		{"THREAD", "UID THREAD REFERENCES UTF-8 ALL", ""},
		{"BODY first", "UID SEARCH BODY w77f", "mb-fts"},
		{"BODY again", "UID SEARCH BODY w77f", ""},
	} {
		b.Run(row.name, func(b *testing.B) {
			for b.Loop() {
				if row.forget != "" {
					b.StopTimer()
					c.say("UNSELECT")
					old, _ := filepath.Glob(root + "/" + row.forget)
					for _, file := range old {
						os.Remove(file)
					}
					c.say("SELECT INBOX")
					b.StartTimer()
				}
				c.say("%s", row.command)
			}
		})
	}
}

package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// corpus is mail as people have it, the same octets at every run: a message is a function of its number. Mean 19 KB; plain
// text, 8 bit, quoted-printable, text with HTML, attachments, forwarded messages; 55 in 100 answer an earlier one.
type corpus struct {
	words  []string // with accents
	text   []byte   // lines of words in ASCII, to cut bodies from
	text8  []byte   // the same with accents
	quoted []byte   // text8 in quoted-printable
	base64 []byte   // lines of an attachment
}

const (
	needleSubject = "needlesubject" // in one subject of 250
	needleBody    = "zyxquark"      // in one text of 500
)

func newCorpus() *corpus {
	r := rand.New(rand.NewPCG(1, 2))
	word := func(vowels []rune) string {
		var b strings.Builder
		for range 2 + r.IntN(4) {
			b.WriteByte("bcdfghjklmnprstvw"[r.IntN(17)])
			b.WriteRune(vowels[r.IntN(len(vowels))])
			if r.IntN(3) == 0 {
				b.WriteByte("bcdfghjklmnprstvw"[r.IntN(17)])
			}
		}
		return b.String()
	}
	var plain, accented []string
	for range 6000 {
		plain = append(plain, word([]rune("aeiou")))
		accented = append(accented, word([]rune("aeiouaeiouäöüéèñø")))
	}
	zipf := rand.NewZipf(r, 1.15, 4, uint64(len(plain)-1))
	lines := func(words []string, size int) []byte {
		var b bytes.Buffer
		for b.Len() < size {
			col := 0
			for col < 64 {
				w := words[zipf.Uint64()]
				b.WriteString(w)
				b.WriteByte(' ')
				col += len(w) + 1
			}
			b.Truncate(b.Len() - 1)
			b.WriteString([]string{"\n", "\n", "\n", "\n", "\n\n", "\n> "}[r.IntN(6)])
		}
		return b.Bytes()
	}
	c := &corpus{words: accented, text: lines(plain, 8<<20), text8: lines(accented, 8<<20)}
	c.quoted = quotedPrintable(c.text8)
	raw := make([]byte, 57)
	for range 40000 {
		for i := range raw {
			raw[i] = byte(r.Uint32())
		}
		c.base64 = append(append(c.base64, base64.StdEncoding.EncodeToString(raw)...), '\n')
	}
	return c
}

// quotedPrintable leaves line ends alone and needs no soft ones: lines are short.
func quotedPrintable(text []byte) []byte {
	var b bytes.Buffer
	for _, c := range text {
		if c >= 0x80 || c == '=' {
			fmt.Fprintf(&b, "=%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.Bytes()
}

// cut is about size octets of whole lines.
func cut(r *rand.Rand, text []byte, size int) []byte {
	from := r.IntN(len(text) - size - 200)
	from += bytes.IndexByte(text[from:], '\n') + 1
	to := from + size
	return text[from : to+bytes.IndexByte(text[to:], '\n')+1]
}

func messageID(i int) string { return fmt.Sprintf("<%x.%d@host%d.example.org>", i*104729, i, i%37) }

// answered is the message that message i answers, -1 none.
func answered(i int) int {
	r := rand.New(rand.NewPCG(uint64(i), 7))
	if i < 10 || r.IntN(100) < 45 {
		return -1
	}
	return i - 1 - r.IntN(min(200, i))
}

func (c *corpus) date(i int) time.Time {
	return time.Date(2016, 3, 1, 8, 0, 0, 0, time.UTC).Add(time.Duration(i)*4*time.Minute + time.Duration(i%13)*11*time.Second)
}

func (c *corpus) subject(i int) string {
	root := i
	for p := answered(i); p >= 0; p = answered(p) {
		root = p
	}
	r := rand.New(rand.NewPCG(uint64(root), 3))
	var words []string
	for range 2 + r.IntN(6) {
		words = append(words, string(bytes.Fields(cut(r, c.text, 40))[0]))
	}
	s := strings.Join(words, " ")
	if root%9 == 0 {
		s = "=?utf-8?q?" + strings.ReplaceAll(string(quotedPrintable([]byte(s+" – "+c.words[r.IntN(len(c.words))]))), " ", "_") + "?="
	}
	if root != i {
		s = "Re: " + s
	}
	if i%250 == 7 {
		s += " " + needleSubject
	}
	return s
}

// message is message i, with LF at its line ends.
func (c *corpus) message(i int) []byte {
	r := rand.New(rand.NewPCG(uint64(i), 1))
	var b bytes.Buffer
	date := c.date(i).Format(time.RFC1123Z)
	sender := r.IntN(60)
	fmt.Fprintf(&b, "Return-Path: <p%d@example%d.org>\n", sender, sender%9)
	for k := 1 + r.IntN(4); k > 0; k-- {
		fmt.Fprintf(&b, "Received: from mx%d.example.net (mx%d.example.net [192.0.2.%d])\n\tby host%d.example.org with ESMTPS id %X\n\tfor <bench@bench.test>; %s\n", k, k, r.IntN(250), k, r.Uint32(), date)
	}
	if r.IntN(10) < 7 {
		fmt.Fprintf(&b, "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example%d.org;\n\ts=sel1; h=from:to:subject:date:message-id;\n\tb=%s", sender%9,
			bytes.ReplaceAll(bytes.TrimRight(cut(r, c.base64, 300), "\n"), []byte("\n"), []byte("\n\t")))
		b.WriteByte('\n')
	}
	name := fmt.Sprintf("Person %c %d", 'A'+rune(sender%26), sender)
	if sender%5 == 0 {
		name = fmt.Sprintf("=?utf-8?q?J=C3=BCrgen_M=C3=BCller_%d?=", sender)
	}
	from := fmt.Sprintf("%s <p%d@example%d.org>", name, sender, sender%9)
	fmt.Fprintf(&b, "From: %s\nTo: Bench User <bench@bench.test>\n", from)
	if n := r.IntN(18); n < 6 {
		b.WriteString("Cc: Colleague <c0@example.com>")
		for range n {
			fmt.Fprintf(&b, ",\n\tAnother Colleague <c%d@example.com>", r.IntN(500))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "Subject: %s\nDate: %s\nMessage-ID: %s\n", c.subject(i), date, messageID(i))
	if p := answered(i); p >= 0 {
		fmt.Fprintf(&b, "In-Reply-To: %s\nReferences:", messageID(p))
		chain := []int{p}
		for p = answered(p); p >= 0 && len(chain) < 30; p = answered(p) {
			chain = append(chain, p)
		}
		for k := len(chain) - 1; k >= 0; k-- {
			b.WriteString(" " + messageID(chain[k]) + []string{"\n\t", "\n"}[btoi(k == 0)])
		}
	}
	if n := r.IntN(48); n < 12 {
		fmt.Fprintf(&b, "List-Id: List number %d <list%d.lists.example.org>\nPrecedence: list\nX-Mailman-Version: 3.3.8\n", n, n)
	}
	fmt.Fprintf(&b, "X-Spam-Status: No, score=%.1f required=5.0\nMIME-Version: 1.0\n", r.Float64()*3-2)
	c.body(&b, r, i, from, date)
	return b.Bytes()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// body ends the header with the Content fields and writes the body.
func (c *corpus) body(b *bytes.Buffer, r *rand.Rand, i int, from, date string) {
	needle := ""
	if i%500 == 3 {
		needle = "here is the " + needleBody + " you wanted\n"
	}
	mark := fmt.Sprintf("=_%x_%d", r.Uint32(), i)
	part := func(header string, texts ...[]byte) {
		fmt.Fprintf(b, "--%s\n%s\n\n", mark, header)
		for _, text := range texts {
			b.Write(text)
		}
		b.WriteByte('\n')
	}
	plain := "Content-Type: text/plain; charset=us-ascii"
	switch class := r.IntN(1000); {
	case class < 420:
		fmt.Fprintf(b, "%s\nContent-Transfer-Encoding: 7bit\n\n", plain)
		b.Write(cut(r, c.text, 500+r.IntN(5000)))
		b.WriteString(needle)
	case class < 520:
		b.WriteString("Content-Type: text/plain; charset=UTF-8; format=flowed\nContent-Transfer-Encoding: 8bit\n\n")
		b.Write(cut(r, c.text8, 500+r.IntN(4000)))
		b.WriteString(needle)
	case class < 600:
		b.WriteString("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n")
		b.Write(cut(r, c.quoted, 500+r.IntN(4000)))
		b.WriteString(needle)
	case class < 850:
		fmt.Fprintf(b, "Content-Type: multipart/alternative; boundary=\"%s\"\n\n", mark)
		part("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable", cut(r, c.quoted, 800+r.IntN(3000)), []byte(needle))
		html := []byte("<html><head><style>p{font-family:sans-serif;margin:0 0 1em}</style></head><body>\n")
		for range 2 + r.IntN(10) {
			html = append(append(append(html, "<p style=3D\"color:#333;line-height:1.4\">\n"...), cut(r, c.quoted, 300+r.IntN(900))...), "</p>\n<img src=3D\"https://img.example.com/a.png\" width=3D\"600\">\n"...)
		}
		part("Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable", html, []byte(needle+"</body></html>"))
		fmt.Fprintf(b, "--%s--\n", mark)
	case class < 970:
		fmt.Fprintf(b, "Content-Type: multipart/mixed; boundary=\"%s\"\n\nThis is a multi-part message in MIME format.\n", mark)
		part(plain, cut(r, c.text, 400+r.IntN(2000)), []byte(needle))
		for k := range 1 + r.IntN(3) {
			size := 7000 + r.IntN(80000)
			if class >= 968 {
				size = 500_000 + r.IntN(1_000_000)
			}
			part(fmt.Sprintf("Content-Type: application/pdf; name=\"report %d.pdf\"\nContent-Disposition: attachment;\n\tfilename=\"report %d.pdf\"\nContent-Transfer-Encoding: base64", k, k), cut(r, c.base64, size))
		}
		fmt.Fprintf(b, "--%s--\n", mark)
	default:
		fmt.Fprintf(b, "Content-Type: multipart/mixed; boundary=\"%s\"\n\n", mark)
		part(plain, cut(r, c.text, 300), []byte(needle))
		part("Content-Type: message/rfc822\nContent-Disposition: inline", fmt.Appendf(nil, "From: %s\nTo: list@example.org\nSubject: forwarded\nDate: %s\nMessage-ID: <fwd%d@example.org>\nMIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=in%s\n\n--in%[4]s\nContent-Type: text/plain\n\n%[5]s\n--in%[4]s\nContent-Type: text/html\n\n<p>%[6]s</p>\n--in%[4]s--\n",
			from, date, i, mark[2:], cut(r, c.text, 1500), cut(r, c.text, 2500)))
		fmt.Fprintf(b, "--%s--\n", mark)
	}
}

// fileFlags are of every tenth message each.
var fileFlags = []string{"", "S", "S", "S", "S", "RS", "S", "FS", "", "S"}

// write makes DIR/cur and DIR/new with n messages; one of 100 is in new/. sized puts S= and W= into the names, as most delivery agents do.
func (c *corpus) write(dir string, n, owner int, sized bool) error {
	for _, d := range []string{"", "tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return err
		}
		if err := os.Chown(filepath.Join(dir, d), owner, owner); err != nil {
			return err
		}
	}
	var all sync.WaitGroup
	failed := make([]error, 2)
	for w := range failed {
		all.Go(func() {
			for i := w; i < n && failed[w] == nil; i += len(failed) {
				failed[w] = c.writeOne(dir, i, owner, sized)
			}
		})
	}
	all.Wait()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *corpus) writeOne(dir string, i, owner int, sized bool) error {
	text, date := c.message(i), c.date(i)
	name := fmt.Sprintf("%d.M%06dP%d.bench", date.Unix(), i%1000000, 4000+i%977)
	if sized {
		name += fmt.Sprintf(",S=%d,W=%d", len(text), len(text)+bytes.Count(text, []byte("\n")))
	}
	file := filepath.Join(dir, "cur", name+":2,"+fileFlags[i%len(fileFlags)])
	if i%100 == 99 {
		file = filepath.Join(dir, "new", name)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	if err := os.Chown(file, owner, owner); err != nil {
		return err
	}
	return os.Chtimes(file, date, date)
}

// link makes a second Maildir of the same files. Servers rename files and remove them; none writes into one.
func link(from, to string, owner int) error {
	for _, d := range []string{"", "tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(to, d), 0o700); err != nil {
			return err
		}
		if err := os.Chown(filepath.Join(to, d), owner, owner); err != nil {
			return err
		}
		entries, err := os.ReadDir(filepath.Join(from, d))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if d != "" && e.Type().IsRegular() {
				if err := os.Link(filepath.Join(from, d, e.Name()), filepath.Join(to, d, e.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

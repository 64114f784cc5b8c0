package mailbox

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pennypost/internal/durable/faultdisk"
	"pennypost/maildir"
)

// A byte flipped in what was parsed, in the keys of searches or in the filter: every message is said to be what it is (S132). For mb-index
// and mb-log see TestS132FlippedBytes, for mb-uids TestS132FlippedUIDs.
func TestS132FlippedParsed(t *testing.T) {
	small(t)
	root, f := keyedFolder(t, 140)
	sameKeys(t, f, true)
	v := look(t, f)
	v.Candidates(ctx, NewNeedle("number 7")) // has the filter made
	filtered(t, f)
	truth := make([]string, v.Len())
	records := func(v *View, have func(i int, said string)) {
		r := v.Reader()
		defer r.Close()
		for i := range v.Len() {
			record, err := r.Get(i)
			if err != nil {
				t.Fatal(err)
			}
			have(i, fmt.Sprintf("%s %s %s %s %x", record.Envelope, record.Header, record.Body, record.Structure, record.parts))
		}
	}
	records(v, func(i int, said string) { truth[i] = said })
	f.Close()
	for _, name := range []string{cacheName, keysName, ftsName} {
		file := filepath.Join(root, name)
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(whole); at += 1 + len(whole)/37 {
			bad := bytes.Clone(whole)
			bad[at] ^= 0x41
			os.WriteFile(file, bad, 0o600)
			f := openKeyed(t, root)
			v := look(t, f)
			switch name {
			case cacheName:
				records(v, func(i int, said string) {
					if said != truth[i] {
						t.Fatalf("%s, octet %d: UID %d is %.200s", name, at, v.UID(i), said)
					}
				})
			case keysName:
				sameKeys(t, f, true)
			case ftsName:
				n := NewNeedle(fmt.Sprintf("number %d", at%140))
				if uids, ok := v.Candidates(ctx, n); ok && !uids.Has(uint32(at%140+1)) {
					t.Fatalf("%s, octet %d: UID %d is not among %v", name, at, at%140+1, uids)
				}
			}
			f.Close()
		}
		os.WriteFile(file, whole, 0o600)
	}
}

// A byte flipped in mb-uids, which is no cache: messages keep their UIDs where they can be made out, others get new ones, and none has one
// that was another's (S132).
func TestS132FlippedUIDs(t *testing.T) {
	s := newScene(t)
	s.next("next-boot") // makes mb-uids.old
	write(t, s.root, "new/4.m", "text 4\n")
	v := look(t, s.f)
	whole := s.read("mb-uids")
	means := map[uint32]string{}
	for i := range v.Len() {
		means[v.UID(i)] = textOf(t, v, i)
	}
	for at := range whole {
		bad := bytes.Clone(whole)
		bad[at] ^= 0x01
		write(t, s.root, "mb-uids", string(bad))
		for _, name := range []string{"mb-index", s.log()} {
			os.Remove(filepath.Join(s.root, name))
		}
		s.next("")
		w := look(t, s.f)
		if w.Len() != 4 {
			t.Fatalf("octet %d: %d messages", at, w.Len())
		}
		same := w.Counts().UIDValidity == v.Counts().UIDValidity
		for i := range w.Len() {
			if was := means[w.UID(i)]; same && was != "" && was != textOf(t, w, i) {
				t.Fatalf("octet %d (%q): UID %d is %q and was %q", at, whole[max(0, at-5):at+5], w.UID(i), textOf(t, w, i), was)
			}
		}
	}
}

// Base64, quoted-printable and encoded words of garbage, and charsets nobody has: what can be read is searched, nothing is changed, and the
// message is had as it is (S088).
func TestS088Garbage(t *testing.T) {
	root, _, f := box(t)
	body := strings.Repeat("=?=Z=\x00+ADw-\xff\xfe\x1b$B!%==\r\n", 200) + "\nfindme\n"
	kinds := []string{
		"Content-Transfer-Encoding: base64", "Content-Transfer-Encoding: quoted-printable", "Content-Transfer-Encoding: x-uuencode", "Content-Type: text/plain; charset=utf-7",
		"Content-Type: text/plain; charset=gb18030", "Content-Type: text/plain; charset=\"x-klingon\x01\"", "Content-Type: text/plain; charset=utf-16",
		"Subject: =?utf-8?B?=?utf-8?Q?=?= =?x?X?x?= =?utf-8?Q?=ZZ=?= =?utf-8?b?////?=", "Subject: " + strings.Repeat("=?utf-8?Q?", 5000),
	}
	for i, kind := range kinds {
		write(t, root, fmt.Sprintf("cur/%d.m:2,S", i+1), kind+"\n\n"+body)
	}
	v := look(t, f)
	r := v.Reader()
	defer r.Close()
	for i, kind := range kinds {
		if textOf(t, v, i) != kind+"\n\n"+body {
			t.Errorf("%s: it is changed", kind)
		}
		record, err := r.Previewed(i)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if n := len([]rune(string(record.Preview))); n > 200 {
			t.Errorf("%s: a preview of %d characters", kind, n)
		}
		m, err := v.Open(i)
		if err != nil {
			t.Fatal(err)
		}
		found, err := m.Contains(record.Parts(), true, NewNeedle("findme"))
		m.Close()
		if plain := !strings.Contains(kind, "base64") && !strings.Contains(kind, "utf-16"); err != nil || plain && !found {
			t.Errorf("%.60s: found %v, %v", kind, found, err)
		}
	}
}

// Whatever a client calls a mailbox: it is refused, or its directory is one component below the root for the dotted layout, and has that name
// again; whatever directory there is, its name leads back to it (S100, S101).
func FuzzNames(f *testing.F) {
	for _, name := range []string{"INBOX", "inbox/x", "Lists/go", "../x", "a//b", "~root", ".x", "cur", "a.b", "&AOk-", "é", "é", "日本/語", "&-", "x\x00", "mb-uids", "&ACY-"} {
		f.Add(name)
	}
	var accounts []*Account
	for _, layout := range []string{maildir.PlusPlus, maildir.FS} {
		memory := faultdisk.New()
		memory.Dirs("mail/bob/Maildir/cur", "mail/bob/Maildir/new", "mail/bob/Maildir/tmp")
		a, err := openAccount(memoryRoot, Options{Host: "test", Layout: layout}, inMemory(memory))
		if err != nil {
			f.Fatal(err)
		}
		accounts = append(accounts, a)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if wire, ok := maildir.DecodeName(text); ok && maildir.EncodeName(wire) != text {
			if again, ok := maildir.DecodeName(maildir.EncodeName(wire)); !ok || again != wire {
				t.Fatalf("%q is %q, which is %q", text, wire, again)
			}
		}
		for _, a := range accounts {
			if name, err := a.Normal(text); err == nil {
				dir, err := a.dirOf(name)
				if err != nil {
					continue
				}
				if back, ok := a.nameOf(dir); name != "INBOX" && (!ok || back != name) {
					t.Fatalf("%q is %q on disk, which is %q", name, dir, back)
				}
				for _, part := range strings.Split(dir, "/") {
					if part == "" || part == ".." || part == "cur" || part == "new" || part == "tmp" || strings.ContainsAny(part, "\x00\n\r") || len(part) > 255 {
						t.Fatalf("%q is %q on disk", name, dir)
					}
				}
				if a.o.Layout == maildir.PlusPlus && dir != "." && (dir[0] != '.' || strings.Contains(dir, "/")) {
					t.Fatalf("%q is %q on disk", name, dir)
				}
			}
			if name, ok := a.nameOf(text); ok {
				if dir, err := a.dirOf(name); err == nil && dir != text {
					if back, ok := a.nameOf(dir); !ok || back != name {
						t.Fatalf("%q is called %q, which is %q", text, name, dir)
					}
				}
			}
		}
	})
}

// Whatever mb-cache holds, and wherever the index says a record is: the record of that message, or none.
func FuzzCache(f *testing.F) {
	r := Record{has: needParts, Envelope: []byte("(NIL)"), Header: []byte("Subject: x\r\n"), Body: []byte("(a)"), Structure: []byte("(b)")}
	f.Add(append(make([]byte, cacheHead), r.encode(make([]byte, 12))...), int64(cacheHead))
	f.Add([]byte(cacheMagic), int64(1))
	f.Fuzz(func(t *testing.T, text []byte, at int64) {
		disk := faultdisk.New().Put("c", string(text))
		file, err := disk.Open("c")
		if err != nil {
			t.Fatal(err)
		}
		r := &Reader{file: file}
		if b := r.read(max(at, 0), 1); b != nil && r.record.decode(b) {
			r.record.Parts()
			r.record.sortKeys(r.record.fields())
		}
	})
}

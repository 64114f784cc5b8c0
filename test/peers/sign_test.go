package peers

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"pennypost/mailkey"
	"pennypost/test/lab"
)

// signers are three hosts that sign, and the zone of their keys. bob at the second has his mail forwarded to carol at the third.
type signers struct {
	lab  *lab.Lab
	at   []*lab.Host
	zone map[string]string
}

func newSigners(t *testing.T) *signers {
	t.Helper()
	if testing.Short() {
		t.Skip("not with -short")
	}
	bin, err := lab.Bin()
	if err != nil {
		t.Skip(err)
	}
	l, err := lab.New(t.TempDir(), bin, lab.FreeBase())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Down)
	s := &signers{lab: l, zone: map[string]string{}}
	for i, user := range []string{"alice", "bob", "carol"} {
		domain := fmt.Sprintf("sign%d.test", i+1)
		h, err := l.AddHost(domain, fmt.Sprintf("127.0.0.%d", 21+i), user)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(h.Judge(), h.PublishRecords()); err != nil {
			t.Fatal(err)
		}
		s.at = append(s.at, h)
		for _, k := range s.keys(t, i) {
			s.zone[k.Selector+"._domainkey."+domain] = k.Record
		}
	}
	if err := s.at[1].AddAlias("all", "carol@sign3.test"); err != nil {
		t.Fatal(err)
	}
	if err := l.Up(); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *signers) keys(t *testing.T, i int) []mailkey.Key {
	store, err := mailkey.Open(filepath.Join(s.at[i].Dir, "etc/domains"))
	if err != nil {
		t.Fatal(err)
	}
	name, err := store.Domain(s.at[i].Name)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := store.Keys(name)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// verdicts is what somebody finds in a message.
type verdicts struct {
	DKIM []string
	ARC  string // "" where they do not look
}

// script asks one that reads and writes JSON.
func (s *signers) script(t *testing.T, ask map[string]any, answer any, env string, argv ...string) {
	t.Helper()
	ask["zone"] = s.zone
	in, err := json.Marshal(ask)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Env = bytes.NewReader(in), append(os.Environ(), env)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, answer)
	}
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, &stderr)
	}
}

// mailauth is the npm package.
func (s *signers) mailauth(t *testing.T, ask map[string]any, answer any) {
	t.Helper()
	dirs, _ := filepath.Glob(filepath.Join(Cache(), "mailauth@*/node_modules"))
	node, err := exec.LookPath("node")
	if err != nil || len(dirs) == 0 {
		t.Skip("mailauth is not there; make packages fetches it, with npm")
	}
	s.script(t, ask, answer, "NODE_PATH="+dirs[len(dirs)-1], node, "testdata/mailauth.js")
}

func octets(text string) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
}

// verifiers are programs and libraries none of which is ours.
var verifiers = []struct {
	name   string
	verify func(s *signers, t *testing.T, text string) verdicts
}{
	{"go-msgauth", func(s *signers, t *testing.T, text string) (v verdicts) {
		list, err := dkim.VerifyWithOptions(strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n")), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
			return []string{s.zone[strings.TrimSuffix(name, ".")]}, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			v.DKIM = append(v.DKIM, map[bool]string{true: "pass", false: fmt.Sprint(r.Err)}[r.Err == nil])
		}
		return v
	}},
	{"dkimpy", func(s *signers, t *testing.T, text string) (v verdicts) {
		if exec.Command("/usr/bin/python3", "-c", "import dkim, nacl.signing, authres").Run() != nil {
			t.Skip("Python has no dkimpy")
		}
		var got struct {
			DKIM []any
			ARC  string
		}
		s.script(t, map[string]any{"do": "verify", "message": octets(text)}, &got, "LANG=C", "/usr/bin/python3", "../../msgauth/testdata/dkimpy.py")
		for _, d := range got.DKIM {
			if d == true {
				d = "pass"
			}
			v.DKIM = append(v.DKIM, fmt.Sprint(d))
		}
		v.ARC = got.ARC
		return v
	}},
	{"mailauth", func(s *signers, t *testing.T, text string) (v verdicts) {
		s.mailauth(t, map[string]any{"do": "verify", "message": octets(text)}, &v)
		return v
	}},
	{"OpenDKIM", opendkim},
}

// opendkim is the filter in its test mode, which takes DNS from a file.
func opendkim(s *signers, t *testing.T, text string) (v verdicts) {
	program, libraries := "/usr/sbin/opendkim", ""
	if _, err := os.Stat(program); err != nil {
		root := filepath.Join(Cache(), "opendkim")
		program = filepath.Join(root, "usr/sbin/opendkim")
		dirs, _ := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu*"))
		libraries = strings.Join(dirs, ":")
		if _, err := os.Stat(program); err != nil {
			t.Skip("opendkim is not there; make packages fetches it")
		}
	}
	dir := t.TempDir()
	var zone strings.Builder
	for name, text := range s.zone {
		fmt.Fprintf(&zone, "%s %s\n", name, text)
	}
	conf := "Mode v\nSyslog no\nTestDNSData file:" + dir + "/zone\nAlwaysAddARHeader yes\nAuthservID t\n"
	for name, text := range map[string]string{"zone": zone.String(), "conf": conf, "message": text} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "-x", dir+"/conf", "-v", "-v", "-t", dir+"/message")
	if libraries != "" {
		cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+libraries)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if verdict, ok := strings.CutPrefix(strings.TrimSpace(line), "dkim="); ok {
			v.DKIM = append(v.DKIM, verdict[:strings.IndexAny(verdict+" ", " ;")])
		}
	}
	return v
}

// brought is the message as it came: what the last host put on top is taken off down to its own Received.
func brought(t *testing.T, h *lab.Host, user, mark string) string {
	t.Helper()
	_, texts, err := lab.Find(20*time.Second, h.Maildir(user), mark, 1)
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(h.Dir, "log"))
		t.Fatalf("%v\n%s", err, log[max(0, len(log)-2000):])
	}
	return texts[0]
}

// TestSignatures: what our programs send verifies with everybody; and once more, sealed, when one of them has passed it on.
func TestSignatures(t *testing.T) {
	s := newSigners(t)
	for _, hop := range []struct {
		name, to string
		at       int
		user     string
		want     verdicts
	}{
		{"sent", "bob@sign2.test", 1, "bob", verdicts{[]string{"pass", "pass"}, "none"}},
		{"passed on", "all@sign2.test", 2, "carol", verdicts{[]string{"pass", "pass"}, "pass"}},
	} {
		m := mark()
		body := "Grüße\r\n.\r\n..two dots  \r\n\r\n\r\n" + m + "\r\n\r\n\r\n"
		if err := s.at[0].Submit("alice", hop.to, lab.Letter("alice@sign1.test", hop.to, "signed", body)); err != nil {
			t.Fatal(err)
		}
		text := brought(t, s.at[hop.at], hop.user, m)
		for _, v := range verifiers {
			t.Run(hop.name+"/"+v.name, func(t *testing.T) {
				got := v.verify(s, t, text)
				if !slices.Equal(got.DKIM, hop.want.DKIM) || got.ARC != "" && got.ARC != hop.want.ARC {
					t.Errorf("%+v, want %+v\n%s", got, hop.want, text)
				}
			})
		}
	}
}

// TestTheirSignatures: what mailauth signs and seals verifies with mailverify, and with it a chain that it continued of ours.
func TestTheirSignatures(t *testing.T) {
	s := newSigners(t)
	m := mark()
	if err := s.at[0].Submit("alice", "all@sign2.test", lab.Letter("alice@sign1.test", "all@sign2.test", "signed", m)); err != nil {
		t.Fatal(err)
	}
	sealed := brought(t, s.at[2], "carol", m)
	verify := func(what, text, want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, filepath.Join(s.lab.Bin, "mailverify"), "--dns", s.lab.DNS.Addr(), what)
		cmd.Stdin = strings.NewReader(text)
		out, _ := cmd.CombinedOutput()
		if !strings.HasPrefix(string(out), want) {
			t.Errorf("%s, want %s\n%s", out, want, text)
		}
	}
	for _, k := range s.keys(t, 0) {
		pem, err := os.ReadFile(k.File)
		if err != nil {
			t.Fatal(err)
		}
		_, key, _ := strings.Cut(string(pem), "-----BEGIN")
		raw := strings.ReplaceAll(lab.Letter("alice@sign1.test", "bob@sign2.test", "theirs", "hi"), "\r\n", "\n")
		ask := map[string]any{"domain": "sign1.test", "selector": k.Selector, "key": "-----BEGIN" + key, "message": octets(raw), "raw": strings.ReplaceAll(raw, "\n", "\r\n"), "do": "sign"}
		var got struct{ Message []byte }
		s.mailauth(t, ask, &got)
		verify("dkim", string(got.Message), "pass")
		if k.Algorithm != "rsa" {
			continue // mailauth seals with RSA
		}
		ask["do"], ask["message"] = "seal", octets(sealed)
		s.mailauth(t, ask, &got)
		verify("arc", string(got.Message), "pass")
	}
}

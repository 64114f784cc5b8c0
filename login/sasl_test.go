package login

import (
	"strings"
	"testing"
)

// Each case is what the client says, "-" for no initial response; and what comes of it.
func TestExchange(t *testing.T) {
	long := strings.Repeat("x", 64<<10)
	for _, c := range []struct {
		mechanism string
		said      []string
		want      string
	}{
		{"PLAIN", []string{"\x00alice\x00secret"}, "ok |alice|secret"},
		{"plain", []string{"-", "bob\x00alice\x00se cret"}, "? ok bob|alice|se cret"},
		{"LOGIN", []string{"-", "alice", "secret"}, "?Username: ?Password: ok |alice|secret"},
		{"LOGIN", []string{"alice", "secret"}, "?Password: ok |alice|secret"},
		{"PLAIN", []string{"\x00alice\x00"}, errEmpty.Error()},
		{"PLAIN", []string{"\x00\x00secret"}, errEmpty.Error()},
		{"PLAIN", []string{""}, errNotPlain.Error()},
		{"PLAIN", []string{"-", "-"}, "? " + errNotPlain.Error()},
		{"PLAIN", []string{"alice\x00secret"}, errNotPlain.Error()},
		{"PLAIN", []string{"\x00a\x00b\x00c"}, errNotPlain.Error()},
		{"PLAIN", []string{strings.Repeat("\x00", 1000)}, errNotPlain.Error()},
		{"PLAIN", []string{"\x00a\xff\x00b"}, errNotUTF8.Error()},
		{"PLAIN", []string{"\x00" + long + "\x00b"}, errTooLong.Error()},
		{"PLAIN", []string{"\x00a\x00" + strings.Repeat("b", 1025)}, errTooLong.Error()},
		{"LOGIN", []string{""}, errEmpty.Error()},
		{"LOGIN", []string{"-", "-"}, "?Username: " + errEmpty.Error()},
		{"LOGIN", []string{"alice", "-"}, "?Password: " + errEmpty.Error()},
		{"LOGIN", []string{"al\x00ice"}, errNotUTF8.Error()},
		{"LOGIN", []string{long}, errTooLong.Error()},
		{"LOGIN", []string{"alice", long}, "?Password: " + errTooLong.Error()},
		{"LOGIN", []string{"alice", "secret", "again"}, "?Password: ok |alice|secret " + errFinished.Error()},
		{"PLAIN", []string{"\x00alice\x00secret", "again"}, "ok |alice|secret " + errFinished.Error()},
		{"CRAM-MD5", nil, "unknown"},
	} {
		if got := talk(c.mechanism, c.said); got != c.want {
			t.Errorf("%s %.40q: %.80s, want %s", c.mechanism, c.said, got, c.want)
		}
	}
}

func talk(mechanism string, said []string) string {
	x, ok := Start(mechanism)
	if !ok {
		return "unknown"
	}
	var out []string
	for _, s := range said {
		var response []byte
		if s != "-" {
			response = []byte(s)
		}
		challenge, done, r, err := x.Next(response)
		switch {
		case err != nil:
			out = append(out, err.Error())
		case done:
			out = append(out, "ok "+r.Authzid+"|"+r.Authcid+"|"+r.Password)
		default:
			out = append(out, "?"+string(challenge))
		}
	}
	return strings.Join(out, " ")
}

// S113: an exchange ends after at most three responses, whatever they are.
func FuzzExchange(f *testing.F) {
	f.Add(true, "\x00a\x00b", "", "c")
	f.Add(false, "a", "b", "c")
	f.Fuzz(func(t *testing.T, isPlain bool, a, b, c string) {
		mechanism := "LOGIN"
		if isPlain {
			mechanism = "PLAIN"
		}
		x, _ := Start(mechanism)
		over := 0
		for _, s := range []string{a, b, c, a} {
			_, done, r, err := x.Next([]byte(s))
			if err != nil || done {
				over++
			}
			if done && (r.Authcid == "" || r.Password == "" || len(r.Authcid) > maxName || len(r.Password) > MaxPassword || strings.ContainsRune(r.Authcid, 0)) {
				t.Errorf("%q %d", r.Authcid, len(r.Password))
			}
		}
		if over == 0 {
			t.Error("it goes on for ever")
		}
	})
}

package msgauth

import (
	"context"
	"strings"
	"testing"
	"time"
)

// parseVector takes a file apart: lines NAME TXT, a blank line, the message.
func parseVector(text string) (z zone, message string) {
	z = make(zone)
	records, message, _ := strings.Cut(text, "\n\n")
	for line := range strings.SplitSeq(records, "\n") {
		name, value, _ := strings.Cut(line, " ")
		z.set(name, "TXT", value)
	}
	return z, message
}

func TestDKIMSuite(t *testing.T) {
	for _, test := range []struct {
		file string
		now  int64 // 0 is today
		want string
	}{
		{"dkim/001.txt", 0, "pass pass"}, // RFC 8463 appendix A
		{"dkim/002.txt", 0, "pass"},
		{"dkim/005.txt", 1667843664, "pass"},
		{"dkim/005.txt", 0, "fail"}, // x= is of November 2022
	} {
		z, message := parseVector(suite(t, test.file))
		for _, crlf := range []bool{false, true} {
			text := message
			if crlf {
				text = strings.ReplaceAll(message, "\n", "\r\n")
			}
			c := &Checker{DNS: z}
			if test.now != 0 {
				c.Now = func() time.Time { return time.Unix(test.now, 0) }
			}
			r, err := c.Check(context.Background(), Client{}, strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range r.DKIM {
				got = append(got, string(d.Result))
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("%s: got %v, want %s: %+v", test.file, got, test.want, r.DKIM)
			}
		}
	}
}

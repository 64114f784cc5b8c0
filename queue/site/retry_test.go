package site

import (
	"testing"
	"time"

	"pennypost/internal/status"
)

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		code     int
		enhanced string
		text     string
		local    bool
		want     Cause
		overload bool
	}{
		{450, "4.2.0", "Greylisted, see http://postgrey.example/", false, Greylist, false},
		{451, "4.7.1", "please try again", false, Greylist, false},
		{452, "4.2.2", "mailbox full", false, Quota, false},
		{452, "4.2.2", "over quota", true, Quota, false},
		{451, "4.3.0", "disk", true, Local, false},
		{451, "4.4.3", "no answer from DNS", false, DNSFail, false},
		{454, "4.7.5", "certificate", false, TLSFail, false},
		{421, "4.7.0", "too many connections", false, Policy, true},
		{421, "4.3.2", "shutting down", false, Other, true},
		{451, "4.7.28", "rate", false, Policy, true},
		{451, "4.4.1", "timed out", false, Reach, false},
		{451, "4.0.0", "no", false, Other, false},
	} {
		r := status.Result{Outcome: status.Deferred, Code: c.code, Enhanced: c.enhanced, Text: c.text}
		if got := Classify(r, c.local, 1); got != c.want {
			t.Errorf("%d %s %s: %s, want %s", c.code, c.enhanced, c.text, got, c.want)
		}
		if got := Overload(r); got != c.overload {
			t.Errorf("%d %s %s: overload %v", c.code, c.enhanced, c.text, got)
		}
	}
}

// TestGreylistWait: the time the server names, and five seconds.
func TestGreylistWait(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"Greylisted, try again in 300 seconds": 305 * time.Second,
		"greylisted for 5 minutes":             305 * time.Second,
		"greylisted (00:04:31)":                276 * time.Second,
		"greylisted for 60s.":                  65 * time.Second,
		"greylisted for 99999999 seconds":      5 * time.Minute,
		"greylisted":                           5 * time.Minute,
	} {
		if got := After(Greylist, 1, status.Result{Text: text}, 0.5); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	if d := After(Other, 100, status.Result{}, 0); d < 2*time.Hour || d > 3*time.Hour {
		t.Errorf("the hundredth retry: %v", d)
	}
}

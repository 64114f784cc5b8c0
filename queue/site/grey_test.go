package site

import (
	"fmt"
	"testing"
	"time"

	"pennypost/internal/status"
)

// TestGreylisting: sites that put off the first attempt of every message for five minutes, those that name the time and those that do not. Each gets
// few attempts, mail passes soon after it may, the window does not shrink for it, and others are not held up.
func TestGreylisting(t *testing.T) {
	for _, c := range []struct {
		name   string
		result status.Result
		opens  time.Duration // after the first attempt
		latest time.Duration // delivered after it
		tries  int
	}{
		{"named", status.Result{Code: 451, Enhanced: "4.7.1", Text: "Greylisted, try again in 300 seconds"}, 5 * time.Minute, 5*time.Minute + 10*time.Second, 2},
		{"clock", status.Result{Code: 450, Enhanced: "4.2.0", Text: "greylisted for 00:04:31"}, 271 * time.Second, 280 * time.Second, 2},
		{"unnamed", status.Result{Code: 450, Enhanced: "4.7.1", Text: "come back later"}, 5 * time.Minute, 12 * time.Minute, 3},
		{"code only", status.Result{Code: 451, Enhanced: "4.7.1", Text: "not yet"}, 5 * time.Minute, 12 * time.Minute, 3},
		{"long", status.Result{Code: 450, Enhanced: "4.2.0", Text: "greylisted"}, 25 * time.Minute, 45 * time.Minute, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newSim(t, 50, 10)
			m.serve = func(string, int, Time) (time.Duration, Outcome) { return 300 * time.Millisecond, Answered }
			c.result.Outcome = status.Deferred
			m.refuse = func(x *mail, now Time) *status.Result {
				if x.key == "grey" && now < x.first+c.opens {
					return &c.result
				}
				return nil
			}
			for i := range 500 {
				m.mail(Time(i)*100*time.Millisecond, "grey", fmt.Sprint(i%7), Normal)
				m.mail(Time(i)*100*time.Millisecond, "other", fmt.Sprint(i%7), Normal)
			}
			m.run(2 * time.Hour)
			for _, x := range m.mails {
				switch {
				case x.done < 0:
					t.Fatalf("%s: never delivered after %d tries", x.key, x.tries)
				case x.key == "other" && x.done-x.arrived > 5*time.Second:
					t.Fatalf("other mail took %v", x.done-x.arrived)
				case x.key == "grey" && (x.tries > c.tries || x.cause != Greylist):
					t.Fatalf("%d tries, cause %s", x.tries, x.cause)
				case x.key == "grey" && x.done-x.first > c.latest:
					t.Fatalf("delivered %v after the first attempt", x.done-x.first)
				}
			}
			if f := m.s.Facts(m.s.Lookup("grey")); f.State != "up" || f.Window < 5 {
				t.Errorf("the site is thought to be %s with a window of %.1f", f.State, f.Window)
			}
		})
	}
}

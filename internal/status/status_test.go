package status

import "testing"

// TestOurs: "host X said" stands only before what the host did say.
func TestOurs(t *testing.T) {
	for _, c := range []struct {
		code     int
		enhanced string
		ours     bool
	}{
		{0, "", true}, {451, "4.4.1", true}, {451, "4.4.2", true}, // nobody answered, or went away
		{451, "4.7.1", false}, {421, "4.3.2", false}, {550, "5.1.1", false}, {550, "5.4.1", false},
	} {
		if got := Ours(c.code, c.enhanced); got != c.ours {
			t.Errorf("%d %s: %v", c.code, c.enhanced, got)
		}
	}
}

func TestLetter(t *testing.T) {
	for o, want := range map[Outcome]string{Delivered: "K deliver", Deferred: "Z defer", Failed: "D bounce"} {
		if got := string(o.Letter()) + " " + o.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

package imapd

import "testing"

func TestCollectorPace(t *testing.T) {
	for _, test := range []struct {
		live uint64
		want int
	}{{0, percentMost}, {1 << 20, percentMost}, {6 << 20, 200}, {12 << 20, 100}, {200 << 20, percentLeast}} {
		if got := percentFor(test.live); got != test.want {
			t.Errorf("%d octets alive: %d %%, want %d %%", test.live, got, test.want)
		}
	}
}

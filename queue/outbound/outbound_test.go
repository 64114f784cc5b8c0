package outbound

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/config"
)

func people(from, n int) (list []address.Path) {
	for i := range n {
		list = append(list, address.Path{Local: fmt.Sprint("p", from+i), Domain: "example.net"})
	}
	return list
}

func TestMessage(t *testing.T) {
	hour := func(n int) config.Rate { return config.Rate{N: n, Per: time.Hour} }
	start := time.Unix(1795321402, 0)
	for _, c := range []struct {
		name string
		l    config.Outbound
		do   func(a *Account, l config.Outbound) string
		want string
	}{
		{"messages", config.Outbound{Messages: hour(3)}, func(a *Account, l config.Outbound) (why string) {
			for range 4 {
				why += a.Message(start, people(0, 1), l)
			}
			return why
		}, "more than 3 messages in 1h (outbound.messages)"},
		{"messages in time", config.Outbound{Messages: hour(3)}, func(a *Account, l config.Outbound) (why string) {
			for i := range 100 {
				why += a.Message(start.Add(time.Duration(i)*21*time.Minute), people(0, 1), l)
			}
			return why
		}, ""},
		{"recipients", config.Outbound{Recipients: hour(100)}, func(a *Account, l config.Outbound) string {
			return a.Message(start, people(0, 100), l) + a.Message(start, people(0, 1), l)
		}, "more than 100 recipients in 1h (outbound.recipients)"},
		{"new recipients", config.Outbound{NewRecipients: hour(100)}, func(a *Account, l config.Outbound) string {
			return a.Message(start, people(0, 100), l) + a.Message(start, people(0, 100), l) + a.Message(start, people(50, 51), l)
		}, "more than 100 new recipients in 1h (outbound.new_recipients)"},
		{"no limits", config.Outbound{}, func(a *Account, l config.Outbound) string { return a.Message(start, people(0, 100000), l) }, ""},
		{"bounces", config.Outbound{BounceRatio: 30}, func(a *Account, l config.Outbound) (why string) {
			for i := range 52 {
				why += a.Outcome(start, i%3 == 0, l)
			}
			return why
		}, "18 of 52 recipients were refused (outbound.bounce_ratio)"},
		{"few bounces", config.Outbound{BounceRatio: 30}, func(a *Account, l config.Outbound) (why string) {
			for i := range 1000 {
				why += a.Outcome(start, i%4 == 0, l)
			}
			return why
		}, ""},
		{"bounces of three days", config.Outbound{BounceRatio: 30}, func(a *Account, l config.Outbound) (why string) {
			for day := range 3 {
				for range 20 {
					why += a.Outcome(start.Add(time.Duration(day)*24*time.Hour), true, l)
				}
			}
			return why
		}, ""},
	} {
		a := new(Account)
		if got := c.do(a, c.l); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		again, err := Parse(a.Append(nil))
		if err != nil || !reflect.DeepEqual(again.list, a.list) || !reflect.DeepEqual(again.sketch, a.sketch) || again.Refused != a.Refused {
			t.Errorf("%s: %+v came back as %+v, %v", c.name, a, again, err)
		}
		a.Forgive()
		if why := a.Message(a.At, people(0, 1), c.l); why != "" {
			t.Errorf("%s: forgiven, and then %s", c.name, why)
		}
	}
}

// TestSketch: of 10,000 addresses all are known again, and few strangers are.
func TestSketch(t *testing.T) {
	a := new(Account)
	for _, p := range people(0, 10000) {
		a.meet(p)
	}
	for _, p := range people(0, 10000) {
		if a.meet(p) {
			t.Fatalf("%s is forgotten", p)
		}
	}
	strangers := *a
	taken := 0
	for _, p := range people(1e6, 1000) {
		if !strangers.meet(p) {
			taken++
		}
	}
	if taken > 20 {
		t.Errorf("%d of 1000 strangers are taken for known", taken)
	}
	if size := len(a.Append(nil)); size > FileMost {
		t.Errorf("%d octets", size)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"alice@example.org", "jörg@example.org", "../x", "a b"} {
		if got, ok := Held(strings.TrimPrefix(HeldFile(name), "outbound/")); !ok || got != name {
			t.Errorf("%q came back as %q", name, got)
		}
	}
	if _, ok := Held("count:alice@example.org"); ok {
		t.Error("a count is no hold")
	}
}

func FuzzParse(f *testing.F) {
	a := new(Account)
	a.Message(time.Unix(1795321402, 0), people(0, 10), config.Outbound{})
	f.Add(a.Append(nil))
	f.Add([]byte("outbound 1\nmessages 1e9\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Parse(b)
		if err != nil {
			return
		}
		if _, err := Parse(a.Append(nil)); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		a.Message(time.Unix(1795321402, 0), people(0, 3), config.Default().Outbound)
	})
}

package mailbox

import "testing"

func TestUIDLFormat(t *testing.T) {
	named, guided := &line{key: "1743508800.M1P2.host,S=14"}, &line{key: "k", over: &override{guid: "abc"}}
	for _, c := range []struct {
		format UIDLFormat
		l      *line
		want   string
	}{
		{"%08Xu%08Xv", named, "0000001e4c0d4a30"}, // Dovecot's default
		{"%v.%u", named, "1275939376.30"},         // as Cyrus
		{"%v-%u", named, "1275939376-30"},         // as Courier
		{"%f", named, "1743508800.M1P2.host,S=14"},
		{"%g", guided, "abc"},
		{"%g", named, "1743508800.M1P2.host,S=14"},
		{"%4u", named, ""}, // a blank is no part of a unique-id
		{"100%%", named, "100%"},
	} {
		if err := c.format.Check(); err != nil {
			t.Error(err)
		}
		if got := c.format.of(30, 1275939376, c.l); got != c.want {
			t.Errorf("%s: %q, not %q", c.format, got, c.want)
		}
	}
	for _, bad := range []UIDLFormat{"%m", "%", "%08X", "%{uid}"} {
		if bad.Check() == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	u := emptyUIDs()
	u.validity = 7
	u.live[1], u.live[2] = &line{key: "a"}, &line{key: "b", over: &override{uidl: "said"}}
	UIDLFormat("%u").pin(u)
	if u.live[1].over.uidl != "1" || u.live[2].over.uidl != "said" {
		t.Errorf("%+v %+v", u.live[1].over, u.live[2].over)
	}
}

package route

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/domains"
	"pennypost/internal/srs"
)

// directory is addresses to targets: "" is a mailbox, "error" a disk that does not answer.
type directory map[string]string

func (d directory) Local(domain string) (bool, error) {
	for a := range d {
		if strings.HasSuffix(a, "@"+domain) {
			return true, nil
		}
	}
	return false, nil
}

func (d directory) Lookup(to address.Path) (domains.Answer, error) {
	targets, ok := d[to.String()]
	switch {
	case !ok:
		return domains.Answer{Kind: domains.Unknown}, nil
	case targets == "":
		return domains.Answer{Kind: domains.Mailbox}, nil
	case targets == "error":
		return domains.Answer{}, errors.New("input/output error")
	}
	a := domains.Answer{Kind: domains.Alias}
	for _, t := range strings.Fields(targets) {
		a.Targets = append(a.Targets, path(t))
	}
	return a, nil
}

func path(s string) address.Path {
	p, err := address.Parse(s)
	if err != nil {
		panic(err)
	}
	return p
}

func table() *Table {
	d := directory{
		"bob@example.org": "", "carol@example.org": "", "postmaster@example.org": "bob@example.org",
		"both@example.org": "bob@example.org carol@example.org", "again@example.org": "both@example.org carol@example.org dave@example.net",
		"loop@example.org": "pool@example.org", "pool@example.org": "loop@example.org",
		"half@example.org": "half@example.org bob@example.org", "gone@example.org": "nobody@example.org", "eio@example.org": "error",
	}
	for i := range 20 {
		d[fmt.Sprintf("deep%d@example.org", i)] = fmt.Sprintf("deep%d@example.org", i+1)
	}
	for i := range 200 {
		d["wide@example.org"] += fmt.Sprintf("w%d@example.net ", i)
	}
	return &Table{Domains: d, Origin: "example.org", MaxExpansion: 100,
		Routes: map[string][]string{
			"partner.example": {"smtp://relay.example.org:587"}, ".partner.example": {"lmtp:/run/lmtp"}, "two.example": {"smtp://a:25", "smtp://b:25"},
			"cmd.example": {"command:fax"}, "bad.example": {"error:5.1.2 we do not know them"}, "later.example": {"error:4.3.2 come back"}, "back.example": {"smtp://a:25", "mx"}},
		Senders: map[string][]string{"far.example": {"smtp://far:25"}},
	}
}

func TestRoute(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"a@x.example", "bob@example.org", "bob@example.org local"},
		{"a@x.example", "postmaster", "bob@example.org local"},
		{"a@x.example", "both@example.org", "bob@example.org local, carol@example.org local"},
		{"a@x.example", "again@example.org", "bob@example.org local, carol@example.org local, dave@example.net mx:example.net"},
		{"a@x.example", "loop@example.org", "loop@example.org 5.4.6"},
		{"a@x.example", "half@example.org", "bob@example.org local"},
		{"a@x.example", "gone@example.org", "nobody@example.org 5.1.1"},
		{"a@x.example", "deep0@example.org", "deep0@example.org 5.4.6"},
		{"a@x.example", "wide@example.org", "wide@example.org 5.4.6"},
		{"a@x.example", "z@example.net", "z@example.net mx:example.net"},
		{"a@x.example", "z@partner.example", "z@partner.example smtp://relay.example.org:587"},
		{"a@x.example", "z@sub.partner.example", "z@sub.partner.example lmtp:/run/lmtp"},
		{"a@x.example", "z@two.example", "z@two.example smtp://a:25 smtp://b:25"},
		{"a@x.example", "z@back.example", "z@back.example smtp://a:25 mx:back.example"},
		{"a@x.example", "z@cmd.example", "z@cmd.example command:fax"},
		{"a@x.example", "z@bad.example", "z@bad.example 5.1.2"},
		{"a@x.example", "z@later.example", "z@later.example 4.3.2"},
		{"a@far.example", "z@two.example", "z@two.example smtp://far:25"},
		{"a@far.example", "bob@example.org", "bob@example.org local"},
	} {
		targets, err := table().Route(path(c.from), path(c.to))
		if err != nil {
			t.Errorf("%s: %v", c.to, err)
		}
		var got []string
		for _, x := range targets {
			if x.Result != nil {
				got = append(got, x.To.String()+" "+x.Result.Enhanced)
			} else {
				got = append(got, x.To.String()+" "+strings.Join(x.Sites, " "))
			}
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s to %s: %s, want %s", c.from, c.to, s, c.want)
		}
	}
	if _, err := table().Route(path("a@x.example"), path("eio@example.org")); err == nil {
		t.Error("an error of the disk was taken for an answer")
	}
}

// TestSRS: forwarded mail gets a sender of ours, bounces to it come back, nothing else may use it.
func TestSRS(t *testing.T) {
	tab := table()
	tab.SRS = &srs.Rewriter{Domain: "example.org", Secrets: [][]byte{[]byte("a secret of some length")}, Now: time.Now}
	from := path("alice@example.com")
	sender, changed, err := tab.Sender(from)
	if err != nil || !changed || sender.Domain != "example.org" {
		t.Fatalf("%v %v %v", sender, changed, err)
	}
	for _, s := range []string{"", "bob@example.org"} {
		if got, changed, _ := tab.Sender(path(s)); changed {
			t.Errorf("<%s> became <%s>", s, got)
		}
	}
	if targets, _ := tab.Route(path(""), sender); len(targets) != 1 || targets[0].To != from || targets[0].Result != nil {
		t.Errorf("bounce goes to %+v", targets)
	}
	if targets, _ := tab.Route(path("spam@example.net"), sender); len(targets) != 1 || targets[0].Result == nil {
		t.Errorf("mail that is no bounce goes to %+v", targets)
	}
}

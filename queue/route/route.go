/*
Package route says where mail for an address goes, at every attempt anew: nothing of it is kept in the envelope.

	forward-path ─▶ one of our domains? ─▶ account ─▶ local
	                        │             alias ───▶ its targets, each asked again
	                        │             nobody ──▶ 5.1.1
	                        ▼
	               [sender."…"] of the reverse-path, then [route."DOMAIN"], [route.".SUFFIX"], [route."*"]
	                        │
	                        ▼
	               smtp://HOST:PORT  lmtp:…  command:NAME  error:5.1.2 text  mx (DNS decides)

A site key names what shares one window of the scheduler: "local", "unix:alice" (a deliver-local of that Unix user), "smtp://relay.example.org:587", "command:NAME", or,
when DNS has answered, the key deliver-remote gave (order(5)). "mx:example.org" stands for a domain that DNS has not been asked about.
*/
package route

import (
	"errors"
	"strings"

	"pennypost/internal/address"
	"pennypost/internal/domains"
	"pennypost/internal/passwd"
	"pennypost/internal/srs"
	"pennypost/internal/status"
)

// Directory is what route asks of package domains.
type Directory interface {
	Local(domain string) (bool, error)
	Lookup(to address.Path) (domains.Answer, error)
}

// Table routes.
type Table struct {
	Domains      Directory
	Origin       string              // completes bare local parts
	Routes       map[string][]string // [route."…"] next
	Senders      map[string][]string // [sender."…"] next
	SRS          *srs.Rewriter       // nil: no rewriting
	MaxExpansion int                 // addresses one recipient may become
}

// LocalSite is the site key of deliver-local.
const LocalSite = "local"

const unixSite = "unix:"

// Local reports whether a site key is of mail that stays on this host: that of deliver-local, or of a Unix user's.
func Local(key string) bool { return key == LocalSite || strings.HasPrefix(key, unixSite) }

var localSites = []string{LocalSite}

// Target is where a recipient goes.
type Target struct {
	To      address.Path
	Sites   []string       // keys, best first; empty with a Result
	Outside bool           // leaves this host
	Domain  string         // Sites[0] is "mx:"+Domain: ask DNS
	Result  *status.Result // nothing to be done: refused by an error: route or as an unknown user; or thrown away
	Unix    *passwd.User   // Sites[0] is "unix:"+Name: delivered as this user
}

// Local reports whether deliver-local gets it.
func (t *Target) Local() bool { return len(t.Sites) > 0 && Local(t.Sites[0]) }

// mailbox is where mail for an account goes.
func mailbox(to address.Path, a *domains.Account) Target {
	if a == nil || a.Unix == nil {
		return Target{To: to, Sites: localSites}
	}
	return Target{To: to, Sites: []string{unixSite + a.Unix.Name}, Unix: a.Unix}
}

// Route says where to goes. More than one target, or one that differs from to, is an alias expanded. The error is the disk's: try later.
func (t *Table) Route(from, to address.Path) ([]Target, error) {
	e := expansion{table: t, from: from, seen: map[address.Path]bool{}}
	if err := e.add(to, 0); err != nil {
		return nil, err
	}
	switch {
	case e.tooMuch:
		return []Target{refuse(to, 554, "5.4.6", "alias expands to too many addresses or too deep")}, nil
	case len(e.targets) == 0:
		return []Target{refuse(to, 554, "5.4.6", "alias loop")}, nil
	}
	return e.targets, nil
}

// maxDepth is how deep aliases may lead to aliases.
const maxDepth = 10

// expansion is one address on its way to its targets.
type expansion struct {
	table   *Table
	from    address.Path
	seen    map[address.Path]bool // asked already: cycles and duplicates
	targets []Target
	tooMuch bool
}

func (e *expansion) add(to address.Path, depth int) error {
	if to.Domain == "" {
		to.Domain = e.table.Origin
	}
	if e.seen[to] {
		return nil
	}
	e.seen[to] = true
	if depth > maxDepth || len(e.seen) > max(1, e.table.MaxExpansion) {
		e.tooMuch = true
		return nil
	}
	if back, ok, err := e.table.back(e.from, to); ok || err != nil {
		if err != nil {
			e.targets = append(e.targets, refuse(to, 550, "5.1.1", "not an address of ours that mail can return to"))
			return nil
		}
		return e.add(back, depth+1)
	}
	local, err := e.table.Domains.Local(to.DomainUnicode())
	if err != nil {
		return err
	}
	if !local {
		e.targets = append(e.targets, e.table.outside(e.from, to))
		return nil
	}
	answer, err := e.table.Domains.Lookup(to)
	if err != nil {
		return err
	}
	switch answer.Kind {
	case domains.Mailbox:
		e.targets = append(e.targets, mailbox(to, answer.Account))
	case domains.Alias:
		if answer.Account != nil { // "alice: alice, bob"
			e.targets = append(e.targets, mailbox(to, answer.Account))
		}
		for _, target := range answer.Targets {
			if err := e.add(target, depth+1); err != nil || e.tooMuch {
				return err
			}
		}
	case domains.Nowhere:
		thrown := status.Result{Outcome: status.Delivered, Code: 250, Enhanced: "2.0.0", Text: "thrown away, as an alias says"}
		e.targets = append(e.targets, Target{To: to, Result: &thrown})
	case domains.Foreign:
		e.targets = append(e.targets, e.table.outside(e.from, to))
	default:
		e.targets = append(e.targets, refuse(to, 550, "5.1.1", "no such user here"))
	}
	return nil
}

var errForged = errors.New("forged return address")

// back undoes SRS: mail to an address we once sent forwarded mail from, which only bounces may go to.
func (t *Table) back(from, to address.Path) (address.Path, bool, error) {
	if t.SRS == nil || len(to.Local) < 5 || !strings.EqualFold(to.Local[:3], "SRS") {
		return address.Path{}, false, nil
	}
	back, ok, err := t.SRS.Back(to)
	if ok && err == nil && !from.IsNull() {
		err = errForged
	}
	return back, ok, err
}

// Sender is the reverse-path for mail of from that goes outside on behalf of somebody here: SRS, except for
// the null sender and senders of our own domains. changed is false where it is from itself.
func (t *Table) Sender(from address.Path) (sender address.Path, changed bool, err error) {
	if t.SRS == nil || from.IsNull() {
		return from, false, nil
	}
	local, err := t.Domains.Local(from.DomainUnicode())
	if err != nil || local {
		return from, false, err
	}
	sender, err = t.SRS.Forward(from)
	if err != nil {
		return from, false, nil // too long to be rewritten: as it is
	}
	return sender, sender != from, nil
}

// outside finds the route of an address that is not ours.
func (t *Table) outside(from, to address.Path) Target {
	if next, ok := find(t.Senders, from.DomainUnicode()); ok && !from.IsNull() {
		return t.follow(next, to)
	}
	if next, ok := find(t.Routes, to.DomainUnicode()); ok {
		return t.follow(next, to)
	}
	return t.follow([]string{"mx"}, to)
}

// find looks a domain up: itself, its suffixes with a leading dot from the longest on, "*".
func find(table map[string][]string, domain string) ([]string, bool) {
	if len(table) == 0 {
		return nil, false
	}
	if next, ok := table[domain]; ok {
		return next, true
	}
	for rest := domain; ; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			break
		}
		if next, ok := table[rest[i:]]; ok {
			return next, true
		}
		rest = rest[i+1:]
	}
	next, ok := table["*"]
	return next, ok
}

func (t *Table) follow(next []string, to address.Path) Target {
	target := Target{To: to, Outside: true}
	for _, n := range next {
		if text, ok := strings.CutPrefix(n, "error:"); ok {
			if len(target.Sites) > 0 {
				break
			}
			enhanced, text, _ := strings.Cut(text, " ")
			code := 550
			if strings.HasPrefix(enhanced, "4") {
				code = 450
			}
			return refuse(to, code, enhanced, text)
		}
		if n == "mx" {
			domain, err := to.DomainASCII()
			if err != nil {
				return refuse(to, 553, "5.1.2", "no such domain")
			}
			if len(target.Sites) == 0 {
				target.Domain = domain
			}
			n = "mx:" + domain
		}
		if n == LocalSite {
			target.Outside = false
		}
		target.Sites = append(target.Sites, n)
	}
	if len(target.Sites) == 0 {
		return refuse(to, 550, "5.4.4", "no route")
	}
	return target
}

func refuse(to address.Path, code int, enhanced, text string) Target {
	r := status.Result{Outcome: status.Failed, Code: code, Enhanced: enhanced, Text: text}
	if code < 500 {
		r.Outcome = status.Deferred
	}
	return Target{To: to, Result: &r}
}

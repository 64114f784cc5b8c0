package smtpd

import (
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"pennypost/internal/address"
	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/internal/escape"
)

// relaying is the part of the settings that says for whom we take mail that is not ours.
type relaying struct {
	networks []netip.Prefix
	domains  map[string]bool // we are backup MX for them; with a leading dot, for all below
}

func newRelaying(set *config.SMTPD) *relaying {
	r := &relaying{set.RelayNetworks, map[string]bool{}}
	for _, d := range set.RelayDomains {
		name, below := strings.CutPrefix(strings.ToLower(d), ".")
		if name = (address.Path{Domain: name}).DomainUnicode(); below {
			name = "." + name
		}
		r.domains[name] = true
	}
	return r
}

// backs reports whether we are backup MX for a domain.
func (r *relaying) backs(domain string) bool {
	if len(r.domains) == 0 {
		return false
	}
	for rest := domain; ; {
		if r.domains[rest] {
			return true
		}
		i := strings.IndexByte(strings.TrimPrefix(rest, "."), '.')
		if i < 0 {
			return false
		}
		rest = strings.TrimPrefix(rest, ".")[i:]
	}
}

// place is what an accepted recipient is to us.
type place struct {
	local   bool
	account *domains.Account // a mailbox that takes its mail as it comes
}

// destination decides whether we take mail for to from this client. This is the one place that does (S061).
func (s *session) destination(to address.Path) (place, reply) {
	if s.srv.SRS != nil {
		if p, r, ours := s.bounce(to); ours {
			return p, r
		}
	}
	a, err := s.srv.Domains.Lookup(to)
	if err != nil {
		s.srv.Log.Warn("domains", err)
		return place{}, reply{451, "4.3.0", "cannot look up that recipient now, try later"}
	}
	switch a.Kind {
	case domains.Foreign:
		if s.mayRelay(to) {
			return place{}, reply{}
		}
		return place{}, reply{550, "5.7.1", "we do not relay to that domain"}
	case domains.Unknown:
		return place{}, s.nobody()
	case domains.Nowhere:
		return place{local: true}, reply{}
	case domains.Alias:
		if a.Account != nil { // it keeps a copy
			return place{local: true}, reply{}
		}
		return place{local: true}, s.behind(to, a.Targets)
	}
	if !a.Account.Postmaster && s.srv.over(a.Account) {
		return place{}, reply{452, "4.2.2", "that mailbox is full"}
	}
	p := place{local: true}
	if a.Detail == "" && a.Account.Plain() {
		p.account = a.Account
	}
	return p, reply{}
}

const (
	maxAliases = 100 // addresses looked up for one RCPT; with more behind an alias, somebody will be there
	maxDepth   = 10  // of aliases in aliases; beyond, queue-run too gives up
)

// behind refuses an alias that leads to nobody: accepted here, its mail could only become a report to a sender who may
// be forged (S068). One target that mail can go to is enough; who is outside, we do not know.
func (s *session) behind(to address.Path, targets []address.Path) reply {
	seen := map[address.Path]bool{to: true}
	full := false
	var failed error
	var alive func(targets []address.Path, depth int) bool
	alive = func(targets []address.Path, depth int) bool {
		for _, t := range targets {
			if seen[t] {
				continue
			}
			seen[t] = true
			a, err := s.srv.Domains.Lookup(t)
			switch {
			case err != nil:
				failed = err
			case a.Kind == domains.Nowhere || a.Kind == domains.Alias && a.Account != nil:
				return true
			case a.Kind == domains.Foreign || len(seen) > maxAliases:
				return true
			case a.Kind == domains.Alias:
				if depth < maxDepth && alive(a.Targets, depth+1) {
					return true
				}
			case a.Kind == domains.Mailbox:
				if a.Account.Postmaster || !s.srv.over(a.Account) {
					return true
				}
				full = true
			}
		}
		return false
	}
	switch {
	case alive(targets, 1):
		return reply{}
	case failed != nil:
		s.srv.Log.Warn("domains", failed)
		return reply{451, "4.3.0", "cannot look up that recipient now, try later"}
	case full:
		return reply{452, "4.2.2", "that mailbox is full"}
	}
	return s.nobody()
}

// bounce takes mail for an SRS address of ours, which only bounces have business with.
func (s *session) bounce(to address.Path) (place, reply, bool) {
	_, ours, err := s.srv.SRS.Back(to)
	switch {
	case err != nil:
		return place{}, reply{550, "5.1.1", "that return address is not, or no longer, valid"}, true
	case !ours:
		return place{}, reply{}, false
	case !s.tx.from.IsNull():
		return place{}, reply{550, "5.7.1", "that address takes only bounces"}, true
	}
	return place{}, reply{}, true
}

// mayRelay reports whether this client may send to a domain that is not ours.
func (s *session) mayRelay(to address.Path) bool {
	if s.user != nil {
		return true
	}
	r := s.srv.relay.Load()
	if s.lmtp || s.login {
		return false // LMTP delivers, and on submission only users get this far
	}
	return contains(r.networks, s.peer) || r.backs(to.DomainUnicode())
}

// over reports whether those who count quota have left a note that a mailbox is full: state/over/USER@DOMAIN.
func (srv *Server) over(a *domains.Account) bool {
	if srv.Over == "" {
		return false
	}
	return unix.Faccessat(unix.AT_FDCWD, srv.Over+"/"+escape.File(a.Path().String()), unix.F_OK, 0) == nil
}

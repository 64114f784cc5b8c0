package smtpd

import (
	"time"

	"pennypost/internal/config"
	"pennypost/internal/listen"
)

// What is known of a source, its address or /64, is known to all processes of the service (package listen): connections, messages,
// recipients, errors, unknown recipients, and whether somebody there has logged in or sent mail that was taken.

// limitsOf is what a service lets in.
func limitsOf(set *config.SMTPD) *listen.Limits {
	return &listen.Limits{
		Total: set.MaxConnections, PerIPv4: set.PerIPv4, PerIPv6: set.PerIPv6, PerSite: set.PerSite,
		Connects: listen.Rate(set.ConnectRate), Errors: listen.Rate(set.ErrorRate), Unknown: unknownRate(set),
		Exempt: set.TrustedNetworks, Proxies: set.ProxyNetworks,
	}
}

// limits are those of now, and of later settings.
func (srv *Server) limits() listen.Limits {
	l := listen.Limits{Now: srv.lets.Load, Tables: srv.Sources}.Logged(srv.Log)
	said := l.Stress
	l.Stress = func(service string, on bool, open, most int) {
		if said(service, on, open, most); on {
			srv.squeeze(service)
		}
	}
	return l
}

// squeeze has strangers who are silent now speak soon, or go.
func (srv *Server) squeeze(service string) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for s := range srv.sessions {
		if s.name == service && s.idle.Load() && s.stranger() {
			s.squeezed.Store(true)
			s.raw.SetReadDeadline(time.Now().Add(stressTime))
		}
	}
}

func unknownRate(set *config.SMTPD) listen.Rate {
	return listen.Rate{N: set.UnknownLimit, Per: time.Hour}
}

// counted reports whether the rates hold for this client: not for users, who have limits of their own, and not for machines of ours.
func (s *session) counted() bool {
	return s.user == nil && s.peer.IsValid() && !contains(s.set.TrustedNetworks, s.peer) && !contains(s.set.RelayNetworks, s.peer)
}

// beyond counts one more event and reports whether that is more than its source may have.
func (s *session) beyond(kind listen.Kind, rate config.Rate) bool {
	return rate.N > 0 && s.counted() && s.sources.Add(kind, s.peer, 1, listen.Rate(rate)) > rate.N
}

// mistake counts an error of the client against its source. One with too many is not let in again (smtpd.error_rate).
func (s *session) mistake() {
	if s.counted() {
		s.sources.Add(listen.Errors, s.peer, 1, listen.Rate(s.set.ErrorRate))
	}
}

// welcome notes that a client has logged in, or sent mail that was taken: its source has room when connections are scarce.
func (s *session) welcome() {
	s.known.Store(true)
	s.sources.Welcome(s.peer)
}

// stress reports whether connections are scarce and this client is nobody we know (N3).
func (s *session) stress() bool { return s.sources.Scarce() && s.stranger() }

// stranger reports whether neither this connection nor its source has shown a right to be here.
func (s *session) stranger() bool {
	if !s.known.Load() && s.sources.Known(s.peer) {
		s.known.Store(true)
	}
	return !s.known.Load()
}

const longestDelay = 10 * time.Second

// nobody refuses an unknown recipient. Who asks for many of them is looking for addresses: he waits, longer each time, and then has to
// go (S065).
func (s *session) nobody() reply {
	rate := unknownRate(s.set)
	if rate.N > 0 && s.user == nil && s.peer.IsValid() && !contains(s.set.TrustedNetworks, s.peer) {
		n := s.sources.Add(listen.Unknown, s.peer, 1, rate)
		if n > rate.N {
			return reply{421, "4.7.0", "too many unknown recipients, try later"}
		}
		if over := n - rate.N/2; over > 0 {
			s.flush()
			s.srv.Sleep(min(longestDelay, time.Second<<min(over/4, 10)))
		}
	}
	return reply{550, "5.1.1", "no such mailbox here"}
}

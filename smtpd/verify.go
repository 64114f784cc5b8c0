package smtpd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/dns"
	"pennypost/internal/header"
	"pennypost/msgauth"
	"pennypost/msgauth/aggregate"
	"pennypost/queue"
)

// A message of mx is judged while it comes, msgauth(7):
//
//	MAIL            DNS is asked about the client (SPF, iprev) and the domain of the reverse-path
//	end of header   and about the keys of its signatures
//	body            is hashed as it passes
//	end             ARC, DMARC; then decide: refused, marked, or neither
//
// The client waits for none of it but what is still missing at the end.

// verdictTime is how long the end of a message waits for DNS; what is missing then is a temporary error. Tests shorten it.
var verdictTime = 30 * time.Second

// verdictRoom is what a message that does not fit into memory leaves open for the verdict, in octets.
const verdictRoom = 3072

// judging is the work on one message.
type judging struct {
	check  *msgauth.Check
	cancel context.CancelFunc
	sender chan domainState // of the reverse-path; nil where there is none
}

// domainState is whether a domain takes mail.
type domainState struct {
	dead string // why not, "" if it does
	null bool   // it says so itself, RFC 7505
	err  error  // DNS does not say
}

// verifies reports whether messages of this client are judged: those from outside, on the service that takes them.
func (s *session) verifies() bool {
	if s.name != "mx" || s.user != nil || s.srv.Checker == nil || !s.set.Verify || !s.peer.IsValid() {
		return false
	}
	return !contains(s.set.RelayNetworks, s.peer) && !s.srv.Trust.network(s.peer)
}

// ask begins to judge a message: MAIL was accepted.
func (s *session) ask() {
	if !s.verifies() {
		if s.name == "mx" && s.user == nil && contains(s.set.RelayNetworks, s.peer) {
			s.tx.checks = "client=pass" // one of ours: its sender is told when something does not arrive
		}
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	j := &judging{cancel: cancel}
	j.check = s.srv.Checker.Begin(ctx, msgauth.Client{Addr: s.peer, HELO: s.helo, From: s.tx.from})
	if !s.tx.from.IsNull() && !s.tx.from.IsLiteral() {
		domain := s.tx.from.Domain
		j.sender = make(chan domainState, 1)
		go func() { j.sender <- takesMail(ctx, s.srv.Checker.DNS, domain) }()
	}
	s.tx.judging = j
}

// takesMail reports whether mail could be sent to a domain (RFC 5321 section 5.1).
func takesMail(ctx context.Context, r msgauth.Resolver, domain string) domainState {
	name, err := (address.Path{Local: "x", Domain: domain}).DomainASCII()
	if err != nil {
		return domainState{dead: "is no domain"}
	}
	mx, _, _, err := r.MX(ctx, name)
	switch {
	case err == nil && mx[0].Host == "":
		return domainState{dead: "says that it takes no mail (RFC 7505)", null: true}
	case err == nil:
		return domainState{}
	case !dns.Absent(err):
		return domainState{err: err}
	}
	switch _, _, _, err = r.Addresses(ctx, name); {
	case err == nil:
		return domainState{}
	case dns.Absent(err):
		return domainState{dead: "has no mail server and no address in DNS"}
	}
	return domainState{err: err}
}

// tee is a message on its way to its judge and to the spool.
type tee struct {
	check  *msgauth.Check
	filter *header.Filter
}

func (t tee) Write(p []byte) (int, error) {
	n, err := t.filter.Write(p)
	if err == nil { // a message that is refused has no judge to feed
		t.check.Write(p)
	}
	return n, err
}

// judged ends the judging of a message that is whole: it is refused, or its verdict is written into it.
func (s *session) judged() reply {
	j := s.tx.judging
	if j == nil {
		return reply{}
	}
	late := time.AfterFunc(verdictTime, j.cancel)
	defer late.Stop()
	report := j.check.End()
	var sender domainState
	if j.sender != nil {
		sender = <-j.sender
	}
	v := s.decide(report, sender)
	s.tx.why = v.why
	asked := report.DMARC.Do
	report.DMARC.Do = v.does()
	s.count(report, asked, v)
	s.tx.checks = report.Checks()
	if v.reply.code != 0 {
		return v.reply
	}
	if err := s.tx.w.Fill(s.tx.checks, s.verdictText(report)); err != nil {
		return s.disk(err)
	}
	return reply{}
}

// count keeps what the author's domain wants to be told (RFC 9990), until the reply is out.
func (s *session) count(report *msgauth.Report, asked msgauth.Policy, v verdict) {
	row, wanted := report.Row()
	if !wanted || s.srv.Reports == "" || v.reply.code/100 == 4 { // a message that comes again is counted then
		return
	}
	if asked != report.DMARC.Do {
		row.Reasons = append(row.Reasons, aggregate.Reason{Type: "local_policy", Comment: v.over})
	}
	s.rows = append(s.rows, row)
}

// reported logs an error of what is kept for reports, and the same one not again: no message waits for a report.
func (srv *Server) reported(err error) {
	if err == nil {
		return
	}
	text := err.Error()
	if last := srv.unreported.Swap(&text); last == nil || *last != text {
		srv.Log.Warn("dmarc report", err)
	}
}

// verdictText is what stands on top of a message that was judged, below the lines that are its envelope.
func (s *session) verdictText(report *msgauth.Report) func(size int) []byte {
	return func(size int) []byte {
		var b []byte
		if s.tx.ready {
			b = append(append(append(b, queue.ChecksField...), s.tx.checks...), '\n')
		}
		if size == 0 {
			return append(b, report.Header()...)
		}
		return append(b, report.HeaderOf(size-len(b))...)
	}
}

// verdict is what becomes of a message.
type verdict struct {
	reply reply  // zero: it is taken
	mark  bool   // and marked: it lands in Junk
	why   string // it is not as it should be, in words
	over  string // why the author's policy is not followed, in words
}

// does is what is done, in the words of DMARC.
func (v *verdict) does() msgauth.Policy {
	switch {
	case v.reply.code/100 == 5:
		return msgauth.PolicyReject
	case v.mark && v.reply.code == 0:
		return msgauth.PolicyQuarantine
	}
	return msgauth.PolicyNone
}

// decide says what becomes of a message. This is the one place that does.
func (s *session) decide(r *msgauth.Report, sender domainState) verdict {
	var v verdict
	from := s.tx.from
	excused, err := s.srv.Trust.sender(s.peer, r.Author.Domain, from.Domain)
	if excused != "" {
		v.over = excused + " is among the senders in " + s.set.Trust
	}
	for _, f := range []fault{s.badAuthor(r), s.badSender(r, sender), s.badDMARC(r), s.badSPF(r)} {
		if f.why == "" {
			continue
		}
		v.why = join(v.why, f.why)
		switch {
		case v.over != "" || v.reply.code != 0:
		case f.does == "refuse" && err != nil: // perhaps it is excused: nobody can tell
			v.reply = reply{451, "4.3.0", "cannot decide about this message now, try later"}
		case f.does == "refuse":
			v.reply = f.reply
		case f.does == "mark":
			v.mark = true
		}
	}
	v.reply.text = plain(v.reply.text)
	return v
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// fault is one thing that is wrong with a message.
type fault struct {
	why   string // "" nothing
	does  string // refuse, mark or ignore
	reply reply
}

// badAuthor is a message that does not say, so that everybody reads it the same way, who it is from (S054).
func (s *session) badAuthor(r *msgauth.Report) fault {
	if r.Author.Why == "" || r.Author.Nobody {
		return fault{}
	}
	return fault{r.Author.Why, s.set.From, reply{550, "5.6.0",
		"not taken: " + r.Author.Why + ". A message needs one From field with one address (RFC 5322 section 3.6.2)"}}
}

// badSender is a reverse-path that no report could be sent to.
func (s *session) badSender(r *msgauth.Report, sender domainState) fault {
	domain := s.tx.from.Domain
	switch {
	case sender.err != nil && s.set.SenderDomain == "refuse" && r.DMARC.Result != msgauth.Pass && r.From.Result != msgauth.Pass:
		return fault{sender.err.Error(), "refuse", reply{451, "4.1.8", "cannot look up " + domain + " now, try later"}}
	case sender.dead == "":
		return fault{}
	}
	f := fault{domain + " " + sender.dead, s.set.SenderDomain, reply{550, "5.1.8",
		"the sender's domain " + domain + " " + sender.dead + ", so a report could not reach it. Send from an address that can be answered"}}
	if sender.null {
		f.reply.enhanced = "5.7.27" // RFC 7505 section 4.2
	}
	return f
}

// badDMARC is a message that is not from the domain it says, and that domain has said what is to be done.
func (s *session) badDMARC(r *msgauth.Report) fault {
	d := &r.DMARC
	switch {
	case d.Result == msgauth.TempError && (d.Policy == msgauth.PolicyReject || d.Policy == msgauth.PolicyQuarantine):
		// The domain wants its mail checked, and that cannot be done now. Where not even the policy could be read, the message passes.
		f := fault{"DMARC: " + d.Why, s.set.DMARC, reply{451, "4.7.0", "cannot check now whether this is mail of " + d.Domain + ", try later"}}
		if f.does == "mark" {
			f.does = "ignore"
		}
		return f
	case d.Result != msgauth.Fail || d.Do == "" || d.Do == msgauth.PolicyNone:
		return fault{}
	}
	f := fault{"DMARC: " + d.Why, s.set.DMARC, reply{550, "5.7.1", fmt.Sprintf(
		"%s wants mail refused that is not its own, and nothing shows that this is (DMARC: %s). Send it through the servers of %s, or have it signed with DKIM",
		d.Domain, short(d.Why), d.Organization)}}
	if d.Do == msgauth.PolicyQuarantine && f.does == "refuse" {
		f.does = "mark"
	}
	return f
}

// badSPF is a client that the domain of the reverse-path forbids to send for it. A signature vouches for a message whoever
// brings it: what was forwarded is not held against it.
func (s *session) badSPF(r *msgauth.Report) fault {
	if r.From.Result != msgauth.Fail || r.DMARC.Result == msgauth.Pass {
		return fault{}
	}
	for _, d := range r.DKIM {
		if d.Result == msgauth.Pass && (r.From.Domain == d.Domain || strings.HasSuffix(r.From.Domain, "."+d.Domain)) {
			return fault{}
		}
	}
	return fault{"SPF: " + r.From.Why, s.set.SPF, reply{550, "5.7.23", // RFC 7372 section 3.2
		"SPF: " + r.From.Why + ". Send it through the servers of " + r.From.Domain}}
}

// short is a reason up to what a domain asks for, which the reply says itself.
func short(why string) string {
	why, _, _ = strings.Cut(why, ";")
	return why
}

// plain is a text as a reply may have it: one line of ASCII (S045), within RFC 5321 section 4.5.3.1.5.
func plain(text string) string {
	b := []byte(text)
	for i, c := range b {
		if c < ' ' || c >= 0x7f {
			b[i] = '?'
		}
	}
	const most = 490
	return string(b[:min(len(b), most)])
}

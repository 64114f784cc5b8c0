package msgauth

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/dns"
)

// Checker judges messages. It keeps nothing of them, and is safe for concurrent use.
type Checker struct {
	DNS     Resolver
	Name    string                   // authserv-id of what it writes: our host name
	Sealers func(domain string) bool // whose ARC-Seals are believed; nil is nobody's
	Now     func() time.Time         // nil is time.Now
}

// Client is who brought a message. One without an address is nobody: SPF and iprev are not asked.
type Client struct {
	Addr netip.Addr
	HELO string
	From address.Path // reverse-path
}

// IPRev is whether the name of the client's address leads back to it (RFC 8601 section 2.7.3).
type IPRev struct {
	Result Result `json:"result"`
	Why    string `json:"why"`
	Name   string `json:"name,omitempty"`
}

// Report is what is known of a message.
type Report struct {
	Client  Client
	HELO    SPF
	From    SPF
	IPRev   IPRev
	DKIM    []DKIM
	Skipped int // signatures beyond those that were looked at
	ARC     ARC
	Author  Author
	DMARC   DMARC
	Records []Record // what DNS was asked, and said

	host   string
	report bool // it is a report about mail
}

// Check is one message on its way: what is written to it is the message, with LF or CRLF.
type Check struct {
	checker *Checker
	ctx     context.Context
	report  *Report
	message message
	lookup  lookup
	proofs  []*proof
	chain   *chain
	client  chan struct{} // closed when SPF and iprev are there
	skip    share         // what nobody asked for
	records []Record      // of SPF and iprev
}

func (c *Checker) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

// share is one of what is judged.
type share int

const (
	shareDKIM share = 1 << iota
	shareARC
	shareDMARC
)

// DKIM judges the signatures of the message in r alone, ARC its chain alone.
func (c *Checker) DKIM(ctx context.Context, r io.Reader) (*Report, error) {
	return c.check(ctx, Client{}, r, shareARC|shareDMARC)
}

// ARC judges the chain of the message in r.
func (c *Checker) ARC(ctx context.Context, r io.Reader) (*Report, error) {
	return c.check(ctx, Client{}, r, shareDKIM|shareDMARC)
}

// Check judges the message in r.
func (c *Checker) Check(ctx context.Context, client Client, r io.Reader) (*Report, error) {
	return c.check(ctx, client, r, 0)
}

func (c *Checker) check(ctx context.Context, client Client, r io.Reader, skip share) (*Report, error) {
	check := c.Begin(ctx, client)
	check.skip = skip
	if err := copyTo(check, r); err != nil {
		return nil, err
	}
	return check.End(), nil
}

// Begin asks for what can be known before the message is there. The message is then written to the Check, and End says what
// became of it; who does not call End has lost nothing.
func (c *Checker) Begin(ctx context.Context, client Client) *Check {
	k := &Check{checker: c, ctx: ctx, report: &Report{Client: client, host: c.Name}, client: make(chan struct{})}
	k.lookup.resolver = c.DNS
	k.message.headed = func(m *message) {
		if k.skip&shareDKIM == 0 {
			k.proofs, k.report.Skipped = beginDKIM(ctx, &k.lookup, m)
		}
		if k.chain = new(chain); k.skip&shareARC == 0 {
			k.chain = beginARC(ctx, &k.lookup, m)
		}
	}
	r := k.report
	if !client.Addr.IsValid() {
		r.HELO, r.From = SPF{Result: None, Why: "the client is not known"}, SPF{Result: None, Why: "the client is not known"}
		r.IPRev = IPRev{Result: None, Why: "the client is not known"}
		close(k.client)
		return k
	}
	go func() {
		defer close(k.client)
		r.HELO, r.From, k.records = c.SPF(ctx, client)
		r.IPRev = c.IPRev(ctx, client.Addr)
	}()
	return k
}

// Write takes the next piece of the message.
func (k *Check) Write(p []byte) (int, error) { return k.message.Write(p) }

// SPF is the verdict on the client, which is there before the message is.
func (k *Check) SPF() (helo, from SPF, rev IPRev) {
	<-k.client
	return k.report.HELO, k.report.From, k.report.IPRev
}

// End is the verdict when all of the message has been written.
func (k *Check) End() *Report {
	m, r, now := &k.message, k.report, k.checker.now()
	m.Close()
	for _, p := range k.proofs {
		r.DKIM = append(r.DKIM, p.verdict(m, now))
	}
	// Each has time of its own: a sealer with a slow server is not to keep DMARC from its verdict.
	ctx, cancel := context.WithTimeout(k.ctx, dnsTime)
	r.ARC = k.chain.end(ctx, &k.lookup, m, now)
	cancel()
	r.ARC.trust(k.chain, k.checker.Sealers)
	<-k.client
	r.Author, r.report = m.author(), m.isReport()
	if k.skip&shareDMARC == 0 {
		ctx, cancel := context.WithTimeout(k.ctx, dnsTime)
		r.DMARC = k.lookup.dmarc(ctx, r.Author, r.From, r.DKIM)
		cancel()
		r.override()
	}
	k.lookup.mu.Lock()
	r.Records = slices.Concat(k.records, k.lookup.records)
	k.lookup.mu.Unlock()
	return r
}

// override lets a trusted sealer's word count: if it found dmarc=pass for this author, what came after it broke
// the signature, and the author did not write that.
func (r *Report) override() {
	if r.DMARC.Result != Fail || r.ARC.Trusted == "" {
		return
	}
	found, err := ParseResults(r.ARC.Results)
	if err != nil {
		return
	}
	for _, m := range found.Methods {
		if from := m.Get("header.from"); m.Name == "dmarc" && m.Result == Pass && (from == "" || strings.EqualFold(from, r.Author.Domain)) {
			r.DMARC.Do, r.DMARC.Override = PolicyNone, r.ARC.Trusted+", a sealer we trust, found dmarc=pass"
			return
		}
	}
}

// IPRev looks the client's name up and back.
func (c *Checker) IPRev(ctx context.Context, addr netip.Addr) IPRev {
	ctx, cancel := context.WithTimeout(ctx, dnsTime)
	defer cancel()
	names, err := c.DNS.PTR(ctx, addr)
	switch {
	case dns.Absent(err):
		return IPRev{Result: Fail, Why: addr.String() + " has no name"}
	case err != nil:
		return IPRev{Result: TempError, Why: err.Error()}
	}
	var failure error
	for _, name := range names[:min(len(names), 5)] {
		addrs, _, _, err := c.DNS.Addresses(ctx, name)
		if slices.Contains(addrs, addr.Unmap()) {
			return IPRev{Result: Pass, Why: addr.String() + " is " + name, Name: name}
		}
		if err != nil && !dns.Absent(err) {
			failure = err
		}
	}
	if failure != nil {
		return IPRev{Result: TempError, Why: failure.Error()}
	}
	return IPRev{Result: Fail, Why: "the name of " + addr.String() + ", " + names[0] + ", is not that of it", Name: names[0]}
}

var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// copyTo writes all of r, whose end is the only error that is none.
func copyTo(w io.Writer, r io.Reader) error {
	pooled := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(pooled)
	buf := pooled[:]
	for {
		n, err := r.Read(buf)
		w.Write(buf[:n])
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

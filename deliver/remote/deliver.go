package remote

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"pennypost/internal/order"
	"pennypost/internal/status"
)

// Deliver carries out one deliver order and appends its answers, E last. The descriptor stays the caller's. When gone becomes
// true nobody waits for the answers any more.
func (c *Client) Deliver(ctx context.Context, o *order.Order, fd int, gone *atomic.Bool, answers []order.Answer) []order.Answer {
	m, err := openMessage(o, fd)
	if err != nil {
		c.log.Warn("message "+o.ID, err)
		for _, r := range o.Rcpts {
			answers = append(answers, order.Answer{Kind: 'Z', Seq: o.Seq, Num: r.Num, Result: later(451, "4.3.0", "the message could not be read")})
		}
		return append(answers, order.Answer{Kind: 'E', Seq: o.Seq})
	}
	defer m.close()
	m.gone = gone
	site := c.deliver(ctx, m, o.Site)
	if site != nil {
		answers = append(answers, order.Answer{Kind: 'S', Seq: o.Seq, Result: *site})
	}
	for _, r := range m.rcpts {
		answers = append(answers, order.Answer{Kind: r.result.Outcome.Letter(), Seq: o.Seq, Num: r.num, Result: r.result, Host: r.host, TLS: r.tls, DSN: r.passed})
	}
	return append(answers, order.Answer{Kind: 'E', Seq: o.Seq})
}

// group are recipients that go the same way.
type group struct {
	d      *destination
	x      *exchanges // nil for a fixed destination
	domain string     // of the first of them
	none   *trouble   // why there is nowhere to go
	rcpts  []*recipient
}

// deliver gives every recipient of m a result. A result of its own says that the site as such could not be spoken to.
func (c *Client) deliver(ctx context.Context, m *message, site string) (about *status.Result) {
	c.opened.Do(c.openState)
	groups, about := c.groups(ctx, m, site)
	for _, g := range groups {
		t := c.deliverGroup(ctx, g, m)
		if t == nil {
			continue
		}
		left := open(g.rcpts)
		for _, r := range left {
			r.answer(t.host, t.Result)
		}
		if t.site && len(left) == len(g.rcpts) { // a host that judged somebody can be spoken to
			about = t.about()
		}
	}
	for _, r := range open(m.rcpts) { // none is ever left; but the zero result would say "delivered"
		r.answer("", later(451, "4.3.0", "nothing was said of this recipient"))
	}
	return about
}

// groups divides the recipients by where they go and how: those of several domains with the same hosts share a transaction.
// Where DNS has no host for a domain, its recipients have their result.
func (c *Client) groups(ctx context.Context, m *message, site string) (groups []*group, about *status.Result) {
	byKey, byDomain := make(map[string]*group, 1), make(map[string]*group, 1)
	for _, r := range m.rcpts {
		g, seen := byDomain[r.to.Domain]
		if !seen {
			g = c.groupOf(ctx, m, site, r.to.Domain)
			if same := byKey[g.key()]; same != nil {
				if g.d.policy.domain != same.d.policy.domain {
					same.d.policy.others = append(same.d.policy.others, &g.d.policy)
				}
				g = same
			} else if byKey[g.key()] = g; g.none == nil {
				groups = append(groups, g)
			}
			byDomain[r.to.Domain] = g
		}
		if g.none != nil {
			r.answer("", g.none.Result)
			if g.none.site {
				about = g.none.about()
			}
			continue
		}
		g.rcpts = append(g.rcpts, r)
	}
	return groups, about
}

// groupOf is the group that recipients of a domain belong to.
func (c *Client) groupOf(ctx context.Context, m *message, site, domain string) *group {
	d, fixed, err := c.fixed(site, m.from, domain)
	if err != nil {
		return &group{domain: domain, none: &trouble{Result: later(451, "4.3.5", err.Error())}}
	}
	g := &group{d: d, domain: domain}
	if !fixed {
		var none *status.Result
		if g.x, none = c.lookup(ctx, domain); none != nil {
			g.none = &trouble{Result: *none, site: none.Outcome == status.Deferred}
			return g
		}
		d.site = g.x.key
		d.key = g.x.key + d.key[strings.IndexByte(d.key, 0):] // the set may have changed since the order was written
	}
	if err := c.policyOf(ctx, m, d, g.x); err != nil {
		g.none = &trouble{Result: later(451, "4.4.3", "MTA-STS: "+err.Error())}
	}
	return g
}

// key is the same for groups that can be one.
func (g *group) key() string {
	if g.none != nil {
		return "\x00" + g.domain
	}
	return g.d.key
}

// open are the recipients without a result.
func open(rcpts []*recipient) (left []*recipient) {
	for _, r := range rcpts {
		if !r.done {
			left = append(left, r)
		}
	}
	return left
}

// deliverGroup delivers over an idle connection, else over new ones to the hosts in turn.
func (c *Client) deliverGroup(ctx context.Context, g *group, m *message) *trouble {
	tried, last := c.reuse(g, m)
	if len(open(g.rcpts)) == 0 || last != nil && !last.other {
		return last
	}
	ctx, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	if g.x == nil {
		if last != nil {
			return last
		}
		h, t := c.fixedHost(ctx, g.d)
		if t != nil {
			return t
		}
		return c.deliverHost(ctx, g, h, m)
	}
	k := c.candidates(g.d, g.x, g.domain)
	for h := k.next(ctx); h != nil; h = k.next(ctx) {
		if h.name == tried {
			continue // it has had its say over the idle connection
		}
		t := c.deliverHost(ctx, g, h, m)
		if t == nil || len(open(g.rcpts)) == 0 {
			return nil
		}
		if last = worse(last, t); !t.other {
			return t
		}
		if ctx.Err() != nil {
			return last
		}
	}
	if k.none.Text != "" && (last == nil || !k.looped) {
		last = worse(last, &k.none)
	}
	return last
}

// fixedHost is the host or socket that mail.toml names.
func (c *Client) fixedHost(ctx context.Context, d *destination) (*host, *trouble) {
	h := &host{name: d.name, unix: d.unix}
	if d.unix != "" {
		return h, nil
	}
	t := c.find(ctx, d, h, d.site, d.port, false)
	if t != nil && t.Outcome == status.Failed {
		t.Result = later(451, "4.4.4", t.Text) // a mistake in mail.toml or DNS, not of those who write mail
	}
	return h, t
}

// worse joins the troubles of two hosts: the message fails only where all say never.
func worse(a, b *trouble) *trouble {
	if a == nil || a.Outcome == status.Failed && b.Outcome == status.Deferred {
		return b
	}
	if b.Outcome == status.Failed && a.Outcome == status.Deferred {
		return a
	}
	joined := *b
	joined.site = a.site && b.site
	return &joined
}

// reuse delivers over idle connections, as long as there are any that live. If it ends in trouble that is not the
// connection's age, the host that made it is named.
func (c *Client) reuse(g *group, m *message) (tried string, t *trouble) {
	for s := c.pool.take(g.d.key); s != nil; s = c.pool.take(g.d.key) {
		s.count(g.d, s.host, nil)
		t = c.converse(g, s, m)
		if len(open(g.rcpts)) == 0 {
			return "", nil
		}
		if t != nil && !t.stale && !t.data {
			return s.name, t
		}
	}
	return "", nil
}

// deliverHost delivers over a new connection to one host, or several where the first shows that it must be another kind.
func (c *Client) deliverHost(ctx context.Context, g *group, h *host, m *message) *trouble {
	for try, left := 0, len(open(g.rcpts)); ; try++ {
		s, t := c.open(ctx, g.d, h)
		if t == nil {
			t = c.converse(g, s, m)
		}
		now := len(open(g.rcpts))
		if t == nil || now == 0 {
			return nil
		}
		if now < left {
			left, try = now, 0
		}
		if !(t.plain || t.data || t.stale) || try == 3 || ctx.Err() != nil {
			return t
		}
	}
}

// converse delivers over a session and puts it back.
func (c *Client) converse(g *group, s *session, m *message) *trouble {
	rcpts := open(g.rcpts)
	t := s.send(m, rcpts)
	for _, r := range rcpts {
		if r.done {
			r.tls = s.verdict
		}
	}
	if s.broken {
		s.close()
	} else {
		c.pool.put(g.d.key, s, c.conf.Remote.Idle, c.conf.Remote.MaxPerConn)
	}
	return t
}

// Resolve carries out a resolve order.
func (c *Client) Resolve(ctx context.Context, o *order.Order) order.Answer {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c.opened.Do(c.openState)
	x, none := c.lookup(ctx, o.Domain)
	if none != nil {
		return order.Answer{Kind: none.Outcome.Letter(), Seq: o.Seq, Result: *none}
	}
	if c.sts != nil && x.domain != "" {
		go c.sts.Policy(context.WithoutCancel(ctx), x.domain) // known by the time a message comes, or on its way
	}
	return order.Answer{Kind: 'R', Seq: o.Seq, Site: x.key, TTL: max(x.ttl, time.Minute)}
}

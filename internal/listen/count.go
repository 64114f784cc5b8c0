package listen

import (
	"net"
	"net/netip"
	"time"

	"pennypost/internal/maillog"
	"pennypost/internal/sources"
)

// Limits is how many connections may be open, and how many may come.
type Limits struct {
	Total    int
	PerIPv4  int  // per address
	PerIPv6  int  // per /64
	PerSite  int  // per /48 of IPv6
	Connects Rate // new connections of one source
	Errors   Rate // a source with more of them is not let in
	Unknown  Rate // likewise, of unknown recipients
	Exempt   []netip.Prefix
	Proxies  []netip.Prefix // whose connections begin with a PROXY header; nobody else's may

	Now     func() *Limits                                    // the numbers above as they are now, for servers that read them again; nil: as they stand here
	Tables  *Tables                                           // of the services; nil: each process counts for itself
	Refused func(service string, from netip.Addr, why string) // for the log, without repetitions; may be nil
	Stress  func(service string, on bool, open, most int)     // connections have become scarce, or no longer are; may be nil

	service string
	table   *Table
}

// Logged has refusals and stress in the log.
func (l Limits) Logged(log *maillog.Log) Limits {
	l.Refused = func(service string, from netip.Addr, why string) { log.Refuse(service, from.String(), why) }
	l.Stress = log.Stress
	return l
}

// Of is what holds for one service.
func (l Limits) Of(service string) Limits {
	l.service, l.table = service, nil
	if l.Tables != nil {
		l.table = l.Tables.Of(service)
	}
	return l
}

// Source is what a client is counted as: its IPv4 address, or the /64 of its IPv6 address (S075). The zero
// Addr, which a unix socket has, stays itself.
func Source(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if !a.Is6() {
		return a
	}
	p, _ := a.WithZone("").Prefix(64)
	return p.Addr()
}

// Remote is the address of a connection's other end; the zero Addr for a unix socket.
func Remote(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Connections are scarce when four fifths are taken, and no longer when it is less than two thirds; the last tenth is for sources from which
// somebody has logged in, and for those that are exempt.
const (
	scarceAt = 0.8
	enoughAt = 0.66
	keptAt   = 0.9
)

// Scarce reports whether connections were scarce when the last one came (N3): whoever has shown no right to be here is given little time.
func (t *Table) Scarce() bool { return t.stress.Load() }

// ticket is a connection that is counted.
type ticket struct {
	table *Table
	key   uint64
	place int // in the file, -1 for none
}

// add counts one more connection from a. Why is empty, or says what there is too much of.
func (t *Table) add(a netip.Addr, l *Limits) (ticket, string) {
	exempt := !a.IsValid() || contains(l.Exempt, a)
	k := sources.Key(a)
	if exempt {
		k = 0
	} else if why := t.rates(a, l); why != "" {
		return ticket{}, why
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := ticket{table: t, key: k, place: t.take(k)}
	t.own[k]++
	if s := site(k); s != 0 {
		t.sites[s]++
	}
	t.total++
	source, network, all := t.others(k, false)
	why := t.over(a, k, source, network, all, l)
	if why != "" && source+network+all > 0 {
		source, network, all = t.others(k, true)
		why = t.over(a, k, source, network, all, l)
	}
	if t.open.Store(int64(t.total + all)); why != "" {
		t.drop(c)
	}
	return c, why
}

// over says what there is too much of, with one connection of k counted already.
func (t *Table) over(a netip.Addr, k uint64, source, network, all int, l *Limits) string {
	if k == 0 {
		return ""
	}
	most := l.PerIPv4
	if site(k) != 0 {
		most = l.PerIPv6
	}
	open := t.total + all
	switch {
	case most > 0 && t.own[k]+source > most:
		return "too many connections"
	case l.PerSite > 0 && site(k) != 0 && t.sites[site(k)]+network > l.PerSite:
		return "too many connections from your network"
	case l.Total > 0 && open > l.Total:
		return "too many connections in all"
	case l.Total >= 20 && float64(open) > keptAt*float64(l.Total) && !t.Known(a):
		return "too many connections of strangers"
	}
	return ""
}

// rates says which rate a source is beyond.
func (t *Table) rates(a netip.Addr, l *Limits) string {
	switch {
	case l.Connects.N > 0 && t.Add(Connections, a, 1, l.Connects) > l.Connects.N:
		return "too many connections in a short time"
	case l.Errors.N > 0 && t.Level(Errors, a, l.Errors) > l.Errors.N:
		return "too many errors"
	case l.Unknown.N > 0 && t.Level(Unknown, a, l.Unknown) > l.Unknown.N:
		return "too many unknown recipients"
	}
	return ""
}

// done takes a connection off again.
func (c ticket) done() {
	if c.table != nil {
		c.table.mu.Lock()
		c.table.drop(c)
		c.table.open.Add(-1)
		c.table.mu.Unlock()
	}
}

// drop is done with t.mu held.
func (t *Table) drop(c ticket) {
	t.total--
	lower(t.own, c.key)
	if s := site(c.key); s != 0 {
		lower(t.sites, s)
	}
	if c.place >= 0 {
		t.clear(c.place)
	}
}

func lower(m map[uint64]int, k uint64) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

// strained notes whether connections are scarce now, of so many in all, and whether that has changed.
func (t *Table) strained(total int) (changed bool) {
	if total < 20 {
		return false
	}
	open, was := t.open.Load(), t.stress.Load()
	is := float64(open) > scarceAt*float64(total) || was && float64(open) > enoughAt*float64(total)
	return is != was && t.stress.CompareAndSwap(was, is)
}

// refusals keeps a flood out of the log (S083): so many lines a second, and then how many there were besides.
type refusals struct {
	second int64
	lines  int
}

const refusalLines = 5

func (r *refusals) mayTell(now time.Time) bool {
	if s := now.Unix(); s != r.second {
		r.second, r.lines = s, 0
	}
	r.lines++
	return r.lines <= refusalLines
}

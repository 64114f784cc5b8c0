package dns

import (
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	maxRecords = 256     // of the type asked for; more are left out
	maxText    = 1 << 14 // octets of one TXT record; a longer one is left out
)

// answer is what a packet, or the cache, says.
type answer struct {
	err       error // nil, ErrNone, ErrNoName, or *Error
	secure    bool
	truncated bool
	ttl       time.Duration
	owner     string // the name at the end of the aliases
	next      string // an alias whose target is not in the packet
	aliases   int    // CNAMEs on the way

	mx    []MX
	addrs []netip.Addr
	texts []string // TXT, or the names of PTR
	srv   []SRV
	raw   [][]byte // types without a name, see Raw
}

// parse reads a packet that should answer q, asked with the letters of asked. errStray: the packet is none of ours;
// errCase: it is but for the case of the letters; rcodeError: the server could not say.
func parse(packet []byte, id uint16, asked string, q question, trust bool) (answer, error) {
	var p dnsmessage.Parser
	h, err := p.Start(packet)
	if err != nil || h.ID != id || !h.Response {
		return answer{}, errStray
	}
	echo, err := p.Question()
	if err != nil {
		if h.RCode != dnsmessage.RCodeSuccess && h.RCode != dnsmessage.RCodeNameError {
			return answer{}, rcodeError(h.RCode) // a FORMERR may come without the question
		}
		return answer{}, errStray
	}
	echoed := strings.TrimSuffix(echo.Name.String(), ".")
	switch {
	case echo.Type != q.typ || echo.Class != dnsmessage.ClassINET || !strings.EqualFold(echoed, q.name):
		return answer{}, errStray
	case echoed != asked:
		return answer{}, errCase
	case p.SkipAllQuestions() != nil:
		return answer{}, errMalformed
	case h.Truncated:
		return answer{truncated: true}, nil
	case h.RCode != dnsmessage.RCodeSuccess && h.RCode != dnsmessage.RCodeNameError:
		return answer{}, rcodeError(h.RCode)
	}
	a := answer{secure: h.AuthenticData && trust, ttl: longest}
	owner, err := a.records(&p, q, len(packet))
	if err != nil {
		return answer{}, errMalformed
	}
	a.owner = owner
	if a.mx != nil || a.addrs != nil || a.texts != nil || a.srv != nil || a.raw != nil {
		return a, nil
	}
	ttl, proven, err := absence(&p)
	if err != nil {
		return answer{}, errMalformed
	}
	switch {
	case h.RCode == dnsmessage.RCodeNameError:
		a.err = ErrNoName
	case owner != q.name && !proven:
		a.next = owner // the server left it to us
		return a, nil
	default:
		a.err = ErrNone
	}
	a.ttl = min(a.ttl, ttl)
	return a, nil
}

// records collects what the answer section has for q, following aliases, and returns the name at the end of the chain.
// A server puts an alias before what it leads to; others are allowed for by looking again.
func (a *answer) records(p *dnsmessage.Parser, q question, room int) (owner string, err error) {
	type record struct {
		owner string
		ttl   time.Duration
		body  dnsmessage.ResourceBody
	}
	var found []record
	aliases := make(map[string]record)
	for {
		h, err := p.AnswerHeader()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err != nil {
			return "", err
		}
		if room -= int(h.Length); room < 0 { // dnsmessage does not look whether a record ends inside the packet
			return "", errMalformed
		}
		if h.Class != dnsmessage.ClassINET || h.Type != q.typ && h.Type != dnsmessage.TypeCNAME || len(found) >= maxRecords {
			if err := p.SkipAnswer(); err != nil {
				return "", err
			}
			continue
		}
		r, err := p.Answer()
		if err != nil {
			return "", err
		}
		rec := record{lower(h.Name), min(time.Duration(h.TTL)*time.Second, longest), r.Body}
		if h.Type == q.typ {
			found = append(found, rec)
		} else if len(aliases) < maxRecords {
			aliases[rec.owner] = rec
		}
	}
	owner = q.name
	for a.aliases <= maxAliases {
		alias, ok := aliases[owner]
		if !ok {
			break
		}
		a.ttl = min(a.ttl, alias.ttl)
		a.aliases++
		owner = lower(alias.body.(*dnsmessage.CNAMEResource).CNAME)
	}
	if a.aliases > maxAliases || owner == "" { // a loop, or an alias of the root
		return "", errMalformed
	}
	for _, rec := range found {
		if rec.owner == owner {
			a.add(rec.body)
			a.ttl = min(a.ttl, rec.ttl)
		}
	}
	return owner, nil
}

func (a *answer) add(body dnsmessage.ResourceBody) {
	switch b := body.(type) {
	case *dnsmessage.MXResource:
		a.mx = append(a.mx, MX{b.Pref, lower(b.MX)})
	case *dnsmessage.AResource:
		a.addrs = append(a.addrs, netip.AddrFrom4(b.A))
	case *dnsmessage.AAAAResource:
		a.addrs = append(a.addrs, netip.AddrFrom16(b.AAAA).Unmap())
	case *dnsmessage.PTRResource:
		a.texts = append(a.texts, lower(b.PTR))
	case *dnsmessage.CNAMEResource: // asked for as such, see Alias
		a.texts = append(a.texts, lower(b.CNAME))
	case *dnsmessage.SRVResource:
		a.srv = append(a.srv, SRV{b.Priority, b.Weight, b.Port, lower(b.Target)})
	case *dnsmessage.UnknownResource:
		a.raw = append(a.raw, b.Data)
	case *dnsmessage.TXTResource:
		if text := strings.Join(b.TXT, ""); len(text) <= maxText {
			a.texts = append(a.texts, text)
		}
	}
}

// absence reads the SOA of a negative answer: how long it holds (RFC 2308 section 5). Without one it is not kept.
func absence(p *dnsmessage.Parser) (ttl time.Duration, proven bool, err error) {
	for {
		h, err := p.AuthorityHeader()
		if err == dnsmessage.ErrSectionDone {
			return 0, false, nil
		}
		if err != nil {
			return 0, false, err
		}
		if h.Type != dnsmessage.TypeSOA {
			if err := p.SkipAuthority(); err != nil {
				return 0, false, err
			}
			continue
		}
		soa, err := p.SOAResource()
		if err != nil {
			return 0, false, err
		}
		return min(time.Duration(min(h.TTL, soa.MinTTL))*time.Second, longestAbsence), true, nil
	}
}

func lower(n dnsmessage.Name) string { return strings.ToLower(strings.TrimSuffix(n.String(), ".")) }

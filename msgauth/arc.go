package msgauth

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxSets is how many ARC sets a message may have (RFC 8617 section 4.2.1, S058).
const maxSets = 50

// ARC is the verdict on the chain of those who passed the message on (RFC 8617).
type ARC struct {
	Result  Result   `json:"result"` // none, pass or fail; temperror where DNS did not answer
	Why     string   `json:"why"`
	Sealers []string `json:"sealers,omitempty"` // d= of the seals, the oldest first
	Trusted string   `json:"trusted,omitempty"` // the oldest sealer from whom to us every one is believed
	Results string   `json:"results,omitempty"` // what that one found: its ARC-Authentication-Results

	instances int // what the next set has to count from
}

// set is one hop's three fields.
type set struct {
	results *field
	message *signature
	seal    *signature
}

// chain is what a message has of ARC.
type chain struct {
	sets   []set // instance 1 first
	err    error // of the structure
	found  bool  // there is anything of ARC
	newest *proof
	most   int // the highest instance seen
}

// beginARC collects the sets, and asks for the key of the newest signature.
func beginARC(ctx context.Context, l *lookup, m *message) *chain {
	c := collect(m)
	if c.err == nil && len(c.sets) > 0 {
		c.newest = begin(ctx, l, m, c.sets[len(c.sets)-1].message.field, arcMessage)
	}
	return c
}

// collect sorts the fields into sets (section 5.2, steps 1 to 3).
func collect(m *message) *chain {
	c := &chain{}
	sets := make(map[int]*set)
	fields := 0
	for i := range m.fields {
		f := &m.fields[i]
		if !strings.HasPrefix(f.name, "arc-") {
			continue
		}
		n, put, err := sort(f)
		if put == nil {
			continue
		}
		c.found = true
		c.most = max(c.most, n)
		if fields++; fields > 3*maxSets {
			c.err = fmt.Errorf("more than %d sets", maxSets)
		}
		if c.err == nil {
			c.err = err
		}
		if c.err != nil {
			continue
		}
		if sets[n] == nil {
			sets[n] = &set{}
		}
		if !put(sets[n]) {
			c.err = fmt.Errorf("set %d has %s twice", n, f.written)
		}
	}
	for n := 1; n <= len(sets) && c.err == nil; n++ {
		s := sets[n]
		if s == nil || s.results == nil || s.message == nil || s.seal == nil {
			c.err = fmt.Errorf("set %d is not whole", n)
			break
		}
		c.sets = append(c.sets, *s)
	}
	return c
}

// sort says which set a field is of and how it is put there; nil is no field of ARC.
func sort(f *field) (n int, put func(*set) bool, err error) {
	switch f.name {
	case "arc-authentication-results":
		n, err = resultsInstance(string(f.value))
		return n, func(s *set) bool { old := s.results; s.results = f; return old == nil }, err
	case "arc-message-signature":
		s, err := parseSignature(f, arcMessage)
		return s.instance, func(to *set) bool { old := to.message; to.message = s; return old == nil }, wrap("ARC-Message-Signature", err)
	case "arc-seal":
		s, err := parseSignature(f, arcSeal)
		return s.instance, func(to *set) bool { old := to.seal; to.seal = s; return old == nil }, wrap("ARC-Seal", err)
	}
	return 0, nil, nil
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// resultsInstance reads the i=N; in front of ARC-Authentication-Results (section 4.1.1).
func resultsInstance(value string) (int, error) {
	first, _, ok := strings.Cut(skipCFWS(value), ";")
	name, number, eq := strings.Cut(first, "=")
	number = trimFWS(number)
	n, err := strconv.Atoi(number)
	if !ok || !eq || trimFWS(name) != "i" || err != nil || n < 1 || n > maxSets || strconv.Itoa(n) != number {
		return 0, fmt.Errorf("ARC-Authentication-Results: i= is no number from 1 to %d", maxSets)
	}
	return n, nil
}

// end is the verdict (section 5.2); the body has passed.
func (c *chain) end(ctx context.Context, l *lookup, m *message, now time.Time) ARC {
	a := ARC{Result: Fail, instances: c.most}
	for _, s := range c.sets {
		a.Sealers = append(a.Sealers, s.seal.domain)
	}
	n := len(c.sets)
	switch {
	case m.err != nil && c.found:
		a.Why = m.err.Error()
		return a
	case !c.found:
		a.Result, a.Why = None, "there is no ARC chain"
		return a
	case c.err != nil:
		a.Why = c.err.Error()
		return a
	case c.sets[n-1].seal.chain == "fail":
		a.Why = fmt.Sprintf("%s found the chain broken (cv=fail)", c.sets[n-1].seal.domain)
		return a
	}
	for i, s := range c.sets {
		want := "pass"
		if i == 0 {
			want = "none"
		}
		if s.seal.chain != want {
			a.Why = fmt.Sprintf("the seal of set %d says cv=%s, not %s", i+1, s.seal.chain, want)
			return a
		}
	}
	if r, why := c.newest.end(m, now); r != Pass {
		return a.broken(r, fmt.Sprintf("the signature of %s in set %d: %s", c.newest.domain, n, why))
	}
	for i := n; i > 0; i-- {
		if r, why := c.seal(ctx, l, m, i); r != Pass {
			return a.broken(r, fmt.Sprintf("the seal of %s in set %d: %s", c.sets[i-1].seal.domain, i, why))
		}
	}
	a.Result, a.Why = Pass, "sealed by "+strings.Join(a.Sealers, ", then ")
	return a
}

func (a ARC) broken(r Result, why string) ARC {
	a.Why = why
	if r == TempError {
		a.Result = TempError
	}
	return a
}

// seal tests the seal of instance n.
func (c *chain) seal(ctx context.Context, l *lookup, m *message, n int) (Result, string) {
	p := begin(ctx, l, m, c.sets[n-1].seal.field, arcSeal)
	if p.err != nil {
		return Fail, p.err.Error()
	}
	return p.judge(sealed(c.sets[:n]))
}

// sealed is what the seal of the last set covers: all sets in order, each as results, signature, seal (section 5.1.1).
func sealed(sets []set) (text []byte) {
	for i, s := range sets {
		text = append(appendField(text, s.results, s.results.value, true), crlf...)
		text = append(appendField(text, s.message.field, s.message.field.value, true), crlf...)
		if i < len(sets)-1 {
			text = append(appendField(text, s.seal.field, s.seal.field.value, true), crlf...)
		} else {
			text = appendField(text, s.seal.field, withoutB(s.seal.field.value), true)
		}
	}
	return text
}

// trust finds how far back every sealer is believed, and takes what the oldest of them found. A sealer that is not listed has
// no effect, nor has anything older: he could have written it himself (S058).
func (a *ARC) trust(c *chain, listed func(string) bool) {
	if a.Result != Pass || listed == nil {
		return
	}
	for i := len(c.sets) - 1; i >= 0 && listed(c.sets[i].seal.domain); i-- {
		a.Trusted = c.sets[i].seal.domain
		_, results, _ := strings.Cut(string(c.sets[i].results.value), ";")
		a.Results = results
	}
}

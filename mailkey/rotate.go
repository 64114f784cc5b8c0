package mailkey

import (
	"context"
	"fmt"
	"time"

	"pennypost/internal/dns"
)

// Rotation says how old things may become; a zero value is the default.
type Rotation struct {
	Every time.Duration // a key signs so long before the next is made; 180 days
	Wait  time.Duration // the next key is in DNS so long before it signs: caches may hold that it is not there; 24 hours
	Keep  time.Duration // an old key stays in DNS so long: signatures are good for a week, and mail may wait; 14 days
	Now   bool          // make the next key now, however young the last is
}

func (r Rotation) defaults() Rotation {
	for _, d := range []struct {
		to    *time.Duration
		value time.Duration
	}{{&r.Every, 180 * day}, {&r.Wait, day}, {&r.Keep, 14 * day}} {
		if *d.to == 0 {
			*d.to = d.value
		}
	}
	return r
}

const day = 24 * time.Hour

// Step is one thing rotate did, or waits for.
type Step struct {
	Selector string `json:"selector"`
	What     string `json:"what"`             // made, waits, signs, retired, removed
	Text     string `json:"text"`             // in words
	Record   string `json:"record,omitempty"` // to publish now
}

// Rotate goes as far with a domain as can be gone now (publish, wait for DNS, switch, retire), and is to be run again tomorrow.
// Run twice it does nothing the second time.
func (s *Store) Rotate(ctx context.Context, n Name, resolver *dns.Resolver, r Rotation) (steps []Step, err error) {
	r = r.defaults()
	keys, err := s.Keys(n)
	if err != nil {
		return nil, err
	}
	for _, algorithm := range Algorithms {
		var next, signing *Key
		for i := range keys {
			k := &keys[i]
			switch {
			case k.Algorithm != algorithm:
			case k.State == Publish && next == nil:
				next = k
			case k.State == Sign && signing == nil:
				signing = k
			}
		}
		step, err := s.advance(ctx, n, resolver, r, algorithm, next, signing)
		steps = append(steps, step...)
		if err != nil {
			return steps, err
		}
	}
	old, err := s.retire(n, r)
	return append(steps, old...), err
}

// advance makes the next key of an algorithm, or lets it sign.
func (s *Store) advance(ctx context.Context, n Name, resolver *dns.Resolver, r Rotation, algorithm string, next, signing *Key) ([]Step, error) {
	switch {
	case next == nil && (signing == nil || r.Now || s.now().Sub(signing.Created) >= r.Every):
		k, err := s.Create(n, algorithm, "")
		if err != nil {
			return nil, err
		}
		return []Step{{k.Selector, "made", fmt.Sprintf("made; publish %s._domainkey.%s", k.Selector, n.ASCII), k.Record}}, nil
	case next == nil:
		return nil, nil
	}
	why := published(ctx, resolver, n, *next)
	if wait := r.Wait - s.now().Sub(next.Since); why == "" && wait > 0 {
		why = fmt.Sprintf("DNS has it; it signs in %s", wait.Round(time.Minute))
	}
	if why != "" {
		return []Step{{next.Selector, "waits", why, next.Record}}, nil
	}
	if err := s.set(n, next, Sign); err != nil { // first: no moment without a key that signs
		return nil, err
	}
	return []Step{{next.Selector, "signs", "signs from now on", ""}}, nil
}

// published says why DNS does not have the key yet, "" when it does.
func published(ctx context.Context, resolver *dns.Resolver, n Name, k Key) string {
	name := k.Selector + "._domainkey." + n.ASCII
	texts, _, err := resolver.TXT(ctx, name)
	switch {
	case dns.Absent(err):
		return "DNS does not have " + name + " yet"
	case err != nil:
		return err.Error()
	}
	for _, text := range texts {
		if sameTags(text, k.Record, "k", "p") {
			return ""
		}
	}
	return "what DNS has at " + name + " is another key"
}

// retire takes out of service what a newer key signs for, and removes what nobody can need.
func (s *Store) retire(n Name, r Rotation) (steps []Step, err error) {
	keys, err := s.Keys(n)
	if err != nil {
		return nil, err
	}
	signs := make(map[string]bool)
	for i := range keys { // the newest first
		k := &keys[i]
		switch {
		case k.State == Sign && !signs[k.Algorithm]:
			signs[k.Algorithm] = true
		case k.State == Sign:
			if err := s.set(n, k, Retire); err != nil {
				return steps, err
			}
			steps = append(steps, Step{k.Selector, "retired", fmt.Sprintf("signs no more; leave it in DNS for %d days", int(r.Keep/day)), ""})
		case k.State == Retire && s.now().Sub(k.Since) >= r.Keep:
			if err := s.Remove(n, k.Selector); err != nil {
				return steps, err
			}
			steps = append(steps, Step{k.Selector, "removed", fmt.Sprintf("removed; take %s._domainkey.%s out of DNS", k.Selector, n.ASCII), ""})
		}
	}
	return steps, nil
}

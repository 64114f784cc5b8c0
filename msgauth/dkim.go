package msgauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// maxSignatures is how many are looked at (S052); those from the top, for the last signer is the nearest.
const maxSignatures = 8

// DKIM is the verdict on one signature.
type DKIM struct {
	Result    Result `json:"result"`
	Why       string `json:"why"`
	Domain    string `json:"domain,omitempty"`    // d=
	Selector  string `json:"selector,omitempty"`  // s=
	Identity  string `json:"identity,omitempty"`  // i=
	Algorithm string `json:"algorithm,omitempty"` // a=
	Signature string `json:"signature,omitempty"` // the first octets of b=, which tell it from others
	Bits      int    `json:"bits,omitempty"`      // of the key
	Testing   bool   `json:"testing,omitempty"`   // the key says t=y
}

// proof is one signature on its way to a verdict.
type proof struct {
	*signature
	err  error // of the syntax
	key  *key
	fail error         // of the key
	done chan struct{} // closed when the key is there
}

// begin makes a proof of a field and asks for its key while the body passes.
func begin(ctx context.Context, l *lookup, m *message, f *field, k kind) *proof {
	p := &proof{done: make(chan struct{})}
	if p.signature, p.err = parseSignature(f, k); p.err == nil {
		p.err = p.acceptable()
	}
	if p.err != nil {
		close(p.done)
		return p
	}
	if k != arcSeal {
		m.want(p.bodyRelaxed)
	}
	go func() {
		p.key, p.fail = l.key(ctx, p.signature)
		close(p.done)
	}()
	return p
}

var errLength = errors.New("l= lets anybody add to the body: the signature is worth nothing")

// acceptable refuses what is well written and worth nothing.
func (p *proof) acceptable() error {
	switch {
	case p.algorithm == "rsa-sha1":
		return errors.New("rsa-sha1 proves nothing (RFC 8301)")
	case p.algorithm != "rsa-sha256" && p.algorithm != "ed25519-sha256":
		return errors.New("a= is an algorithm we do not know")
	case p.length:
		return errLength
	}
	return nil
}

// end is the verdict; the body has passed.
func (p *proof) end(m *message, now time.Time) (Result, string) {
	switch {
	case m.err != nil:
		return PermError, m.err.Error()
	case p.err == errLength:
		return Neutral, p.err.Error()
	case p.err != nil:
		return PermError, p.err.Error()
	case p.expired(now):
		return Fail, "it expired on " + time.Unix(p.expires, 0).UTC().Format("2006-01-02 15:04 UTC")
	case !bytes.Equal(m.bodyHash(p.bodyRelaxed), p.bodyHash):
		return Fail, "the body is not the one that was signed"
	}
	return p.judge(p.covered(m))
}

// judge tests the signature itself over text.
func (p *proof) judge(text []byte) (Result, string) {
	<-p.done
	err := p.fail
	switch {
	case err != nil:
	case p.key.strict && p.identity != "" && !strings.HasSuffix(strings.ToLower(p.identity), "@"+p.domain):
		err = bad("i= is below d=, which the key forbids (t=s)")
	default:
		err = p.key.verify(p.algorithm, text, p.value)
	}
	var why *keyError
	if errors.As(err, &why) {
		return why.result, why.why
	}
	return Pass, fmt.Sprintf("signed by %s with a key of %d bits", p.domain, p.key.bits)
}

// verdict is end as a DKIM.
func (p *proof) verdict(m *message, now time.Time) DKIM {
	d := DKIM{Domain: p.domain, Selector: p.selector, Identity: p.identity, Algorithm: p.algorithm, Signature: p.b[:min(len(p.b), 8)]}
	d.Result, d.Why = p.end(m, now)
	select {
	case <-p.done:
		if p.key != nil {
			d.Bits, d.Testing = p.key.bits, p.key.testing
		}
	default: // the key did not matter
	}
	return d
}

// beginDKIM starts the proofs of all signatures, and counts those that are too many.
func beginDKIM(ctx context.Context, l *lookup, m *message) (proofs []*proof, more int) {
	for _, f := range m.find("dkim-signature") {
		if len(proofs) == maxSignatures {
			more++
			continue
		}
		proofs = append(proofs, begin(ctx, l, m, f, dkimSignature))
	}
	return proofs, more
}

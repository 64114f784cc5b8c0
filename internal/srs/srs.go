/*
Package srs rewrites the reverse-path of forwarded mail (the Sender Rewriting Scheme, SRS0 and
SRS1) so that its bounces find their way back and SPF passes for us.

	alice@example.org                                         comes to a user of ours, who forwards it
	SRS0=1rk0n6tqz4=bk=example.org=alice@us.example           what we send with
	SRS1=m2v8w0d3fa=us.example==1rk0n6tqz4=bk=example.org=alice@them.example
	                                                          what the next forwarder sends with

The first field is a signature, the second of SRS0 the day; then come the domain and the local part
the bounce goes back to. A bounce passes at most two forwarders on its way: SRS1 leads to the first.

The signature is 50 bits of HMAC-SHA-256 in base32 and does not tell upper from lower case, nor does the
rest of what is signed, for some mail systems change the case of local parts. What the address says is
kept in the case it came in. Old signatures of our own hold for 21 days, whichever of the secrets made them.
*/
package srs

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"strings"
	"time"

	"pennypost/internal/address"
)

// Rewriter signs with the first secret and takes back what any of them signed.
type Rewriter struct {
	Domain  string   // our domain: SRS0=…@Domain
	Secrets [][]byte // newest first
	Now     func() time.Time
}

const (
	signature = 10      // letters: 50 bits
	valid     = 21      // days
	days      = 32 * 32 // after so many the stamps begin again
)

// letters are base32 as RFC 4648 has it, in lower case; they read the same in upper case.
const letters = "abcdefghijklmnopqrstuvwxyz234567"

var base = base32.NewEncoding(letters).WithPadding(base32.NoPadding)

// What Back may find wrong. The text is fit for the peer.
var (
	ErrForged  = errors.New("this bounce address is not one of ours")
	ErrExpired = errors.New("this bounce address is too old")
	errSecret  = errors.New("srs: no secret")
	errLong    = errors.New("srs: the rewritten address would be too long")
)

// Forward is the reverse-path to send with. The null sender stays the null sender, and so
// do senders that our own domain already vouches for: Domain itself and bare local parts.
func (r *Rewriter) Forward(from address.Path) (address.Path, error) {
	if from.IsNull() || from.Domain == "" || r.ours(from) {
		return from, nil
	}
	if len(r.Secrets) == 0 {
		return address.Path{}, errSecret
	}
	local := from.Unquoted()
	var name string
	switch kind, rest := scheme(local); kind {
	case "SRS0": // the first forwarder's own: keep it whole behind our signature
		name = r.srs1(from.Domain, local[4:])
	case "SRS1": // the second forwarder's: leave it out, the bounce goes to the first
		if fields := strings.SplitN(rest, "=", 3); len(fields) == 3 && fields[1] != "" && fields[2] != "" && isSep(fields[2][0]) {
			name = r.srs1(fields[1], fields[2])
			break
		}
		fallthrough
	default:
		rest := r.stamp() + "=" + from.Domain + "=" + local
		name = "SRS0=" + sign(r.Secrets[0], rest) + "=" + rest
	}
	to, err := address.Make(name, r.Domain)
	if err != nil {
		// RFC 5321 section 4.5.3.1.1 has 64 octets for a local part, and a long address does not fit.
		return address.Path{}, errLong
	}
	return to, nil
}

// srs1 leads to the forwarder at domain, whose address is SRS0 and rest; rest starts with his separator.
func (r *Rewriter) srs1(domain, rest string) string {
	return "SRS1=" + sign(r.Secrets[0], domain+rest) + "=" + domain + "=" + rest
}

// Back is where mail to an SRS address of ours belongs; ok is false when to is none. An error: forged, or older than 21 days.
// Only mail with the null sender should be taken there, or the address is a way to relay.
func (r *Rewriter) Back(to address.Path) (from address.Path, ok bool, err error) {
	kind, rest := scheme(to.Unquoted())
	if kind == "" || !r.ours(to) {
		return address.Path{}, false, nil
	}
	mac, rest, cut := strings.Cut(rest, "=")
	if !cut {
		return address.Path{}, true, ErrForged
	}
	var local, domain string
	if kind == "SRS0" {
		if !r.signed(mac, rest) {
			return address.Path{}, true, ErrForged
		}
		stamp, after, _ := strings.Cut(rest, "=")
		if domain, local, cut = strings.Cut(after, "="); !cut {
			return address.Path{}, true, ErrForged
		}
		if !r.fresh(stamp) {
			return address.Path{}, true, ErrExpired
		}
	} else {
		if domain, local, cut = strings.Cut(rest, "="); !cut || local == "" || !isSep(local[0]) || !r.signed(mac, domain+local) {
			return address.Path{}, true, ErrForged
		}
		local = "SRS0" + local
	}
	if from, err = address.Make(local, domain); err != nil || from.Domain == "" {
		return address.Path{}, true, ErrForged
	}
	return from, true, nil
}

// ours reports whether a path is of our SRS domain.
func (r *Rewriter) ours(p address.Path) bool {
	return p.DomainUnicode() == address.Unicode(strings.ToLower(r.Domain))
}

// scheme takes SRS0= or SRS1= from a local part, in any case; others write + or - for the first =.
func scheme(local string) (kind, rest string) {
	if len(local) < 6 || !isSep(local[4]) {
		return "", ""
	}
	switch kind = strings.ToUpper(local[:4]); kind {
	case "SRS0", "SRS1":
		return kind, local[5:]
	}
	return "", ""
}

func isSep(c byte) bool { return c == '=' || c == '+' || c == '-' }

// sign is the signature of what stands behind it.
func sign(secret []byte, text string) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(strings.ToLower(text)))
	return base.EncodeToString(h.Sum(nil))[:signature]
}

// signed reports whether any of our secrets made this signature, in a time that does not depend on how much of it is right.
func (r *Rewriter) signed(mac, text string) bool {
	mac = strings.ToLower(mac)
	found := 0
	for _, secret := range r.Secrets {
		found |= subtle.ConstantTimeCompare([]byte(mac), []byte(sign(secret, text)))
	}
	return found == 1
}

// stamp is today in two letters; it begins again every 1024 days.
func (r *Rewriter) stamp() string {
	d := r.today()
	return string([]byte{letters[d/32], letters[d%32]})
}

func (r *Rewriter) today() int {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	return int(now().Unix()/86400%days+days) % days
}

// fresh reports whether a stamp is of the last 21 days, or of tomorrow where another host's clock is ahead.
func (r *Rewriter) fresh(stamp string) bool {
	if len(stamp) != 2 {
		return false
	}
	stamp = strings.ToLower(stamp)
	hi, lo := strings.IndexByte(letters, stamp[0]), strings.IndexByte(letters, stamp[1])
	if hi < 0 || lo < 0 {
		return false
	}
	age := (r.today() - hi*32 - lo + days) % days
	return age <= valid || age == days-1
}

// Package srs rewrites the reverse-path of forwarded mail (the Sender Rewriting Scheme, SRS0 and SRS1) so that its bounces
// find their way back and SPF passes for us.
package srs

import (
	"time"

	"pennypost/internal/address"
)

// Rewriter signs with the first secret and takes back what any of them signed.
type Rewriter struct {
	Domain  string   // our domain: SRS0=…@Domain
	Secrets [][]byte // newest first
	Now     func() time.Time
}

// Forward is the reverse-path to send with. The null sender stays the null sender.
func (r *Rewriter) Forward(from address.Path) (address.Path, error) { panic("unwritten") }

// Back is where mail to an SRS address of ours belongs; ok is false when to is none. An error: forged, or older than 21 days.
func (r *Rewriter) Back(to address.Path) (from address.Path, ok bool, err error) { panic("unwritten") }

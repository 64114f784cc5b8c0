/*
Package status is the answer to the question of mail: delivered, again, or never.

It is what a delivery program says of each recipient (order(5)), what the results
journal keeps, and what a DSN reports.
*/
package status

// Outcome says who owes what after an attempt.
type Outcome uint8

const (
	Delivered Outcome = iota // responsibility has moved on; never try again
	Deferred                 // try later (RFC 5321 section 4.5.4.1)
	Failed                   // never try again; the reverse-path is owed a DSN
)

// Letter is the outcome as order(5) writes it: K, Z or D.
func (o Outcome) Letter() byte { return "KZD"[o] }

// String is the event the log and the journal use: deliver, defer or bounce.
func (o Outcome) String() string { return [...]string{"deliver", "defer", "bounce"}[o] }

// Result is what became of one recipient in one attempt.
type Result struct {
	Outcome  Outcome
	Code     int    // reply code of RFC 5321 section 4.2, for example 250
	Enhanced string // RFC 3463 code, for example "2.1.5"
	Text     string // the peer's words or ours, unescaped; one line
}

// Ours reports whether a result about a remote host is what we found ourselves and not what the host
// said: no reply at all, or one of the codes that say so (RFC 3463: no answer, bad connection, TLS that proves nothing). Only of
// deferrals: 5.4.1 is what Exchange says of users it does not know.
func Ours(code int, enhanced string) bool {
	return code == 0 || enhanced == "4.4.1" || enhanced == "4.4.2" || enhanced == "4.7.5"
}

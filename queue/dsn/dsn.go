/*
Package dsn writes reports about mail: RFC 3464 in the frame of RFC 6522, for addresses beyond
ASCII as RFC 6533 has it.

A report is a message of the producer bounce with a derived id, in the spool and synced before
the message it speaks of goes:

	in/bounce/new/0fk2v9qk3x7m2c000-a.b1     written here
	q/20261122/0430/0fk2v9qk3x7m2c000-a.b1   taken by queue-run, as any message
	hold/0fk2v9qk3x7m2c000-a.b1              kept back: nobody vouches for the sender

Making it again after a crash finds one of these names and writes nothing, so no report is
lost and none is sent twice.

	multipart/report
	    text/plain                            words.go    for a person: who, why, what to do
	    message/delivery-status               blocks.go   for a program
	    message/rfc822, text/rfc822-headers   original.go what it is about

Where an address has letters beyond ASCII the second and third part are message/global-delivery-status,
message/global and message/global-headers.
*/
package dsn

import (
	"errors"
	"io/fs"
	"strings"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/status"
	"pennypost/queue"
)

// Action is RFC 3464 section 2.3.3.
type Action string

const (
	Failed    Action = "failed"
	Delayed   Action = "delayed"
	Delivered Action = "delivered"
	Relayed   Action = "relayed"
	Expanded  Action = "expanded"
)

// notify is the word of NOTIFY that asks for a report of an action (RFC 3461 section 4.1).
var notify = map[Action]string{
	Failed: "FAILURE", Delayed: "DELAY", Delivered: "SUCCESS", Relayed: "SUCCESS", Expanded: "SUCCESS",
}

// Recipient is one per-recipient block.
type Recipient struct {
	To          address.Path // final recipient
	Params      string       // of RCPT: ORCPT goes into the report, NOTIFY decides whether there is a block at all
	Action      Action
	Result      status.Result
	Host        string // remote MTA, "" when we decided
	LastAttempt time.Time
	RetryUntil  time.Time // delayed
}

// Report is one DSN.
type Report struct {
	ID         string       // of the report: queue.Derived(message id, 'b', n)
	Host       string       // our name: Reporting-MTA, and the domain of the Message-ID
	From       address.Path // header From: MAILER-DAEMON@Host
	Message    *queue.Message
	Recipients []Recipient
	Now        time.Time
}

// Wanted keeps the recipients whose NOTIFY asks for a report of their action (RFC 3461 section 4.1);
// none are left for a null sender. Who says nothing hears of failure and of delay.
func Wanted(m *queue.Message, rcpts []Recipient) []Recipient {
	if m.Env.From.IsNull() {
		return nil // RFC 5321 section 4.5.5: nobody to tell, and no loop
	}
	var wanted []Recipient
	for _, r := range rcpts {
		asked, ok := param(r.Params, "NOTIFY")
		if !ok {
			asked = "FAILURE,DELAY"
		}
		for _, word := range strings.Split(asked, ",") {
			if strings.EqualFold(word, notify[r.Action]) {
				wanted = append(wanted, r)
				break
			}
		}
	}
	return wanted
}

// param is the value of one ESMTP parameter.
func param(params, key string) (string, bool) {
	for _, word := range strings.Fields(params) {
		k, v, _ := strings.Cut(word, "=")
		if strings.EqualFold(k, key) {
			return v, true
		}
	}
	return "", false
}

var (
	errNobody = errors.New("dsn: nobody to report to")
	errEmpty  = errors.New("dsn: nothing to report")
)

// Queue writes the report into in/bounce, durable on return, and returns its envelope. If it is already there nothing is written.
// The report's id must be one that no report had that has left the spool: queue-run counts its bounce rounds.
func Queue(s *queue.Spool, r *Report) (*queue.Envelope, error) {
	switch {
	case r.Message.Env.From.IsNull():
		return nil, errNobody
	case len(r.Recipients) == 0:
		return nil, errEmpty
	}
	env, text, err := r.compose()
	if err != nil {
		return nil, err
	}
	if there, err := exists(s, r.ID); there || err != nil {
		return env, err
	}
	// What a crash left under our name: tmp/ is swept after 36 hours only, and we cannot take another name.
	if err = s.Disk.Remove("in/bounce/tmp/" + r.ID); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	w, err := s.Begin("bounce", env)
	if err != nil {
		return nil, err
	}
	defer w.Abort()
	if _, err = w.Write(text); err != nil {
		return nil, err
	}
	if err = w.Commit(); err != nil {
		return nil, err
	}
	w.Hint()
	return env, nil
}

// exists reports whether the report is in the spool, whole and on disk. It looks in the order in
// which reports move, so it does not miss one on its way. One that a power cut has torn is removed, so
// that it can be written again: what it said was never acknowledged.
func exists(s *queue.Spool, id string) (bool, error) {
	for _, name := range []string{"in/bounce/new/" + id, queue.QPath(id) + "/" + id, "hold/" + id, "in/adopt/new/" + id} {
		m, err := s.Load(name, true)
		switch {
		case err == nil:
			m.File.Close()
			return true, nil
		case errors.Is(err, queue.ErrBad):
			err = s.Disk.Remove(name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

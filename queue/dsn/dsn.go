/*
Package dsn writes reports about mail: RFC 3464 in the frame of RFC 6522, for addresses beyond ASCII as RFC 6533 has it.

A report is a message of the producer bounce with a derived id, in the spool and synced before the message it speaks of goes.
*/
package dsn

import (
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
// none are left for a null sender.
func Wanted(m *queue.Message, rcpts []Recipient) []Recipient { panic("unwritten") }

// Queue writes the report into in/bounce, durable on return, and returns its envelope. If it is already there nothing is written.
func Queue(s *queue.Spool, r *Report) (*queue.Envelope, error) { panic("unwritten") }

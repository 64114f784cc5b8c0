/*
Package order is the language of queue-run and its workers, order(5): packets on an AF_UNIX
SOCK_SEQPACKET connection, one order line and one freshly opened descriptor each.

	deliver SEQ ID attempt=N repeat=0|1 site=KEY [form=ready] size=S wire=W [text=unverified] rcpt=NUM:ADDR …
	resolve SEQ DOMAIN                next SEQ                quit

	K|Z|D SEQ NUM status code text          S SEQ text           E SEQ
	F SEQ NUM ADDRESS                       site SEQ KEY ttl=S   (or Z / D with NUM 0)

Words are percent-escaped (package escape), the text of an answer is the rest of the line, escaped as one word.
*/
package order

import (
	"os"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/status"
	"pennypost/queue"
)

// Order is what queue-run wants done.
type Order struct {
	Verb    string // deliver resolve next quit
	Seq     uint64
	ID      string
	Attempt int    // 1 is the first
	Repeat  bool   // an earlier attempt may have succeeded unseen: look before delivering
	Site    string // key
	Ready   bool   // link-ready form: the descriptor is the message as the Maildir wants it
	Header  int64  // offset of the first octet of the message
	Size    int64  // octets of the message
	Wire    int64  // octets with CRLF; 0 when not known
	Rcpts   []Rcpt
	Domain  string // resolve
}

// Rcpt is one recipient of a deliver order.
type Rcpt struct {
	Num queue.Num
	To  address.Path // the routed target
}

// Answer is what a worker says.
type Answer struct {
	Kind   byte // 'K' 'Z' 'D' a recipient, 'S' about the site, 'E' order done, 'F' forward, 'R' site resolved
	Seq    uint64
	Num    queue.Num
	Result status.Result // K Z D; Text also for S
	Host   string        // K Z D of a remote attempt: "mx1.example.org[192.0.2.5]", with host= before the text
	Target address.Path  // F
	Site   string        // R
	TTL    time.Duration // R
}

func (o *Order) Append(b []byte) []byte         { panic("unwritten") }
func ParseOrder(packet []byte) (Order, error)   { panic("unwritten") }
func (a *Answer) Append(b []byte) []byte        { panic("unwritten") }
func ParseAnswer(packet []byte) (Answer, error) { panic("unwritten") }

// Conn is one end of a worker's connection. It is safe for concurrent use.
type Conn struct {
	// …
}

// NewConn takes over a SEQPACKET descriptor; for workers that is fd 0.
func NewConn(fd int) (*Conn, error) { panic("unwritten") }

// Pair makes a connected pair: one end for us, one for a child's fd 0.
func Pair() (*Conn, *os.File, error) { panic("unwritten") }

// SendOrders sends several orders, each with its descriptor (or -1), in as few system calls as possible.
func (c *Conn) SendOrders(orders []Order, fds []int) error { panic("unwritten") }

// ReceiveOrders waits for orders and returns those that are there, at most max. The descriptors (or -1) are the caller's to close.
// io.EOF when queue-run has gone.
func (c *Conn) ReceiveOrders(max int) ([]Order, []int, error) { panic("unwritten") }

// SendAnswers and ReceiveAnswers are the way back. One packet may hold several answers, one a line.
func (c *Conn) SendAnswers(answers []Answer) error { panic("unwritten") }
func (c *Conn) ReceiveAnswers() ([]Answer, error)  { panic("unwritten") }
func (c *Conn) Close() error                       { panic("unwritten") }

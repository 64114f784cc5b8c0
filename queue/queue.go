/*
Package queue is the spool: the one place where a message rests between being accepted and
being delivered or bounced. It knows nobody who uses it. spool(5) is its manual.
*/
package queue

import (
	"errors"
	"io"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/durable"
	"pennypost/internal/status"
)

// Producers are the directories under in/. The first word of via: equals the producer's name.
var Producers = []string{"mx", "submit", "lmtp", "pickup", "list", "bounce", "local", "adopt"}

// Spool is an open spool.
type Spool struct {
	Disk durable.Disk // rooted at the spool directory
	Node string       // node letters, the part of an id after the dash
	// …
}

// Make creates an empty spool: directories, FIFOs and FORMAT. It may be repeated.
func Make(root, node string) error { panic("unwritten") }

// Open opens an existing spool and refuses one of a newer FORMAT.
func Open(root string) (*Spool, error) { panic("unwritten") }

// NewID is a new message id: 17 letters of time and chance, a dash, the node. Ids of one
// process always rise, also when the clock steps back.
func (s *Spool) NewID() string { panic("unwritten") }

// ValidID reports whether id is an id: also those of messages made from a message
// (0fk2v9qk3x7m2c000-a.b1, its first bounce; .v1, a vacation answer).
func ValidID(id string) bool { panic("unwritten") }

// Derived is the id of the n-th message of a kind made from id: 'b' bounces, 'v' answers.
// It is a function of its arguments, so that making it again after a crash makes no second one.
func Derived(id string, kind byte, n int) string { panic("unwritten") }

// TimeOf is when the id was made.
func TimeOf(id string) time.Time { panic("unwritten") }

// Envelope is what the sender said, and what we know of him: the lines in front of a message.
type Envelope struct {
	ID        string
	Time      time.Time    // of acceptance
	Via       string       // producer, then facts: "mx esmtps tls=… ip=… helo=… ptr=…"
	Auth      string       // login name, "" when nobody logged in
	Checks    string       // "spf=pass dkim=pass:example.net dmarc=pass", "" when nothing was checked
	From      address.Path // null for a bounce
	Mail      string       // ESMTP parameters of MAIL as received: "BODY=8BITMIME RET=HDRS ENVID=QQ"
	Class     string       // urgent normal bulk dsn; "" is normal
	Flow      string       // whose share of a site this uses; "" = Auth, else the sender's domain, else the client's network
	HoldUntil time.Time    // RFC 4865, or a script's hold-until:
	Drop      string       // inode and mtime of the drop file this was copied from
	Rcpts     []Rcpt       // in ascending N; at most MaxRcpts, more are in ID.r
	RcptFile  RcptFile
	Body      Body
	Other     []Field // keys this version does not know, kept
}

// MaxRcpts is how many recipients stand in the envelope itself.
const MaxRcpts = 1000

// Rcpt is one forward-path as RCPT gave it.
type Rcpt struct {
	N      int
	To     address.Path
	Params string // "NOTIFY=FAILURE,DELAY ORCPT=rfc822;bob@example.org"
}

// RcptFile describes ID.r, the recipients of a list message: one line each, "N ADDRESS [PARAMS]".
type RcptFile struct {
	Count int
	Bytes int64
	Hash  string
}

// Body describes what follows the envelope's blank line; Length < 0 when no body: line was there.
type Body struct {
	Length int64  // octets in the file
	Raw    bool   // line ends are what they are (BINARYMIME), else LF
	Hash   string // 32 hex digits: the first half of SHA-256
	Wire   int64  // octets with CRLF line ends; 0 when not known
}

// Field is one unknown line of an envelope.
type Field struct{ Key, Value string }

// ErrBad marks a spool file that is not what it says; the file belongs into bad/ with the error as reason.
var ErrBad = errors.New("bad spool file")

// Critical is the reason for a file whose envelope has a !key we do not know: it goes to hold/.
var ErrCritical = errors.New("unknown critical key")

// Append writes e with its blank line to b. Parse reads it back: Parse(Append(e)) = e.
func (e *Envelope) Append(b []byte) []byte { panic("unwritten") }

// Parse reads an envelope at the start of b; header is where the message's first octet is. more
// is set when b ends before the envelope does: read on (an envelope has at most MaxEnvelope octets).
func Parse(b []byte) (e *Envelope, header int, more bool, err error) { panic("unwritten") }

// MaxEnvelope bounds an envelope, in octets.
const MaxEnvelope = 1 << 20

// A Writer is one message on its way into in/PRODUCER. Write takes the message in the form the
// spool keeps, LF line ends. Small messages cost one write(2); large ones stream.
type Writer struct {
	// …
}

// Begin starts a message of producer with id env.ID (made if empty). env is not changed after.
func (s *Spool) Begin(producer string, env *Envelope) (*Writer, error) { panic("unwritten") }

// BeginReady starts a message in the link-ready form: the caller writes Return-Path, Delivered-To
// and Received itself, and the file is named ID.m,S=bytes,W=crlf-bytes,H=hash, so that it proves itself.
func (s *Spool) BeginReady(producer, id string) (*Writer, error) { panic("unwritten") }

func (w *Writer) Write(p []byte) (int, error) { panic("unwritten") }

// Commit makes the message durable in in/PRODUCER/new: rename, fsync, fsync of the directory where
// needed. After nil the message is ours. After an error it is not, and nothing of it is left.
func (w *Writer) Commit() error { panic("unwritten") }

// Hint tells queue-run of the committed message. It never blocks; call it after the answer is on its way.
func (w *Writer) Hint() { panic("unwritten") }

// Abort forgets the message. After Commit it does nothing.
func (w *Writer) Abort() { panic("unwritten") }

// Message is a spool file opened for reading.
type Message struct {
	ID     string
	Name   string // below the spool: "in/mx/new/0fk…-a", "q/20261122/0430/0fk…-a"
	Ready  bool   // link-ready: Env then holds what Return-Path and Delivered-To say
	Env    *Envelope
	Header int64 // offset of the first octet of the message
	Size   int64 // octets of the message, without envelope
	Wire   int64 // with CRLF line ends; 0 when not known
	File   durable.File
}

// Load opens the message in the file name. With check it also compares length and hash and syncs
// the file: what a file needs that was found by a scan and not by a hint. Errors wrap ErrBad or ErrCritical
// when the file is at fault, else they are the disk's.
func (s *Spool) Load(name string, check bool) (*Message, error) { panic("unwritten") }

// Recipients reads ID.r of a list message, n at a time from recipient number first on.
func (s *Spool) Recipients(m *Message, first, n int) ([]Rcpt, error) { panic("unwritten") }

// ParseName takes a file name of in/*/new or q/ apart: id, link-ready or not, sizes and hash of a ready one.
// Side files (ID.s, ID.r) and foreign names give ok = false.
func ParseName(name string) (id string, ready bool, size, wire int64, hash string, ok bool) {
	panic("unwritten")
}

// QPath is the directory of id in the queue: q/20261122/0430.
func QPath(id string) string { panic("unwritten") }

// Num names a recipient of a message: N of the envelope, and Sub > 0 for the targets its alias or forward was expanded to.
type Num struct{ N, Sub int }

// String is "2", or "2.1" for the first target of recipient 2.
func (n Num) String() string { panic("unwritten") }

// ParseNum reads String.
func ParseNum(s string) (Num, error) { panic("unwritten") }

// Kind is the kind of an event in ID.s and in results/.
type Kind string

const (
	Accept  Kind = "accept"
	Route   Kind = "route"
	Expand  Kind = "expand"
	Deliver Kind = "deliver"
	Defer   Kind = "defer"
	Bounce  Kind = "bounce"
	Delay   Kind = "delay"
	Expire  Kind = "expire"
	Hold    Kind = "hold"
	Release Kind = "release"
	Remove  Kind = "remove"
	End     Kind = "end"
)

// Event is one line of ID.s or results/: "TIME ID KIND NUM key=value …", fields always in this order,
// absent ones left out. It is written whole with one write(2); a last line without LF is torn and ignored.
type Event struct {
	Time    time.Time
	ID      string
	Kind    Kind
	Num     Num            // zero: the message
	To      address.Path   // the recipient's routed address
	From    address.Path   // accept
	Site    string         // site key
	Host    string         // remote host and address: "mx1.example.org[192.0.2.5]"
	Status  status.Result  // deliver, defer, bounce
	Why     string         // cause in one word: greylist quota dns tls site policy
	Next    time.Time      // defer
	Attempt int            // defer, deliver
	Targets []address.Path // expand: the targets, numbered Num.N.1 …, continuing after earlier ones
	DSN     string         // bounce, delay: id of the report that was queued for it
	Size    int64          // accept
	Delay   time.Duration  // deliver: since acceptance
}

// Append writes the event as one line with its LF.
func (ev *Event) Append(b []byte) []byte { panic("unwritten") }

// ParseEvent reads one line without LF. Unknown keys are ignored, unknown kinds kept.
func ParseEvent(line []byte) (Event, error) { panic("unwritten") }

// State is fold(message, ID.s, results): what is still owed.
type State struct {
	Rcpts    []RcptState // one for each recipient that routing made, in Num order
	Attempts int
	Bounces  int  // bounce rounds done: the next bounce is Derived(id, 'b', Bounces+1)
	Delayed  bool // the delay notice is out
	Ended    bool // everything is done; only the file is left
}

// RcptState is one recipient.
type RcptState struct {
	Num      Num
	To       address.Path
	Params   string
	Done     bool   // delivered, or failed and reported
	Expanded bool   // replaced by its targets
	Site     string // last known site key
	Attempts int
	Next     time.Time // not before; zero is at once
	Why      string
	Last     status.Result
	Host     string
}

// Fold makes the state of a message from its envelope and its events in order of time.
func Fold(e *Envelope, events []Event) *State { panic("unwritten") }

// Journal appends events to results/HOUR, shared by all messages, and syncs it at most every 20 ms.
type Journal struct {
	// …
}

// OpenJournal starts appending. Sync errors are given to onError.
func (s *Spool) OpenJournal(onError func(error)) *Journal { panic("unwritten") }

// Add appends the event. It is in the page cache on return, on disk 20 ms later.
func (j *Journal) Add(ev *Event) error { panic("unwritten") }

// Sync puts everything added so far on disk.
func (j *Journal) Sync() error { panic("unwritten") }

func (j *Journal) Close() error { panic("unwritten") }

// Results reads the events of the journal since a time, oldest first.
func (s *Spool) Results(since time.Time, each func(*Event) error) error { panic("unwritten") }

// AppendState appends events to the message's ID.s beside the file name; durable if sync.
func (s *Spool) AppendState(name string, sync bool, events ...*Event) error { panic("unwritten") }

// ReadState reads ID.s of the message in the file name; none is no error.
func (s *Spool) ReadState(name string) ([]Event, error) { panic("unwritten") }

// Found is a message file a scan came upon.
type Found struct {
	Name string // below the spool
	ID   string
	Hint bool // learnt from a FIFO: durable already
}

// Scan calls each for every message file under dirs (in/mx/new, q, …), names only, no file is opened.
func (s *Spool) Scan(each func(Found) error, dirs ...string) error { panic("unwritten") }

// Hints reads the producers' FIFOs until closed and sends batches of what they announce; a nil batch means "look yourself".
// Lines that are no names are dropped and make it a nil batch.
func (s *Spool) Hints(batches chan<- []Found) (io.Closer, error) { panic("unwritten") }

// Take moves a message and its side files from in/ (or wherever it is) to its place in q/. The new name is returned.
func (s *Spool) Take(name string) (string, error) { panic("unwritten") }

// Hold moves a message and its side files to hold/, with the reason in ID.why.
func (s *Spool) Hold(name, reason string) error { panic("unwritten") }

// Bad moves a file that is no message to bad/, with the reason in NAME.why.
func (s *Spool) Bad(name, reason string) error { panic("unwritten") }

// Release moves hold/ID* to in/adopt/new and hints.
func (s *Spool) Release(id string) error { panic("unwritten") }

// Remove removes a message and then its side files.
func (s *Spool) Remove(name string) error { panic("unwritten") }

// Archive makes the second name of the message in archive/new; done before the first attempt.
func (s *Spool) Archive(name string) error { panic("unwritten") }

// Sweep removes files in tmp/ directories that are older than 36 hours, lone side files, and empty minute directories.
func (s *Spool) Sweep(now time.Time) error { panic("unwritten") }

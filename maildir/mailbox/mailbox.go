/*
Package mailbox is what IMAP and POP3 need on top of a Maildir: UIDs, mod-sequences, keywords, indexes, and a view that holds still
while other programs rename, add and remove files. It knows nobody who uses it.

	~/Maildir/              INBOX; .Lists.go/ (layout maildir++) or Lists/go/ (fs) are folders
	    cur/* new/*         authority for existence, content, flags, keywords a–z
	    mb-uids             authority, text, append-only: UIDVALIDITY, UID↔key, reservations, tombstones        mb-uids(5)
	    mb-uids.old         the previous generation
	    mb-meta             authority, text: METADATA, ACL, special use
	    mb-lock             flock target, empty, never renamed
	    mb-index            cache: snapshot in columns, replaced by rename                                      mb-index(5)
	    mb-log.GEN          cache and change feed between processes: append-only
	    mb-cache.GEN        cache: what clients ask for, parsed once, in the form it is sent in
	    mb-fts.GEN          cache: trigram filter
	~/Maildir/ only:
	    mb-keywords         authority: what the letters a–z mean in all folders of the account
	    mb-uidvalidity      high-water mark, so that a folder made again never gets an old UIDVALIDITY
	    subscriptions       Dovecot's format
	~/Maildir.expunged/DATE/    what was expunged that day, itself a Maildir

	rm mb-index mb-log.* mb-cache.* mb-fts.*    at any moment changes nothing a client sees except MODSEQs, which only rise.

UIDs are given only under the folder lock, in a look (Folder.Look). Before a UID or mod-sequence is shown that reaches the reservation, a
new reservation line is on disk: a UID is never reused, without an fsync for each message. The directory beats the log: letters on
disk win and get a fresh mod-sequence.
*/
package mailbox

import (
	"context"
	"errors"
	"io"
	"time"

	"pennypost/internal/sequence"
)

var (
	ErrNoMailbox   = errors.New("no such mailbox")                    // NONEXISTENT, TRYCREATE
	ErrExists      = errors.New("mailbox exists")                     // ALREADYEXISTS
	ErrName        = errors.New("not a mailbox name")                 // CANNOT
	ErrNoInferiors = errors.New("mailbox cannot be used so")          // CANNOT
	ErrUnavailable = errors.New("the mail store is not there")        // UNAVAILABLE: never an empty mailbox
	ErrInUse       = errors.New("the mailbox is locked for too long") // INUSE
	ErrExpunged    = errors.New("the message is gone")                // EXPUNGEISSUED
	ErrQuota       = errors.New("over quota")                         // OVERQUOTA
	ErrKeywords    = errors.New("no more keywords in this account")   // LIMIT
)

// Options is how an account's Maildir is laid out and shown; the same for every program that opens it.
type Options struct {
	Layout       string // maildir++ or fs
	Delimiter    byte   // of names: '/' or '.'
	Prefix       string // "" or "INBOX."
	ExpungedDays int    // how long expunged mail is kept; 0 unlinks
	Quota        int64  // octets, 0 none
	LeaveNew     bool   // new/ stays new/ until a message is seen
	IndexDir     string // where caches are instead, "" with the mail
	Stamp        string // as in package maildir: the store is mounted
}

// Account is one user's tree of mailboxes. It is shared by all sessions of a process and safe for concurrent use.
type Account struct {
	// …
}

// OpenAccount opens root, and makes it where the store is mounted.
func OpenAccount(root string, o Options) (*Account, error) { panic("unwritten") }

// Info is one mailbox in a list.
type Info struct {
	Name        string // UTF-8 NFC, with the account's delimiter and prefix; INBOX in capitals
	NoSelect    bool   // only a name above others
	Subscribed  bool
	NonExistent bool   // only subscribed
	SpecialUse  string // \Drafts \Sent \Trash \Junk \Archive \All \Flagged, "" none
}

// List is every mailbox and every subscription, sorted so that a parent comes before its children.
func (a *Account) List() ([]Info, error) { panic("unwritten") }

// Create makes a mailbox and the names above it; use is a special use or "".
func (a *Account) Create(name, use string) error { panic("unwritten") }

// Delete moves the mailbox to the undelete area; a mailbox with children stays as a name. INBOX cannot go.
func (a *Account) Delete(name string) error { panic("unwritten") }

// Rename keeps UIDs and MAILBOXID, and takes children along; of INBOX it moves the messages (RFC 9051 section 6.3.6).
func (a *Account) Rename(from, to string) error { panic("unwritten") }

// Subscribe adds or removes a subscription, also to what does not exist.
func (a *Account) Subscribe(name string, on bool) error { panic("unwritten") }

// Usage is what the account holds, for quota.
func (a *Account) Usage() (messages, octets int64, err error) { panic("unwritten") }

// Folder opens a mailbox. Close it as often as it was opened.
func (a *Account) Folder(name string) (*Folder, error) { panic("unwritten") }

// Close closes what no session uses any more.
func (a *Account) Close() error { panic("unwritten") }

// Flags is a message's flags: the system flags in the low bits, then keywords by their number in the folder.
type Flags uint64

const (
	Seen Flags = 1 << iota
	Answered
	Flagged
	Deleted
	Draft
	Forwarded // $Forwarded, the letter P
	keywords  // the letter a; then b, … z, and those beyond
)

// Keyword is the flag of keyword number n.
func Keyword(n int) Flags { return keywords << n }

// MaxKeywords is how many keywords an account can have.
const MaxKeywords = 58

// Folder is one open mailbox, shared by the sessions of a process.
type Folder struct {
	// …
}

// Look takes in what other programs and processes have done since the last look, and gives the view as it is now: two stat(2)
// and one read when nothing has happened. It gives UIDs to new messages.
func (f *Folder) Look(ctx context.Context) (*View, error) { panic("unwritten") }

// Counts is the folder's figures after a look, without loading its columns: what STATUS and SELECT need, O(1) at any size.
func (f *Folder) Counts(ctx context.Context) (Counts, error) { panic("unwritten") }

// Watch gives a channel that receives after something has happened to the folder (inotify, else polling), until stop is called.
func (f *Folder) Watch() (happened <-chan struct{}, stop func()) { panic("unwritten") }

// Keywords are the names of the folder's keywords by number. Create gives name a number if it has none.
func (f *Folder) Keywords() []string                                        { panic("unwritten") }
func (f *Folder) KeywordNumber(name string, create bool) (n int, err error) { panic("unwritten") }

// Close gives the folder back.
func (f *Folder) Close() error { panic("unwritten") }

// Counts are a folder's figures.
type Counts struct {
	Messages      uint32
	Unseen        uint32
	Deleted       uint32
	Recent        uint32
	Size          int64 // wire octets of all messages
	DeletedSize   int64
	UIDNext       uint32
	UIDValidity   uint32
	HighestModSeq uint64
	MailboxID     string // RFC 8474
}

// View is a folder at one moment: it does not change. Messages are in order of UID, numbered from 0.
type View struct {
	// …
}

func (v *View) Counts() Counts { panic("unwritten") }
func (v *View) Len() int       { panic("unwritten") }

// Find is the index of the first message whose UID is at least uid, and whether it is that very UID.
func (v *View) Find(uid uint32) (i int, ok bool) { panic("unwritten") }

func (v *View) UID(i int) uint32         { panic("unwritten") }
func (v *View) Flags(i int) Flags        { panic("unwritten") }
func (v *View) ModSeq(i int) uint64      { panic("unwritten") }
func (v *View) Received(i int) time.Time { panic("unwritten") } // INTERNALDATE, to the second
func (v *View) Saved(i int) time.Time    { panic("unwritten") } // SAVEDATE (RFC 8514); zero when unknown
func (v *View) EmailID(i int) string     { panic("unwritten") } // RFC 8474; copies share it
func (v *View) UIDL(i int) string        { panic("unwritten") } // POP3's unique-id, pinned
func (v *View) Recent(i int) bool        { panic("unwritten") }

// Size is RFC822.SIZE: from the name, the index, or counted once.
func (v *View) Size(i int) (int64, error) { panic("unwritten") }

// Open opens the message's file; it stays readable though others rename or remove it. ErrExpunged when it is gone.
func (v *View) Open(i int) (*Message, error) { panic("unwritten") }

// Record is what is known of the message's content; parsed once, then read from mb-cache.
func (v *View) Record(i int) (*Record, error) { panic("unwritten") }

// Delta is what happened between two views of a folder.
type Delta struct {
	Vanished sequence.Set // UIDs that are gone
	Changed  []uint32     // UIDs whose flags or mod-sequence changed, ascending, of those that were there before
	Added    int          // messages at the end of the later view
}

// Since is what happened from the earlier view to this one.
func (v *View) Since(earlier *View) Delta { panic("unwritten") }

// ChangedSince is the UIDs with a mod-sequence above modseq (RFC 7162).
func (v *View) ChangedSince(modseq uint64) sequence.Set { panic("unwritten") }

// VanishedSince is the UIDs gone since modseq, of those in known (nil: all below UIDNEXT). It may name more than
// what has gone since, never less (RFC 7162 section 3.2.6).
func (v *View) VanishedSince(modseq uint64, known sequence.Set) sequence.Set { panic("unwritten") }

// Message is an open message file.
type Message struct {
	io.ReaderAt
	Size int64 // octets in the file
	Wire int64 // octets with CRLF
	// …
}

func (m *Message) Close() error { panic("unwritten") }

// Record is the parsed data of a message, in the form clients are sent it.
type Record struct {
	Envelope  []byte // RFC 9051 section 7.5.2
	Body      []byte // BODY
	Structure []byte // BODYSTRUCTURE
	Header    []byte // the fields of RecordFields as they stand in the message, CRLF line ends
	Preview   []byte // RFC 8970, UTF-8, at most 200 characters
	Parts     []Part // by depth-first order; see package part
	// Sort keys (RFC 5256), normalised: base subject, first mailboxes, display names; Sent is the Date field.
	Subject, From, To, Cc, DisplayFrom, DisplayTo string
	Reply                                         bool // the subject was a reply or forward
	Sent                                          time.Time
	MessageID                                     uint64   // hash, 0 none
	References                                    []uint64 // hashes, oldest first; In-Reply-To when there are none
}

// Part is where one part lies: offsets in the file, sizes on the wire.
type Part struct {
	Section              string // "" "1" "2.1" …
	Header, Body, End    int64
	HeaderWire, BodyWire int64
	Encoding             string
	Text                 bool // of type text: what SEARCH BODY looks into
	Charset              string
}

// RecordFields are the header fields kept in Record.Header; others are read from the message.
var RecordFields = []string{"From", "To", "Cc", "Bcc", "Sender", "Reply-To", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
	"List-ID", "List-Post", "List-Unsubscribe", "Content-Type", "Importance", "X-Priority", "Priority", "Disposition-Notification-To",
	"Delivered-To", "Return-Path", "Content-Transfer-Encoding", "X-Spam-Flag", "Newsgroups"}

// Mode is how Store changes flags.
type Mode uint8

const (
	Replace Mode = iota
	Add
	Remove
)

// Unconditional is the UnchangedSince of a store without one.
const Unconditional = 1<<64 - 1

// Stored is what a store did.
type Stored struct {
	Modified sequence.Set // UIDs not changed: their mod-sequence is above UnchangedSince (RFC 7162 section 3.1.3)
	Gone     sequence.Set // UIDs that were no longer there
}

// Store changes flags, file by file, and gives new mod-sequences to those it changed. A store that changes nothing gives none.
func (f *Folder) Store(ctx context.Context, uids sequence.Set, mode Mode, flags Flags, unchangedSince uint64) (Stored, error) {
	panic("unwritten")
}

// Expunge removes those of uids (nil: all) that are \Deleted, into the undelete area.
func (f *Folder) Expunge(ctx context.Context, uids sequence.Set) (gone sequence.Set, err error) {
	panic("unwritten")
}

// Copy links messages into another folder, all or none. from and to pair in order.
func (f *Folder) Copy(ctx context.Context, uids sequence.Set, dst *Folder) (from, to sequence.Set, err error) {
	panic("unwritten")
}

// Move renames messages into another folder; each is in one of the two at any moment.
func (f *Folder) Move(ctx context.Context, uids sequence.Set, dst *Folder) (from, to sequence.Set, err error) {
	panic("unwritten")
}

// Append starts a message for the folder. Several can be committed together (MULTIAPPEND).
func (f *Folder) Append() (*Appender, error) { panic("unwritten") }

// Appender is one message on its way in; Write takes LF line ends.
type Appender struct {
	Flags    Flags
	Received time.Time // zero: now
	// …
}

func (a *Appender) Write(p []byte) (int, error) { panic("unwritten") }
func (a *Appender) Abort()                      { panic("unwritten") }

// CommitAll makes the messages durable and visible, all or none, and gives their UIDs in order.
func (f *Folder) CommitAll(ctx context.Context, messages []*Appender) (uids sequence.Set, err error) {
	panic("unwritten")
}

// Meta is the folder's mb-meta: METADATA entries (RFC 5464), ACL lines (RFC 4314) and special use, name to value.
func (f *Folder) Meta() (map[string]string, error) { panic("unwritten") }

// SetMeta sets entries and removes those whose value is nil, all or none.
func (f *Folder) SetMeta(changes map[string]*string) error { panic("unwritten") }

// Candidates narrows a body search to the messages that may hold text (already case-folded UTF-8); all is true when the filter
// cannot tell. What it names must still be looked at.
func (v *View) Candidates(text string) (uids sequence.Set, all bool) { panic("unwritten") }

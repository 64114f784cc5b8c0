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
	    mb-cache            cache: what clients ask for, parsed once, in the form it is sent in
	    mb-keys             cache: what searches and sorts look at
	    mb-fts              cache: trigram filter
	~/Maildir/ only:
	    mb-keywords         authority: what the letters a–z mean in all folders of the account
	    mb-uidvalidity      high-water mark, so that a folder made again never gets an old UIDVALIDITY
	    subscriptions       Dovecot's format
	~/Maildir.expunged/DATE/    what was expunged that day, itself a Maildir

	rm mb-index mb-log.* mb-cache mb-keys mb-fts    at any moment changes nothing a client sees except MODSEQs, which only rise.

UIDs are given only under the folder lock, in a look (Folder.Look). Before a UID or mod-sequence is shown that reaches the reservation, a
new reservation line is on disk: a UID is never reused, without an fsync for each message. The directory beats the log: letters on
disk win and get a fresh mod-sequence.
*/
package mailbox

import "errors"

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

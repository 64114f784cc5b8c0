/*
Package wire is the grammar of IMAP: RFC 9051 section 9, and what RFC 3501 and the extensions have beside it. It reads commands
from a client within bounds and takes them apart, and writes the small things responses are made of. It knows no command and no mailbox.

A command is one buffer: its line, and its literals where they stand, each behind its {n} and CRLF. Only the last literal of a command
may be long (APPEND and its kin): it stays on the connection, to be streamed.
*/
package wire

import "errors"

// Limits of what one client may send. They are charged before anything is allocated.
type Limits struct {
	Line     int   // octets of a command without its literals
	Literal  int64 // octets of one literal that is kept in memory
	Command  int64 // octets of a command with the literals that are kept
	Literals int   // number of literals in a command
	Depth    int   // of parentheses
}

// BeforeLogin and AfterLogin are the bounds of threats S094 and S095.
var (
	BeforeLogin = Limits{Line: 33 << 10, Literal: 4 << 10, Command: 40 << 10, Literals: 40, Depth: 8} // an ID of RFC 2971 has up to 32 KiB
	AfterLogin  = Limits{Line: 64 << 10, Literal: 256 << 10, Command: 1 << 20, Literals: 1000, Depth: 32}
)

var (
	// ErrTooBig is a line, literal or command beyond the limits; it was read to its end if that was possible.
	ErrTooBig = errors.New("command too long")
	// ErrDesync means the rest of the stream cannot be told apart into commands: say BYE.
	ErrDesync = errors.New("cannot find the end of the command")
	// ErrBareLine is a bare CR or LF.
	ErrBareLine = errors.New("line does not end in CRLF")
)

// SyntaxError is what BAD says: what was expected, and where.
type SyntaxError struct{ Want string }

func (e *SyntaxError) Error() string { return "expected " + e.Want }

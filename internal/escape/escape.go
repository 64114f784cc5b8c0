/*
Package escape makes words from outside safe for what reads them: a line of the spool, a
file name, a log, a terminal. Each has one function, used by every program.
*/
package escape

// Append percent-escapes s for one word of a spool line or an order: printable ASCII except
// space, '%', '"' and '=' stays, valid UTF-8 letters stay, every other octet becomes %XX. The
// empty string becomes "-" and a lone "-" becomes %2D.
func Append(b []byte, s string) []byte { panic("unwritten") }

// Parse undoes Append.
func Parse(word string) (string, error) { panic("unwritten") }

// File is s as one component of a path: as Append, and '/' escaped, and a leading dot or dash
// escaped, at most 200 octets (longer names end in '~' and 16 hex digits of their hash).
func File(s string) string { panic("unwritten") }

// Quote appends s as a log value: bare when it is one plain word, else in double quotes with
// \" \\ \n \t \xNN; C0, C1, DEL, bidirectional controls and invalid UTF-8 are always escaped.
// At most max octets of s are used; what is cut is marked with "…".
func Quote(b []byte, s string, max int) []byte { panic("unwritten") }

// Terminal is s with everything escaped that a terminal could take for a command (S159).
func Terminal(s string) string { panic("unwritten") }

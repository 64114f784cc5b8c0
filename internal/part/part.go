/*
Package part finds the parts of a message: where each header and body lies in the file, how long it is on
the wire, and what its Content- fields say. Everything that looks into a message uses it, so that a filter, a
search and IMAP's BODYSTRUCTURE agree about what is there.

It makes one pass over the bytes as they come (Scanner is an io.Writer, so a message can be scanned while it
is received or delivered), keeps no body, takes time linear in their number, and never fails: what is
malformed is some part's body. Offsets are those of the file, whose lines end in LF (or CRLF, where a foreign
program wrote it so); sizes are octets with CRLF, as RFC 9051 counts them.

Bounds: nesting 100 deep, 10,000 parts, 64 KiB a header line, 1 MiB kept of a header. What is beyond them is
opaque: it stays in the body of the part it stands in.
*/
package part

import "bytes"

// Bounds of a scan. What exceeds them is counted but not looked into.
const (
	MaxDepth  = 100
	MaxParts  = 10000
	MaxLine   = 64 << 10 // kept of one unfolded header field
	MaxHeader = 1 << 20  // kept of one message's header
)

// Part is one part of a message, or the message itself.
type Part struct {
	Header int64 // offset of the first octet of its header
	Body   int64 // offset of the first octet after the header's blank line
	End    int64 // offset after its last octet; the line end before a boundary belongs to the boundary

	HeaderWire int64 // octets of the header with its blank line, lines ending in CRLF
	BodyWire   int64 // octets of the body likewise
	Lines      int64 // line ends in the body

	Type, Subtype string // as written; Text and Plain where nothing usable was said
	Params        []Param
	ID            string // Content-ID, "" when absent, as are the following
	Description   string
	Encoding      string // Content-Transfer-Encoding as written
	MD5           string
	Disposition   string
	DispParams    []Param
	Language      []string
	Location      string

	Parts    []*Part // a multipart's parts, or the one message inside a message/rfc822
	Envelope Fields  // of a message: its header, as far as it was kept; nil for other parts
	Parent   *Part

	header, body, end mark
}

// Param is one parameter of Content-Type or Content-Disposition, name as written, value without quotes.
type Param struct{ Name, Value string }

// Field is one header field: its name as written, and its value with folding kept as it came (LF line ends,
// without the last one).
type Field struct {
	Name  string
	Value []byte
}

// Fields is a header in the order of the message.
type Fields []Field

// Get is the unfolded value of the first field of that name, "" when there is none.
func (f Fields) Get(name string) string {
	for i := range f {
		if equalFold(f[i].Name, name) {
			return string(Unfold(f[i].Value))
		}
	}
	return ""
}

// Has reports whether there is a field of that name.
func (f Fields) Has(name string) bool {
	for i := range f {
		if equalFold(f[i].Name, name) {
			return true
		}
	}
	return false
}

// Is reports whether the part is of the type, for example Is("message", "rfc822"); an empty subtype matches all.
func (p *Part) Is(typ, subtype string) bool {
	return equalFold(p.Type, typ) && (subtype == "" || equalFold(p.Subtype, subtype))
}

// Multipart reports whether the part was taken apart at boundaries.
func (p *Part) Multipart() bool { return p.Is("multipart", "") && len(p.Parts) > 0 }

// Message reports whether the part holds a message that was looked into.
func (p *Part) Message() bool { return len(p.Parts) == 1 && isMessage(p) }

// Param is the value of a Content-Type parameter, "" when absent.
func (p *Part) Param(name string) string { return param(p.Params, name) }

func isMessage(p *Part) bool {
	return p.Is("message", "rfc822") || p.Is("message", "global")
}

func param(params []Param, name string) string {
	for i := range params {
		if equalFold(params[i].Name, name) {
			return params[i].Value
		}
	}
	return ""
}

// equalFold compares ASCII without regard to case.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		x, y := a[i], b[i]
		if x != y && (x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z') {
			return false
		}
	}
	return true
}

// Unfold removes the line ends of a folded value (RFC 5322 section 2.2.3) and the white space around it.
func Unfold(value []byte) []byte {
	if bytes.IndexByte(value, '\n') < 0 && bytes.IndexByte(value, '\r') < 0 { // it may be value itself
		return trim(value)
	}
	out := make([]byte, 0, len(value))
	for _, c := range value {
		if c != '\r' && c != '\n' {
			out = append(out, c)
		}
	}
	return trim(out)
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

package part

import (
	"bytes"
	"strconv"
)

// envelopeLists are the address lists of an envelope, in its order.
var envelopeLists = [...]string{"From", "Sender", "Reply-To", "To", "Cc", "Bcc"}

// AppendEnvelope writes the ENVELOPE of RFC 9051 section 7.5.2 for a message's header.
func AppendEnvelope(b []byte, f Fields) []byte {
	var date, subject, reply, id []byte // nil: there is none
	first := func(to *[]byte, value []byte) {
		if *to == nil {
			*to = Unfold(value)
			if *to == nil {
				*to = []byte{}
			}
		}
	}
	var lists [len(envelopeLists)]int // 1 + the first field of the name
	for i := range f {
		name := f[i].Name
		switch {
		case equalFold(name, "Date"):
			first(&date, f[i].Value)
		case equalFold(name, "Subject"):
			first(&subject, f[i].Value)
		case equalFold(name, "In-Reply-To"):
			first(&reply, f[i].Value)
		case equalFold(name, "Message-ID"):
			first(&id, f[i].Value)
		default:
			for k, list := range envelopeLists {
				if lists[k] == 0 && equalFold(name, list) {
					lists[k] = i + 1
				}
			}
		}
	}
	b = append(b, '(')
	b = appendField(b, date)
	b = append(b, ' ')
	b = appendField(b, subject)
	var from [2]int // of the From list in b
	for k, name := range envelopeLists {
		b = append(b, ' ')
		at := len(b)
		if lists[k] > 0 {
			b = appendAddresses(b, f[lists[k]-1:], name)
		}
		if len(b) == at && (name == "Sender" || name == "Reply-To") {
			b = append(b, b[from[0]:from[1]]...)
		}
		if len(b) == at {
			b = append(b, "NIL"...)
		}
		if k == 0 {
			from = [2]int{at, len(b)}
		}
	}
	b = append(b, ' ')
	b = appendField(b, reply)
	b = append(b, ' ')
	b = appendField(b, id)
	return append(b, ')')
}

func appendField(b, value []byte) []byte {
	if value == nil {
		return append(b, "NIL"...)
	}
	return AppendString(b, value)
}

// appendAddresses writes the lists of all fields of the name as one: there should be one. Nothing when there is no address in them.
func appendAddresses(b []byte, f Fields, name string) []byte {
	n := 0
	for i := range f {
		if n >= maxAddresses || !equalFold(f[i].Name, name) {
			continue
		}
		eachAddress(f[i].Value, func(a Address) {
			if n++; n == 1 {
				b = append(b, '(')
			}
			b = appendAddress(b, &a)
		})
	}
	if n > 0 {
		b = append(b, ')')
	}
	return b
}

func appendAddress(b []byte, a *Address) []byte {
	b = append(b, '(')
	b = appendNString(b, a.Name)
	b = append(b, ' ')
	b = appendNString(b, a.Route)
	b = append(b, ' ')
	switch a.Group {
	case '{':
		b = append(appendQuoted(b, a.Mailbox), " NIL"...)
	case '}':
		b = append(b, "NIL NIL"...)
	default:
		b = appendQuoted(b, a.Mailbox) // never NIL for a mailbox: that would mark a group
		b = append(b, ' ')
		b = appendQuoted(b, a.Host)
	}
	return append(b, ')')
}

func appendNString(b []byte, s string) []byte {
	if s == "" {
		return append(b, "NIL"...)
	}
	return appendQuoted(b, s)
}

// AppendString writes an IMAP string: quoted where it may be, else a literal (RFC 9051 section 4.3). NUL, which
// neither may hold, is left out.
func AppendString(b []byte, s []byte) []byte { return appendQuoted(b, s) }

func appendQuoted[text string | []byte](b []byte, s text) []byte {
	special, literal, nul := false, false, false
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= 0x7f {
			literal, nul = true, nul || c == 0
		} else if c == '"' || c == '\\' {
			special = true
		}
	}
	switch {
	case nul:
		return AppendString(b, bytes.ReplaceAll([]byte(s), []byte{0}, nil))
	case literal:
		b = append(b, '{')
		b = strconv.AppendInt(b, int64(len(s)), 10)
		return append(append(b, "}\r\n"...), s...)
	case !special:
		return append(append(append(b, '"'), s...), '"')
	}
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// AppendStructure writes BODYSTRUCTURE (extended) or BODY of RFC 9051 section 7.5.2.
func AppendStructure(b []byte, p *Part, extended bool) []byte {
	b = append(b, '(')
	if p.Multipart() {
		for _, child := range p.Parts {
			b = AppendStructure(b, child, extended)
		}
		b = append(b, ' ')
		b = appendUpper(b, p.Subtype)
		if extended {
			b = append(b, ' ')
			b = appendParams(b, p.Params)
			b = appendExtension(b, p)
		}
		return append(b, ')')
	}
	b = appendLeaf(b, p, extended)
	return append(b, ')')
}

func appendLeaf(b []byte, p *Part, extended bool) []byte {
	typ, sub := p.Type, p.Subtype
	if p.Is("multipart", "") || isMessage(p) && !p.Message() { // not looked into
		typ, sub = "application", "octet-stream"
	}
	b = appendUpper(b, typ)
	b = append(b, ' ')
	b = appendUpper(b, sub)
	b = append(b, ' ')
	b = appendParams(b, p.Params)
	b = append(b, ' ')
	b = appendNString(b, p.ID)
	b = append(b, ' ')
	b = appendNString(b, p.Description)
	b = append(b, ' ')
	if p.Encoding == "" {
		b = append(b, `"7BIT"`...)
	} else {
		b = appendUpper(b, p.Encoding)
	}
	b = append(b, ' ')
	b = strconv.AppendInt(b, p.BodyWire, 10)
	switch {
	case p.Message():
		inside := p.Parts[0]
		b = append(b, ' ')
		b = AppendEnvelope(b, inside.Envelope)
		b = append(b, ' ')
		b = AppendStructure(b, inside, extended)
		b = append(b, ' ')
		b = strconv.AppendInt(b, p.Lines, 10)
	case equalFold(typ, "text"):
		b = append(b, ' ')
		b = strconv.AppendInt(b, p.Lines, 10)
	}
	if extended {
		b = append(b, ' ')
		b = appendNString(b, p.MD5)
		b = appendExtension(b, p)
	}
	return b
}

// appendExtension writes disposition, language and location.
func appendExtension(b []byte, p *Part) []byte {
	if p.Disposition == "" {
		b = append(b, " NIL"...)
	} else {
		b = append(b, " ("...)
		b = appendUpper(b, p.Disposition)
		b = append(b, ' ')
		b = appendParams(b, p.DispParams)
		b = append(b, ')')
	}
	switch len(p.Language) {
	case 0:
		b = append(b, " NIL"...)
	default:
		b = append(b, " ("...)
		for i, l := range p.Language {
			if i > 0 {
				b = append(b, ' ')
			}
			b = AppendString(b, []byte(l))
		}
		b = append(b, ')')
	}
	b = append(b, ' ')
	return appendNString(b, p.Location)
}

func appendParams(b []byte, params []Param) []byte {
	if len(params) == 0 {
		return append(b, "NIL"...)
	}
	b = append(b, '(')
	for i, p := range params {
		if i > 0 {
			b = append(b, ' ')
		}
		b = appendUpper(b, p.Name)
		b = append(b, ' ')
		b = AppendString(b, []byte(p.Value))
	}
	return append(b, ')')
}

// appendUpper writes a media type or parameter name in upper case, as most clients expect to see them.
func appendUpper(b []byte, s string) []byte {
	var room [64]byte
	up := append(room[:0], s...)
	for i, c := range up {
		if c >= 'a' && c <= 'z' {
			up[i] = c - 0x20
		}
	}
	return AppendString(b, up)
}

package part

import (
	"bytes"
	"strconv"
)

// AppendEnvelope writes the ENVELOPE of RFC 9051 section 7.5.2 for a message's header.
func AppendEnvelope(b []byte, f Fields) []byte {
	from := f.addresses("From")
	b = append(b, '(')
	b = appendField(b, f, "Date")
	b = append(b, ' ')
	b = appendField(b, f, "Subject")
	for _, name := range []string{"From", "Sender", "Reply-To", "To", "Cc", "Bcc"} {
		b = append(b, ' ')
		list := from
		if name != "From" {
			list = f.addresses(name)
		}
		if len(list) == 0 && (name == "Sender" || name == "Reply-To") {
			list = from
		}
		b = appendAddresses(b, list)
	}
	b = append(b, ' ')
	b = appendField(b, f, "In-Reply-To")
	b = append(b, ' ')
	b = appendField(b, f, "Message-ID")
	return append(b, ')')
}

// addresses joins the lists of all fields of the name: there should be one.
func (f Fields) addresses(name string) []Address {
	var out []Address
	for i := range f {
		if equalFold(f[i].Name, name) && len(out) < maxAddresses {
			out = append(out, Addresses(f[i].Value)...)
		}
	}
	return out
}

func appendField(b []byte, f Fields, name string) []byte {
	if !f.Has(name) {
		return append(b, "NIL"...)
	}
	return AppendString(b, []byte(f.Get(name)))
}

func appendAddresses(b []byte, list []Address) []byte {
	if len(list) == 0 {
		return append(b, "NIL"...)
	}
	b = append(b, '(')
	for i := range list {
		a := &list[i]
		b = append(b, '(')
		b = appendNString(b, a.Name)
		b = append(b, ' ')
		b = appendNString(b, a.Route)
		b = append(b, ' ')
		switch a.Group {
		case '{':
			b = append(AppendString(b, []byte(a.Mailbox)), " NIL"...)
		case '}':
			b = append(b, "NIL NIL"...)
		default:
			b = AppendString(b, []byte(a.Mailbox)) // never NIL for a mailbox: that would mark a group
			b = append(b, ' ')
			b = AppendString(b, []byte(a.Host))
		}
		b = append(b, ')')
	}
	return append(b, ')')
}

func appendNString(b []byte, s string) []byte {
	if s == "" {
		return append(b, "NIL"...)
	}
	return AppendString(b, []byte(s))
}

// AppendString writes an IMAP string: quoted where it may be, else a literal (RFC 9051 section 4.3). NUL, which
// neither may hold, is left out.
func AppendString(b []byte, s []byte) []byte {
	if bytes.IndexByte(s, 0) >= 0 {
		s = bytes.ReplaceAll(s, []byte{0}, nil)
	}
	for _, c := range s {
		if c < ' ' || c >= 0x7f {
			b = append(b, '{')
			b = strconv.AppendInt(b, int64(len(s)), 10)
			return append(append(b, "}\r\n"...), s...)
		}
	}
	b = append(b, '"')
	for _, c := range s {
		if c == '"' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, c)
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
	up := []byte(s)
	for i, c := range up {
		if c >= 'a' && c <= 'z' {
			up[i] = c - 0x20
		}
	}
	return AppendString(b, up)
}

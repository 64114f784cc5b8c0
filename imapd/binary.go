package imapd

import (
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strconv"
	"strings"
	"sync"
)

const blockLen = 64 << 10

var inBlocks = sync.Pool{New: func() any { return new([blockLen]byte) }}

// shortBinary is what of a decoded part is kept in memory; a longer one is decoded twice, once to be counted.
const shortBinary = 256 << 10

// binary writes BINARY[…] and BINARY.SIZE[…] (RFC 3516): the part with its transfer encoding undone.
func (m *fetched) binary(it *item) error {
	p, err := m.part(it.path, false)
	if err != nil {
		return err
	}
	s := m.s
	s.out = append(append(s.out, it.label...), ' ')
	if p == nil {
		if it.kind == itemBinarySize {
			s.out = append(s.out, '0')
		} else {
			s.out = append(s.out, "NIL"...)
		}
		return nil
	}
	file, err := m.message()
	if err != nil {
		return err
	}
	if len(it.path) == 0 { // the message as it is
		if it.kind == itemBinarySize {
			s.out = strconv.AppendInt(s.out, file.Wire, 10)
			return nil
		}
		s.out = append(s.out, '~')
		return s.sendSpan(file, span{0, file.Size, file.Wire}, it)
	}
	var undo func() io.Reader
	body := func() io.Reader { return io.NewSectionReader(file, p.Body, p.End-p.Body) }
	switch strings.ToLower(p.Encoding) {
	case "base64":
		undo = func() io.Reader { return base64.NewDecoder(base64.StdEncoding, &lettersOnly{r: body()}) }
	case "quoted-printable":
		undo = func() io.Reader { return quotedprintable.NewReader(body()) }
	case "", "7bit", "8bit", "binary":
		if it.kind == itemBinarySize {
			s.out = strconv.AppendInt(s.out, p.BodyWire, 10)
			return nil
		}
		s.out = append(s.out, '~')
		return s.sendSpan(file, span{p.Body, p.End, p.BodyWire}, it)
	default:
		return errUnknownCTE
	}
	decoded := undo()
	data, err := io.ReadAll(io.LimitReader(decoded, shortBinary))
	size := int64(len(data))
	if err == nil && size == shortBinary {
		rest, _ := io.Copy(io.Discard, decoded) // what cannot be decoded ends the part
		size += rest
	}
	if err != nil && size == 0 {
		return errUnknownCTE
	}
	from, n := int64(0), size
	if it.partial {
		from = min(it.from, size)
		n = min(it.n, size-from)
	}
	switch {
	case it.kind == itemBinarySize:
		s.out = strconv.AppendInt(s.out, size, 10)
	case from+n <= int64(len(data)):
		s.out = literal(append(s.out, '~'), data[from:from+n])
	default:
		s.out = append(strconv.AppendInt(append(s.out, "~{"...), n, 10), "}\r\n"...)
		return s.copyDecoded(undo(), from, n)
	}
	return nil
}

// copyDecoded sends n octets from from on of what was counted already.
func (s *session) copyDecoded(decoded io.Reader, from, n int64) error {
	_, err := io.CopyN(io.Discard, decoded, from)
	buf := inBlocks.Get().(*[blockLen]byte)
	defer inBlocks.Put(buf)
	for n > 0 && s.broken == nil {
		got, readErr := decoded.Read(buf[:min(n, blockLen)])
		if s.out = append(s.out, buf[:got]...); got == 0 && (readErr != nil || err != nil) {
			s.broken = io.ErrUnexpectedEOF // the file is another now
			return readErr
		}
		n -= int64(got)
		s.spill()
	}
	return nil
}

// lettersOnly passes the letters of base64 and leaves out what mail puts between them.
type lettersOnly struct{ r io.Reader }

func (l *lettersOnly) Read(p []byte) (int, error) {
	for {
		n, err := l.r.Read(p)
		k := 0
		for _, c := range p[:n] {
			if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '=' {
				p[k] = c
				k++
			}
		}
		if k > 0 || err != nil {
			return k, err
		}
	}
}

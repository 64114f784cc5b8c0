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

// mostBinary bounds a part that is decoded in memory.
const mostBinary = 64 << 20

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
	body := io.NewSectionReader(file, p.Body, p.End-p.Body)
	var decoded io.Reader
	switch strings.ToLower(p.Encoding) {
	case "base64":
		decoded = base64.NewDecoder(base64.StdEncoding, &lettersOnly{r: body})
	case "quoted-printable":
		decoded = quotedprintable.NewReader(body)
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
	data, err := io.ReadAll(io.LimitReader(decoded, mostBinary))
	if err != nil && len(data) == 0 {
		return errUnknownCTE
	}
	if it.kind == itemBinarySize {
		s.out = strconv.AppendInt(s.out, int64(len(data)), 10)
		return nil
	}
	if it.partial {
		from := min(it.from, int64(len(data)))
		data = data[from:min(from+it.n, int64(len(data)))]
	}
	s.out = literal(append(s.out, '~'), data)
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

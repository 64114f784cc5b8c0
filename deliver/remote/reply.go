package remote

import (
	"bufio"
	"bytes"
	"errors"
)

const (
	maxReply = 64 << 10 // octets of one reply (S044)
	maxKept  = 1024     // octets of its text
)

var (
	errLongReply = errors.New("reply is longer than 64 KiB")
	errNoReply   = errors.New("not an SMTP reply")
)

// reply is one reply of RFC 5321 section 4.2, its lines joined with spaces.
type reply struct {
	code     int
	enhanced string // RFC 2034; only one whose class is that of the code
	text     string // without codes; may hold any octet but LF: escaping is for those who write it down
}

// readReply reads a reply and hands each line without its code to line, if that is not nil. The last line's code rules
// (RFC 5321 section 4.2.1). What does not fit into maxKept is read and dropped, up to maxReply.
func readReply(r *bufio.Reader, line func(text []byte)) (reply, error) {
	var rep reply
	var kept []byte
	for total, first := 0, true; ; first = false {
		text, n, err := readLine(r, maxReply-total)
		if err != nil {
			return rep, err
		}
		total += n
		code, more, ok := splitCode(text)
		if !ok {
			return rep, errNoReply
		}
		if text = text[3:]; len(text) > 0 {
			text = text[1:]
		}
		if line != nil {
			line(text)
		}
		rep.code = code
		enhanced, text := splitEnhanced(code, bytes.Trim(text, " "))
		if rep.enhanced == "" {
			rep.enhanced = enhanced
		}
		if !more && first { // the usual reply: one line, one allocation
			rep.text = string(clip(text))
			return rep, nil
		}
		if len(kept) > 0 && len(text) > 0 {
			kept = append(kept, ' ')
		}
		kept = clip(append(kept, text...))
		if !more {
			rep.text = string(kept)
			return rep, nil
		}
	}
}

func clip(b []byte) []byte { return b[:min(len(b), maxKept)] }

// readLine reads a line of at most room octets. Of one longer than the buffer only the beginning is returned. It is valid
// until the next read.
func readLine(r *bufio.Reader, room int) (line []byte, n int, err error) {
	part, err := r.ReadSlice('\n')
	if n = len(part); err == nil && n <= room {
		return bytes.TrimSuffix(part[:n-1], []byte{'\r'}), n, nil
	}
	line = append([]byte(nil), part[:min(n, maxKept+16)]...) // with room for the codes
	for errors.Is(err, bufio.ErrBufferFull) && n <= room {
		part, err = r.ReadSlice('\n')
		n += len(part)
	}
	if n > room {
		return nil, n, errLongReply
	}
	return line, n, err
}

// splitCode reads "250", "250 text" or "250-text".
func splitCode(line []byte) (code int, more, ok bool) {
	if len(line) < 3 {
		return 0, false, false
	}
	for _, c := range line[:3] {
		if c < '0' || c > '9' {
			return 0, false, false
		}
		code = code*10 + int(c-'0')
	}
	if code < 200 || code > 599 || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
		return 0, false, false
	}
	return code, len(line) > 3 && line[3] == '-', true
}

// splitEnhanced takes "2.1.5 " off the text if it is an enhanced code of the class of code.
func splitEnhanced(code int, text []byte) (enhanced string, rest []byte) {
	end := 0
	for dots, digits := 0, 0; ; end++ {
		if end < len(text) && '0' <= text[end] && text[end] <= '9' && digits < 3 {
			digits++
			continue
		}
		if digits == 0 || end == len(text) && dots < 2 {
			return "", text
		}
		if end < len(text) && text[end] == '.' && dots < 2 {
			dots, digits = dots+1, 0
			continue
		}
		if dots != 2 || end < len(text) && text[end] != ' ' {
			return "", text
		}
		break
	}
	if text[1] != '.' || int(text[0]-'0') != code/100 {
		return "", text
	}
	return common(text[:end]), bytes.TrimLeft(text[end:], " ")
}

// common makes a string of an enhanced code, without an allocation for those that most replies have.
func common(code []byte) string {
	switch string(code) {
	case "2.0.0":
		return "2.0.0"
	case "2.1.0":
		return "2.1.0"
	case "2.1.5":
		return "2.1.5"
	case "2.6.0":
		return "2.6.0"
	}
	return string(code)
}

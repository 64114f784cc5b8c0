package line

import (
	"bytes"
	"io"
)

// Chunk copies the n octets of a BDAT chunk to w (nil throws them away), CRLF made LF across chunk borders when text is set.
// After the last chunk of a message, and when a message is given up, EndChunks must be called.
func (r *Reader) Chunk(w io.Writer, n int64, text bool) (Verdict, error) {
	var v Verdict
	for n > 0 {
		if r.at == r.end {
			if err := r.fill(); err != nil {
				if err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return v, err
			}
		}
		block := r.buf[r.at:r.end]
		if int64(len(block)) > n {
			block = block[:n]
		}
		r.at += len(block)
		n -= int64(len(block))
		v.Size += int64(len(block))
		if text {
			block = r.text(block, &v)
		}
		v.give(w, block)
	}
	return v, nil
}

// EndChunks forgets what chunks have left undecided, and reports whether it was a CR without LF.
func (r *Reader) EndChunks() bool {
	held := r.held
	r.held, r.col = false, 0
	return held
}

var lone = []byte{'\r'}

// text makes CRLF LF within block, and across its borders.
func (r *Reader) text(block []byte, v *Verdict) []byte {
	held := r.held
	if held && block[0] != '\n' {
		v.octets(lone)
		held = false
	}
	r.held = block[len(block)-1] == '\r'
	if r.held {
		block = block[:len(block)-1]
	}
	out, used := 0, 0
	for used < len(block) {
		i := bytes.IndexByte(block[used:], '\n')
		if i < 0 {
			break
		}
		raw := block[used : used+i]
		if i > 0 && raw[i-1] == '\r' {
			raw = raw[:i-1]
		} else if i > 0 || used > 0 || !held {
			v.Bare = true
		}
		v.Long = v.Long || r.col+len(raw) > longest
		r.col = 0
		out += copy(block[out:], raw)
		block[out] = '\n'
		out++
		used += i + 1
	}
	r.col += len(block) - used
	v.Long = v.Long || r.col > longest
	out += copy(block[out:], block[used:])
	v.octets(block[:out])
	return block[:out]
}

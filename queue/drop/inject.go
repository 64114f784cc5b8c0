package drop

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/durable"
	"pennypost/queue"
)

// Inject puts a message into the drop directory: of a finished envelope and message, where env is nil,
// else of a message that gets env. max is its greatest size, 0 for no limit.
func Inject(s *queue.Spool, in io.Reader, env *queue.Envelope, max int64) (*File, error) {
	r := bufio.NewReaderSize(in, bufSize)
	if env == nil {
		var err error
		if env, err = readEnvelope(r); err != nil {
			return nil, err
		}
	}
	f, err := Create(s, env)
	if err != nil {
		return nil, err
	}
	text := Text{Out: f}
	limited := &io.LimitedReader{R: r, N: 1 << 62}
	if max > 0 {
		limited.N = max + 1
	}
	_, err = io.Copy(&text, limited)
	if err == nil {
		err = text.Close()
	}
	if err == nil && limited.N <= 0 {
		err = fmt.Errorf("message larger than max_size, %d octets", max)
	}
	if err == nil {
		err = f.Commit()
	}
	if err != nil {
		f.Abort()
		return nil, err
	}
	return f, nil
}

// readEnvelope reads up to the blank line.
func readEnvelope(r *bufio.Reader) (*queue.Envelope, error) {
	var text []byte
	for {
		line, err := r.ReadSlice('\n')
		text = append(text, line...)
		if err == bufio.ErrBufferFull {
			err = nil
		}
		env, _, more, perr := queue.Parse(text)
		switch {
		case perr != nil:
			return nil, perr
		case !more:
			return env, nil
		case err == io.EOF:
			return nil, fmt.Errorf("%w: the envelope does not end", queue.ErrBad)
		case err != nil:
			return nil, err
		}
	}
}

// Envelope is made of words of a command line: addresses, and a time in RFC 3339 or "".
func Envelope(from string, rcpts []string, holdUntil string) (*queue.Envelope, error) {
	env := new(queue.Envelope)
	var err error
	if env.From, err = parse(from); err != nil {
		return nil, fmt.Errorf("from %.100q: %w", from, err)
	}
	for i, r := range rcpts {
		to, err := parse(r)
		if err == nil && to.IsNull() {
			err = fmt.Errorf("nobody")
		}
		if err != nil {
			return nil, fmt.Errorf("rcpt %.100q: %w", r, err)
		}
		env.Rcpts = append(env.Rcpts, queue.Rcpt{N: i + 1, To: to})
	}
	switch {
	case len(rcpts) == 0:
		return nil, fmt.Errorf("no recipient")
	case len(rcpts) > queue.MaxRcpts:
		return nil, fmt.Errorf("more than %d recipients", queue.MaxRcpts)
	}
	if holdUntil != "" {
		if env.HoldUntil, err = time.Parse(time.RFC3339, holdUntil); err != nil {
			return nil, err
		}
	}
	return env, nil
}

// parse reads an address with or without its angle brackets.
func parse(s string) (address.Path, error) {
	if len(s) >= 2 && s[0] == '<' && s[len(s)-1] == '>' {
		s = s[1 : len(s)-1]
	}
	return address.Parse(s)
}

// Refused reports whether an error is the message's fault, and not the disk's.
func Refused(err error) bool { return err != nil && !durable.IsDisk(err) }

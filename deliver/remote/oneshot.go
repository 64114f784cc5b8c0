package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"pennypost/internal/address"
	"pennypost/internal/escape"
	"pennypost/internal/status"
	"pennypost/queue"
)

// Exit statuses of the one-shot form, interfaces.md.
const (
	exitLines    = 0   // the lines say what became of each recipient
	exitDeferred = 75  // all deferred
	exitFailed   = 100 // all failed
	exitUsage    = 64
)

// OneShot is one delivery by hand or from a script: args are SITE SENDER RCPT…, the message is on in from its position on,
// the envelope, if there is one, on env. It writes a line for each recipient and returns the exit status.
//
// SITE is a key of order(5), smtp://HOST:PORT, lmtp:PATH, lmtp:HOST:PORT, or "mx": whatever DNS says of the domain.
func (c *Client) OneShot(ctx context.Context, args []string, in, env *os.File, out, errs io.Writer) int {
	if len(args) < 3 {
		fmt.Fprintln(errs, "usage: deliver-remote SITE SENDER RCPT... <message")
		return exitUsage
	}
	m, err := handMessage(args[1], args[2:], in, env)
	if err != nil {
		fmt.Fprintf(errs, "deliver-remote: %v\n", err)
		return exitDeferred
	}
	defer m.close()
	defer c.Close()
	if about := c.deliver(ctx, m, args[0]); about != nil {
		fmt.Fprintf(out, "S %s\n", escape.Terminal(about.Text))
	}
	count := map[status.Outcome]int{}
	for _, r := range m.rcpts {
		count[r.result.Outcome]++
		host := r.host
		if host != "" {
			host = "host=" + string(escape.Append(nil, host)) + " "
		}
		if r.tls != "" {
			host += "tls=" + r.tls + " "
		}
		fmt.Fprintf(out, "%c %s %s %d %s%s\n", r.result.Outcome.Letter(), r.num, r.result.Enhanced, r.result.Code, host, escape.Terminal(r.result.Text))
	}
	switch len(m.rcpts) {
	case count[status.Deferred]:
		return exitDeferred
	case count[status.Failed]:
		return exitFailed
	}
	return exitLines
}

// handMessage makes a message of the arguments and descriptors. A pipe is copied to a file without a name first.
func handMessage(sender string, rcpts []string, in, env *os.File) (*message, error) {
	m := &message{}
	var err error
	if m.from, err = parseArgument(sender); err != nil {
		return nil, fmt.Errorf("sender: %w", err)
	}
	for i, arg := range rcpts {
		to, err := parseArgument(arg)
		if err == nil && to.IsNull() {
			err = errors.New("<> is no recipient")
		}
		if err != nil {
			return nil, fmt.Errorf("recipient %d: %w", i+1, err)
		}
		m.rcpts = append(m.rcpts, &recipient{num: queue.Num{N: i + 1}, to: to})
	}
	if env != nil {
		text, err := io.ReadAll(io.LimitReader(env, queue.MaxEnvelope))
		if err != nil {
			return nil, err
		}
		if !bytes.HasSuffix(text, []byte("\n\n")) {
			text = append(text, '\n')
		}
		e, _, _, err := queue.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("envelope: %w", err)
		}
		from := m.from
		m.take(e)
		m.from = from
	}
	if m.fd, m.start, m.end, err = seekable(in); err != nil {
		return nil, err
	}
	m.head = blocks.Get().(*[]byte)
	return m, m.readHead()
}

// parseArgument takes an address with or without angle brackets.
func parseArgument(arg string) (address.Path, error) {
	return address.Parse(strings.TrimSuffix(strings.TrimPrefix(arg, "<"), ">"))
}

// seekable is the descriptor of a file and what of it is the message.
func seekable(in *os.File) (fd int, start, end int64, err error) {
	if start, err = in.Seek(0, io.SeekCurrent); err == nil {
		info, err := in.Stat()
		if err != nil || !info.Mode().IsRegular() {
			return -1, 0, 0, errors.Join(errors.New("the message is neither a file nor a pipe"), err)
		}
		return int(in.Fd()), start, info.Size(), nil
	}
	fd, err = unix.MemfdCreate("message", unix.MFD_CLOEXEC) // a file in memory: one on disk would need a place we may write to
	if err != nil {
		return -1, 0, 0, os.NewSyscallError("memfd_create", err)
	}
	copied, err := io.Copy(os.NewFile(uintptr(fd), "message"), in)
	return fd, 0, copied, err
}

// EnvelopeFile is descriptor 3 if it is the envelope: a file that begins like one, or whatever MQ_ENVELOPE_FD=3 announces.
// (Under make(1), for example, 3 is a pipe that has nothing to do with us.)
func EnvelopeFile() *os.File {
	var stat unix.Stat_t
	if unix.Fstat(3, &stat) != nil {
		return nil
	}
	if os.Getenv("MQ_ENVELOPE_FD") != "3" {
		var begin [len("pennypost:")]byte
		at, err := unix.Seek(3, 0, io.SeekCurrent)
		if err != nil || stat.Mode&unix.S_IFMT != unix.S_IFREG {
			return nil
		}
		if n, err := pread(3, begin[:], at); err != nil || string(begin[:n]) != "pennypost:" {
			return nil
		}
	}
	return os.NewFile(3, "envelope")
}

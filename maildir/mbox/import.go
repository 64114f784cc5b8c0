package mbox

import (
	"context"
	"fmt"
	"io"

	"pennypost/maildir/mailbox"
)

// batch is how many messages are made durable together.
const batch = 100

// Import puts all messages of r into the folder, and says how many those were.
func Import(ctx context.Context, r *Reader, f *mailbox.Folder) (n int, err error) {
	var list []*mailbox.Appender
	defer func() {
		for _, a := range list {
			a.Abort()
		}
	}()
	flush := func() error {
		if len(list) == 0 {
			return nil
		}
		_, err := f.CommitAll(ctx, list)
		if err == nil {
			n += len(list)
		}
		list = list[:0]
		return err
	}
	for {
		m, err := r.Next()
		if err == io.EOF {
			return n, flush()
		}
		if err != nil {
			return n, fmt.Errorf("line %d: %w", r.line, err)
		}
		if m.Inner {
			continue
		}
		a, err := f.Append()
		if err != nil {
			return n, err
		}
		list = append(list, a)
		if _, err := a.Write(m.Text); err != nil {
			return n, err
		}
		a.Received = m.Received
		if a.Flags, err = flags(m, f); err != nil {
			return n, err
		}
		if len(list) == batch {
			if err := flush(); err != nil {
				return n, err
			}
		}
	}
}

func flags(m *Message, f *mailbox.Folder) (out mailbox.Flags, err error) {
	for _, flag := range []struct {
		is bool
		f  mailbox.Flags
	}{{m.Seen, mailbox.Seen}, {m.Answered, mailbox.Answered}, {m.Flagged, mailbox.Flagged}, {m.Deleted, mailbox.Deleted}, {m.Draft, mailbox.Draft}} {
		if flag.is {
			out |= flag.f
		}
	}
	for _, name := range m.Keywords {
		if name == "$Forwarded" {
			out |= mailbox.Forwarded
			continue
		}
		n, err := f.KeywordNumber(name, true)
		if err != nil {
			return out, fmt.Errorf("keyword %s: %w", name, err)
		}
		out |= mailbox.Keyword(n)
	}
	return out, nil
}

package mailbox

import (
	"context"

	"pennypost/internal/sequence"
)

// Feed makes the filter of what a search reads anyway, as long as it leaves no message out.
type Feed struct {
	m       *maker
	covered uint32
	next    int  // index of the message that comes next
	ended   bool // nothing more is taken
}

// Feeding is Candidates for a search that will read the text of all messages that are let through: where a filter is worth while, the search
// feeds it, and closes the feed at its end. The feed is nil where there is nothing to make, or somebody makes it already.
func (v *View) Feeding(ctx context.Context, n *Needle) (uids sequence.Set, ok bool, feed *Feed) {
	uids, ok, worth := v.candidates(ctx, n)
	if !worth {
		return uids, ok, nil
	}
	f, a := v.folder, v.folder.account
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.filtering || f.users == 0 {
		return uids, ok, nil
	}
	f.filtering = true
	feed = &Feed{m: newMaker(v)}
	more := false
	feed.covered, feed.next, more = feed.m.begin()
	feed.ended = !more
	return uids, ok, feed
}

// wants reports whether message i is the next.
func (x *Feed) wants(i int) bool {
	if x == nil || x.ended || i < x.next {
		return false
	}
	x.ended = i > x.next
	return !x.ended
}

// took ends message i.
func (x *Feed) took(err error) {
	m := x.m
	m.took(m.v.UID(x.next), err)
	if x.next++; m.full() {
		x.write()
	}
}

// write adds the segment to the file.
func (x *Feed) write() {
	f, validity := x.m.v.folder, x.m.v.counts.UIDValidity
	next := x.next
	if !f.addSegment(x.m.encode(), x.covered, validity) {
		x.ended = true
		return
	}
	more := false
	if x.covered, x.next, more = x.m.begin(); !more || x.next != next {
		x.ended = true
	}
}

// Close ends the feed. What is left to do is done in the background.
func (x *Feed) Close() {
	v := x.m.v
	if !x.ended && x.next == v.Len() && len(x.m.uids) > 0 {
		x.write()
	}
	x.ended = true
	f, a := v.folder, v.folder.account
	a.mu.Lock()
	f.filtering = false
	a.mu.Unlock()
	if _, _, more := x.m.begin(); more {
		f.makeFilter(v)
	}
}

// ContainsFeeding is Contains for message i, whose whole text goes to the feed, if that waits for it.
func (m *Message) ContainsFeeding(parts []Part, headers bool, n *Needle, feed *Feed, i int) (bool, error) {
	if n.Empty() || !feed.wants(i) {
		return m.Contains(parts, headers, n)
	}
	l := looking{needle: n.folded}
	room := true // for more trigrams
	err := m.eachText(parts, true, func(text []byte, more, header bool) bool {
		if room {
			room = feed.m.note(text, more)
		}
		if !l.found && (headers || !header) {
			l.in(text, more)
		}
		return room || !l.found
	})
	feed.took(err)
	return l.found, err
}

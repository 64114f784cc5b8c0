package mailbox

import (
	"context"
	"sync/atomic"
	"time"

	"pennypost/internal/sequence"
)

// Feed makes the filter of what a search reads anyway, as long as it leaves no message out. The search goes on meanwhile: what it reads is
// copied, and noted by a goroutine of the feed's own.
type Feed struct {
	// of the search
	due   int // index of the message that comes next
	shut  bool
	meal  *ration
	begun int  // where the message at hand begins in its pieces
	wild  bool // it has too much text
	sent  chan *ration
	spare chan *ration

	stopped atomic.Bool // nothing more is taken

	// of the goroutine
	m       *maker
	covered uint32
	next    int  // as due, but of what was noted
	room    bool // for more trigrams of the message
	texts   texts
}

// ration is the text of some messages.
type ration struct {
	text   []byte
	pieces []piece
}

// piece is what text has up to end.
type piece struct {
	end int
	is  pieceKind
}

type pieceKind uint8

const (
	newText    pieceKind = iota // folded
	moreText                    // it goes on from the piece before
	rawHeader                   // to be decoded and folded
	endMessage                  // nothing: the message ends
	endWild                     // the same, and its text is not all here
)

const (
	rationSize  = 256 << 10
	rationsMost = 64      // that wait to be noted
	feedMost    = 4 << 20 // octets of one message; of a longer one a filter would know little anyway
	feedPause   = 500 * time.Millisecond
)

// Feeding is Candidates for a search that will read the text of all messages that are let through: where a filter is worth while, the search
// feeds it, and closes the feed at its end. The feed is nil where there is nothing to make, or somebody makes it already.
func (v *View) Feeding(ctx context.Context, n *Needle) (uids sequence.Set, ok bool, feed *Feed) {
	v.folder.digest(ctx)
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
	f.users++
	x := &Feed{m: newMaker(v), sent: make(chan *ration, rationsMost), spare: make(chan *ration, rationsMost), meal: &ration{}, room: true}
	more := false
	x.covered, x.next, more = x.m.begin()
	x.due, x.shut = x.next, !more
	x.stopped.Store(!more)
	go x.work()
	return uids, ok, x
}

// digest waits a moment for a feed whose search is over: its filter saves more than that.
func (f *Folder) digest(ctx context.Context) {
	f.account.mu.Lock()
	end := f.digesting
	f.account.mu.Unlock()
	if end == nil {
		return
	}
	select {
	case <-end:
	case <-ctx.Done():
	case <-time.After(feedPause):
	}
}

// wants reports whether message i is the next.
func (x *Feed) wants(i int) bool {
	if x == nil || x.shut || i < x.due || x.stopped.Load() {
		return false
	}
	x.shut = i > x.due
	return !x.shut
}

// put adds a piece of the message at hand.
func (x *Feed) put(is pieceKind, text []byte) {
	m := x.meal
	if x.wild = x.wild || len(m.text)+len(text) > feedMost+rationSize; !x.wild {
		m.text = append(m.text, text...)
		m.pieces = append(m.pieces, piece{len(m.text), is})
	}
}

// took ends the message at hand.
func (x *Feed) took(err error) {
	m := x.meal
	is := endMessage
	if err != nil || x.wild {
		is, x.wild = endWild, false
		m.pieces = m.pieces[:x.begun]
	}
	m.pieces = append(m.pieces, piece{len(m.text), is})
	x.due++
	if len(m.text) >= rationSize {
		x.send()
	}
	x.begun = len(x.meal.pieces)
}

func (x *Feed) send() {
	x.sent <- x.meal
	select {
	case x.meal = <-x.spare:
	default:
		x.meal = &ration{}
	}
}

// Close ends the feed. What is left to do is done in the background.
func (x *Feed) Close() {
	f, a := x.m.v.folder, x.m.v.folder.account
	a.mu.Lock()
	f.digesting = make(chan struct{})
	a.mu.Unlock()
	x.send()
	close(x.sent)
}

// work notes what is sent, to the end.
func (x *Feed) work() {
	for r := range x.sent {
		at := 0
		for _, p := range r.pieces {
			if !x.stopped.Load() {
				x.eat(p.is, r.text[at:p.end])
			}
			at = p.end
		}
		r.text, r.pieces = r.text[:0], r.pieces[:0]
		select {
		case x.spare <- r:
		default:
		}
	}
	v := x.m.v
	if !x.stopped.Load() && x.next == v.Len() && len(x.m.uids) > 0 {
		x.write()
	}
	f, a := v.folder, v.folder.account
	_, _, more := x.m.begin()
	a.mu.Lock()
	f.filtering = false
	close(f.digesting)
	f.digesting = nil
	a.mu.Unlock()
	if more {
		f.makeFilter(v)
	}
	f.Close()
}

// eat takes in a piece.
func (x *Feed) eat(is pieceKind, text []byte) {
	switch is {
	case newText, moreText:
		x.room = x.room && x.m.note(text, is == moreText)
	case rawHeader:
		x.texts.eachHeader(text, func(folded []byte) bool {
			x.room = x.room && x.m.note(folded, false)
			return x.room
		})
	default:
		var err error
		if is == endWild {
			err = errWild
		}
		x.m.took(x.m.v.UID(x.next), err)
		x.room = true
		if x.next++; x.m.full() {
			x.write()
		}
	}
}

// write adds the segment to the file.
func (x *Feed) write() {
	f, validity := x.m.v.folder, x.m.v.counts.UIDValidity
	next := x.next
	if !f.addSegment(x.m.encode(), x.covered, validity) {
		x.stopped.Store(true)
		return
	}
	more := false
	if x.covered, x.next, more = x.m.begin(); !more || x.next != next {
		x.stopped.Store(true)
	}
}

// ContainsFeeding is Contains for message i, whose whole text goes to the feed, if that waits for it.
func (m *Message) ContainsFeeding(parts []Part, headers bool, n *Needle, feed *Feed, i int) (bool, error) {
	if n.Empty() || !feed.wants(i) {
		return m.Contains(parts, headers, n)
	}
	l := looking{needle: n.folded}
	visit := func(text []byte, more bool) bool {
		is := newText
		if more {
			is = moreText
		}
		feed.put(is, text)
		if !l.found {
			l.in(text, more)
		}
		return true
	}
	raw := func(header []byte) { feed.put(rawHeader, header) }
	if headers {
		raw = nil
	}
	err := m.eachText(parts, headers, visit, raw)
	feed.took(err)
	return l.found, err
}

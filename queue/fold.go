package queue

import (
	"slices"
	"strings"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/status"
)

// State is fold(message, ID.s, results): what is still owed.
type State struct {
	Rcpts    []RcptState // one for each recipient that routing made, in Num order
	Attempts int
	Bounces  int  // bounce rounds done: the next bounce is Derived(id, 'b', Bounces+1)
	Delayed  bool // the delay notice is out
	Ended    bool // everything is done; only the file is left
}

// RcptState is one recipient.
type RcptState struct {
	Num      Num
	To       address.Path
	Params   string
	Done     bool   // delivered, or failed and reported
	Expanded bool   // replaced by its targets
	Site     string // last known site key
	Attempts int
	Next     time.Time // not before; zero is at once
	Why      string
	Last     status.Result
	Host     string

	target address.Path // what an expand line said, whatever routing made of it since
}

// Fold makes the state of a message from its envelope and its events in order of time.
// The same event may come twice, from ID.s and from the journal.
func Fold(e *Envelope, events []Event) *State { return FoldRcpts(e.Rcpts, events) }

// FoldRcpts is Fold for a list message, whose recipients come from Recipients.
func FoldRcpts(rcpts []Rcpt, events []Event) *State {
	st := &State{Rcpts: make([]RcptState, len(rcpts))}
	for i, r := range rcpts {
		st.Rcpts[i] = RcptState{Num: Num{N: r.N}, To: r.To, Params: r.Params}
	}
	for i := range events {
		st.Add(&events[i])
	}
	return st
}

// Find is the recipient with a number, or nil.
func (st *State) Find(n Num) *RcptState {
	if i, ok := st.index(n); ok {
		return &st.Rcpts[i]
	}
	return nil
}

func (st *State) index(n Num) (int, bool) {
	return slices.BinarySearchFunc(st.Rcpts, n, func(r RcptState, n Num) int { return r.Num.Compare(n) })
}

// Add takes one event more.
func (st *State) Add(ev *Event) {
	st.Attempts = max(st.Attempts, ev.Attempt)
	switch ev.Kind {
	case End, Remove:
		st.Ended = st.Ended || ev.Kind == End || ev.Why != Moved
	case Delay:
		st.Delayed = true
	case Bounce:
		if round, ok := bounceRound(ev.DSN); ok {
			st.Bounces = max(st.Bounces, round)
		}
	}
	if ev.Num == (Num{}) {
		return
	}
	i, ok := st.index(ev.Num)
	if !ok { // a recipient of ID.r that nobody read, or of an expansion whose line is gone
		st.Rcpts = slices.Insert(st.Rcpts, i, RcptState{Num: ev.Num, To: ev.To})
	}
	st.Rcpts[i].add(ev)
	if ev.Kind == Expand {
		st.expand(i, ev.Targets)
	}
}

// add is Add for the event's recipient alone.
func (r *RcptState) add(ev *Event) {
	if !ev.To.IsNull() && ev.Kind == Route {
		r.To = ev.To
	}
	if ev.Site != "" {
		r.Site = ev.Site
	}
	switch ev.Kind {
	case Deliver, Bounce:
		r.Done = true
		r.Next = time.Time{}
	case Defer:
		r.Next = ev.Next
	case Expire:
		// The report that makes it done is a bounce line of its own.
	default:
		return
	}
	r.Attempts = max(r.Attempts, ev.Attempt)
	r.Why, r.Last, r.Host = ev.Why, ev.Status, ev.Host
}

// expand adds the targets of recipient i, numbered after those its envelope recipient has already.
// A target that is there is not added again: the line may be read from two files. It may be the recipient itself, once more: an alias
// that keeps a copy.
func (st *State) expand(i int, targets []address.Path) {
	parent := &st.Rcpts[i]
	parent.Expanded = true
	itself, n, params := parent.Num, parent.Num.N, parent.Params
	end, _ := st.index(Num{N: n + 1})
	first, _ := st.index(Num{N: n, Sub: 1})
	for _, to := range targets {
		same := func(r RcptState) bool { return r.Num != itself && (r.target == to || r.target.IsNull() && r.To == to) }
		if slices.ContainsFunc(st.Rcpts[first:end], same) {
			continue
		}
		sub := 1
		if end > first {
			sub = st.Rcpts[end-1].Num.Sub + 1
		}
		st.Rcpts = slices.Insert(st.Rcpts, end, RcptState{Num: Num{N: n, Sub: sub}, To: to, Params: params, target: to})
		end++
	}
}

// bounceRound is N of an id that ends in .bN.
func bounceRound(id string) (int, bool) {
	i := strings.LastIndex(id, ".b")
	if i < 0 {
		return 0, false
	}
	n, err := decimal(id[i+2:])
	return int(n), err == nil
}

// Owed are the recipients somebody still has to be tried for.
func (st *State) Owed() (n int) {
	for i := range st.Rcpts {
		if r := &st.Rcpts[i]; !r.Done && !r.Expanded {
			n++
		}
	}
	return n
}

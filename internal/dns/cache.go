package dns

import (
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Bounds on how long an answer is kept, whatever its TTL says.
const (
	longest        = 24 * time.Hour
	longestAbsence = time.Hour       // RFC 2308 section 5 suggests one to three hours
	failure        = 1 * time.Second // RFC 9520 section 3.2: at least that, so that a broken zone is not hammered
)

// question is what an answer is kept under; name is lower case without trailing dot.
type question struct {
	name string
	typ  dnsmessage.Type
}

// call is one question, under way until done is closed, then its answer.
type call struct {
	done    chan struct{}
	answer  answer
	expires time.Time
	over    bool // guarded by cache.mu; done is closed
}

// cache holds answers and the questions under way.
type cache struct {
	max   int
	mu    sync.Mutex
	calls map[question]*call
}

// get finds the answer to q, or the question under way; if neither is known the caller is the one to ask.
func (c *cache) get(q question, now time.Time) (*call, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.calls[q]; known != nil && (!known.over || now.Before(known.expires)) {
		return known, true
	}
	if c.calls == nil {
		c.calls = make(map[question]*call)
	}
	if len(c.calls) >= c.max {
		c.makeRoom(now)
	}
	fresh := &call{done: make(chan struct{})}
	c.calls[q] = fresh
	return fresh, false
}

// put keeps the answer and wakes those who wait for it.
func (c *cache) put(q question, call *call, a answer, keep time.Duration) {
	c.mu.Lock()
	call.answer, call.expires, call.over = a, time.Now().Add(keep), true
	if keep <= 0 && c.calls[q] == call {
		delete(c.calls, q)
	}
	c.mu.Unlock()
	close(call.done)
}

// makeRoom forgets what has expired, and one answer in eight at random: Go's map order is chance enough.
func (c *cache) makeRoom(now time.Time) {
	seen := 0
	for q, known := range c.calls {
		if seen++; known.over && (seen%8 == 0 || !now.Before(known.expires)) {
			delete(c.calls, q)
		}
	}
}

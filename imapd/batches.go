package imapd

import (
	"fmt"
	"strconv"
)

// leastBatch is the smallest batch of UIDBATCHES (RFC 10022). How many are asked for is not bounded: they cost next to nothing.
const leastBatch = 500

// uidBatches answers UIDBATCHES: ranges of UIDs, from the last message down, that have so many messages each. The last range goes down
// to 1, so that together the ranges are all UIDs.
func (s *session) uidBatches(c *command) reply {
	c.SP()
	size := int(c.Number())
	from, to := 1, 0
	if c.Take(' ') {
		from = int(c.Number())
		c.Expect(':')
		to = int(c.Number())
		if c.Err() == nil && (from == 0 || to == 0) {
			c.Fail("batches counted from 1")
		}
	}
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	switch {
	case size < leastBatch:
		return no("TOOFEW", "a batch has at least "+strconv.Itoa(leastBatch)+" messages")
	case to > 0 && from > to:
		return badCode("CLIENTBUG", "the first batch comes first")
	}
	v := s.box.view
	n := v.Len()
	if to == 0 || (to-1)*size >= n {
		to = (n + size - 1) / size
	}
	s.out = fmt.Appendf(s.out, `* UIDBATCHES (TAG "%s")`, c.tag)
	for k := from; k <= to; k++ {
		separator := byte(',')
		if k == from {
			separator = ' '
		}
		high, low := v.UID(n-1-(k-1)*size), uint32(1)
		if k > 1 { // up to where the batch before ends
			high = v.UID(n-(k-1)*size) - 1
		}
		if k*size < n {
			low = v.UID(n - k*size)
		}
		s.out = strconv.AppendUint(append(s.out, separator), uint64(high), 10)
		s.out = strconv.AppendUint(append(s.out, ':'), uint64(low), 10)
		s.spill()
	}
	s.out = append(s.out, "\r\n"...)
	return ok("batches")
}

package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"time"

	"pennypost/internal/durable"
	"pennypost/internal/sequence"
)

// ftsName is a filter for searches in text, mb-index(5): which blocks of messages can hold which three octets of folded text. It has no
// answers: what it lets through is looked at. Head, then segments, each of messages with higher UIDs than those before:
//
//	frame   length of meta and of postings, crc of meta, highest UID, crc of the frame
//	meta    the UIDs, those that could not be read, the groups: first trigram, length, crc
//	groups  of up to 64 trigrams, ascending, each with the blocks of the segment it is in
//
// Messages above the last segment are not filtered. Whoever finds the file damaged removes it.
const (
	ftsName  = "mb-fts"
	ftsMagic = "mbfts001"
	ftsFrame = 20

	ftsBlock = 16  // messages
	ftsMost  = 256 // blocks of a segment: a block's number is an octet
	ftsGroup = 64  // trigrams

	ftsPairs    = 8 << 20   // of trigram and block, in a segment being made: 32 MiB
	ftsTrigrams = 250 << 10 // of a block; a message that brings more is not filtered
	ftsNeedle   = 12        // trigrams of a needle that are asked for
)

// ftsLeast is the size of a folder worth a filter.
var ftsLeast = 2000

// ftsTail is how many messages may be without a filter in a folder of n.
func ftsTail(n int) int { return min(ftsMost*ftsBlock, max(ftsLeast/2, n/50)) }

// blockSet is a set of the blocks of a segment.
type blockSet [ftsMost / 64]uint64

func (s *blockSet) add(block byte) { s[block>>6] |= 1 << (block & 63) }
func (s *blockSet) empty() bool    { return s[0]|s[1]|s[2]|s[3] == 0 }

// ftsHead is the beginning of the file: whose it is.
func (f *Folder) ftsHead(validity uint32) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(ftsMagic), validity)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// segment is one segment as it lies in the file.
type segment struct {
	at, postings int64 // of meta, and of the groups
	metaLen      int
	metaCRC      uint32
	last         uint32 // highest UID
	end          int64
}

// filter is mb-fts, open.
type filter struct {
	file     durable.File
	segments []segment
	whole    bool // every octet of it belongs to a segment
}

// openFilter opens mb-fts; nil when there is none of this folder.
func (f *Folder) openFilter(validity uint32) *filter {
	file, err := f.disk.Open(ftsName)
	if err != nil {
		return nil
	}
	info, err := file.Stat()
	head := f.ftsHead(validity)
	b := make([]byte, len(head))
	if n, _ := file.ReadAt(b, 0); err != nil || n < len(b) || string(b) != string(head) {
		file.Close()
		return nil
	}
	x := &filter{file: file}
	le := binary.LittleEndian
	at, last := int64(len(head)), uint32(0)
	for at+ftsFrame <= info.Size {
		b := make([]byte, ftsFrame)
		if n, _ := file.ReadAt(b, at); n < ftsFrame || crc32.Checksum(b[:16], castagnoli) != le.Uint32(b[16:]) {
			break
		}
		s := segment{at: at + ftsFrame, metaLen: int(le.Uint32(b)), metaCRC: le.Uint32(b[8:]), last: le.Uint32(b[12:])}
		s.postings = s.at + int64(s.metaLen)
		s.end = s.postings + int64(le.Uint32(b[4:]))
		if s.end > info.Size || s.last <= last {
			break
		}
		x.segments = append(x.segments, s)
		at, last = s.end, s.last
	}
	x.whole = at == info.Size
	return x
}

// covered is the highest UID that is filtered.
func (x *filter) covered() uint32 {
	if x == nil || len(x.segments) == 0 {
		return 0
	}
	return x.segments[len(x.segments)-1].last
}

func (x *filter) close() {
	if x != nil {
		x.file.Close()
	}
}

// Candidates is the messages that can have the needle in their text, or in their headers; ok is false where nothing is known. It
// begins the making of a filter where one is worth it.
func (v *View) Candidates(ctx context.Context, n *Needle) (uids sequence.Set, ok bool) {
	v.folder.digest(ctx)
	uids, ok, worth := v.candidates(ctx, n)
	if worth {
		v.folder.makeFilter(v)
	}
	return uids, ok
}

// candidates says whether to make a filter.
func (v *View) candidates(ctx context.Context, n *Needle) (uids sequence.Set, ok, worth bool) {
	if v.Len() <= ftsLeast || len(n.folded) < 3 {
		return nil, false, false
	}
	x := v.folder.openFilter(v.counts.UIDValidity)
	defer x.close()
	next, _ := v.Find(x.covered() + 1)
	worth = v.Len()-next >= ftsTail(v.Len()) || x == nil || !x.whole
	uids, ok = v.filtered(ctx, x, n)
	return uids, ok, worth
}

// filtered asks the filter.
func (v *View) filtered(ctx context.Context, x *filter, n *Needle) (uids sequence.Set, ok bool) {
	if x == nil || len(x.segments) == 0 {
		return nil, false
	}
	trigrams := n.trigrams()
	from, messages := uint32(1), 0
	for i := range x.segments {
		if ctx.Err() != nil {
			return nil, false
		}
		s := &x.segments[i]
		found, of, whole := x.search(s, trigrams)
		if !whole { // damaged: all of it may match, until it is made again
			found = sequence.Set{{Lo: from, Hi: s.last}}
			v.folder.disk.Remove(ftsName)
		}
		messages += of
		uids = append(uids, found...)
		from = s.last + 1
	}
	if messages > 2*v.Len()+ftsMost*ftsBlock { // most of it is of messages that are gone
		v.folder.disk.Remove(ftsName)
	}
	return append(uids, sequence.Range{Lo: from, Hi: 1<<32 - 1}).Resolve(0), true
}

// trigrams is what is asked of the filter: up to ftsNeedle of the needle's, from all over it.
func (n *Needle) trigrams() (out []uint32) {
	last := len(n.folded) - 3
	step := max(1, (last+ftsNeedle)/ftsNeedle)
	for i := 0; i <= last; i += step {
		out = append(out, trigram(n.folded[i:]))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func trigram(b []byte) uint32 { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }

// search is the UIDs of the segment's messages that can match, of how many. whole is false when the segment cannot be read.
func (x *filter) search(s *segment, trigrams []uint32) (uids sequence.Set, of int, whole bool) {
	meta := make([]byte, s.metaLen)
	if n, _ := x.file.ReadAt(meta, s.at); n < len(meta) || crc32.Checksum(meta, castagnoli) != s.metaCRC {
		return nil, 0, false
	}
	d := decoder{b: meta}
	all := d.ascending(ftsMost * ftsBlock)
	wild := d.ascending(ftsMost * ftsBlock)
	if len(trigrams) == 0 || d.bad {
		return nil, 0, false
	}
	blocks := blockSet{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
	at, first := s.postings, uint32(0)
	for k := d.count(1 << 24); k > 0 && !d.bad && !blocks.empty() && len(trigrams) > 0; k-- {
		first += uint32(d.count(1 << 24))
		length := d.count(1 << 24)
		sum := d.u32()
		next := uint32(1 << 24)
		if k > 1 {
			ahead := d
			next = first + uint32(ahead.count(1<<24))
		}
		if trigrams[0] < next {
			b := make([]byte, length)
			if n, _ := x.file.ReadAt(b, at); n < length || crc32.Checksum(b, castagnoli) != sum {
				return nil, 0, false
			}
			for len(trigrams) > 0 && trigrams[0] < next {
				has := postingOf(b, first, trigrams[0])
				for i := range blocks {
					blocks[i] &= has[i]
				}
				trigrams = trigrams[1:]
			}
		}
		at += int64(length)
	}
	if d.bad {
		return nil, 0, false
	}
	if len(trigrams) > 0 { // above all groups
		blocks = blockSet{}
	}
	for i, uid := range all {
		if block := i / ftsBlock; blocks[block>>6]&(1<<(block&63)) != 0 {
			uids.Add(uid)
		}
	}
	for _, uid := range wild {
		uids.Add(uid)
	}
	return uids, len(all), true
}

// ascending reads a list of ascending numbers.
func (d *decoder) ascending(most int) []uint32 {
	out := make([]uint32, 0, 64)
	n := uint64(0)
	for k := d.count(most); k > 0 && !d.bad; k-- {
		n += d.uvarint()
		out = append(out, uint32(n))
	}
	return out
}

func appendAscending(b []byte, list []uint32) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	last := uint32(0)
	for _, n := range list {
		b = binary.AppendUvarint(b, uint64(n-last))
		last = n
	}
	return b
}

// postingOf finds a trigram in a group. A posting is the distance from the trigram before, and the blocks: their number and one octet
// each, or 0 and 32 octets with a bit for each.
func postingOf(b []byte, first, want uint32) (set blockSet) {
	d := decoder{b: b}
	for at := first; len(d.b) > 0 && !d.bad; {
		at += uint32(d.uvarint())
		n := int(d.byte())
		length := n
		if n == 0 {
			length = ftsMost / 8
		}
		list := d.take(length)
		if at < want || list == nil {
			continue
		}
		if at > want {
			return set
		}
		if n == 0 {
			for i := range set {
				set[i] = binary.LittleEndian.Uint64(list[8*i:])
			}
		}
		for _, block := range list[:n] {
			set.add(block)
		}
		return set
	}
	return set
}

// makeFilter extends the filter in the background, unless that is under way. It goes on while somebody else has the folder open.
func (f *Folder) makeFilter(v *View) {
	a := f.account
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.filtering || f.users == 0 {
		return
	}
	f.filtering = true
	f.users++
	go func() {
		m := newMaker(v)
		for m.extend() {
		}
		a.mu.Lock()
		f.filtering = false
		a.mu.Unlock()
		f.Close()
	}()
}

// wanted reports whether anybody but the maker has the folder open.
func (f *Folder) wanted() bool {
	f.account.mu.Lock()
	defer f.account.mu.Unlock()
	return f.users > 1
}

// errWild is why a message is always looked into.
var errWild = errors.New("too much text for a filter")

// maker makes segments.
type maker struct {
	v       *View
	seen    []uint64 // a bit for each trigram of the block at hand
	list    []uint32 // the trigrams whose bit is set
	inBlock int      // messages of it
	blocks  int
	uids    []uint32
	wild    []uint32
	// pairs of trigram and block: trigram << 8 | block
	pairs []uint32
	spare []uint32
	// the trigram at hand
	t    uint32
	have int
}

func newMaker(v *View) *maker { return &maker{v: v, seen: make([]uint64, 1<<24/64)} }

// begin says behind which UID the next segment begins, at what index; no when the filter is long enough.
func (m *maker) begin() (covered uint32, next int, more bool) {
	v := m.v
	x := v.folder.openFilter(v.counts.UIDValidity)
	if x != nil && x.whole {
		covered = x.covered()
	}
	x.close()
	next, _ = v.Find(covered + 1)
	m.uids, m.wild, m.pairs, m.inBlock, m.blocks = m.uids[:0], m.wild[:0], m.pairs[:0], 0, 0
	return covered, next, v.Len()-next >= ftsTail(v.Len())
}

// extend makes one more segment and reports whether to go on.
func (m *maker) extend() bool {
	covered, next, more := m.begin()
	if !more || !m.read(next) {
		return false
	}
	return m.v.folder.addSegment(m.encode(), covered, m.v.counts.UIDValidity)
}

// full reports whether the segment is as long as one can be.
func (m *maker) full() bool { return m.blocks == ftsMost || len(m.pairs) >= ftsPairs && m.inBlock == 0 }

// read takes in the messages of a segment from index next on. It says no when nobody waits for it.
func (m *maker) read(next int) bool {
	records := m.v.Reader()
	defer records.Close()
	began := time.Now()
	for ; next < m.v.Len() && !m.full(); next++ {
		if !m.v.folder.wanted() {
			return false
		}
		if m.took(m.v.UID(next), m.message(records, next)); m.inBlock == 0 {
			time.Sleep(time.Since(began)) // every second moment is for those who wait
			began = time.Now()
		}
	}
	return true
}

// took ends a message.
func (m *maker) took(uid uint32, err error) {
	m.uids = append(m.uids, uid)
	if err != nil || len(m.list) > ftsTrigrams {
		m.wild = append(m.wild, uid)
	}
	if m.inBlock++; m.inBlock == ftsBlock {
		m.endBlock()
	}
}

func (m *maker) endBlock() {
	if m.inBlock == 0 {
		return
	}
	for _, t := range m.list {
		m.pairs = append(m.pairs, t<<8|uint32(m.blocks))
		m.seen[t>>6] = 0
	}
	m.list, m.inBlock = m.list[:0], 0
	m.blocks++
}

// message notes the trigrams of a message's text.
func (m *maker) message(records *Reader, i int) error {
	r, err := records.Get(i)
	if err != nil {
		return err
	}
	parts := r.Parts()
	file, err := m.v.Open(i)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.EachText(parts, true, m.note)
}

// note notes the trigrams of a piece of text; no when there are too many.
func (m *maker) note(text []byte, more bool) bool {
	if !more {
		m.have = 0
	}
	t, have := m.t, m.have
	for len(text) > 0 && have < 2 {
		t, text = t<<8|uint32(text[0]), text[1:]
		have++
	}
	for _, c := range text {
		t = (t<<8 | uint32(c)) & (1<<24 - 1)
		if bit := uint64(1) << (t & 63); m.seen[t>>6]&bit == 0 {
			m.seen[t>>6] |= bit
			m.list = append(m.list, t)
		}
	}
	m.t, m.have = t, have
	return len(m.list) <= ftsTrigrams
}

// sortPairs sorts the pairs by their trigrams; their blocks ascend already, and stay so.
func (m *maker) sortPairs() {
	if len(m.spare) < len(m.pairs) {
		m.spare = make([]uint32, max(len(m.pairs), cap(m.pairs)))
	}
	const digits = 1 << 12
	for _, shift := range []uint{8, 20} {
		var at [digits]int
		for _, p := range m.pairs {
			at[p>>shift&(digits-1)]++
		}
		from := 0
		for d, n := range at {
			at[d] = from
			from += n
		}
		to := m.spare[:len(m.pairs)]
		for _, p := range m.pairs {
			d := p >> shift & (digits - 1)
			to[at[d]] = p
			at[d]++
		}
		m.pairs, m.spare = to, m.pairs[:cap(m.pairs)]
	}
}

// encode is the segment as it is written.
func (m *maker) encode() []byte {
	m.endBlock()
	m.sortPairs()
	var groups, postings []byte
	count, inGroup, groupAt := 0, 0, 0
	first, before, lastFirst := uint32(0), uint32(0), uint32(0)
	endGroup := func() {
		if inGroup > 0 {
			groups = binary.AppendUvarint(groups, uint64(first-lastFirst))
			groups = binary.AppendUvarint(groups, uint64(len(postings)-groupAt))
			groups = binary.LittleEndian.AppendUint32(groups, crc32.Checksum(postings[groupAt:], castagnoli))
			lastFirst, groupAt, inGroup = first, len(postings), 0
			count++
		}
	}
	for i := 0; i < len(m.pairs); {
		t := m.pairs[i] >> 8
		j := i
		for j < len(m.pairs) && m.pairs[j]>>8 == t {
			j++
		}
		if inGroup == 0 {
			first, before = t, t
		}
		postings = appendPosting(postings, t-before, m.pairs[i:j])
		before = t
		if inGroup++; inGroup == ftsGroup {
			endGroup()
		}
		i = j
	}
	endGroup()
	meta := appendAscending(nil, m.uids)
	meta = appendAscending(meta, m.wild)
	meta = append(binary.AppendUvarint(meta, uint64(count)), groups...)
	le := binary.LittleEndian
	b := le.AppendUint32(make([]byte, 0, ftsFrame+len(meta)+len(postings)), uint32(len(meta)))
	b = le.AppendUint32(b, uint32(len(postings)))
	b = le.AppendUint32(b, crc32.Checksum(meta, castagnoli))
	b = le.AppendUint32(b, m.uids[len(m.uids)-1])
	b = le.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return append(append(b, meta...), postings...)
}

// appendPosting writes the blocks of one trigram.
func appendPosting(b []byte, distance uint32, pairs []uint32) []byte {
	b = binary.AppendUvarint(b, uint64(distance))
	if len(pairs) < ftsMost/8 {
		b = append(b, byte(len(pairs)))
		for _, p := range pairs {
			b = append(b, byte(p))
		}
		return b
	}
	var set blockSet
	for _, p := range pairs {
		set.add(byte(p))
	}
	b = append(b, 0)
	for _, word := range set {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	return b
}

// addSegment puts a segment behind the others, if they are still those after which it was made. A file that is damaged, torn or another
// folder's begins anew.
func (f *Folder) addSegment(b []byte, covered, validity uint32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	unlock, err := f.lock(context.Background())
	if err != nil {
		return false
	}
	defer unlock()
	x := f.openFilter(validity)
	if x == nil || !x.whole {
		x.close()
		f.disk.Remove(ftsName)
		x, b = nil, append(f.ftsHead(validity), b...)
	}
	same := x.covered() == covered
	x.close()
	if !same {
		return true // another process was here: see what is left to do
	}
	w, err := f.disk.Append(ftsName, 0o600)
	if err != nil {
		return false
	}
	defer w.Close()
	n, err := w.Write(b)
	return err == nil && n == len(b)
}

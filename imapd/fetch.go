package imapd

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"

	"pennypost/internal/sequence"
	"pennypost/maildir/mailbox"
)

var fetchVerbs = []verb{
	{"FETCH", selectedState, (*session).fetch, holdExpunges, true},
	{"UID FETCH", selectedState, (*session).fetch, expunges, false},
}

// fetching is one FETCH command.
type fetching struct {
	items    []item
	changed  uint64 // CHANGEDSINCE, with modified set
	modified bool
	vanished bool
	part     *window // PARTIAL (RFC 9394)
	opens    bool    // an item needs the message's file
	records  bool    // an item needs its record
	whole    bool    // more of it than the header says
	previews bool    // its preview, too
	sees     bool    // an item sets \Seen
}

// window is a range of results, from the beginning, or from the end where from is negative (RFC 9394 section 3).
type window struct{ from, to int64 }

// fetch answers FETCH and UID FETCH (RFC 9051 section 6.4.5).
func (s *session) fetch(c *command) reply {
	c.SP()
	uids, missed, refused := s.set(c)
	if refused != nil {
		return *refused
	}
	c.SP()
	f := &fetching{}
	f.parseItems(c)
	if c.Take(' ') {
		c.List(func() { f.parseModifier(c) })
	}
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	if f.vanished && (!f.modified || !c.uid || s.enabled&qresync == 0) {
		return bad("VANISHED goes with UID FETCH, CHANGEDSINCE and QRESYNC (RFC 7162 section 3.2.6)")
	}
	if f.modified || f.has(itemModSeq) {
		s.enabled |= condstore
	}
	if c.uid && s.enabled&uidOnly == 0 {
		f.want(itemUID)
	}
	if f.modified {
		f.want(itemModSeq)
		if f.vanished {
			if gone := s.box.view.VanishedSince(f.changed, uids); len(gone) > 0 {
				s.out = append(gone.Append(append(s.out, "* VANISHED (EARLIER) "...)), "\r\n"...)
			}
		}
		uids = s.box.view.ChangedSince(f.changed).Intersect(uids)
	}
	if f.part != nil {
		uids = f.part.of(s.box.view, uids)
	}
	gone, err := s.fetchAll(f, uids)
	switch {
	case err != nil:
		return s.failed(err)
	case (gone || missed) && !c.uid:
		return no("EXPUNGEISSUED", "some of the messages are gone")
	}
	return ok("fetched")
}

// parseModifier reads CHANGEDSINCE, VANISHED or PARTIAL.
func (f *fetching) parseModifier(c *command) {
	switch c.Keyword("a modifier") {
	case "CHANGEDSINCE":
		c.SP()
		f.changed, f.modified = c.Number64(), true
	case "VANISHED":
		f.vanished = true
	case "PARTIAL":
		c.SP()
		f.part = parseWindow(c)
	default:
		c.Fail("CHANGEDSINCE, VANISHED or PARTIAL")
	}
}

// parseWindow reads 1:100 or -1:-100.
func parseWindow(c *command) *window {
	number := func() int64 {
		sign := int64(1)
		if c.Take('-') {
			sign = -1
		}
		n := int64(c.Number())
		if n == 0 {
			c.Fail("a position that is not 0")
		}
		return sign * n
	}
	w := &window{from: number()}
	c.Expect(':')
	w.to = number()
	if (w.from < 0) != (w.to < 0) {
		c.Fail("a range that counts from one end")
	}
	if w.from > 0 && w.from > w.to || w.from < 0 && w.from < w.to {
		w.from, w.to = w.to, w.from
	}
	return w
}

// of is the part of the UIDs, of those that exist, that the window shows.
func (w *window) of(v *mailbox.View, uids sequence.Set) sequence.Set {
	var list []uint32
	eachIndex(v, uids, func(i int) bool {
		list = append(list, v.UID(i))
		return true
	})
	return w.pick(list)
}

func (w *window) pick(list []uint32) (out sequence.Set) {
	n := int64(len(list))
	from, to := w.from, w.to
	if from < 0 {
		from, to = n+1+w.to, n+1+w.from
	}
	for i := max(from, 1); i <= min(to, n); i++ {
		out.Add(list[i-1])
	}
	return out
}

// eachIndex calls do for the index of every message of uids, in order, until it says no.
func eachIndex(v *mailbox.View, uids sequence.Set, do func(i int) bool) {
	n := v.Len()
	for _, r := range uids {
		i, _ := v.Find(r.Lo)
		for ; i < n && v.UID(i) <= r.Hi; i++ {
			if !do(i) {
				return
			}
		}
	}
}

// fetchAll writes a FETCH response for every message; gone is set when one of them could not be read any more.
func (s *session) fetchAll(f *fetching, uids sequence.Set) (gone bool, err error) {
	view := s.box.view
	if f.sees && !s.box.readOnly && s.may("s") {
		if view, err = s.markSeen(f, uids); err != nil {
			return false, err
		}
	}
	var records *mailbox.Reader
	if f.records {
		records = view.Reader()
		defer records.Close()
	}
	eachIndex(view, uids, func(i int) bool {
		mark, sends := len(s.out), s.sends
		one := fetched{s: s, f: f, view: view, i: i, records: records}
		err = one.write()
		one.close()
		switch {
		case err != nil && s.sends != sends: // half a response cannot be taken back
			s.broken = cmp.Or(s.broken, err)
		case err != nil:
			if s.out = s.out[:mark]; errors.Is(err, mailbox.ErrExpunged) {
				gone, err = true, nil
			}
		}
		s.spill()
		return err == nil && s.broken == nil
	})
	return gone, err
}

// markSeen sets \Seen on the messages that are read, and gives the view that shows it.
func (s *session) markSeen(f *fetching, uids sequence.Set) (*mailbox.View, error) {
	b := s.box
	var unseen sequence.Set
	eachIndex(b.view, uids, func(i int) bool {
		if b.view.Flags(i)&mailbox.Seen == 0 {
			unseen.Add(b.view.UID(i))
		}
		return true
	})
	if len(unseen) == 0 {
		return b.view, nil
	}
	if _, err := b.folder.Store(s.ctx, unseen, mailbox.Add, mailbox.Seen, mailbox.Unconditional); err != nil {
		return nil, err
	}
	view, err := b.folder.Look(s.ctx)
	if err != nil {
		return nil, err
	}
	f.want(itemFlags)
	b.own = ownChange{uids: unseen, mode: mailbox.Add, flags: mailbox.Seen}
	return view, nil
}

// fetched is one message of a FETCH being written.
type fetched struct {
	s       *session
	f       *fetching
	view    *mailbox.View
	i       int
	records *mailbox.Reader
	record  *mailbox.Record
	parts   []mailbox.Part
	file    *mailbox.Message
}

func (m *fetched) close() {
	if m.file != nil {
		m.file.Close()
	}
}

// message opens the file, once.
func (m *fetched) message() (*mailbox.Message, error) {
	if m.file == nil {
		var err error
		if m.file, err = m.view.Open(m.i); err != nil {
			return nil, err
		}
	}
	return m.file, nil
}

// parsed gets the record, once.
func (m *fetched) parsed() (*mailbox.Record, error) {
	if m.record == nil {
		get := m.records.Head
		switch {
		case m.f.previews:
			get = m.records.Previewed
		case m.f.whole || m.f.has(itemSize) && !m.view.Counted(m.i): // what has to be read for its size is parsed by the way
			get = m.records.Get
		}
		var err error
		if m.record, err = get(m.i); err != nil {
			return nil, err
		}
	}
	return m.record, nil
}

// write puts the response of one message together.
func (m *fetched) write() error {
	s, f := m.s, m.f
	uid := m.view.UID(m.i)
	s.out = append(s.out, "* "...)
	if s.enabled&uidOnly != 0 {
		s.out = strconv.AppendUint(s.out, uint64(uid), 10)
		s.out = append(s.out, " UIDFETCH ("...)
	} else {
		n, _ := s.box.number(uid)
		s.out = strconv.AppendUint(s.out, uint64(n), 10)
		s.out = append(s.out, " FETCH ("...)
	}
	for k := range f.items {
		if k > 0 {
			s.out = append(s.out, ' ')
		}
		if err := m.item(&f.items[k], uid); err != nil {
			return err
		}
	}
	s.out = append(s.out, ")\r\n"...)
	return nil
}

// item writes one data item.
func (m *fetched) item(it *item, uid uint32) error {
	s := m.s
	switch it.kind {
	case itemUID:
		s.out = strconv.AppendUint(append(s.out, "UID "...), uint64(uid), 10)
	case itemFlags:
		s.out = s.flagList(append(s.out, "FLAGS "...), m.view.Flags(m.i), uid)
	case itemModSeq:
		s.out = strconv.AppendUint(append(s.out, "MODSEQ ("...), m.view.ModSeq(m.i), 10)
		s.out = append(s.out, ')')
	case itemDate:
		t, err := m.view.Received(m.i)
		if err != nil {
			return err
		}
		s.out = t.UTC().AppendFormat(append(s.out, "INTERNALDATE "...), `"_2-Jan-2006 15:04:05 -0700"`)
	case itemSaved:
		s.out = append(s.out, "SAVEDATE "...)
		if t := m.view.Saved(m.i); t.IsZero() {
			s.out = append(s.out, "NIL"...)
		} else {
			s.out = t.UTC().AppendFormat(s.out, `"_2-Jan-2006 15:04:05 -0700"`)
		}
	case itemSize:
		if m.f.records && !m.view.Counted(m.i) {
			if _, err := m.parsed(); err != nil {
				return err
			}
		}
		size, err := m.view.Size(m.i)
		if err != nil {
			return err
		}
		s.out = strconv.AppendInt(append(s.out, "RFC822.SIZE "...), size, 10)
	case itemEmailID:
		s.out = append(append(append(s.out, "EMAILID ("...), m.view.EmailID(m.i)...), ')')
	case itemThreadID:
		s.out = append(s.out, "THREADID NIL"...) // RFC 8474 section 5.2 permits it
	case itemEnvelope, itemBody, itemStructure, itemPreview:
		return m.fromRecord(it)
	case itemSection:
		return m.section(it)
	case itemBinary, itemBinarySize:
		return m.binary(it)
	}
	return nil
}

// fromRecord writes what the cache has in the form it is sent in.
func (m *fetched) fromRecord(it *item) error {
	r, err := m.parsed()
	if err != nil {
		return err
	}
	s := m.s
	switch it.kind {
	case itemEnvelope:
		s.out = append(append(s.out, "ENVELOPE "...), r.Envelope...)
	case itemBody:
		s.out = append(append(s.out, "BODY "...), r.Body...)
	case itemStructure:
		s.out = append(append(s.out, "BODYSTRUCTURE "...), r.Structure...)
	case itemPreview:
		s.out = append(s.out, "PREVIEW "...)
		s.out = appendNil(s.out, r.Preview)
	}
	return nil
}

// item is one thing to be fetched.
type item struct {
	kind    itemKind
	label   string // as the response names it: BODY[HEADER.FIELDS (SUBJECT)]<0>
	path    []int  // of a section
	what    string // "" HEADER TEXT MIME HEADER.FIELDS HEADER.FIELDS.NOT
	fields  []string
	partial bool
	from, n int64
}

type itemKind uint8

const (
	itemUID itemKind = iota
	itemFlags
	itemModSeq
	itemDate
	itemSaved
	itemSize
	itemEmailID
	itemThreadID
	itemEnvelope
	itemBody
	itemStructure
	itemPreview
	itemSection
	itemBinary
	itemBinarySize
)

func (f *fetching) has(kind itemKind) bool {
	for i := range f.items {
		if f.items[i].kind == kind {
			return true
		}
	}
	return false
}

// want adds an item unless it is there.
func (f *fetching) want(kind itemKind) {
	if !f.has(kind) {
		f.items = append([]item{{kind: kind}}, f.items...)
	}
}

var simpleItems = map[string]itemKind{
	"UID": itemUID, "FLAGS": itemFlags, "MODSEQ": itemModSeq, "INTERNALDATE": itemDate, "SAVEDATE": itemSaved, "RFC822.SIZE": itemSize,
	"EMAILID": itemEmailID, "THREADID": itemThreadID, "ENVELOPE": itemEnvelope, "BODYSTRUCTURE": itemStructure,
}

var macros = map[string][]itemKind{
	"ALL":  {itemFlags, itemDate, itemSize, itemEnvelope},
	"FAST": {itemFlags, itemDate, itemSize},
	"FULL": {itemFlags, itemDate, itemSize, itemEnvelope, itemBody},
}

// mostItems bounds one FETCH (S098).
const mostItems = 1000

// parseItems reads a macro, one item, or a list of them.
func (f *fetching) parseItems(c *command) {
	if c.Peek() == '(' {
		c.List(func() {
			f.parseItem(c, false)
			if len(f.items) > mostItems {
				c.Fail("fewer items")
			}
		})
		return
	}
	f.parseItem(c, true)
}

func (f *fetching) parseItem(c *command, alone bool) {
	name := c.ItemName()
	if kinds, ok := macros[name]; ok && alone {
		for _, kind := range kinds {
			f.add(item{kind: kind})
		}
		return
	}
	if kind, ok := simpleItems[name]; ok {
		f.add(item{kind: kind})
		return
	}
	switch name {
	case "BODY":
		if c.Peek() == '[' {
			f.sees = true
			f.parseSection(c, "BODY")
			return
		}
		f.add(item{kind: itemBody})
	case "BODY.PEEK":
		f.parseSection(c, "BODY")
	case "BINARY":
		f.sees = true
		f.parseBinary(c, itemBinary)
	case "BINARY.PEEK":
		f.parseBinary(c, itemBinary)
	case "BINARY.SIZE":
		f.parseBinary(c, itemBinarySize)
	case "PREVIEW":
		if c.Peek() == ' ' && strings.HasPrefix(c.Ahead(), " (LAZY)") {
			c.SP()
			c.List(func() { c.Keyword("LAZY") })
		}
		f.add(item{kind: itemPreview})
	case "RFC822":
		f.sees = true
		f.add(item{kind: itemSection, label: "RFC822"})
	case "RFC822.HEADER":
		f.add(item{kind: itemSection, label: "RFC822.HEADER", what: "HEADER"})
	case "RFC822.TEXT":
		f.sees = true
		f.add(item{kind: itemSection, label: "RFC822.TEXT", what: "TEXT"})
	default:
		c.Fail("something that can be fetched")
	}
}

func (f *fetching) add(it item) {
	switch it.kind {
	case itemEnvelope:
		f.records = true
	case itemPreview:
		f.records, f.previews = true, true
	case itemBody, itemStructure, itemBinary, itemBinarySize:
		f.records, f.whole = true, true
	case itemSection:
		f.opens, f.records = true, true
		f.whole = f.whole || !it.fromHead()
	}
	f.items = append(f.items, it)
}

// fromHead reports whether a section needs nothing of the message's record but its header fields.
func (it *item) fromHead() bool {
	return it.what == "HEADER.FIELDS" && len(it.path) == 0 && !slices.ContainsFunc(it.fields, func(name string) bool { return !mailbox.Kept(name) })
}

// parseSection reads [section]<from.n> behind BODY (RFC 9051 section 9, section and partial).
func (f *fetching) parseSection(c *command, name string) {
	it := item{kind: itemSection}
	c.Expect('[')
	it.path = parsePath(c)
	if c.Peek() != ']' {
		it.what = c.Keyword("HEADER, TEXT or MIME")
		switch it.what {
		case "HEADER", "TEXT":
		case "MIME":
			if len(it.path) == 0 {
				c.Fail("a part for MIME")
			}
		case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
			c.SP()
			c.List(func() { it.fields = append(it.fields, c.AString()) })
			if len(it.fields) == 0 {
				c.Fail("a header field")
			}
		default:
			c.Fail("HEADER, TEXT or MIME")
		}
	}
	c.Expect(']')
	it.label = name + "[" + sectionLabel(&it) + "]"
	it.parsePartial(c)
	f.add(it)
}

func (f *fetching) parseBinary(c *command, kind itemKind) {
	it := item{kind: kind}
	c.Expect('[')
	it.path = parsePath(c)
	c.Expect(']')
	name := "BINARY"
	if kind == itemBinarySize {
		name = "BINARY.SIZE"
	}
	it.label = name + "[" + sectionLabel(&it) + "]"
	if kind == itemBinary {
		it.parsePartial(c)
	}
	f.add(it)
}

// parsePath reads 2.1.3, with the dot in front of a following word.
func parsePath(c *command) (path []int) {
	for c.Err() == nil && c.Peek() >= '1' && c.Peek() <= '9' {
		path = append(path, int(c.Number()))
		if !c.Take('.') {
			break
		}
		if c.Peek() == ']' {
			c.Fail("a part behind the dot")
		}
	}
	return path
}

func (it *item) parsePartial(c *command) {
	if !c.Take('<') {
		return
	}
	it.partial = true
	it.from = int64(c.Number())
	c.Expect('.')
	it.n = int64(c.Number())
	if it.n == 0 {
		c.Fail("more than 0 octets")
	}
	c.Expect('>')
	it.label += "<" + strconv.FormatInt(it.from, 10) + ">"
}

// sectionLabel is the section as the response repeats it.
func sectionLabel(it *item) string {
	var b []byte
	for _, n := range it.path {
		if len(b) > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	if it.what != "" {
		if len(b) > 0 {
			b = append(b, '.')
		}
		b = append(b, it.what...)
	}
	if len(it.fields) > 0 {
		b = append(b, " ("...)
		for i, name := range it.fields {
			if i > 0 {
				b = append(b, ' ')
			}
			b = astring(b, name)
		}
		b = append(b, ')')
	}
	return string(b)
}

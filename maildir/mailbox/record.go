package mailbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"sync/atomic"

	"pennypost/internal/durable"
	"pennypost/internal/part"
)

// cacheName holds parsed messages, mb-index(5): a head with a random name, then records: length, crc, uid, the record. A record
// is found by its offset in the index; one that does not fit its message only misses.
const (
	cacheName  = "mb-cache"
	cacheMagic = "mbcache2"
	cacheHead  = len(cacheMagic) + 8
)

// longestRecord bounds what is kept of one message; a longer one is parsed again each time.
const longestRecord = 256 << 10

// Record is the parsed data of a message, in the form clients are sent it: of it what was asked for, and perhaps more. Its slices are valid
// until the Reader's next call.
type Record struct {
	has needs
	// of Head
	Envelope []byte // RFC 9051 section 7.5.2
	Header   []byte // the fields of RecordFields as they stand in the message, CRLF line ends
	// of Get
	Body      []byte // BODY
	Structure []byte // BODYSTRUCTURE
	parts     []byte
	// of Previewed
	Preview []byte // RFC 8970, UTF-8, at most 200 characters
	// of SortKeys (RFC 5256), normalised: base subject, first mailboxes, display names.
	Subject, From, To, Cc, DisplayFrom, DisplayTo []byte
	Reply                                         bool   // the subject was a reply or forward
	Sent                                          int64  // the Date field, seconds since 1970 UTC; noDate when it cannot be read
	SentZone                                      int32  // its zone, seconds east
	MessageID                                     uint64 // hash, 0 none
	References                                    []byte // hashes, 8 octets each, oldest first; In-Reply-To when there are none
}

// needs is what of a record is wanted, or there. What can be told from the header is always there: it takes one read of the beginning of
// the file, where the parts take all of it.
type needs uint8

const (
	needParts   needs = 1 << iota // Body, Structure, Parts
	needPreview                   // Preview; it is there where parts are, if they were asked for together
)

// NoDate is Record.Sent of a message whose Date cannot be read.
const NoDate = -1 << 63

// Part is where one part lies: offsets in the file, sizes on the wire.
type Part struct {
	Path                 []int // 2.1 is {2, 1}; empty: the message
	Header, Body, End    int64
	HeaderWire, BodyWire int64
	Lines                int64
	Type                 string // "text/plain"
	Encoding             string
	Charset              string
	Message              bool // a message/rfc822 whose inside is the part that follows
}

// RecordFields are the header fields kept in Record.Header; others are read from the message.
var RecordFields = []string{"From", "To", "Cc", "Bcc", "Sender", "Reply-To", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
	"List-ID", "List-Post", "List-Unsubscribe", "Content-Type", "Content-Transfer-Encoding", "MIME-Version", "Importance", "X-Priority", "Priority",
	"Disposition-Notification-To", "Delivered-To", "Return-Path", "X-Spam-Flag", "Newsgroups"}

// kept are the fields of a record that the cache has, in its order, those of a message's header alone first.
func (r *Record) kept() []*[]byte {
	all := [...]*[]byte{&r.Envelope, &r.Header, &r.Body, &r.Structure, &r.parts, &r.Preview}
	switch {
	case r.has&needPreview != 0:
		return all[:]
	case r.has&needParts != 0:
		return all[:5]
	}
	return all[:2]
}

// encode writes the record.
func (r *Record) encode(b []byte) []byte {
	b = append(b, byte(r.has))
	for _, field := range r.kept() {
		b = append(binary.AppendUvarint(b, uint64(len(*field))), *field...)
	}
	return b
}

func (r *Record) decode(b []byte) bool {
	d := decoder{b: b}
	*r = Record{has: needs(d.byte())}
	for _, field := range r.kept() {
		*field = d.take(d.count(len(d.b)))
	}
	return !d.bad
}

// Parts is the message's parts, depth first, the message itself in front.
func (r *Record) Parts() []Part {
	d := decoder{b: r.parts}
	var out []Part
	for len(d.b) > 0 && !d.bad {
		var p Part
		for k := d.count(part.MaxDepth + 1); k > 0; k-- {
			p.Path = append(p.Path, d.count(part.MaxParts))
		}
		for _, n := range []*int64{&p.Header, &p.Body, &p.End, &p.HeaderWire, &p.BodyWire, &p.Lines} {
			*n = int64(d.uvarint())
		}
		p.Type, p.Encoding, p.Charset = d.text(), d.text(), d.text()
		p.Message = d.byte() == 1
		if !d.bad {
			out = append(out, p)
		}
	}
	return out
}

func encodeParts(b []byte, p *part.Part, path []int) []byte {
	b = binary.AppendUvarint(b, uint64(len(path)))
	for _, n := range path {
		b = binary.AppendUvarint(b, uint64(n))
	}
	for _, n := range []int64{p.Header, p.Body, p.End, p.HeaderWire, p.BodyWire, p.Lines} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = appendText(appendText(appendText(b, p.Type+"/"+p.Subtype), p.Encoding), p.Param("charset"))
	switch {
	case p.Message():
		b = append(b, 1)
		inside := p.Parts[0]
		if len(path) == 0 { // a message that is nothing else is its own part 1
			path = []int{1}
		}
		if inside.Multipart() { // 2.1 is the first part of the message inside 2
			b = encodeParts(b, inside, path)
		} else {
			b = encodeParts(b, inside, append(path[:len(path):len(path)], 1))
		}
	default:
		b = append(b, 0)
		for i, child := range p.Parts {
			b = encodeParts(b, child, append(path[:len(path):len(path)], i+1))
		}
	}
	return b
}

// Reader reads records one after the other through one window of the cache file.
type Reader struct {
	v      *View
	file   durable.File
	window []byte
	at     int64
	record Record
	room   []byte      // what the record parsed last is in
	fields part.Fields // room for a header
	scan   part.Scanner
	buf    []byte  // records parsed and not written yet
	places []place // whose they are
	filled int

	looked   bool   // keys is the block, as far as there is one
	block    uint32 // of the UIDs looked at last
	keys     *Keys
	sorted   Record // of SortKeys
	keysFile durable.File
	made     []*Keys // blocks that mb-keys does not have yet
	fresh    int     // messages in them
}

// Reader starts reading records of the view. Close keeps what was parsed for the next time.
func (v *View) Reader() *Reader { return &Reader{v: v} }

const cacheWindow = 128 << 10

// Head is the record of message i as far as its header says it: from the cache, or parsed now and put there.
func (r *Reader) Head(i int) (*Record, error) { return r.get(i, 0) }

// Get is Head, and the message's parts.
func (r *Reader) Get(i int) (*Record, error) { return r.get(i, needParts) }

// Previewed is Get, and the message's preview.
func (r *Reader) Previewed(i int) (*Record, error) { return r.get(i, needParts|needPreview) }

func (r *Reader) get(i int, need needs) (*Record, error) {
	c, j := r.v.at(i)
	known := false // what the header says
	if offset := atomic.LoadInt64(&c.cache[j]); offset > 0 {
		if b := r.read(offset, c.uid[j]); b != nil {
			if known = r.record.decode(b); known && r.record.has&need == need {
				return &r.record, nil
			}
		}
	}
	m, err := r.v.open(i)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	if need != 0 || !r.parseHead(m) {
		if err = r.parse(m, need, known); err != nil {
			return nil, err
		}
		if atomic.LoadInt64(&c.wire[j]) != m.Wire {
			r.v.counted(i, m.Wire)
		}
	}
	r.keep(c, j)
	return &r.record, nil
}

// read is the record at offset, if it is whole and the message's.
func (r *Reader) read(offset int64, uid uint32) []byte {
	if r.file == nil {
		file, err := r.v.folder.disk.Open(cacheName)
		if err != nil {
			return nil
		}
		r.file = file
	}
	head := r.have(offset, 12)
	if head == nil {
		return nil
	}
	length := int(binary.LittleEndian.Uint32(head))
	if length > longestRecord || binary.LittleEndian.Uint32(head[8:]) != uid {
		return nil
	}
	sum := binary.LittleEndian.Uint32(head[4:])
	b := r.have(offset, 12+length)
	if b == nil || crc32.Checksum(b[8:], castagnoli) != sum {
		return nil
	}
	return b[12:]
}

// have is n octets of the file at offset, in the window.
func (r *Reader) have(offset int64, n int) []byte {
	if offset < r.at || offset+int64(n) > r.at+int64(len(r.window)) {
		if cap(r.window) < max(cacheWindow, n) {
			r.window = make([]byte, max(cacheWindow, n))
		}
		r.window = r.window[:cap(r.window)]
		got, err := r.file.ReadAt(r.window, offset)
		if err != nil && err != io.EOF {
			got = 0
		}
		r.window, r.at = r.window[:got], offset
		if got < n {
			return nil
		}
	}
	return r.window[offset-r.at:][:n]
}

// keep puts the parsed record into the cache file: many together with one write.
func (r *Reader) keep(c *chunk, j int) {
	at := len(r.buf)
	if !r.frame(c.uid[j]) {
		return
	}
	r.places = append(r.places, place{c, j, at})
	r.filled++
	if len(r.buf) > cacheWindow {
		r.write()
	}
}

// frame adds the parsed record of a message to buf, if it is not too long.
func (r *Reader) frame(uid uint32) bool {
	at := len(r.buf)
	r.buf = append(r.buf, make([]byte, 8)...)
	r.buf = binary.LittleEndian.AppendUint32(r.buf, uid)
	r.buf = r.record.encode(r.buf)
	length := len(r.buf) - at - 12
	if length > longestRecord {
		r.buf = r.buf[:at]
		return false
	}
	binary.LittleEndian.PutUint32(r.buf[at:], uint32(length))
	binary.LittleEndian.PutUint32(r.buf[at+4:], crc32.Checksum(r.buf[at+8:], castagnoli))
	return true
}

// write appends what was parsed to the cache, and then says where it is.
func (r *Reader) write() {
	if len(r.buf) == 0 {
		return
	}
	f := r.v.folder
	defer func() { r.buf, r.places = r.buf[:0], r.places[:0] }()
	f.mu.Lock()
	defer f.mu.Unlock()
	unlock, err := f.lock(context.Background()) // where we write is what the offsets say
	if err != nil {
		return
	}
	defer unlock()
	start, ok := f.appendCache(r.buf)
	if !ok {
		return
	}
	for _, p := range r.places {
		atomic.StoreInt64(&p.c.cache[p.j], start+int64(p.at))
	}
	f.learnt += len(r.places)
}

// appendCache adds records to mb-cache and says where. The folder's lock is held.
func (f *Folder) appendCache(records []byte) (start int64, ok bool) {
	w, err := f.disk.Append(cacheName, 0o600)
	if err != nil {
		return 0, false
	}
	defer w.Close()
	info, err := w.Stat()
	if err != nil {
		return 0, false
	}
	start = info.Size
	if start == 0 {
		head := binary.LittleEndian.AppendUint64([]byte(cacheMagic), chance())
		if _, err := w.Write(head); err != nil {
			return 0, false
		}
		start = int64(len(head))
	}
	if n, err := w.Write(records); err != nil || n != len(records) {
		return 0, false
	}
	f.cacheSize = start + int64(len(records))
	return start, true
}

// Close writes what was parsed, and where it is, if that was much.
func (r *Reader) Close() {
	r.write()
	r.closeKeys()
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
	if r.filled > 0 {
		r.v.folder.saveLearnt()
		r.v.folder.reclaim()
	}
}

// place is a message whose record is written but not on disk yet.
type place struct {
	c  *chunk
	j  int
	at int
}

var crlf = []byte("\r\n")

// headFirst is how much of a message is read for its header at first. Most are shorter.
const headFirst = 4 << 10

// parseHead reads a message's header into the record; no where that takes a scan of the message.
func (r *Reader) parseHead(m *Message) bool {
	buf := window()
	defer windows.Put(buf)
	for have, want := int64(0), int64(headFirst); ; want = int64(len(buf)) {
		want = min(want, m.Size)
		n, _ := m.ReadAt(buf[have:want], have)
		have += int64(n)
		fields, _, ok := part.Head(r.fields[:0], buf[:have], keptNames)
		r.fields = fields[:0]
		if ok {
			r.record = Record{}
			b := part.AppendEnvelope(r.room[:0], fields)
			end := len(b)
			b = keptFields(b, fields)
			r.record.Envelope, r.record.Header, r.room = b[:end:end], b[end:len(b):len(b)], b
			return true
		}
		if have < want || want == m.Size || want == int64(len(buf)) {
			return false
		}
	}
}

// parse reads a message into the record, whose Envelope and Header are right already if known, and counts it where it has not been.
func (r *Reader) parse(m *Message, need needs, known bool) error {
	s := &r.scan
	s.Again(known)
	buf := window()
	defer windows.Put(buf)
	for at := int64(0); at < m.Size; {
		n, err := m.ReadAt(buf[:min(int64(len(buf)), m.Size-at)], at)
		if n == 0 {
			return err
		}
		s.Write(buf[:n])
		at += int64(n)
	}
	p := s.Done()
	if m.Wire < 0 {
		m.Wire = p.HeaderWire + p.BodyWire
	}
	from := io.ReaderAt(m)
	if need&needPreview != 0 && m.Size <= int64(len(buf)) { // all of it is at hand
		from = bytes.NewReader(buf[:m.Size])
	}
	r.scanned(p, from, need, known)
	return nil
}

// scanned makes the record of a scanned message, in room and what else it takes.
func (r *Reader) scanned(p *part.Part, m io.ReaderAt, need needs, known bool) {
	b, at := r.room[:0], 0
	cut := func() []byte {
		from := at
		at = len(b)
		return b[from:at:at]
	}
	is := &r.record
	if !known {
		*is = Record{}
		b = part.AppendEnvelope(b, p.Envelope)
		is.Envelope = cut()
		b = keptFields(b, p.Envelope)
		is.Header = cut()
	}
	b = part.AppendStructure(b, p, false)
	is.Body = cut()
	b = part.AppendStructure(b, p, true)
	is.Structure = cut()
	b = encodeParts(b, p, nil)
	is.parts = cut()
	is.has = needParts
	if need&needPreview != 0 {
		is.Preview = preview(p, m)
		is.has |= needPreview
	}
	if r.room = b; cap(b) > longestRecord { // of a message that is not like others
		r.room = nil
	}
}

// keptNames is RecordFields.
var keptNames = part.NamesOf(RecordFields...)

// keptFields is the fields of RecordFields in the order of the message.
func keptFields(b []byte, fields part.Fields) []byte {
	for _, f := range fields {
		if !Kept(f.Name) {
			continue
		}
		b = append(append(b, f.Name...), ':')
		value := f.Value
		for i := bytes.IndexByte(value, '\n'); i >= 0; i = bytes.IndexByte(value, '\n') {
			b = append(append(b, value[:i]...), crlf...)
			value = value[i+1:]
		}
		b = append(b, value...)
		b = append(b, crlf...)
	}
	return b
}

// Kept reports whether a header field is in Record.Header.
func Kept(name string) bool { return keptNames.Has(name) }

func equalFold(a, b string) bool {
	for i := 0; i < len(a); i++ {
		x, y := a[i], b[i]
		if x != y && (x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z') {
			return false
		}
	}
	return len(a) == len(b)
}

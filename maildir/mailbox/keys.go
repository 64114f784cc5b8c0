package mailbox

import (
	"bytes"
	"encoding/binary"
	"math"
	"sort"
)

// keyBlock messages share a block of keys: those whose UIDs differ in the last octet only.
const keyBlock = 256

// A Field is a header field whose texts are kept folded, to be searched.
type Field int

// keptTexts are the fields by number.
var keptTexts = [...]string{"Subject", "From", "To", "Cc", "Bcc"}

const fields = len(keptTexts)

// FieldOf is the number of a header field that Keys has the texts of.
func FieldOf(name string) (Field, bool) {
	for i, kept := range keptTexts {
		if len(kept) == len(name) && equalFold(kept, name) {
			return Field(i), true
		}
	}
	return 0, false
}

// Keys is what SEARCH, SORT and THREAD look at of the messages of one block, without the rest of their records. It never changes.
type Keys struct {
	block uint32          // UIDs / keyBlock
	seen  uint32          // the highest UID that was looked at
	at    [keyBlock]int16 // the row of a UID's last octet, from 1; 0: not here, the record knows
	rows  []keyRow
	texts [fields][]byte // of each row the folded values of its fields, textEnd behind each
	more  []byte         // sort keys that are not part of these
	refs  []byte
}

// textEnd stands behind each text; it is in no folded text, which is UTF-8.
const textEnd = 0xff

// keyRow is one message.
type keyRow struct {
	uid   uint32
	flags uint32 // 1: a reply
	sent  int64
	id    uint64
	zone  int32
	refs  uint32         // where its references end
	ends  [fields]uint32 // where its texts end
	keys  [sortKeys]span
}

// span is where a sort key lies, in the texts of its field or, with the highest bit of from set, in more.
type span struct{ from, length uint32 }

const (
	sortKeys = 6
	inMore   = 1 << 31
	rowSize  = 4 + 4 + 8 + 8 + 4 + 4 + 4*fields + 8*sortKeys
)

// keyFields says in the texts of which field the sort keys may be found.
var keyFields = [sortKeys]Field{0, 1, 2, 3, 1, 2}

func (r *Record) sortTexts() [sortKeys]*[]byte {
	return [sortKeys]*[]byte{&r.Subject, &r.From, &r.To, &r.Cc, &r.DisplayFrom, &r.DisplayTo}
}

// longestKeys bounds the texts of one message here; one with more is looked up in its record.
const longestKeys = 4 << 10

// size is about what it takes in memory.
func (k *Keys) size() int {
	n := 2*keyBlock + rowSize*cap(k.rows) + cap(k.more) + cap(k.refs) + 256
	for i := range k.texts {
		n += cap(k.texts[i])
	}
	return n
}

// row is the message's row, -1 when it has none.
func (k *Keys) row(uid uint32) int { return int(k.at[uid%keyBlock]) - 1 }

// record fills in the sort keys of a row.
func (k *Keys) record(i int, r *Record) {
	row := &k.rows[i]
	for n, to := range r.sortTexts() {
		s := row.keys[n]
		from := k.texts[keyFields[n]]
		if s.from&inMore != 0 {
			from = k.more
		}
		at := s.from &^ inMore
		*to = from[at : at+s.length : at+s.length]
	}
	first := uint32(0)
	if i > 0 {
		first = k.rows[i-1].refs
	}
	r.References = k.refs[first:row.refs:row.refs]
	r.Reply, r.Sent, r.SentZone, r.MessageID = row.flags&1 != 0, row.sent, row.zone, row.id
}

// Hits is a set of the messages of a block, by the last octet of their UIDs.
type Hits [keyBlock / 64]uint64

// Has reports whether the message is in it.
func (h *Hits) Has(uid uint32) bool { return h[uid%keyBlock>>6]&(1<<(uid&63)) != 0 }

func (h *Hits) add(uid uint32) { h[uid%keyBlock>>6] |= 1 << (uid & 63) }

// Find is the messages that have the needle in a field: one look through the texts of all.
func (k *Keys) Find(n *Needle, field Field) (hits Hits) {
	text, row := k.texts[field], 0
	if n.Empty() {
		before := uint32(0)
		for i := range k.rows {
			if k.rows[i].ends[field] > before {
				hits.add(k.rows[i].uid)
			}
			before = k.rows[i].ends[field]
		}
		return hits
	}
	for at := 0; ; {
		i := bytes.Index(text[at:], n.folded)
		if i < 0 {
			return hits
		}
		at += i
		row += sort.Search(len(k.rows)-row, func(j int) bool { return int(k.rows[row+j].ends[field]) > at })
		hits.add(k.rows[row].uid)
		at = int(k.rows[row].ends[field])
	}
}

// add puts a message behind the others of the block. The caller made the block and has not shown it yet.
func (k *Keys) add(uid uint32, r *Record) {
	k.seen = uid
	row := keyRow{uid: uid, sent: r.Sent, zone: r.SentZone, id: r.MessageID}
	if r.Reply {
		row.flags = 1
	}
	var before [fields]int
	for i := range k.texts {
		before[i] = len(k.texts[i])
	}
	length := len(r.References)
	eachField(r.Header, func(name, value []byte) bool {
		if field, ok := FieldOf(string(name)); ok {
			k.texts[field] = append(foldTo(k.texts[field], decoded(value)), textEnd)
			length += len(k.texts[field]) - before[field]
		}
		return length <= longestKeys
	})
	had := len(k.more)
	for n, text := range r.sortTexts() {
		texts := k.texts[keyFields[n]]
		if i := bytes.Index(texts[before[keyFields[n]]:], *text); i >= 0 {
			row.keys[n] = span{uint32(before[keyFields[n]] + i), uint32(len(*text))}
			continue
		}
		row.keys[n] = span{uint32(len(k.more)) | inMore, uint32(len(*text))}
		k.more = append(k.more, *text...)
	}
	if length+len(k.more)-had > longestKeys {
		for i := range k.texts {
			k.texts[i] = k.texts[i][:before[i]]
		}
		k.more = k.more[:had]
		return
	}
	k.refs = append(k.refs, r.References...)
	row.refs = uint32(len(k.refs))
	for i := range k.texts {
		row.ends[i] = uint32(len(k.texts[i]))
	}
	k.rows = append(k.rows, row)
	k.at[uid%keyBlock] = int16(len(k.rows))
}

// grown is a copy to which messages can be added.
func (k *Keys) grown() *Keys {
	g := *k
	g.rows = append([]keyRow(nil), k.rows...)
	for i := range g.texts {
		g.texts[i] = append([]byte(nil), k.texts[i]...)
	}
	g.more, g.refs = append([]byte(nil), k.more...), append([]byte(nil), k.refs...)
	return &g
}

// encode writes the block as mb-keys has it, mb-index(5).
func (k *Keys) encode(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, uint32(len(k.rows)))
	for _, text := range k.buffers() {
		b = le.AppendUint32(b, uint32(len(*text)))
	}
	for i := range k.rows {
		row := &k.rows[i]
		b = le.AppendUint32(le.AppendUint32(b, row.uid), row.flags)
		b = le.AppendUint64(le.AppendUint64(b, uint64(row.sent)), row.id)
		b = le.AppendUint32(le.AppendUint32(b, uint32(row.zone)), row.refs)
		for _, end := range row.ends {
			b = le.AppendUint32(b, end)
		}
		for _, s := range row.keys {
			b = le.AppendUint32(le.AppendUint32(b, s.from), s.length)
		}
	}
	for _, text := range k.buffers() {
		b = append(b, *text...)
	}
	return b
}

func (k *Keys) buffers() [fields + 2]*[]byte {
	return [fields + 2]*[]byte{&k.texts[0], &k.texts[1], &k.texts[2], &k.texts[3], &k.texts[4], &k.more, &k.refs}
}

// decode reads a block; its texts stay where b has them.
func (k *Keys) decode(b []byte) bool {
	d := decoder{b: b}
	n := d.u32()
	if n > keyBlock {
		return false
	}
	var lengths [fields + 2]int
	for i := range lengths {
		lengths[i] = int(d.u32())
	}
	rows := d.take(int(n) * rowSize)
	for i, text := range k.buffers() {
		*text = d.take(lengths[i])
		*text = (*text)[:len(*text):len(*text)]
	}
	if d.bad || len(d.b) > 0 {
		return false
	}
	le := binary.LittleEndian
	k.rows = make([]keyRow, n)
	for i := range k.rows {
		row, b := &k.rows[i], rows[i*rowSize:][:rowSize]
		row.uid, row.flags, row.sent, row.id = le.Uint32(b), le.Uint32(b[4:]), int64(le.Uint64(b[8:])), le.Uint64(b[16:])
		row.zone, row.refs = int32(le.Uint32(b[24:])), le.Uint32(b[28:])
		for j := range row.ends {
			row.ends[j] = le.Uint32(b[32+4*j:])
		}
		for j := range row.keys {
			b := b[32+4*fields+8*j:]
			row.keys[j] = span{le.Uint32(b), le.Uint32(b[4:])}
		}
		k.at[row.uid%keyBlock] = int16(i + 1)
	}
	return k.sound()
}

// sound reports whether a block that was read is one: nothing in it points out of it.
func (k *Keys) sound() bool {
	before := keyRow{}
	for i := range k.rows {
		row := &k.rows[i]
		if row.uid/keyBlock != k.block || i > 0 && row.uid <= before.uid || row.uid > k.seen || row.refs < before.refs || int(row.refs) > len(k.refs) {
			return false
		}
		for j, end := range row.ends {
			if end < before.ends[j] || int64(end) > int64(len(k.texts[j])) {
				return false
			}
		}
		for j, s := range row.keys {
			within := k.texts[keyFields[j]]
			if s.from&inMore != 0 {
				within = k.more
			}
			if uint64(s.from&^inMore)+uint64(s.length) > uint64(min(len(within), math.MaxInt32)) {
				return false
			}
		}
		before = *row
	}
	for j := range k.texts { // nothing behind the last row
		if int64(before.ends[j]) != int64(len(k.texts[j])) {
			return false
		}
	}
	return true
}

package imapd

import (
	"bytes"
	"cmp"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-message/charset"

	"pennypost/internal/sequence"
	"pennypost/maildir/mailbox"
)

// key is one node of a search program (RFC 9051 section 6.4.4).
type key struct {
	op   op
	kids []*key // of and, or, not, fuzzy

	set   sequence.Set  // as the client wrote it, "*" and all
	saved bool          // "$"
	at    sequence.Set  // the same in the mailbox that is searched
	flags mailbox.Flags // one of these must be set
	name  string        // of a header field, a keyword or an EMAILID
	n     int64         // a size, a number of days since 1970, a time in seconds
	value uint64        // a mod-sequence
	text  *mailbox.Needle
	words string        // what text was made of
	maybe sequence.Set  // UIDs of messages that can have the text, if filtered
	known bool          // there is a filter
	field mailbox.Field // opKept: number of the field
	keys  *mailbox.Keys // opKept: the block that hits is of
	hits  mailbox.Hits
}

// op is what a key asks. Their order is that of what an answer takes: columns, the file's times, the record, the header, the text.
type op uint8

const (
	opAll op = iota
	opNone
	opFlag
	opNotFlag
	opKeyword
	opNumbers
	opUIDs
	opRecent
	opModSeq
	opEmailID
	opLarger
	opSmaller
	opBefore
	opSince
	opOn
	opOlder
	opYounger
	opSavedBefore
	opSavedSince
	opSavedOn
	opSentBefore
	opSentSince
	opSentOn
	opKept   // a header field whose text is kept folded
	opField  // a header field that is kept in the record
	opHeader // any other
	opBody
	opText
	opAnd
	opOr
	opNot
	opFuzzy // kids: the words of a text, and last the text itself
)

// cost is what answering takes, in steps of about a factor of ten.
func (k *key) cost() (c int) {
	switch {
	case k.op >= opAnd:
		for _, kid := range k.kids {
			c = max(c, kid.cost())
		}
	case k.op == opText, k.op == opBody:
		c = 4
	case k.op == opHeader:
		c = 3
	case k.op >= opSentBefore:
		c = 2
	case k.op >= opEmailID:
		c = 1
	}
	return c
}

// program is a search as it was read.
type program struct {
	root   *key
	set    string // character set of its texts
	keys   int
	modseq bool // MODSEQ was asked: answers carry one
	fuzzy  bool
	refuse *reply // BADCHARSET and the like: what was read is right, but not for us
	uids   bool   // no message numbers: UIDONLY, or more than one mailbox
	dollar bool   // "$" is used
}

// mostKeys bounds a program (S097); its depth is bounded as that of parentheses is.
const mostKeys = 2000

// parseProgram reads [CHARSET name] and the keys up to the end of the command.
func (s *session) parseProgram(c *command) *program {
	p := &program{uids: s.enabled&uidOnly != 0}
	if c.Word("CHARSET") {
		c.SP()
		p.charset(c.AString())
		c.SP()
		if s.enabled&utf8Only != 0 { // RFC 6855 section 3
			c.Fail("no CHARSET after ENABLE UTF8=ACCEPT")
		}
	}
	p.root = p.and(c, func() bool { return !c.More() })
	return p
}

// charset takes the character set of what follows.
func (p *program) charset(name string) {
	p.set = strings.ToUpper(name)
	if plainSet(p.set) {
		return
	}
	if _, err := charset.Reader(p.set, strings.NewReader("")); err != nil {
		r := no("BADCHARSET (US-ASCII UTF-8 ISO-8859-1 ISO-8859-15 WINDOWS-1252 KOI8-R ISO-2022-JP GB18030)", "that character set is not known here")
		p.refuse = &r
	}
}

func plainSet(name string) bool { return name == "" || name == "UTF-8" || name == "US-ASCII" }

// decode is a text of the program in UTF-8.
func (p *program) decode(text string) string {
	if plainSet(p.set) {
		return text
	}
	r, err := charset.Reader(p.set, strings.NewReader(text))
	if err != nil {
		return text
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return text
	}
	return string(b)
}

// and reads keys up to the end, which all must match: those that take least first.
func (p *program) and(c *command, end func() bool) *key {
	k := &key{op: opAnd}
	for c.Err() == nil {
		k.kids = append(k.kids, p.key(c))
		if end() {
			break
		}
		c.SP()
	}
	return k.ordered()
}

// ordered puts the kids of a key in the order of their cost, and is the only kid where it has one.
func (k *key) ordered() *key {
	if len(k.kids) == 1 {
		return k.kids[0]
	}
	slices.SortStableFunc(k.kids, func(a, b *key) int { return cmp.Compare(a.cost(), b.cost()) })
	return k
}

// key reads one key. NOT NOT … and OR a OR b … are read without going deeper.
func (p *program) key(c *command) *key {
	c.Enter()
	defer c.Leave()
	if p.keys++; p.keys > mostKeys {
		c.Fail("fewer search keys")
	}
	if c.Err() != nil {
		return &key{}
	}
	switch first := c.Peek(); {
	case first == '(':
		c.Expect('(')
		k := p.and(c, func() bool { return c.Peek() == ')' })
		c.Expect(')')
		return k
	case first >= '0' && first <= '9', first == '*', first == '$':
		k := &key{op: opNumbers}
		k.set, k.saved = c.Set()
		if k.saved {
			k.op, p.dollar = opUIDs, true
		} else if p.uids {
			p.refuse = &reply{"BAD", "UIDREQUIRED", "only UIDs are used here (RFC 9586)"}
		}
		return k
	}
	return p.named(c, c.Keyword("a search key"))
}

// named reads what follows the name of a key.
func (p *program) named(c *command, name string) *key {
	if k, ok := simpleKeys[name]; ok {
		return &k
	}
	switch name {
	case "NOT":
		not := true
		for c.SP(); c.Word("NOT"); c.SP() {
			not = !not
		}
		k := p.key(c)
		if not {
			k = &key{op: opNot, kids: []*key{k}}
		}
		return k
	case "OR":
		k := &key{op: opOr}
		for {
			c.SP()
			k.kids = append(k.kids, p.key(c))
			c.SP()
			if !c.Word("OR") || c.Err() != nil {
				break
			}
		}
		k.kids = append(k.kids, p.key(c))
		return k.ordered()
	case "FUZZY":
		c.SP()
		return p.fuzz(p.key(c))
	}
	if !slices.Contains(argued, name) {
		c.Fail("a search key")
	}
	c.SP()
	switch name {
	case "UID":
		k := &key{op: opUIDs}
		k.set, k.saved = c.Set()
		p.dollar = p.dollar || k.saved
		return k
	case "KEYWORD":
		return &key{op: opKeyword, name: c.Flag()}
	case "UNKEYWORD":
		return &key{op: opNot, kids: []*key{{op: opKeyword, name: c.Flag()}}}
	case "LARGER", "SMALLER", "OLDER", "YOUNGER":
		k := &key{op: numberKeys[name], n: int64(c.Number64())}
		if k.n == 0 && k.op >= opOlder { // nz-number in RFC 5032
			c.Fail("an interval that is not 0")
		}
		if k.op >= opOlder {
			k.n = time.Now().Unix() - min(k.n, 1<<40)
		}
		return k
	case "BEFORE", "SINCE", "ON", "SENTBEFORE", "SENTSINCE", "SENTON", "SAVEDBEFORE", "SAVEDSINCE", "SAVEDON":
		return &key{op: dateKeys[name], n: day(c.Date().Unix())}
	case "MODSEQ":
		p.modseq = true
		if c.Peek() == '"' { // the entry of one flag: we have one mod-sequence for all (RFC 7162 section 3.1.5)
			c.AString()
			c.SP()
			c.Keyword("priv, shared or all")
			c.SP()
		}
		return &key{op: opModSeq, value: c.Number64()}
	case "EMAILID":
		return &key{op: opEmailID, name: c.AString()}
	case "THREADID":
		c.AString()
		return &key{op: opNone} // no message has one (RFC 8474 section 5.2)
	case "HEADER":
		name := c.AString()
		c.SP()
		return p.header(c, name)
	case "FROM", "TO", "CC", "BCC", "SUBJECT":
		return p.header(c, name)
	case "TEXT":
		return p.text(&key{op: opText}, c.AString())
	}
	return p.text(&key{op: opBody}, c.AString())
}

// argued are the keys with an argument that is no key.
var argued = []string{"UID", "KEYWORD", "UNKEYWORD", "LARGER", "SMALLER", "OLDER", "YOUNGER", "BEFORE", "SINCE", "ON", "SENTBEFORE", "SENTSINCE",
	"SENTON", "SAVEDBEFORE", "SAVEDSINCE", "SAVEDON", "MODSEQ", "EMAILID", "THREADID", "HEADER", "FROM", "TO", "CC", "BCC", "SUBJECT", "TEXT", "BODY"}

func (p *program) text(k *key, text string) *key {
	k.words = p.decode(text)
	k.text = mailbox.NewNeedle(k.words)
	return k
}

// header is the key for a text in a header field.
func (p *program) header(c *command, name string) *key {
	k := &key{op: opHeader, name: name}
	if field, ok := mailbox.FieldOf(name); ok {
		k.op, k.field = opKept, field
	} else if mailbox.Kept(name) {
		k.op = opField
	}
	return p.text(k, c.AString())
}

// fuzz makes a key match loosely (RFC 6203): the words of a text in any order. Other keys stay exact, as section 3 permits.
func (p *program) fuzz(k *key) *key {
	p.fuzzy = true
	words := strings.Fields(k.words)
	if k.text == nil || len(words) < 2 {
		return k
	}
	fuzzy := &key{op: opFuzzy}
	for _, w := range words[:min(len(words), 20)] {
		one := *k
		one.words, one.text = w, mailbox.NewNeedle(w)
		fuzzy.kids = append(fuzzy.kids, &one)
	}
	p.keys += len(fuzzy.kids)
	fuzzy.kids = append(fuzzy.kids, k)
	return fuzzy
}

// day is the number of the day of a time.
func day(seconds int64) int64 {
	const long = 24 * 60 * 60
	d := seconds / long
	if seconds < 0 && seconds%long != 0 {
		d--
	}
	return d
}

var simpleKeys = map[string]key{
	"ALL":        {op: opAll},
	"ANSWERED":   {op: opFlag, flags: mailbox.Answered},
	"DELETED":    {op: opFlag, flags: mailbox.Deleted},
	"DRAFT":      {op: opFlag, flags: mailbox.Draft},
	"FLAGGED":    {op: opFlag, flags: mailbox.Flagged},
	"SEEN":       {op: opFlag, flags: mailbox.Seen},
	"UNANSWERED": {op: opNotFlag, flags: mailbox.Answered},
	"UNDELETED":  {op: opNotFlag, flags: mailbox.Deleted},
	"UNDRAFT":    {op: opNotFlag, flags: mailbox.Draft},
	"UNFLAGGED":  {op: opNotFlag, flags: mailbox.Flagged},
	"UNSEEN":     {op: opNotFlag, flags: mailbox.Seen},
	"RECENT":     {op: opRecent},
	"OLD":        {op: opNot, kids: []*key{{op: opRecent}}},
	"NEW":        {op: opAnd, kids: []*key{{op: opNotFlag, flags: mailbox.Seen}, {op: opRecent}}},

	"SAVEDATESUPPORTED": {op: opAll}, // RFC 8514 section 4.3
}

var numberKeys = map[string]op{"LARGER": opLarger, "SMALLER": opSmaller, "OLDER": opOlder, "YOUNGER": opYounger}

var dateKeys = map[string]op{
	"BEFORE": opBefore, "SINCE": opSince, "ON": opOn, "SENTBEFORE": opSentBefore, "SENTSINCE": opSentSince, "SENTON": opSentOn,
	"SAVEDBEFORE": opSavedBefore, "SAVEDSINCE": opSavedSince, "SAVEDON": opSavedOn,
}

// prepare makes the program one for the mailbox that is searched: what its sets and keywords mean there.
func (k *key) prepare(r *searching) error {
	for _, kid := range k.kids {
		if err := kid.prepare(r); err != nil {
			return err
		}
	}
	switch k.op {
	case opUIDs:
		largest := uint32(0)
		if n := r.view.Len(); n > 0 {
			largest = r.view.UID(n - 1)
		}
		if k.at = k.set.Resolve(largest); k.saved {
			k.at = r.s.saved
		}
	case opNumbers:
		k.at = k.set.Resolve(uint32(r.view.Len() + len(r.held)))
	case opKeyword:
		if k.flags = systemFlag(k.name); k.flags != 0 {
			break
		}
		n, err := r.folder.KeywordNumber(k.name, false)
		if err != nil {
			return err
		}
		if n >= 0 {
			k.flags = mailbox.Keyword(n)
		}
	case opBody, opText:
		if !k.text.Empty() {
			var feed *mailbox.Feed
			if k.maybe, k.known, feed = r.view.Feeding(r.ctx, k.text); feed != nil {
				r.feed = feed
			}
		}
	}
	return nil
}

// headerOf finds where the header of a message file ends and reads it.
func headerOf(file io.ReaderAt, size int64, buf []byte) ([]byte, error) {
	buf = buf[:0]
	for int64(len(buf)) < min(size, mostHeader) {
		at := len(buf)
		buf = slices.Grow(buf, min(8<<10, int(size)-at))
		n, err := file.ReadAt(buf[at:min(cap(buf), int(size))], int64(at))
		buf = buf[:at+n]
		if i := blankLine(buf, max(0, at-3)); i >= 0 {
			return buf[:i], nil
		}
		if at == 0 && n > 1 && (buf[0] == '\n' || buf[0] == '\r' && buf[1] == '\n') { // it has no header
			return buf[:0], nil
		}
		if n == 0 {
			if err == io.EOF {
				err = nil
			}
			return buf, err
		}
	}
	return buf, nil
}

// mostHeader is how much of a header a search looks at.
const mostHeader = 1 << 20

// blankLine is the end of the header in b, looked for from at on; -1 when it does not end there.
func blankLine(b []byte, at int) int {
	for {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return -1
		}
		at += i + 1
		if at < len(b) && (b[at] == '\n' || b[at] == '\r' && at+1 < len(b) && b[at+1] == '\n') {
			return at
		}
	}
}

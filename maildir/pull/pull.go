package pull

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/sequence"
	"pennypost/maildir"
	"pennypost/maildir/mailbox"
)

// Source is the account to fetch from.
type Source struct {
	URL      string // imaps://USER@HOST[:PORT][/MAILBOX], imap:// with STARTTLS
	Password string
	TLS      *tls.Config // nil: as usual
	Clear    bool        // no TLS: for tunnels, to this machine only
	Skip     []string    // mailboxes there that are not wanted
	Dry      bool        // only say what there is
	Progress func(Progress)
}

// Progress is how far one mailbox is.
type Progress struct {
	Mailbox, To string
	Done, Of    int
	Bytes       int64
	Note        string
}

// Pull fetches everything that is not there yet into the account.
func Pull(ctx context.Context, s *Source, into *mailbox.Account) error {
	u, err := url.Parse(s.URL)
	if err != nil {
		return err
	}
	if u.User == nil || u.User.Username() == "" || u.Host == "" || u.Scheme != "imap" && u.Scheme != "imaps" {
		return fmt.Errorf("%s: want imaps://USER@HOST or imap://USER@HOST", u.Redacted())
	}
	if _, has := u.User.Password(); has {
		return errors.New("a password in a URL is seen by everybody on this machine; give it on standard input or in a file")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"imap": "143", "imaps": "993"}[u.Scheme]
	}
	if ip := net.ParseIP(u.Hostname()); s.Clear && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return errors.New("a password goes to another host with TLS only")
	}
	conf := s.TLS
	if conf == nil {
		conf = &tls.Config{}
	}
	c, err := dial(u.Hostname(), port, u.Scheme == "imaps", s.Clear, conf)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := c.login(u.User.Username(), s.Password); err != nil {
		return err
	}
	j, err := openJournal(into.Root(), u.User.Username()+"@"+u.Hostname())
	if err != nil {
		return err
	}
	defer j.file.Close()
	p := &puller{Source: s, c: c, into: into, journal: j}
	if p.Progress == nil {
		p.Progress = func(Progress) {}
	}
	if only := strings.TrimPrefix(u.Path, "/"); only != "" {
		p.only = only
	}
	boxes, err := p.list()
	if err != nil {
		return err
	}
	var failed error
	for _, b := range boxes {
		if err := p.mailbox(ctx, b); err != nil {
			var refused *Refused
			if !errors.As(err, &refused) || ctx.Err() != nil {
				return fmt.Errorf("%s: %w", b.name, err)
			}
			failed = errors.Join(failed, fmt.Errorf("%s: %w", b.name, err)) // the others may be fetched
		}
	}
	c.do("LOGOUT", nil)
	return failed
}

type puller struct {
	*Source
	c       *client
	into    *mailbox.Account
	journal *journal
	only    string
}

// remote is a mailbox there.
type remote struct {
	raw, name  string // as the server writes it; decoded
	local      string
	use        string
	subscribed bool
}

// uses are the special uses that mailboxes have here (RFC 6154).
var uses = []string{`\Drafts`, `\Sent`, `\Trash`, `\Junk`, `\Archive`}

// list is the mailboxes there, and what they are called here.
func (p *puller) list() ([]*remote, error) {
	prefix := ""
	if p.c.can["NAMESPACE"] {
		p.c.do("NAMESPACE", func(a *answer) error {
			if a.is(0, "NAMESPACE") && len(a.tokens) > 1 && len(a.tokens[1].list) > 0 && len(a.tokens[1].list[0].list) > 0 {
				prefix = a.tokens[1].list[0].list[0].text
			}
			return nil
		})
	}
	command := `LIST "" "*"`
	if p.c.can["SPECIAL-USE"] && p.c.can["LIST-EXTENDED"] {
		command += " RETURN (SPECIAL-USE)"
	}
	var boxes []*remote
	find := map[string]*remote{}
	err := p.c.do(command, func(a *answer) error {
		if !a.is(0, "LIST") || len(a.tokens) < 4 {
			return nil
		}
		b := &remote{raw: a.tokens[3].text}
		var ok bool
		if b.name, ok = maildir.DecodeName(b.raw); !ok {
			b.name = b.raw
		}
		for _, t := range a.tokens[1].list {
			if strings.EqualFold(t.text, `\Noselect`) || strings.EqualFold(t.text, `\NonExistent`) {
				return nil
			}
			for _, use := range uses {
				if strings.EqualFold(t.text, use) {
					b.use = use
				}
			}
		}
		if slices.Contains(p.Skip, b.name) || p.only != "" && b.name != p.only {
			return nil
		}
		b.local = p.nameHere(b.name, prefix, a.tokens[2].text)
		boxes, find[b.raw] = append(boxes, b), b
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.c.do(`LSUB "" "*"`, func(a *answer) error {
		if a.is(0, "LSUB") && len(a.tokens) >= 4 && find[a.tokens[3].text] != nil {
			find[a.tokens[3].text].subscribed = true
		}
		return nil
	})
	return boxes, nil
}

// nameHere is a name of theirs with our delimiter and without their prefix.
func (p *puller) nameHere(name, prefix, delimiter string) string {
	if strings.EqualFold(name, "INBOX") {
		return "INBOX"
	}
	name = strings.TrimPrefix(name, prefix)
	ours := string(p.into.Delimiter())
	parts := []string{name}
	if delimiter != "" && delimiter != "NIL" {
		parts = strings.Split(name, delimiter)
	}
	for i := range parts {
		if delimiter != ours {
			parts[i] = strings.ReplaceAll(parts[i], ours, "_")
		}
	}
	return p.into.Prefix() + strings.Join(parts, ours)
}

// message is one of theirs, before its text.
type message struct {
	uid   uint32
	size  int64
	flags []string
	date  time.Time
}

const (
	batchMost  = 50
	batchBytes = 8 << 20
)

// mailbox fetches one mailbox.
func (p *puller) mailbox(ctx context.Context, b *remote) error {
	var validity uint32
	var total int
	if err := p.c.do("EXAMINE "+quote(b.raw), func(a *answer) error {
		if a.is(1, "EXISTS") {
			total, _ = strconv.Atoi(a.tokens[0].text)
		}
		if a.is(0, "OK") && len(a.tokens) > 1 {
			if n, ok := strings.CutPrefix(strings.ToUpper(a.tokens[1].text), "[UIDVALIDITY "); ok {
				v, _ := strconv.ParseUint(strings.TrimSuffix(n, "]"), 10, 32)
				validity = uint32(v)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if p.Dry {
		p.Progress(Progress{Mailbox: b.name, To: b.local, Of: total, Note: "would be fetched"})
		return nil
	}
	if other, is := p.journal.numbered(b.name, validity); is {
		return &Refused{"EXAMINE", fmt.Sprintf("UIDVALIDITY %d, and mail is here under %s: what is here cannot be told from what is not; without its lines in %s all of it comes again", validity, other, journalName)}
	}
	folder, err := p.open(b)
	if err != nil {
		return err
	}
	defer folder.Close()
	var all []message
	if total > 0 {
		if err := p.c.do("UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)", func(a *answer) error {
			if m, _, ok := parseFetch(a); ok && m.uid != 0 && (len(all) == 0 || m.uid > all[len(all)-1].uid) {
				all = append(all, m)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	at := place(b.name, validity)
	if err := p.settle(ctx, folder, b, validity, all); err != nil {
		return err
	}
	done := p.journal.done[at]
	want := slices.DeleteFunc(slices.Clone(all), func(m message) bool { return done.Has(m.uid) })
	progress := Progress{Mailbox: b.name, To: b.local, Done: len(all) - len(want), Of: len(all)}
	p.Progress(progress)
	for len(want) > 0 {
		n, octets := 0, int64(0)
		for n < len(want) && n < batchMost && (n == 0 || octets+want[n].size < batchBytes) {
			octets += want[n].size
			n++
		}
		if err := p.batch(ctx, folder, b, validity, want[:n]); err != nil {
			return err
		}
		want = want[n:]
		progress.Done += n
		progress.Bytes += octets
		p.Progress(progress)
	}
	return nil
}

// open opens the mailbox here, making it if it is missing: the one with the same special use, else the one with the same name.
func (p *puller) open(b *remote) (*mailbox.Folder, error) {
	list, err := p.into.List()
	if err != nil {
		return nil, err
	}
	for _, info := range list {
		if b.use != "" && info.SpecialUse == b.use {
			b.local = info.Name
		}
	}
	folder, err := p.into.Folder(b.local)
	if errors.Is(err, mailbox.ErrNoMailbox) {
		if err = p.into.Create(b.local, b.use); err == nil || errors.Is(err, mailbox.ErrExists) {
			folder, err = p.into.Folder(b.local)
		}
	}
	if err == nil && b.subscribed {
		err = p.into.Subscribe(b.local, true)
	}
	return folder, err
}

// settle finds out how much of a batch arrived that an earlier run did not come to the end of.
func (p *puller) settle(ctx context.Context, folder *mailbox.Folder, b *remote, validity uint32, all []message) error {
	at := place(b.name, validity)
	open, ok := p.journal.open[at]
	if !ok {
		return nil
	}
	v, err := folder.Look(ctx)
	if err != nil {
		return err
	}
	i, _ := v.Find(open.next)
	var arrived sequence.Set
	for _, m := range all {
		if !open.uids.Has(m.uid) {
			continue
		}
		if i == v.Len() {
			break
		}
		if size, err := v.Size(i); err == nil && size == m.size {
			arrived.Add(m.uid)
			i++
		}
	}
	if len(arrived) == 0 {
		return nil
	}
	p.journal.add(at, arrived)
	return p.journal.say("=", b.name, validity, arrived, "")
}

// batch fetches messages and makes them visible together.
func (p *puller) batch(ctx context.Context, folder *mailbox.Folder, b *remote, validity uint32, want []message) (err error) {
	var set sequence.Set
	meta := map[uint32]message{}
	for _, m := range want {
		set.Add(m.uid)
		meta[m.uid] = m
	}
	var list []*mailbox.Appender
	var got sequence.Set
	defer func() {
		for _, a := range list {
			a.Abort()
		}
	}()
	type arrived struct {
		uid uint32
		a   *mailbox.Appender
	}
	var order []arrived
	if err := p.c.do("UID FETCH "+set.String()+" (UID BODY.PEEK[])", func(a *answer) error {
		m, text, ok := parseFetch(a)
		want, asked := meta[m.uid]
		if !ok || !asked || text == nil {
			return nil
		}
		delete(meta, m.uid)
		app, err := folder.Append()
		if err != nil {
			return err
		}
		list = append(list, app)
		order = append(order, arrived{m.uid, app})
		if _, err := app.Write(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))); err != nil {
			return err
		}
		app.Received = want.date
		app.Flags, err = p.flags(folder, want.flags)
		return err
	}); err != nil {
		return err
	}
	if len(order) == 0 {
		p.Progress(Progress{Mailbox: b.name, Note: fmt.Sprintf("the server does not give the messages %s", set)})
		return nil
	}
	slices.SortFunc(order, func(x, y arrived) int { return int(int64(x.uid) - int64(y.uid)) })
	for i, o := range order {
		got.Add(o.uid)
		list[i] = o.a
	}
	counts, err := folder.Counts(ctx)
	if err != nil {
		return err
	}
	if err := p.journal.say("?", b.name, validity, got, strconv.Itoa(int(counts.UIDNext))); err != nil {
		return err
	}
	if _, err := folder.CommitAll(ctx, list); err != nil {
		return err
	}
	p.journal.add(place(b.name, validity), got)
	return p.journal.say("=", b.name, validity, got, "")
}

// flags are theirs as ours.
func (p *puller) flags(folder *mailbox.Folder, names []string) (out mailbox.Flags, err error) {
	for _, name := range names {
		switch strings.ToLower(name) {
		case `\seen`:
			out |= mailbox.Seen
		case `\answered`:
			out |= mailbox.Answered
		case `\flagged`:
			out |= mailbox.Flagged
		case `\deleted`:
			out |= mailbox.Deleted
		case `\draft`:
			out |= mailbox.Draft
		case "$forwarded":
			out |= mailbox.Forwarded
		default:
			if name == "" || name[0] == '\\' || strings.ContainsAny(name, " (){%*\"]\x7f") {
				continue
			}
			n, err := folder.KeywordNumber(name, true)
			if errors.Is(err, mailbox.ErrKeywords) {
				continue
			}
			if err != nil {
				return out, err
			}
			out |= mailbox.Keyword(n)
		}
	}
	return out, nil
}

// parseFetch reads "N FETCH (…)"; text is nil without BODY[].
func parseFetch(a *answer) (m message, text []byte, ok bool) {
	if !a.is(1, "FETCH") || len(a.tokens) < 3 || !a.tokens[2].isList {
		return m, nil, false
	}
	items := a.tokens[2].list
	for i := 0; i+1 < len(items); i += 2 {
		value := items[i+1]
		switch strings.ToUpper(items[i].text) {
		case "UID":
			n, _ := strconv.ParseUint(value.text, 10, 32)
			m.uid = uint32(n)
		case "RFC822.SIZE":
			m.size, _ = strconv.ParseInt(value.text, 10, 64)
		case "INTERNALDATE":
			m.date, _ = time.Parse("_2-Jan-2006 15:04:05 -0700", value.text)
		case "FLAGS":
			for _, t := range value.list {
				m.flags = append(m.flags, t.text)
			}
		case "BODY[]":
			if value.quoted {
				text = []byte(value.text)
			}
		}
	}
	return m, text, true
}

// ReadPassword is the first line of r.
func ReadPassword(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, 4096))
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSuffix(line, "\r"), err
}

package imapd

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"pennypost/internal/sequence"
	"pennypost/maildir/mailbox"
)

var notifyVerbs = []verb{{"NOTIFY", loggedIn, (*session).notify, expunges, false}}

// events are what NOTIFY may ask for (RFC 5465 section 5).
type events uint8

const (
	messageNew events = 1 << iota
	messageExpunge
	flagChange
	mailboxName
	subscriptionChange
	mailboxMetadata
	serverMetadata
	messageEvents = messageNew | messageExpunge | flagChange
)

var eventNames = []struct {
	name  string
	event events
}{
	{"MESSAGENEW", messageNew}, {"MESSAGEEXPUNGE", messageExpunge}, {"FLAGCHANGE", flagChange}, {"MAILBOXNAME", mailboxName},
	{"SUBSCRIPTIONCHANGE", subscriptionChange}, {"MAILBOXMETADATACHANGE", mailboxMetadata}, {"SERVERMETADATACHANGE", serverMetadata},
}

const supportedEvents = "MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange"

// interest is one event group: some mailboxes, and what a client wants to know of them.
type interest struct {
	filter string   // SELECTED SELECTED-DELAYED INBOXES PERSONAL SUBSCRIBED SUBTREE MAILBOXES
	names  []string // of the last two
	events events
	fetch  *fetching // what to say of a new message in the selected mailbox
}

// notification is what a session has asked for with NOTIFY (RFC 5465).
type notification struct {
	groups   []interest
	selected *interest // of the groups, the one for the selected mailbox
	others   map[string]*noted
	listed   map[string]mailbox.Info // as the client was told, where names or subscriptions matter
	doubted  map[string]bool         // names that were no mailboxes yet when they were seen first
	stamp    time.Time               // of the root when it was listed
	server   map[string]string       // annotations of the server
	stopRoot func()
	box      *selected // whose folder is listened to
	stopBox  func()
}

// noted is one mailbox that is not selected.
type noted struct {
	place
	folder  *mailbox.Folder
	events  events
	stop    func()
	changed atomic.Bool
	counts  mailbox.Counts // as the client knows them
	meta    map[string]string
}

// mostNoted bounds the mailboxes of one NOTIFY: each is held open.
var mostNoted = 500

// errBadEvent is an event we do not have.
var errBadEvent = errors.New("BADEVENT")

// notify answers NOTIFY. What was asked before is forgotten (section 3.1).
func (s *session) notify(c *command) reply {
	c.SP()
	if c.Word("NONE") {
		if c.End(); c.Err() != nil {
			return syntax(c.Err())
		}
		s.endNotify()
		return ok("silence")
	}
	if !c.Word("SET") {
		c.Fail("SET or NONE")
	}
	n := &notification{others: map[string]*noted{}}
	status := false
	c.SP()
	if c.Word("STATUS") {
		status = true
		c.SP()
	}
	var unknown error
	for {
		g, err := s.parseInterest(c)
		if err != nil {
			unknown = err
		}
		n.groups = append(n.groups, g)
		if len(n.groups) > 100 {
			c.Fail("fewer groups")
		}
		if c.Err() != nil || !c.Take(' ') {
			break
		}
	}
	if c.End(); c.Err() != nil {
		return syntax(c.Err())
	}
	if unknown != nil {
		return no("BADEVENT ("+supportedEvents+")", "one of the events we do not have")
	}
	if r := n.check(); r != nil {
		return *r
	}
	s.endNotify()
	s.news = n
	if err := s.startNotify(status); err != nil {
		s.endNotify()
		if errors.Is(err, errTooMany) {
			return no("NOTIFICATIONOVERFLOW", "that is more mailboxes than we watch")
		}
		return s.failed(err)
	}
	return ok("you will hear of it")
}

// parseInterest reads one event group (section 8).
func (s *session) parseInterest(c *command) (g interest, unknown error) {
	utf8 := s.enabled&utf8Accept != 0
	c.Expect('(')
	g.filter = c.Keyword("a filter")
	switch g.filter {
	case "SELECTED", "SELECTED-DELAYED", "INBOXES", "PERSONAL", "SUBSCRIBED":
	case "SUBTREE", "MAILBOXES":
		c.SP()
		if c.Peek() == '(' {
			c.List(func() { g.names = append(g.names, c.Mailbox(utf8)) })
		} else {
			g.names = append(g.names, c.Mailbox(utf8))
		}
	default:
		c.Fail("selected, selected-delayed, inboxes, personal, subscribed, subtree or mailboxes")
	}
	c.SP()
	if !c.Word("NONE") {
		c.List(func() {
			name := c.Keyword("an event")
			i := slices.IndexFunc(eventNames, func(e struct {
				name  string
				event events
			}) bool {
				return e.name == name
			})
			if i < 0 {
				unknown = errBadEvent
				return
			}
			g.events |= eventNames[i].event
			if eventNames[i].event == messageNew && strings.HasPrefix(c.Ahead(), " (") {
				c.SP()
				g.fetch = &fetching{}
				c.List(func() { g.fetch.parseItem(c, false) })
				g.fetch.sees = false
			}
		})
	}
	c.Expect(')')
	return g, unknown
}

// check refuses what section 5 forbids, and finds the group of the selected mailbox.
func (n *notification) check() *reply {
	for i := range n.groups {
		g := &n.groups[i]
		isSelected := strings.HasPrefix(g.filter, "SELECTED")
		both := g.events & (messageNew | messageExpunge)
		switch {
		case both == messageNew || both == messageExpunge || both == 0 && g.events&flagChange != 0:
			r := bad("MessageNew and MessageExpunge go together, and FlagChange with them (RFC 5465 section 5)")
			return &r
		case isSelected && n.selected != nil:
			r := bad("the selected mailbox twice")
			return &r
		case isSelected && g.events&^messageEvents != 0:
			r := bad("of the selected mailbox only messages are told")
			return &r
		case !isSelected && g.fetch != nil:
			r := bad("only of the selected mailbox messages are fetched")
			return &r
		case isSelected:
			n.selected = g
		}
	}
	return nil
}

var errTooMany = errors.New("too many")

// wants reports what is to be told of a mailbox that is not selected: the first group that has it decides (section 6).
func (n *notification) wants(m *listed, delimiter byte) events {
	for i := range n.groups {
		g := &n.groups[i]
		has := false
		switch g.filter {
		case "INBOXES":
			has = m.Name == "INBOX"
		case "PERSONAL":
			has = m.place.shared != nil && m.place.owner == nil
		case "SUBSCRIBED":
			has = m.Subscribed
		case "MAILBOXES":
			has = slices.Contains(g.names, m.Name)
		case "SUBTREE":
			has = slices.ContainsFunc(g.names, func(name string) bool {
				return m.Name == name || strings.HasPrefix(m.Name, name+string(delimiter))
			})
		}
		if has {
			return g.events
		}
	}
	return 0
}

// all is every event of any group.
func (n *notification) all() (e events) {
	for i := range n.groups {
		e |= n.groups[i].events
	}
	return e
}

// startNotify begins to listen; with status, the client hears of the mailboxes as they are now.
func (s *session) startNotify(status bool) error {
	n := s.news
	for i := range n.groups {
		for k, name := range n.groups[i].names {
			n.groups[i].names[k] = s.fullName(name)
		}
	}
	inbox, err := s.account.Folder("INBOX")
	if err != nil {
		return err
	}
	stop := inbox.OnChange(s.wake)
	n.stopRoot = func() {
		stop()
		inbox.Close()
	}
	if err := s.relist(status); err != nil {
		return err
	}
	if n.all()&serverMetadata != 0 {
		n.server, err = s.annotations(annotated{place{shared: s.account, name: "INBOX"}, true})
	}
	return err
}

// endNotify stops listening.
func (s *session) endNotify() {
	n := s.news
	if n == nil {
		return
	}
	s.news = nil
	for _, m := range n.others {
		m.leave()
	}
	if n.stopBox != nil {
		n.stopBox()
	}
	if n.stopRoot != nil {
		n.stopRoot()
	}
}

func (m *noted) leave() {
	m.stop()
	m.folder.Close()
}

// relist brings the watched mailboxes in line with those there are.
func (s *session) relist(status bool) error {
	n := s.news
	n.stamp = s.account.Stamp()
	all, err := s.everything(nil)
	if err != nil {
		return err
	}
	listed := map[string]mailbox.Info{}
	found, doubted := map[string]bool{}, map[string]bool{}
	for i := range all {
		m := &all[i]
		e := n.wants(m, s.account.Delimiter())
		if n.listed != nil && m.NoSelect && !m.NonExistent && !n.doubted[m.Name] && n.listed[m.Name].Name == "" {
			doubted[m.Name] = true // perhaps it is just being made
			continue
		}
		if e&(mailboxName|subscriptionChange) != 0 {
			listed[m.Name] = m.Info
		}
		if e&(messageEvents|mailboxMetadata) == 0 || m.NoSelect || m.NonExistent || m.place.shared == nil {
			continue
		}
		found[m.Name] = true
		if n.others[m.Name] != nil {
			continue
		}
		if len(n.others) == mostNoted {
			return errTooMany
		}
		if err := s.listenTo(m, e, status); err != nil && !errors.Is(err, errNotPermitted) && !errors.Is(err, mailbox.ErrNoMailbox) {
			return err
		}
	}
	for name, m := range n.others {
		if !found[name] {
			m.leave()
			delete(n.others, name)
		}
	}
	if n.listed != nil {
		s.tellNames(n.listed, listed)
	}
	n.listed = listed
	if n.doubted = doubted; len(doubted) > 0 {
		n.stamp = time.Time{}
		time.AfterFunc(100*time.Millisecond, s.wake)
	}
	return nil
}

// listenTo watches one mailbox.
func (s *session) listenTo(m *listed, e events, status bool) error {
	folder, err := s.openAt(m.place, "r")
	if err != nil {
		return err
	}
	o := &noted{place: m.place, folder: folder, events: e}
	o.stop = folder.OnChange(func() {
		o.changed.Store(true)
		s.wake()
	})
	s.news.others[m.Name] = o
	if o.counts, err = folder.Counts(s.ctx); err != nil {
		return err
	}
	if e&mailboxMetadata != 0 {
		o.meta, _ = s.annotations(annotated{place: m.place})
	}
	if status && e&messageEvents != 0 && (s.box == nil || s.box.full != m.Name) {
		s.noteStatus(o)
	}
	return nil
}

// noteStatus is the STATUS response of a mailbox in which something has happened (sections 5.1 to 5.3).
func (s *session) noteStatus(o *noted) {
	items := []string{"MESSAGES", "UIDNEXT", "UIDVALIDITY"}
	if o.events&flagChange != 0 {
		items = append(items, "UNSEEN")
	}
	if s.enabled&condstore != 0 {
		items = append(items, "HIGHESTMODSEQ")
	}
	s.statusOf(o.place, items)
}

// tellNames says which mailboxes came, went, or changed their subscription, by LIST responses (section 5.4 and 5.5).
func (s *session) tellNames(was, is map[string]mailbox.Info) {
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if _, still := is[name]; !still {
			s.noteName(mailbox.Info{Name: name, NonExistent: true})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		old, known := was[name]
		if now := is[name]; !known || old.Subscribed != now.Subscribed || old.NoSelect != now.NoSelect {
			s.noteName(now)
		}
	}
}

func (s *session) noteName(info mailbox.Info) {
	var words []string
	switch {
	case info.NonExistent:
		words = append(words, `\NonExistent`)
	case info.NoSelect:
		words = append(words, `\Noselect`)
	}
	if info.Subscribed {
		words = append(words, `\Subscribed`)
	}
	s.out = append(append(append(s.out, "* LIST ("...), strings.Join(words, " ")...), ") "...)
	s.out = append(quoted(s.out, string(s.account.Delimiter())), ' ')
	s.out = append(s.mailboxName(s.out, info.Name), "\r\n"...)
	s.spill()
}

// tellNews says what has happened since the last time.
func (s *session) tellNews() {
	n := s.news
	s.tellSelected()
	for _, name := range slices.Sorted(maps.Keys(n.others)) {
		o := n.others[name]
		if !o.changed.Swap(false) || s.box != nil && s.box.full == name {
			continue
		}
		s.tellOther(o)
	}
	e := n.all()
	if e&serverMetadata != 0 {
		if now, err := s.annotations(annotated{place{shared: s.account, name: "INBOX"}, true}); err == nil {
			s.noteMetadata("", n.server, now)
			n.server = now
		}
	}
	if at := s.account.Stamp(); !at.Equal(n.stamp) {
		if err := s.relist(false); errors.Is(err, errTooMany) {
			s.endNotify()
			s.untagged(okCode("NOTIFICATIONOVERFLOW", "that is more mailboxes than we watch"))
		}
	}
}

// tellSelected is the news of the selected mailbox, between commands.
func (s *session) tellSelected() {
	n := s.news
	if s.box == nil || n.selected == nil || n.selected.events&messageEvents == 0 || !s.stillShared() {
		return
	}
	next := s.box.view.Counts().UIDNext
	s.tell(n.selected.filter == "SELECTED")
	if n.selected.fetch == nil || s.box == nil {
		return
	}
	view := s.box.view
	if at, _ := view.Find(next); at < view.Len() {
		f := *n.selected.fetch
		f.items = slices.Clone(f.items)
		if s.enabled&uidOnly == 0 {
			f.want(itemUID)
		}
		var uids sequence.Set
		for i := at; i < view.Len(); i++ {
			uids.Add(view.UID(i))
		}
		if _, err := s.fetchAll(&f, uids); err != nil {
			s.srv.Log.Warn("imap notify", err)
		}
	}
}

// tellOther is the news of another mailbox, if the session may still hear it (S104).
func (s *session) tellOther(o *noted) {
	if s.allowed(o.place, "r") != nil {
		return
	}
	now, err := o.folder.Counts(s.ctx)
	if err != nil {
		return
	}
	was := o.counts
	o.counts = now
	came := now.Messages != was.Messages || now.UIDNext != was.UIDNext
	flags := now.HighestModSeq != was.HighestModSeq
	if came && o.events&messageNew != 0 || flags && o.events&flagChange != 0 {
		s.noteStatus(o)
	}
	if o.events&mailboxMetadata != 0 {
		if meta, err := s.annotations(annotated{place: o.place}); err == nil {
			s.noteMetadata(o.full, o.meta, meta)
			o.meta = meta
		}
	}
}

// noteMetadata names the entries that have changed (RFC 5464 section 4.4.2).
func (s *session) noteMetadata(name string, was, is map[string]string) {
	var entries []string
	for entry, value := range is {
		if old, had := was[entry]; !had || old != value {
			entries = append(entries, entry)
		}
	}
	for entry := range was {
		if _, has := is[entry]; !has {
			entries = append(entries, entry)
		}
	}
	if len(entries) > 0 {
		slices.Sort(entries)
		s.out = append(s.mailboxName(append(s.out, "* METADATA "...), name), ' ')
		s.out = append(append(s.out, strings.Join(entries, " ")...), "\r\n"...)
		s.spill()
	}
}

// awaitCommand waits for the next command, and says meanwhile what happens. The error is that of the connection.
func (s *session) awaitCommand() error {
	until := time.Now().Add(s.srv.IdleTime)
	for s.news != nil && s.ended == "" && s.broken == nil {
		s.news.follow(s)
		err := s.await(until)
		if !errors.Is(err, errNews) {
			return err
		}
		s.need()
		s.tellNews()
		s.flush()
		s.rest()
	}
	return nil
}

// follow listens to the mailbox that is selected now.
func (n *notification) follow(s *session) {
	if n.box == s.box {
		return
	}
	if n.stopBox != nil {
		n.stopBox()
		n.stopBox = nil
	}
	if n.box = s.box; s.box != nil && n.selected != nil {
		n.stopBox = s.box.folder.OnChange(s.wake)
	}
}

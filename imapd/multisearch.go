package imapd

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"pennypost/maildir/mailbox"
)

// source is where a MULTISEARCH looks: the words of RFC 5465 section 6, as RFC 7377 section 2.2 takes them over.
type source struct {
	kind  string
	names []string
}

// esearch answers ESEARCH (RFC 7377): one response for each mailbox in which something was found, always in UIDs. Without IN it is UID
// SEARCH in the selected mailbox.
func (s *session) esearch(c *command) reply {
	c.uid, s.byUID = true, true
	c.SP()
	var sources []source
	elsewhere := c.Word("IN")
	if elsewhere {
		c.SP()
		sources = s.parseSources(c)
		c.SP()
	}
	want, extended := s.parseReturn(c)
	if extended {
		c.SP()
	}
	p := s.parseProgram(c)
	if r := s.checkProgram(c, p, want); r != nil {
		return *r
	}
	if !elsewhere {
		if s.box == nil {
			return bad("select a mailbox, or say IN which to search")
		}
		return s.searchHere(c, p, want)
	}
	alone := len(sources) == 1 && sources[0].kind == "SELECTED" // then "$" means something (RFC 7377 section 2.2)
	switch {
	case !alone && (want.has(wantSave) || p.dollar):
		return bad("there is no saved result for more than the selected mailbox (RFC 7377 section 2.2)")
	case p.numbers():
		return bad("message numbers mean nothing in several mailboxes")
	}
	places, err := s.gather(sources)
	if err != nil {
		return s.failed(err)
	}
	for _, at := range places {
		if err := s.searchAt(c, at, p, want); err != nil {
			return s.searchFailed(err, want)
		}
	}
	return ok("searched")
}

// searchHere is ESEARCH without IN.
func (s *session) searchHere(c *command, p *program, want *returns) reply {
	r := s.newSearch(c)
	defer r.close()
	r.scores = want.has(wantRelevancy)
	hits, err := r.collect(p, want)
	if err != nil {
		return s.searchFailed(err, want)
	}
	if want.has(wantSave) {
		s.saved = want.saves(hits)
	}
	s.sendESearch(c, want, hits, p.modseq)
	return ok("searched")
}

// parseSources reads (personal mailboxes (a b) subtree c …).
func (s *session) parseSources(c *command) (out []source) {
	c.List(func() {
		from := source{kind: c.Keyword("where to search")}
		switch from.kind {
		case "SELECTED", "SELECTED-DELAYED", "INBOXES", "PERSONAL", "SUBSCRIBED":
			from.kind = strings.TrimSuffix(from.kind, "-DELAYED")
		case "SUBTREE", "SUBTREE-ONE", "MAILBOXES":
			name := func() { from.names = append(from.names, c.Mailbox(s.enabled&utf8Accept != 0)) }
			if c.SP(); c.Peek() == '(' {
				c.List(name)
			} else {
				name()
			}
		default:
			c.Fail("selected, inboxes, personal, subscribed, subtree, subtree-one or mailboxes")
		}
		out = append(out, from)
	})
	if len(out) == 0 {
		c.Fail("where to search")
	}
	return out
}

// fullName is a name as LIST says it, where it leads anywhere.
func (s *session) fullName(name string) string {
	if p, err := s.locate(name); err == nil {
		return p.full
	}
	return name
}

// numbers reports whether the program speaks in message numbers.
func (p *program) numbers() bool {
	var in func(k *key) bool
	in = func(k *key) bool { return k.op == opNumbers || slices.ContainsFunc(k.kids, in) }
	return in(p.root)
}

// gather is the mailboxes of the sources, each once, in the order of LIST. What is not there is left out.
func (s *session) gather(sources []source) ([]place, error) {
	all, err := s.everything(nil)
	if err != nil {
		return nil, err
	}
	for _, from := range sources {
		for k, name := range from.names {
			from.names[k] = s.fullName(name)
		}
	}
	d := string(s.account.Delimiter())
	wanted := func(m *listed) bool {
		return slices.ContainsFunc(sources, func(from source) bool {
			switch from.kind {
			case "SELECTED":
				return s.box != nil && m.place.full == s.box.full
			case "INBOXES":
				return m.place.owner == nil && m.Name == "INBOX"
			case "PERSONAL":
				return m.place.owner == nil
			case "SUBSCRIBED":
				return m.Subscribed
			}
			return slices.ContainsFunc(from.names, func(name string) bool {
				rest, below := strings.CutPrefix(m.place.full, name+d)
				return m.place.full == name || below && (from.kind == "SUBTREE" || from.kind == "SUBTREE-ONE" && !strings.Contains(rest, d))
			})
		})
	}
	var out []place
	for i := range all {
		if m := &all[i]; !m.NoSelect && !m.NonExistent && wanted(m) {
			out = append(out, m.place)
		}
	}
	return out, nil
}

// searchAt searches one mailbox. One that is gone or closed to us has no results, and no error (RFC 7377 section 2).
func (s *session) searchAt(c *command, at place, p *program, want *returns) error {
	folder, err := s.openAt(at, "r")
	if err != nil {
		return skipped(err)
	}
	defer folder.Close()
	r := &searching{s: s, ctx: s.ctx, tag: c.tag, folder: folder}
	defer r.close()
	selected := s.box != nil && s.box.folder == folder
	if selected { // what the client knows of it
		r.view, r.held, r.recent = s.box.view, s.box.held, s.box.recent
	} else if r.view, err = folder.Look(s.ctx); err != nil {
		return skipped(err)
	}
	r.scores = want.has(wantRelevancy)
	hits, err := r.collect(p, want)
	if err != nil {
		return err
	}
	if want.has(wantSave) && selected {
		s.saved = want.saves(hits)
	}
	if len(hits) == 0 || want.what == wantSave {
		return nil
	}
	s.out = append(append(append(s.out, `* ESEARCH (TAG "`...), c.tag...), `" MAILBOX `...)
	s.out = append(s.mailboxName(s.out, at.full), " UIDVALIDITY "...)
	s.out = append(strconv.AppendUint(s.out, uint64(r.view.Counts().UIDValidity), 10), ')')
	s.esearchItems(want, hits, true, p.modseq)
	return nil
}

// skipped is nil for what does not keep a search from going on in other mailboxes.
func skipped(err error) error {
	if errors.Is(err, mailbox.ErrNoMailbox) || errors.Is(err, errNotPermitted) || errors.Is(err, mailbox.ErrNoInferiors) {
		return nil
	}
	return err
}

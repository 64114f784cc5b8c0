package mailq

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"pennypost/internal/address"
	"pennypost/queue"
	"pennypost/queue/control"
)

// selection says which messages are meant.
type selection struct {
	ids      []string
	from, to []string
	site     []string
	auth     []string
	held     bool
	bad      bool
	all      bool
}

// parseSelection reads ID, from:, to:, auth:, site:, held, bad and all.
func parseSelection(args []string) (sel selection, err error) {
	for _, arg := range args {
		kind, name, ok := strings.Cut(arg, ":")
		id := strings.TrimRight(arg, "*!") // as the list has it
		switch {
		case strings.HasPrefix(arg, "-"):
			return sel, optionLate(arg)
		case arg == "all" || arg == "ALL":
			sel.all = true
		case arg == "held":
			sel.held = true
		case arg == "bad":
			sel.bad = true
		case ok && name == "":
			return sel, usage("%.60q: nothing behind the colon", arg)
		case ok && kind == "from":
			sel.from = append(sel.from, plain(name))
		case ok && kind == "to":
			sel.to = append(sel.to, plain(name))
		case ok && kind == "auth":
			sel.auth = append(sel.auth, plain(name))
		case ok && kind == "site":
			sel.site = append(sel.site, name)
		case queue.ValidID(id):
			sel.ids = append(sel.ids, id)
		default:
			return sel, usage("%.60q is neither a message's id nor from:, to:, auth:, site:, held, bad or all", arg)
		}
	}
	return sel, nil
}

// optionLate is the error for an option where none can stand: it must not become part of a reason.
func optionLate(arg string) error {
	return usage("%.40q: options stand before the command or right behind it", arg)
}

// plain is an address as envelopes have it: <Bob@EXAMPLE.org> is Bob@example.org.
func plain(s string) string {
	if len(s) > 1 && s[0] == '<' && s[len(s)-1] == '>' {
		s = s[1 : len(s)-1]
	}
	if p, err := address.Parse(s); err == nil && p.Domain != "" {
		return p.String()
	}
	return s
}

func (sel *selection) empty() bool {
	return !sel.all && !sel.held && !sel.bad && len(sel.ids) == 0 && !sel.open()
}

// open reports whether messages must be read to know whether they are meant.
func (sel *selection) open() bool { return len(sel.from)+len(sel.to)+len(sel.site)+len(sel.auth) > 0 }

// match reports whether a message is meant.
func (sel *selection) match(e *Entry) bool {
	switch {
	case sel.all || sel.held && e.State == "held" || slices.Contains(sel.ids, e.ID):
		return true
	case e.env == nil:
		return false
	case slices.ContainsFunc(sel.from, func(s string) bool { return matchAddress(s, e.From, e.env.From.DomainUnicode()) }):
		return true
	case e.User != "" && slices.Contains(sel.auth, e.User):
		return true
	}
	for i := range e.Recipients {
		r := &e.Recipients[i]
		if r.State != "waiting" {
			continue
		}
		if slices.ContainsFunc(sel.to, func(s string) bool { return matchAddress(s, r.To, r.domain) }) {
			return true
		}
		names := siteNames(r)
		if slices.ContainsFunc(sel.site, func(s string) bool {
			return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(s, n) })
		}) {
			return true
		}
	}
	return false
}

// matchAddress compares an address with one somebody typed, or with a domain somebody typed.
func matchAddress(typed, addr, domain string) bool {
	if strings.EqualFold(typed, addr) {
		return true
	}
	return typed != "" && !strings.Contains(strings.TrimPrefix(typed, "@"), "@") && address.Unicode(strings.TrimPrefix(typed, "@")) == domain && domain != ""
}

// places are where messages are, in the order in which they move: who looks on does not miss one.
func places() []string { return append(queue.NewDirs(), "q", "hold") }

// walk calls each for every message, oldest first within a directory. Directories we may not read
// are noted; if it is the queue itself that is an error.
func (t *Tool) walk(each func(f queue.Found) error) error {
	var batch []queue.Found
	flush := func() error {
		slices.SortFunc(batch, func(a, b queue.Found) int { return strings.Compare(a.ID, b.ID) })
		for _, f := range batch {
			if err := each(f); err != nil {
				return err
			}
		}
		batch = batch[:0]
		return nil
	}
	hidden := 0
	dir := func(name string) string { return name[:strings.LastIndexByte(name, '/')] }
	for _, place := range places() {
		err := t.Spool.Scan(func(f queue.Found) error {
			if len(batch) > 0 && dir(batch[0].Name) != dir(f.Name) {
				if err := flush(); err != nil {
					return err
				}
			}
			batch = append(batch, f)
			return nil
		}, place)
		if errors.Is(err, fs.ErrPermission) && place != "q" {
			if hidden++; hidden == 1 {
				t.note("%v: what is there, or beside it, is not shown", err)
			}
			err = nil
		}
		if err == nil {
			err = flush()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// entries calls each for the messages of a selection; an empty one means all. A message seen twice on its way is given once.
func (t *Tool) entries(sel selection, each func(e *Entry) error) error {
	pauses, err := control.ReadAt(t.Spool, t.now())
	if err != nil {
		t.note("%v", err)
		pauses = new(control.State)
	}
	for _, err := range pauses.Bad {
		t.note("%v", err)
	}
	if len(sel.ids) > 0 && !sel.open() && !sel.all && !sel.held {
		for _, id := range sel.ids {
			e, err := t.find(id, pauses)
			if err == nil {
				err = each(e)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	if sel.empty() {
		sel.all = true
	}
	if sel.bad && !sel.all && !sel.held && !sel.open() && len(sel.ids) == 0 {
		return nil // bad/ has no messages
	}
	moved := map[string]bool{} // seen in in/, may come again in q/
	return t.walk(func(f queue.Found) error {
		if moved[f.ID] {
			return nil
		}
		e, err := t.entry(f.Name, f.ID, pauses)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !sel.match(e) {
			return err
		}
		if strings.HasPrefix(f.Name, "in/") {
			moved[f.ID] = true
		}
		return each(e)
	})
}

// find is the message with an id.
func (t *Tool) find(id string, pauses *control.State) (*Entry, error) {
	id = strings.TrimRight(id, "*!")
	if !queue.ValidID(id) {
		return nil, usage("%.60q is no message's id", id)
	}
	for range 3 { // it may move while we look
		name, err := t.Spool.Find(id)
		if err != nil {
			return nil, err
		}
		if name == "" {
			break
		}
		e, err := t.entry(name, id, pauses)
		if !errors.Is(err, fs.ErrNotExist) {
			return e, err
		}
	}
	return nil, noMessage(id)
}

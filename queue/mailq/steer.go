package mailq

import (
	"errors"
	"io/fs"
	"strings"
	"time"

	"pennypost/internal/durable"
	"pennypost/queue/control"
)

// running reports whether queue-run works on the spool: it reads the producers' FIFOs. Where we
// may not ask, it is taken to run.
func (t *Tool) running() bool {
	disk, ok := t.Spool.Disk.(durable.Piper)
	if !ok {
		return false
	}
	p, err := disk.WritePipe("in/adopt/trigger")
	if err == nil {
		p.Close()
	}
	return err == nil || errors.Is(err, fs.ErrPermission)
}

// messages calls do for the messages somebody named; it is an error if there is none of them.
func (t *Tool) messages(args []string, do func(e *Entry) error) error {
	if len(args) == 0 {
		return usage("which messages? Give ids, from:ADDRESS, to:ADDRESS, auth:USER, site:NAME, held or all")
	}
	sel, err := parseSelection(args)
	if err == nil && sel.bad {
		err = usage("what is in bad/ is no message: rm it, or mend it and mv it to in/adopt/new")
	}
	if err != nil {
		return err
	}
	var found []*Entry // first look, then do: what we move must not come again
	if err := t.entries(sel, func(e *Entry) error { found = append(found, e); return nil }); err != nil {
		return err
	}
	if len(found) == 0 {
		return &exit{exNoInput, "no such messages in the queue"}
	}
	for _, e := range found {
		if err := do(e); err != nil {
			return err
		}
	}
	return nil
}

// ask puts a wish into kick/.
func (t *Tool) ask(verb, id string) error {
	return control.Ask(t.Spool, control.Kick{Verb: verb, Name: id, Text: t.Reason})
}

// done says what was done, or asked for.
func (t *Tool) done(what, id string) error {
	if t.JSON {
		return t.object(map[string]string{"id": id, "done": what})
	}
	t.printf("%s: %s", id, what)
	return nil
}

func (t *Tool) hold(args []string) error {
	running := t.running()
	return t.messages(args, func(e *Entry) error {
		if e.State == "held" {
			return t.done("is held already", e.ID)
		}
		if running {
			if err := t.ask("hold", e.ID); err != nil {
				return err
			}
			return t.done("queue-run will hold it", e.ID)
		}
		reason := t.Reason
		if reason == "" {
			reason = "held by hand"
		}
		if err := t.Spool.Hold(e.File, reason); err != nil {
			return err
		}
		return t.done("held", e.ID)
	})
}

func (t *Tool) release(args []string) error {
	let, err := t.letSendAll(args)
	if err != nil {
		return err
	}
	err = t.messages(args, func(e *Entry) error {
		if e.State != "held" {
			return t.done("is not held", e.ID)
		}
		err := t.Spool.Release(e.ID)
		if errors.Is(err, fs.ErrPermission) {
			if err = t.ask("release", e.ID); err == nil {
				return t.done("queue-run will release it", e.ID)
			}
		}
		if err != nil {
			return err
		}
		return t.done("released", e.ID)
	})
	if e := new(exit); let && errors.As(err, &e) && e.code == exNoInput {
		return nil // nothing of it is left, but it may send again
	}
	return err
}

// retry is about messages, a site or everything.
func (t *Tool) retry(args []string) error {
	if len(args) == 0 {
		return usage("retry what? Give ids, from:ADDRESS, to:ADDRESS, site:NAME or all")
	}
	var rest []string
	for _, arg := range args {
		site, ok := strings.CutPrefix(arg, "site:")
		switch {
		case ok && site != "":
			if err := t.wish("site", site); err != nil {
				return err
			}
		case arg == "all":
			if err := t.wish("all", ""); err != nil {
				return err
			}
		default:
			rest = append(rest, arg)
		}
	}
	if len(rest) == 0 {
		return nil
	}
	later := t.later()
	return t.messages(rest, func(e *Entry) error {
		if e.State == "held" {
			return t.done("is held; release it first", e.ID)
		}
		if err := t.ask("try", e.ID); err != nil {
			return err
		}
		return t.done("queue-run will try it"+later, e.ID)
	})
}

// wish is a kick about more than a message.
func (t *Tool) wish(verb, name string) error {
	if err := t.ask(verb, name); err != nil {
		return err
	}
	if name == "" {
		name = "all"
	}
	return t.done("queue-run will try it"+t.later(), name)
}

// later is what to say where queue-run must do something and does not run.
func (t *Tool) later() string {
	if t.running() {
		return ""
	}
	return " when it is started"
}

func (t *Tool) bounce(args []string) error {
	later := t.later()
	return t.messages(args, func(e *Entry) error {
		if e.State == "held" {
			if err := t.Spool.Release(e.ID); err != nil {
				return err
			}
		}
		if err := t.ask("bounce", e.ID); err != nil {
			return err
		}
		return t.done("queue-run will give it up"+later, e.ID)
	})
}

func (t *Tool) remove(args []string) error {
	running := t.running()
	return t.messages(args, func(e *Entry) error { return t.removeOne(e, running, "removed") })
}

// removeOne removes a message: what is held is nobody's, the rest is queue-run's where it runs.
func (t *Tool) removeOne(e *Entry, running bool, word string) error {
	if running && e.State != "held" {
		if err := t.ask("remove", e.ID); err != nil {
			return err
		}
		return t.done("queue-run will remove it", e.ID)
	}
	err := t.Spool.Remove(e.File)
	if errors.Is(err, fs.ErrPermission) {
		if err = t.ask("remove", e.ID); err == nil {
			return t.done("queue-run will remove it"+t.later(), e.ID)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return t.done(word, e.ID)
}

// cancel removes scheduled messages, and no others: what may have been sent is not cancelled.
func (t *Tool) cancel(args []string) error {
	running := t.running()
	return t.messages(args, func(e *Entry) error {
		if e.State != "scheduled" || e.Attempts > 0 {
			return &exit{exUsage, e.ID + " is not a scheduled message that is not due yet; mailq remove removes any"}
		}
		return t.removeOne(e, running, "cancelled")
	})
}

// target takes site:NAME, from:ADDRESS or all apart.
func target(arg string) (kind, name string, err error) {
	kind, name, ok := strings.Cut(arg, ":")
	switch {
	case arg == "all":
		return "all", "", nil
	case !ok || name == "" || kind != "site" && kind != "from" && kind != "auth" && kind != "list" && kind != "transport":
		return "", "", usage("%.60q: want site:NAME, from:ADDRESS, auth:USER, list:NAME, transport:NAME or all", arg)
	case kind == "from" || kind == "auth":
		name = plain(name)
	}
	return kind, name, nil
}

// until is the end that was asked for: a time, or a span from now.
func (t *Tool) until() (time.Time, error) {
	if t.Until == "" {
		return time.Time{}, nil
	}
	text, days := t.Until, time.Duration(0)
	if n, rest, ok := strings.Cut(text, "d"); ok && strings.Trim(n, "0123456789") == "" && n != "" && len(n) < 5 {
		for _, c := range n {
			days = days*10 + time.Duration(c-'0')
		}
		text = rest
		if rest == "" {
			text = "0s"
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return t.now().Add(days*24*time.Hour + d), nil
	}
	at, err := control.ParseTime(t.Until)
	if err != nil {
		return at, usage("until %.40q: want a time like 2026-11-22T12:00:00Z or a span like 2h30m or 3d", t.Until)
	}
	return at, nil
}

func (t *Tool) pause(args []string) error {
	if len(args) == 0 {
		return t.pauses()
	}
	kind, name, err := target(args[0])
	if err != nil {
		return err
	}
	for _, word := range args[1:] {
		if strings.HasPrefix(word, "--") {
			return optionLate(word)
		}
	}
	p := control.Pause{Kind: kind, Name: name, Reason: t.Reason}
	if len(args) > 1 {
		p.Reason = strings.Join(args[1:], " ")
	}
	if p.Until, err = t.until(); err != nil {
		return err
	}
	if kind == "auth" {
		if !p.Until.IsZero() {
			return usage("an account is held until it is released")
		}
		if err = t.holdAccount(name, p.Reason); err != nil {
			return err
		}
		return t.done("further mail of it is held", args[0])
	}
	if err = control.SetPause(t.Spool, p); err != nil {
		return err
	}
	return t.done("paused", args[0])
}

// pauseLine is one line of them.
type pauseLine struct {
	What   string     `json:"what"` // paused, limited or held
	Kind   string     `json:"kind"`
	Name   string     `json:"name,omitempty"`
	Reason string     `json:"reason,omitempty"`
	Limit  string     `json:"limit,omitempty"`
	Since  *time.Time `json:"since,omitempty"`
	Until  *time.Time `json:"until,omitempty"`
}

// pauses lists what is paused and limited.
func (t *Tool) pauses() error {
	st, err := control.ReadAt(t.Spool, t.now())
	if err != nil {
		return err
	}
	for _, err := range st.Bad {
		t.note("%v", err)
	}
	lines := t.heldAccounts()
	for _, p := range st.Pauses {
		lines = append(lines, pauseLine{What: "paused", Kind: p.Kind, Name: p.Name, Reason: p.Reason, Since: known(p.Since), Until: known(p.Until)})
	}
	for _, l := range st.Limits {
		lines = append(lines, pauseLine{What: "limited", Kind: l.Kind, Name: l.Name, Limit: l.Text, Until: known(l.Until)})
	}
	for _, l := range lines {
		if t.JSON {
			if err := t.object(l); err != nil {
				return err
			}
			continue
		}
		name := l.Kind
		if l.Name != "" {
			name += ":" + l.Name
		}
		about := l.Reason + l.Limit
		if l.Until != nil && l.Limit == "" {
			about += " until " + t.when(*l.Until)
		}
		t.printf("%s %s  %s", l.What, name, strings.TrimSpace(about))
	}
	if len(lines) == 0 && !t.JSON {
		t.printf("Nothing is paused or limited")
	}
	return nil
}

func known(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

func (t *Tool) resume(args []string) error {
	if len(args) == 0 {
		return usage("resume what? mailq pause lists what is paused")
	}
	for _, arg := range args {
		kind, name, err := target(arg)
		if err != nil {
			return err
		}
		if kind == "auth" {
			var let bool
			if let, err = t.letSend(name); err == nil && !let {
				err = fs.ErrNotExist
			}
		} else {
			err = control.Resume(t.Spool, kind, name)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return &exit{exNoInput, arg + " is not paused"}
		}
		if err == nil {
			err = t.done("resumed", arg)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *Tool) limit(args []string) error {
	if len(args) == 0 {
		return usage("limit what? Give site:NAME conns=N rate=N/m")
	}
	kind, name, err := target(args[0])
	if err == nil && kind == "auth" {
		err = usage("what an account may send is the file outbound of its directory, domains(5)")
	}
	if err != nil {
		return err
	}
	if len(args) == 1 && t.Until == "" {
		err = control.RemoveLimit(t.Spool, kind, name)
		if errors.Is(err, fs.ErrNotExist) {
			return &exit{exNoInput, args[0] + " has no limit"}
		}
		if err != nil {
			return err
		}
		return t.done("not limited any more", args[0])
	}
	at, err := t.until()
	if err != nil {
		return err
	}
	text := strings.Join(args[1:], " ")
	if !at.IsZero() {
		text += " until=" + at.UTC().Format(time.RFC3339)
	}
	if err = control.SetLimit(t.Spool, kind, name, text); err != nil {
		return usage("%v", err)
	}
	return t.done("limited", args[0])
}

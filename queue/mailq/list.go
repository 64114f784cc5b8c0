package mailq

import (
	"fmt"
	"io"

	"pennypost/internal/escape"
)

// shown is how many recipients of one message the list has; show has them all.
const shown = 20

// Columns of the list, those of Postfix's mailq but for the longer id: programs read it.
const (
	idColumn   = 22
	addrColumn = idColumn + 1 + 8 + 1 + 20 + 1
)

// list is mailq without arguments.
func (t *Tool) list(args []string) error {
	sel, err := parseSelection(args)
	if err != nil {
		return err
	}
	var n int
	var octets int64
	each := func(e *Entry) error {
		if t.JSON {
			return t.object(e)
		}
		if n++; n == 1 {
			t.printf("%s", pad("-Queue ID-", idColumn)+" --Size-- ----Arrival Time---- -Sender/Recipient-------")
		}
		octets += e.Size
		t.row(e)
		return nil
	}
	err = t.entries(sel, each)
	if err == nil && (len(args) == 0 || sel.all || sel.bad) {
		err = t.badFiles(each)
	}
	switch {
	case err != nil || t.JSON:
	case n == 0 && len(args) > 0:
		t.printf("No such messages")
	case n == 0:
		t.printf("Mail queue is empty")
	default:
		t.printf("-- %d Kbytes in %s.", (octets+1023)/1024, plural(n, "Request", "Requests"))
	}
	return err
}

// marks stand behind the id: as in Postfix's list, new mail is active.
var marks = map[string]string{"new": "*", "held": "!", "bad": "?"}

func (t *Tool) row(e *Entry) {
	from := e.From
	if e.env != nil && from == "" {
		from = "MAILER-DAEMON"
	}
	t.printf("%s %8d %20s %s", pad(e.ID+marks[e.State], idColumn), e.Size, e.Arrived.Local().Format("Mon Jan _2 15:04:05"), from)
	switch {
	case e.Error != "":
		t.printf("  (%s)", e.Error)
	case e.State == "held" || e.State == "paused" || e.State == "bad":
		t.printf("  (%s)", e.State+": "+e.Reason)
	case e.State == "scheduled":
		t.printf("  (scheduled for %s)", t.when(*e.HoldUntil))
	}
	n := 0
	for i := range e.Recipients {
		r := &e.Recipients[i]
		if r.State != "waiting" {
			continue
		}
		if n++; n > shown {
			continue
		}
		if line := t.waits(r); line != "" {
			t.printf("%*s(%s)", min(4, addrColumn), "", line)
		}
		t.printf("%*s%s", addrColumn, "", r.To)
	}
	if n > shown {
		t.printf("%*s… and %d more", addrColumn, "", n-shown)
	}
	io.WriteString(t.Out, "\n")
}

// waits is why a recipient is not done, in a line.
func (t *Tool) waits(r *Recipient) string {
	said := r.last()
	if r.Next != nil {
		if said != "" {
			said += "; "
		}
		said += t.next(*r.Next)
	}
	return said
}

// show prints all that is known of messages.
func (t *Tool) show(args []string) error {
	return t.each(args, func(e *Entry) error {
		var err error
		if e.Header, err = t.header(e); err != nil {
			return err
		}
		if t.JSON {
			return t.object(e)
		}
		t.facts(e)
		for i := range e.Recipients {
			t.fate(&e.Recipients[i])
		}
		if len(e.Header) > 0 {
			io.WriteString(t.Out, "\n")
			for _, line := range e.Header {
				t.printf("    %s", line)
			}
		}
		return nil
	})
}

// facts is the first block of show.
func (t *Tool) facts(e *Entry) {
	fact := func(key, value string) {
		if value != "" {
			t.printf("%-10s %s", key+":", value)
		}
	}
	fact("id", e.ID)
	fact("file", e.File)
	state := e.State
	if e.env != nil {
		state += fmt.Sprintf("; %d of %s owed, %s", e.Owed, plural(len(e.Recipients), "recipient", "recipients"), plural(e.Attempts, "attempt", "attempts"))
	}
	fact("state", state)
	fact("reason", e.Reason)
	if e.HoldUntil != nil {
		fact("scheduled", t.when(*e.HoldUntil))
	}
	fact("error", e.Error)
	fact("arrived", t.when(e.Arrived))
	if e.env == nil {
		return
	}
	fact("size", plural(int(e.Size), "octet", "octets"))
	fact("from", "<"+e.From+">")
	fact("via", e.Via)
	fact("user", e.User)
	fact("checks", e.env.Checks)
	fact("mail", e.env.Mail)
	fact("class", e.Class)
	fact("flow", e.env.Flow)
	for _, f := range e.env.Other {
		fact(escape.Terminal(f.Key), f.Value)
	}
}

// fate is one recipient in show.
func (t *Tool) fate(r *Recipient) {
	s := r.State
	if r.State == "waiting" {
		if r.Attempts > 0 {
			s += ", " + plural(r.Attempts, "attempt", "attempts")
		}
		if r.Next != nil {
			s += ", " + t.next(*r.Next)
		}
	}
	t.printf("%-10s %s %s", "to "+r.N+":", "<"+r.To+">", s)
	if r.Site != "" {
		t.printf("%-10s site %s", "", r.Site)
	}
	if said := r.last(); said != "" {
		t.printf("%-10s %s", "", said)
	}
}

// each reads the messages named by their ids and calls do for each; more than one are set apart by an empty line.
func (t *Tool) each(args []string, do func(e *Entry) error) error {
	if len(args) == 0 {
		return usage("which message? mailq lists their ids")
	}
	sel, err := parseSelection(args)
	if err != nil {
		return err
	}
	n := 0
	return t.entries(sel, func(e *Entry) error {
		if n++; n > 1 && !t.JSON {
			io.WriteString(t.Out, "\n")
		}
		return do(e)
	})
}

package mailq

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"time"

	"pennypost/internal/escape"
	"pennypost/queue"
	"pennypost/queue/control"
)

// most is how much of a header is shown.
const most = 64 << 10

// header is the header of the message, line by line.
func (t *Tool) header(e *Entry) ([]string, error) {
	m, err := t.Spool.Load(e.File, false)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || e.Error != "" {
			return nil, nil
		}
		return nil, err
	}
	defer m.File.Close()
	b := make([]byte, min(m.Size, most))
	n, err := m.File.ReadAt(b, m.Header)
	if err != nil && err != io.EOF {
		return nil, err
	}
	b = b[:n]
	if i := bytes.Index(b, []byte("\n\n")); i >= 0 {
		b = b[:i]
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "\t") { // a fold; as text it would be shown as \t
			lines[i] = "        " + line[1:]
		}
	}
	return lines, nil
}

// causes say in a sentence what the word of a deferral means.
var causes = map[string]string{
	"greylist": "The server takes mail of senders it does not know at the second try only.",
	"quota":    "The mailbox is full.",
	"dns":      "The domain's servers cannot be found in DNS at the moment.",
	"tls":      "A connection with TLS, as it is demanded here, could not be made.",
	"site":     "The server cannot be reached, or is too busy.",
	"policy":   "The server's rules are against it at the moment.",
	"local":    "Something here stands in the way; the log says what.",
}

// why says in words what a message waits for; of a message that is gone, what became of it.
func (t *Tool) why(args []string) error {
	if len(args) == 0 {
		return usage("which message? mailq lists their ids")
	}
	for i, id := range args {
		if i > 0 && !t.JSON {
			io.WriteString(t.Out, "\n")
		}
		pauses, err := control.ReadAt(t.Spool, t.now())
		if err != nil {
			pauses = new(control.State)
		}
		e, err := t.find(id, pauses)
		switch {
		case ExitCode(err) == exNoInput:
			err = t.gone(strings.TrimRight(id, "*!"))
		case err == nil && t.JSON:
			err = t.object(e)
		case err == nil:
			t.explain(e, pauses)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// explain is why for a message that is here.
func (t *Tool) explain(e *Entry, pauses *control.State) {
	t.printf("%s from <%s>, here for %s", e.ID, e.From, span(t.now().Sub(e.Arrived)))
	switch e.State {
	case "held":
		t.printf("  It is held and will not be tried: %s", e.Reason)
		t.printf("  mailq release %s takes it back.", e.ID)
		return
	case "scheduled":
		t.printf("  It is scheduled for %s.", t.when(*e.HoldUntil))
		return
	case "paused":
		t.printf("  It is not tried, as this is paused: %s", e.Reason)
	}
	if e.Error != "" {
		t.printf("  The file cannot be read: %s", e.Error)
	}
	if !t.running() {
		t.printf("  queue-run is not running: nothing is tried until it is.")
	}
	told := map[string]bool{}
	n := 0
	for i := range e.Recipients {
		r := &e.Recipients[i]
		if r.State != "waiting" {
			continue
		}
		if n++; n > shown {
			continue
		}
		t.explainRecipient(r)
		if p, ok := sitePause(r, pauses); ok && e.State != "paused" {
			t.printf("    It is paused: %s", pauseText(p))
		}
		if r.Site != "" && !told[r.Site] {
			told[r.Site] = true
			t.explainSite(r.Site)
		}
	}
	switch {
	case n > shown:
		t.printf("  … and %d more recipients; mailq show has them all.", n-shown)
	case n == 0 && e.Error == "":
		t.printf("  Nothing is owed: it goes when queue-run next looks at it.")
	}
}

func (t *Tool) explainRecipient(r *Recipient) {
	t.printf("  %s", r.To)
	switch {
	case r.Attempts > 0:
		t.printf("    It was tried %s.", plural(r.Attempts, "time", "times"))
	case r.Cause == "":
		t.printf("    It was not tried yet.")
		return
	default: // it waits for another message to the same mailbox
		t.printf("    It was not tried itself.")
	}
	if said := r.last(); said != "" {
		t.printf("    Last: %s", said)
	}
	if c := causes[r.Cause]; c != "" {
		t.printf("    %s", c)
	}
	if r.Next != nil {
		t.printf("    Next try: %s", t.when(*r.Next))
	}
}

// explainSite says what site/NAME says.
func (t *Tool) explainSite(site string) {
	f, err := t.Spool.Disk.Open("site/" + escape.File(site))
	if err != nil {
		return
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, 8192))
	facts := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		facts[key] = value
	}
	s := "Site " + site + ": " + facts["state"]
	if facts["queued"] != "" {
		s += ", " + facts["queued"] + " queued"
	}
	if facts["used"] != "" && facts["used"] != "0" {
		s += ", " + facts["used"] + " being tried"
	}
	if at, err := time.Parse(time.RFC3339, facts["next-probe"]); err == nil && at.After(t.now()) {
		s += "; asked again " + t.when(at)
	}
	t.printf("    %s", s)
	if facts["last-error"] != "" {
		t.printf("      Its last error: %s", facts["last-error"])
	}
}

// gone is why for a message that is not in the queue: what the journal has of it.
func (t *Tool) gone(id string) error {
	found := false
	err := t.badFiles(func(e *Entry) error {
		if rest, ok := strings.CutPrefix(e.ID, id); !ok || rest != "" && rest[0] != '~' && !strings.HasPrefix(rest, ".m,") {
			return nil
		}
		found = true
		if t.JSON {
			return t.object(e)
		}
		t.printf("%s was put into bad/, as it is no message: %s", id, e.Reason)
		return nil
	})
	if found || err != nil {
		return err
	}
	since := queue.TimeOf(id).Add(-time.Hour)
	n, over := 0, errors.New("over")
	err = t.Spool.Results(since, func(ev *queue.Event) error {
		if ev.ID != id {
			return nil
		}
		n++
		if t.JSON {
			if err := t.object(eventObject(ev)); err != nil {
				return err
			}
		} else {
			if n == 1 {
				t.printf("%s is not in the queue any more.", id)
			}
			t.tell(ev)
		}
		if ev.Kind == queue.End || ev.Kind == queue.Remove {
			return over
		}
		return nil
	})
	if err != nil && err != over && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if n == 0 {
		return noMessage(id)
	}
	return nil
}

// tell prints one event of the journal.
func (t *Tool) tell(ev *queue.Event) {
	s := string(ev.Kind)
	if !ev.To.IsNull() {
		s += " <" + ev.To.String() + ">"
	}
	r := Recipient{Host: ev.Host, Status: ev.Status.Enhanced, Code: ev.Status.Code, Text: ev.Status.Text}
	if said := r.last(); said != "" {
		s += ": " + said
	}
	if ev.Kind == queue.Hold || ev.Kind == queue.Remove {
		s += ": " + ev.Why
	}
	if ev.DSN != "" {
		s += " (report " + ev.DSN + ")"
	}
	t.printf("  %s  %s", ev.Time.Local().Format("2006-01-02 15:04:05"), s)
}

// Event is one line of the journal as JSON has it.
type Event struct {
	ID      string    `json:"id"`
	Time    time.Time `json:"time"`
	Event   string    `json:"event"`
	To      string    `json:"to,omitempty"`
	Site    string    `json:"site,omitempty"`
	Host    string    `json:"host,omitempty"`
	Attempt int       `json:"attempt,omitempty"`
	Status  string    `json:"status,omitempty"`
	Code    int       `json:"code,omitempty"`
	Text    string    `json:"text,omitempty"`
	Cause   string    `json:"cause,omitempty"`
	Report  string    `json:"report,omitempty"`
}

func eventObject(ev *queue.Event) Event {
	return Event{ID: ev.ID, Time: ev.Time, Event: string(ev.Kind), To: ev.To.String(), Site: ev.Site, Host: ev.Host, Attempt: ev.Attempt,
		Status: ev.Status.Enhanced, Code: ev.Status.Code, Text: ev.Status.Text, Cause: ev.Why, Report: ev.DSN}
}

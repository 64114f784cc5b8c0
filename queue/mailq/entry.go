package mailq

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/status"
	"pennypost/queue"
	"pennypost/queue/control"
)

// Entry is one message. Its JSON keys are those of mailq(8) and stay.
type Entry struct {
	ID         string      `json:"id"`
	State      string      `json:"state"` // new waiting scheduled paused held bad
	File       string      `json:"file"`
	Arrived    time.Time   `json:"arrived"`
	Size       int64       `json:"size"`
	From       string      `json:"from"`
	User       string      `json:"user,omitempty"`
	Via        string      `json:"via,omitempty"`
	Class      string      `json:"class,omitempty"`
	HoldUntil  *time.Time  `json:"hold_until,omitempty"`
	Reason     string      `json:"reason,omitempty"` // why it is held, paused or bad
	Attempts   int         `json:"attempts"`
	Owed       int         `json:"owed"` // recipients not done
	Recipients []Recipient `json:"recipients"`
	Header     []string    `json:"header,omitempty"` // show
	Error      string      `json:"error,omitempty"`  // the file cannot be read

	env *queue.Envelope
}

// Recipient is one recipient of an entry.
type Recipient struct {
	N        string     `json:"n"`
	To       string     `json:"to"`
	State    string     `json:"state"` // waiting delivered failed expanded
	Site     string     `json:"site,omitempty"`
	Host     string     `json:"host,omitempty"`
	Attempts int        `json:"attempts"`
	Next     *time.Time `json:"next,omitempty"`
	Status   string     `json:"status,omitempty"`
	Code     int        `json:"code,omitempty"`
	Text     string     `json:"text,omitempty"`
	Cause    string     `json:"cause,omitempty"`

	domain string
}

// entry reads one message. A file that is none still gives an entry, with Error; fs.ErrNotExist
// is a message that has gone meanwhile.
func (t *Tool) entry(name, id string, pauses *control.State) (*Entry, error) {
	e := &Entry{ID: id, File: name, Arrived: queue.TimeOf(id), State: "new", Recipients: []Recipient{}}
	m, err := t.Spool.Load(name, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		e.Error = err.Error()
		return e, nil
	}
	defer m.File.Close()
	e.env, e.Size = m.Env, m.Size
	e.From, e.User, e.Via, e.Class = m.Env.From.String(), m.Env.Auth, m.Env.Via, m.Env.Class
	if !m.Env.Time.IsZero() {
		e.Arrived = m.Env.Time
	}
	events, err := t.Spool.ReadState(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.Error = err.Error()
	}
	rcpts := m.Env.Rcpts
	if m.Env.RcptFile.Count > 0 {
		if rcpts, err = t.Spool.Recipients(m, 0, len(rcpts)+m.Env.RcptFile.Count); err != nil {
			e.Error = err.Error()
		}
	}
	st := queue.FoldRcpts(rcpts, events)
	e.Attempts, e.Owed = st.Attempts, st.Owed()
	for i := range st.Rcpts {
		e.Recipients = append(e.Recipients, recipient(&st.Rcpts[i]))
	}
	if e.Attempts > 0 {
		e.State = "waiting"
	}
	t.judge(e, pauses)
	return e, nil
}

func recipient(r *queue.RcptState) Recipient {
	to := Recipient{N: r.Num.String(), To: r.To.String(), State: "waiting", Site: r.Site, Host: r.Host, Attempts: r.Attempts,
		Status: r.Last.Enhanced, Code: r.Last.Code, Text: r.Last.Text, Cause: r.Why, domain: r.To.DomainUnicode()}
	switch {
	case r.Expanded:
		to.State = "expanded"
	case r.Done && r.Last.Outcome == status.Delivered:
		to.State = "delivered"
	case r.Done:
		to.State = "failed"
	case !r.Next.IsZero():
		next := r.Next
		to.Next = &next
	}
	return to
}

// judge finds what keeps a message from being tried: held, scheduled or paused.
func (t *Tool) judge(e *Entry, st *control.State) {
	if at := e.env.HoldUntil; !at.IsZero() {
		e.HoldUntil = &at
	}
	if strings.HasPrefix(e.File, "hold/") {
		e.State, e.Reason = "held", t.text("hold/"+e.ID+".why")
		return
	}
	if e.HoldUntil != nil && e.HoldUntil.After(t.now()) {
		e.State = "scheduled"
		return
	}
	if p, ok := pausedBy(e, st); ok {
		e.State, e.Reason = "paused", pauseText(p)
	}
}

// pausedBy is the pause that stops a message, or all its recipients that are owed.
func pausedBy(e *Entry, st *control.State) (control.Pause, bool) {
	if st == nil || len(st.Pauses) == 0 {
		return control.Pause{}, false
	}
	for _, name := range []string{e.From, e.env.From.Domain, e.User} {
		if p, ok := st.Paused("from", name); ok && (name != "" || p.Kind == "all") {
			return p, true
		}
	}
	if p, ok := st.Paused("list", e.env.Flow); ok && e.env.Flow != "" {
		return p, true
	}
	var why control.Pause
	for i := range e.Recipients {
		r := &e.Recipients[i]
		if r.State != "waiting" {
			continue
		}
		p, ok := sitePause(r, st)
		if !ok {
			return control.Pause{}, false
		}
		why = p
	}
	return why, e.Owed > 0
}

// sitePause is the pause of the site a recipient goes to, by whichever of its names.
func sitePause(r *Recipient, st *control.State) (control.Pause, bool) {
	for _, name := range siteNames(r) {
		if p, ok := st.Paused("site", name); ok && name != "" {
			return p, true
		}
	}
	return control.Pause{}, false
}

// siteNames are the names a person may call a recipient's site by: its key, its best host, the domain.
func siteNames(r *Recipient) []string {
	host, _, _ := strings.Cut(r.Site, "+")
	return []string{r.Site, host, strings.TrimPrefix(r.Site, "mx:"), r.domain}
}

// pauseText is a pause as its file has it: "site:mx.example.org, their disk is full".
func pauseText(p control.Pause) string {
	s := p.Kind
	if p.Name != "" {
		s += ":" + p.Name
	}
	if p.Reason != "" {
		s += ", " + p.Reason
	}
	if !p.Until.IsZero() {
		s += ", until " + p.Until.Format(time.RFC3339)
	}
	return s
}

// last is what was said of a recipient last, in a line.
func (r *Recipient) last() string {
	var words []string
	if r.Code > 0 {
		words = append(words, strconv.Itoa(r.Code))
	}
	if r.Status != "" && !strings.HasPrefix(r.Text, r.Status) {
		words = append(words, r.Status)
	}
	if r.Text != "" {
		words = append(words, r.Text)
	}
	said := strings.Join(words, " ")
	switch {
	case r.Host == "" || said == "":
		return said
	case status.Ours(r.Code, r.Status):
		return "host " + r.Host + ": " + said
	}
	return "host " + r.Host + " said: " + said
}

package drop

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/durable"
	"pennypost/internal/header"
	"pennypost/internal/maillog"
	"pennypost/queue"
)

// Pickup adopts what lies in drop/new.
type Pickup struct {
	Spool    *queue.Spool
	Hostname string
	Origin   string // completes bare names
	MaxSize  int64  // octets of a file; 0 no limit
	Rate     int    // messages an hour of one uid; 0 no limit
	Log      *maillog.Log
	Every    time.Duration // between scans that nobody asked for; one minute if zero

	started time.Time
	stuck   map[string]bool // refused, and not to be moved: logged once
	rates   map[uint32]*bucket
	users   map[uint32]string
	tried   map[string]bool // failed to be adopted for now: logged once
}

// bucket is how much of its rate a uid has left.
type bucket struct {
	left float64
	at   time.Time
}

// Run adopts until ctx ends: at once when the trigger is touched, and by a scan now and then.
func (p *Pickup) Run(ctx context.Context) error {
	poke := make(chan struct{}, 1)
	var once sync.Mutex
	watch, err := p.Spool.Watch(func() {
		once.Lock()
		defer once.Unlock()
		select {
		case poke <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return err
	}
	defer watch.Close()
	every := p.Every
	if every <= 0 {
		every = time.Minute
	}
	sweep := time.Now()
	for {
		left, err := p.Once()
		if err != nil {
			p.Log.Warn("drop/new", err)
		}
		if now := time.Now(); now.Sub(sweep) > time.Hour {
			sweep = now
			if err := p.Spool.SweepDrop(now); err != nil {
				p.Log.Warn("drop/tmp", err)
			}
		}
		wait := every
		if left > 0 { // a full disk, or somebody over his rate
			wait = min(every, 10*time.Second)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-poke:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// Once adopts what is there now. left is how many messages have to wait.
func (p *Pickup) Once() (left int, err error) {
	if p.started.IsZero() {
		p.started = time.Now()
		p.stuck, p.tried = map[string]bool{}, map[string]bool{}
		p.rates, p.users = map[uint32]*bucket{}, map[uint32]string{}
	}
	if err := p.Spool.Disk.Hold("drop/new"); err != nil {
		return 0, err
	}
	names, err := p.Spool.Disk.ReadDir("drop/new")
	if err != nil {
		return 0, err
	}
	here := map[string]bool{}
	for _, base := range names {
		here[base] = true
		if p.stuck[base] {
			continue
		}
		if !p.take(base) {
			left++
		}
	}
	for base := range p.stuck {
		if !here[base] {
			delete(p.stuck, base)
		}
	}
	for base := range p.tried {
		if !here[base] {
			delete(p.tried, base)
		}
	}
	return left, nil
}

// refusal is a fault of the file.
type refusal string

func (r refusal) Error() string { return string(r) }

// errLater is a message of somebody over his rate.
var errLater = errors.New("over the rate of its uid, waits")

// take adopts or refuses one file, and reports whether it is dealt with.
func (p *Pickup) take(base string) bool {
	uid, err := p.adopt(base)
	var r refusal
	switch {
	case err == nil:
		delete(p.tried, base)
		return true
	case errors.Is(err, fs.ErrNotExist): // its writer took it back
		return true
	case errors.As(err, &r), errors.Is(err, queue.ErrBad), errors.Is(err, queue.ErrCritical):
		p.Log.PickupFail(base, uid, err.Error())
		if err := p.Spool.Bad("drop/new/"+base, err.Error()); err != nil {
			p.Log.Warn("bad/", err)
			p.stuck[base] = true
		}
		return true
	}
	if !p.tried[base] {
		p.tried[base] = true
		p.Log.PickupFail(base, uid, err.Error())
	}
	return false
}

// validBase is what the name of a drop file may be.
func validBase(base string) bool {
	if base == "" || len(base) > 64 || base[0] == '.' || base[0] == '-' {
		return false
	}
	for i := range len(base) {
		switch c := base[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// adopt copies one file into in/pickup and removes it.
func (p *Pickup) adopt(base string) (uid int, err error) {
	name := "drop/new/" + base
	if !validBase(base) {
		return -1, refusal("a file name of letters outside A-Z a-z 0-9 . _ -, or of more than 64")
	}
	f, err := p.Spool.Disk.Open(name)
	if errors.Is(err, durable.ErrNotRegular) {
		return -1, refusal(durable.ErrNotRegular.Error())
	}
	if err != nil {
		return -1, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return -1, err
	}
	uid = int(st.UID)
	switch {
	case st.Links == 0:
		return uid, fs.ErrNotExist
	case st.Links > 1: // a link to a file of somebody else would give it to the one who linked it
		return uid, refusal("it has " + strconv.FormatUint(st.Links, 10) + " names")
	case p.MaxSize > 0 && st.Size > p.MaxSize:
		return uid, refusal("larger than max_size, " + strconv.FormatInt(p.MaxSize, 10) + " octets")
	}
	said, body, err := p.envelope(f, st.Size)
	if err != nil {
		return uid, err
	}
	now := time.Now()
	env := p.complete(said, st, now)
	if p.takenBefore(env.ID, st.ModTime) {
		return uid, p.Spool.Disk.Remove(name)
	}
	if !p.within(st.UID, now) {
		return uid, errLater
	}
	w, err := p.Spool.Begin("pickup", env)
	if err != nil {
		return uid, err
	}
	if err := p.copy(w, f, body, st.Size, env); err != nil {
		w.Abort()
		return uid, err
	}
	size, _ := w.Size()
	if err := w.Commit(); err != nil {
		return uid, err
	}
	w.Hint()
	p.Log.Pickup(env.ID, env.From, len(env.Rcpts), size, uid)
	if err := p.Spool.Disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return uid, err
	}
	return uid, nil
}

// envelope reads what the file says of itself; body is where its message starts.
func (p *Pickup) envelope(f durable.File, size int64) (*queue.Envelope, int64, error) {
	for room := int64(8 << 10); ; room *= 8 {
		buf := make([]byte, min(room, size, queue.MaxEnvelope+1))
		n, err := f.ReadAt(buf, 0)
		if err != nil && err != io.EOF {
			return nil, 0, err
		}
		env, body, more, err := queue.Parse(buf[:n])
		switch {
		case err != nil:
			return nil, 0, err
		case more && int64(n) >= size:
			return nil, 0, refusal("the envelope does not end")
		case more:
			continue
		case env.RcptFile.Count > 0:
			return nil, 0, refusal("rcpt-file: in a file anybody may write")
		case env.Body.Length >= 0 && env.Body.Length != size-int64(body):
			return nil, 0, refusal("its message is not as long as body: says")
		}
		return env, int64(body), nil
	}
}

// complete makes the envelope of the copy: what the file may say, and what we know.
func (p *Pickup) complete(said *queue.Envelope, st durable.Info, now time.Time) *queue.Envelope {
	key := strconv.FormatUint(st.Inode, 10) + "." + strconv.FormatInt(st.ModTime.UnixNano(), 10)
	made := st.ModTime
	if age := now.Sub(made); age < -time.Minute || age > 7*24*time.Hour {
		made = now // a date somebody made up: ids sort by time
	}
	env := &queue.Envelope{
		ID:        p.Spool.IDFor(made, key+"."+strconv.FormatUint(uint64(st.UID), 10)),
		Time:      now.UTC().Truncate(time.Microsecond),
		Via:       "pickup uid=" + strconv.FormatUint(uint64(st.UID), 10) + " user=" + p.user(st.UID),
		From:      p.whole(said.From),
		Mail:      said.Mail,
		Class:     said.Class,
		Flow:      "uid:" + strconv.FormatUint(uint64(st.UID), 10),
		HoldUntil: said.HoldUntil,
		Drop:      key,
		Rcpts:     said.Rcpts,
	}
	if env.Class == "urgent" || env.Class == "dsn" { // not for anybody to choose
		env.Class = ""
	}
	if env.From.IsNull() {
		env.From = said.From
	}
	for i := range env.Rcpts {
		env.Rcpts[i].To = p.whole(env.Rcpts[i].To)
	}
	return env
}

// whole completes a bare name with the origin.
func (p *Pickup) whole(a address.Path) address.Path {
	if !a.IsNull() && a.Domain == "" {
		a.Domain = p.Origin
	}
	return a
}

// takenBefore reports whether the file was adopted already: the power, or we, went before it was removed.
// Only what is older than we are can have been.
func (p *Pickup) takenBefore(id string, written time.Time) bool {
	if written.After(p.started) {
		return false
	}
	if name, err := p.Spool.Find(id); err == nil && name != "" {
		return true
	}
	found := errors.New("found")
	err := p.Spool.Results(p.started.Add(-36*time.Hour), func(ev *queue.Event) error {
		if ev.ID == id {
			return found
		}
		return nil
	})
	return err == found
}

// within takes one message of the uid's rate, if one is left.
func (p *Pickup) within(uid uint32, now time.Time) bool {
	if p.Rate <= 0 {
		return true
	}
	b := p.rates[uid]
	if b == nil {
		b = &bucket{float64(p.Rate), now}
		p.rates[uid] = b
	}
	b.left = min(float64(p.Rate), b.left+now.Sub(b.at).Hours()*float64(p.Rate))
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// user is the name of a uid, "-" if it has none.
func (p *Pickup) user(uid uint32) string {
	if name, ok := p.users[uid]; ok {
		return name
	}
	name := "-"
	if u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil && u.Username != "" && !strings.ContainsAny(u.Username, " \t\n=") {
		name = u.Username
	}
	p.users[uid] = name
	return name
}

// copy writes the message into w: where it comes from, what it has, and what it lacks.
func (p *Pickup) copy(w *queue.Writer, f durable.File, from, size int64, env *queue.Envelope) error {
	if _, err := w.Write(p.received(env)); err != nil {
		return err
	}
	hf := header.Filter{
		Out:     w,
		Drop:    header.Bcc | header.ResentBcc | header.ReturnPath,
		Missing: func(facts *header.Facts) []byte { return p.missing(facts, env) },
	}
	text := Text{Out: &hf}
	_, err := io.CopyBuffer(&text, io.NewSectionReader(f, from, size-from), make([]byte, bufSize))
	if err == nil {
		err = text.Close()
	}
	if err == nil {
		err = hf.Close()
	}
	if err == nil && hf.Err != nil {
		err = refusal(hf.Err.Error())
	}
	return err
}

// received is the trace field (RFC 5321 section 4.4). The recipients of a local message are nobody else's business.
func (p *Pickup) received(env *queue.Envelope) []byte {
	b := make([]byte, 0, 256)
	b = append(append(b, "Received: by "...), p.Hostname...)
	b = append(append(b, " (Pennypost, "...), strings.TrimPrefix(env.Via, "pickup ")...)
	b = append(append(b, ")\n\tid "...), env.ID...)
	b = append(b, "; "...)
	return append(env.Time.AppendFormat(b, dateLayout), '\n')
}

// dateLayout is RFC 5322 section 3.3.
const dateLayout = "Mon, 2 Jan 2006 15:04:05 -0700"

// missing are the fields RFC 5322 section 3.6 wants of every message, and From.
func (p *Pickup) missing(facts *header.Facts, env *queue.Envelope) []byte {
	var b []byte
	if facts.From == 0 {
		from := env.From.String()
		if env.From.IsNull() {
			from = "MAILER-DAEMON@" + p.Origin
		}
		b = append(append(append(b, "From: "...), from...), '\n')
	}
	if facts.Date == 0 {
		b = append(env.Time.AppendFormat(append(b, "Date: "...), dateLayout), '\n')
	}
	if facts.MessageID == 0 {
		b = append(append(append(append(append(b, "Message-ID: <"...), env.ID...), '@'), p.Hostname...), ">\n"...)
	}
	return b
}

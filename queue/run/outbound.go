package run

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/config"
	"pennypost/internal/escape"
	"pennypost/queue"
	"pennypost/queue/outbound"
	"pennypost/queue/site"
)

// senders is how much accounts send (S121). What is over a limit has the account's mail held, from this message on, and its user and the
// postmaster told of it once.
type senders struct {
	held     map[string]bool // by outbound/held:NAME
	stopping []overdraft     // of this turn
	of       map[string]*sender
	mute     bool // the directory could not be written to: said once
}

// overdraft is an account whose mail is to be held from now on.
type overdraft struct{ name, why string }

// sender is an account that has sent of late.
type sender struct {
	*outbound.Account
	samples []sample
	used    site.Time
	dirty   bool
}

// sample is a message for the notice.
type sample struct {
	id, via string
	time    time.Time
	rcpts   []address.Path
	more    int
}

const (
	mostSenders  = 256 // in memory
	mostSamples  = 5
	savesAtOnce  = 20 // files a second
	sampleRcpts  = 3
	heldOutbound = "outbound: "
)

// overdrawn counts a message of an account that has just come in, and holds it where the account has sent too much. What a person released is
// neither counted nor held.
func (r *Runner) overdrawn(m *message) bool {
	env := m.live.m.Env
	if env.Auth == "" || m.flags&countedFlag != 0 || !strings.HasPrefix(m.path(), "in/submit/") || r.DryRun != nil {
		return false
	}
	m.flags |= countedFlag
	s, limits := r.sender(env.Auth), r.outboundOf(env.Auth)
	to := make([]address.Path, len(env.Rcpts))
	for i := range env.Rcpts {
		to[i] = env.Rcpts[i].To
	}
	why := s.Message(time.Now(), to, limits)
	s.dirty, s.used = true, r.now()
	s.sample(env, to)
	if r.senders.held[env.Auth] {
		r.putAside(m, heldOutbound+env.Auth+" is held")
		return true
	}
	if why == "" {
		return false
	}
	r.overdraw(env.Auth, why)
	r.putAside(m, heldOutbound+env.Auth+" sent "+why)
	return true
}

// became counts what became of a recipient of an account's message.
func (r *Runner) became(env *queue.Envelope, refused bool) {
	if env.Auth == "" || !strings.HasPrefix(env.Via, "submit") || r.DryRun != nil {
		return
	}
	s := r.sender(env.Auth)
	why := s.Outcome(time.Now(), refused, r.outboundOf(env.Auth))
	s.dirty, s.used = true, r.now()
	if why != "" && !r.senders.held[env.Auth] {
		r.overdraw(env.Auth, why)
	}
}

// overdraw has the mail of an account held from now on; the rest follows at the end of the turn, when no message is being worked on.
func (r *Runner) overdraw(name, why string) {
	r.senders.held[name] = true
	r.senders.stopping = append(r.senders.stopping, overdraft{name, why})
}

func (r *Runner) stopSenders() {
	for _, o := range r.senders.stopping {
		r.stopSender(o.name, o.why)
	}
	r.senders.stopping = r.senders.stopping[:0]
}

// outboundOf is what an account may send.
func (r *Runner) outboundOf(name string) config.Outbound {
	if p, err := address.Parse(name); err == nil {
		if a, err := r.Routes.Domains.Lookup(p); err == nil && a.Account != nil {
			return a.Account.Outbound
		}
	}
	return r.Outbound
}

// stopSender puts the notice into the spool, so that it is told of at least once, then makes the file that holds the account, and then puts
// aside what waits in the queue.
func (r *Runner) stopSender(name, why string) {
	if err := r.tellOutbound(name, r.sender(name), why); err != nil {
		r.log.Warn("notice of "+name, err)
	}
	if err := r.put(outbound.HeldFile(name), []byte(why+"\n")); err != nil {
		r.log.Warn("outbound "+name, err)
	}
	r.log.Outbound(name, "held", why)
	var waiting []*message
	for _, m := range r.all {
		busy, theirs := m.live != nil && m.live.flights > 0, false
		m.each(func(it *site.Item) {
			theirs = theirs || it.Flow == name
			busy = busy || it.Running()
		})
		if theirs && !busy && m.flags&endedFlag == 0 {
			waiting = append(waiting, m)
		}
	}
	for _, m := range waiting {
		r.putAside(m, heldOutbound+name+" sent "+why)
	}
}

// steerSenders looks which accounts are held now; one that no longer is begins anew.
func (r *Runner) steerSenders() {
	names, err := r.Spool.Disk.ReadDir("outbound")
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			r.log.Warn("outbound", err)
		}
		return
	}
	held := map[string]bool{}
	for _, base := range names {
		if name, ok := outbound.Held(base); ok {
			held[name] = true
		}
	}
	for _, o := range r.senders.stopping {
		held[o.name] = true
	}
	for name := range r.senders.held {
		if !held[name] {
			s := r.sender(name)
			s.Forgive()
			s.dirty = true
			r.log.Outbound(name, "released", "")
		}
	}
	r.senders.held = held
}

// sender is an account's count, from its file where it is not in memory.
func (r *Runner) sender(name string) *sender {
	if s := r.senders.of[name]; s != nil {
		return s
	}
	for len(r.senders.of) >= mostSenders {
		oldest := ""
		for name, s := range r.senders.of {
			if oldest == "" || s.used < r.senders.of[oldest].used {
				oldest = name
			}
		}
		r.saveSender(oldest, r.senders.of[oldest])
		delete(r.senders.of, oldest)
	}
	s := &sender{Account: new(outbound.Account), used: r.now()}
	if f, err := r.Spool.Disk.Open(outbound.CountFile(name)); err == nil {
		b, err := io.ReadAll(io.LimitReader(f, outbound.FileMost+1))
		f.Close()
		a, err2 := outbound.Parse(b)
		if err = errors.Join(err, err2); err == nil {
			s.Account = a
		} else {
			r.log.Warn("outbound "+name, err)
		}
	}
	r.senders.of[name] = s
	return s
}

// saveSenders writes down what has changed, most of it some seconds later.
func (r *Runner) saveSenders(most int) {
	if r.DryRun != nil {
		return
	}
	for name, s := range r.senders.of {
		if s.dirty {
			r.saveSender(name, s)
			if most--; most == 0 {
				return
			}
		}
	}
}

func (r *Runner) saveSender(name string, s *sender) {
	if !s.dirty {
		return
	}
	s.dirty = false
	err := r.put(outbound.CountFile(name), s.Append(nil))
	if err != nil && !r.senders.mute {
		r.log.Warn("outbound "+name, err)
	}
	r.senders.mute = err != nil
}

// put replaces a small file, without a sync.
func (r *Runner) put(name string, b []byte) error {
	tmp := "outbound/.new"
	r.Spool.Disk.Remove(tmp)
	f, err := r.Spool.Disk.Create(tmp, 0o660)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = r.Spool.Disk.Rename(tmp, name)
	}
	if err != nil {
		r.Spool.Disk.Remove(tmp)
	}
	return err
}

func (s *sender) sample(env *queue.Envelope, to []address.Path) {
	if len(s.samples) == mostSamples {
		s.samples = append(s.samples[:0], s.samples[1:]...)
	}
	n := min(len(to), sampleRcpts)
	s.samples = append(s.samples, sample{env.ID, env.Via, env.Time, to[:n:n], len(to) - n})
}

// tellOutbound puts the notice into the spool, from nobody, to the account and the postmaster.
func (r *Runner) tellOutbound(name string, s *sender, why string) error {
	env := &queue.Envelope{ID: r.Spool.NewID(), Time: time.Now(), Via: "bounce", Class: "dsn"}
	var list []string
	for _, word := range []string{name, "postmaster@" + r.Routes.Origin} {
		if p, err := address.Parse(word); err == nil && !p.IsNull() && p.Domain != "" && p.ASCII() {
			env.Rcpts = append(env.Rcpts, queue.Rcpt{N: len(env.Rcpts) + 1, To: p})
			list = append(list, "<"+p.String()+">")
		}
	}
	w, err := r.Spool.Begin("bounce", env)
	if err != nil {
		return err
	}
	defer w.Abort()
	var b bytes.Buffer
	fmt.Fprintf(&b, `From: Mail Delivery System <MAILER-DAEMON@%s>
To: %s
Subject: Mail of %s is held
Date: %s
Message-ID: <%s@%s>
Auto-Submitted: auto-generated
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

%s sent %s.

That may be all right, or somebody else knows the password. Nothing is lost: further
mail of this account is kept, and not sent, until the postmaster has looked at it.

To the user: if you did not send this, change your password now, and tell your postmaster.
To the postmaster: "mailq list auth:%[3]s" shows what is held. "mailq release auth:%[3]s"
sends it and lets the account send again; "mailq remove auth:%[3]s" removes it, and
"mailq resume auth:%[3]s" lets the account send again. What it may send is [outbound] in
mail.toml(5), and the file "outbound" of its directory.

The last messages were:
`, r.Host, strings.Join(list, ", "), escape.Terminal(name), time.Now().Format(time.RFC1123Z), env.ID, r.Host, escape.Terminal(name), why)
	for _, s := range s.samples {
		fmt.Fprintf(&b, "\n    %s  %s\n    %s\n", s.id, s.time.UTC().Format(time.RFC3339), escape.Terminal(s.via))
		for _, p := range s.rcpts {
			fmt.Fprintf(&b, "        to %s\n", escape.Terminal(p.String()))
		}
		if s.more > 0 {
			fmt.Fprintf(&b, "        and %d more\n", s.more)
		}
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return err
	}
	if err := w.Commit(); err != nil {
		return err
	}
	r.pending = append(r.pending, queue.Found{Name: "in/bounce/new/" + env.ID, ID: env.ID, Hint: true})
	return nil
}

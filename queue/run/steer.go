package run

import (
	"errors"
	"io/fs"
	"strings"
	"time"

	"pennypost/internal/status"
	"pennypost/queue"
	"pennypost/queue/control"
	"pennypost/queue/route"
	"pennypost/queue/site"
)

// steer reads pause/ limit/ and kick/, twice a second.
func (r *Runner) steer() {
	if r.DryRun != nil {
		return
	}
	st, err := control.Read(r.Spool)
	if err != nil {
		r.log.Warn("control", err)
	} else {
		r.steerSites(st)
	}
	r.steerSenders()
	if err := control.Obey(r.Spool, r.kick); err != nil {
		r.log.Warn("kick", err)
	}
}

// steerSites makes the schedulers do what pause/ and limit/ say now.
func (r *Runner) steerSites(st *control.State) {
	now := r.now()
	if len(st.Bad) > 0 && len(st.Bad) != len(r.steering.Bad) {
		for _, err := range st.Bad {
			r.log.Warn("control", err)
		}
	}
	_, all := st.Paused("all", "")
	paused, limited := map[string]bool{}, map[string]bool{}
	changed := len(st.Pauses) != len(r.steering.Pauses)
	for _, p := range st.Pauses {
		switch p.Kind {
		case "site", "transport":
			for _, key := range r.keysOf(p.Kind, p.Name) {
				paused[key] = true
				if !r.paused[key] {
					r.schedulerOf(key).SetPaused(key, true, now)
					r.log.Site(key, "paused", 0, p.Reason)
				}
			}
		}
		if _, had := r.steering.Paused(p.Kind, p.Name); !had {
			changed = true
		}
	}
	for key := range r.paused {
		if !paused[key] {
			if key == route.LocalSite {
				delete(r.paused, key)
				r.pauseLocal(now)
			} else {
				r.schedulerOf(key).SetPaused(key, false, now)
			}
			r.log.Site(key, "resumed", 0, "")
		}
	}
	for _, l := range st.Limits {
		if l.Kind != "site" && l.Kind != "transport" {
			continue
		}
		m := site.Max{Conns: l.Conns}
		if l.Rate > 0 {
			m.Rate, m.Per = perRate(l.Rate)
		}
		for _, key := range r.keysOf(l.Kind, l.Name) {
			limited[key] = true
			r.schedulerOf(key).SetLimit(key, m, now)
		}
	}
	for key := range r.limited {
		if !limited[key] {
			r.schedulerOf(key).SetLimit(key, site.Max{}, now)
		}
	}
	if all != r.stopped {
		r.stopped = all
		r.local.Pause(all)
		r.remote.Pause(all)
	}
	r.paused, r.limited, r.steering = paused, limited, st
	if changed {
		r.lookAgain(now)
	}
}

// keysOf are the site keys a name of pause/ or limit/ means: the key, the key of a domain, or its best MX host.
func (r *Runner) keysOf(kind, name string) []string {
	if kind == "transport" {
		if name == route.LocalSite || name == "deliver-local" {
			return []string{route.LocalSite}
		}
		return []string{"command:" + name}
	}
	keys := []string{name}
	if name == route.LocalSite || strings.ContainsAny(name, "+:/") {
		return keys
	}
	keys = append(keys, "mx:"+name)
	if d, ok := r.domains[name]; ok && d.key != "" {
		keys = append(keys, d.key)
	}
	r.remote.Each(func(x *site.Site) {
		if host, _, ok := strings.Cut(x.Key, "+"); ok && strings.EqualFold(host, name) {
			keys = append(keys, x.Key)
		}
	})
	return keys
}

// pausedRule reports whether pause/from: or pause/list: keeps m from being tried.
func (r *Runner) pausedRule(m *message) (bool, string) {
	if len(r.steering.Pauses) == 0 {
		return false, ""
	}
	env := m.live.m.Env
	for _, name := range []string{env.From.String(), env.From.Domain, env.Auth} {
		if p, ok := r.steering.Paused("from", name); ok && name != "" && p.Kind == "from" {
			return true, p.Reason
		}
	}
	if p, ok := r.steering.Paused("list", env.Flow); ok && p.Kind == "list" {
		return true, p.Reason
	}
	return false, ""
}

// lookAgain makes messages that wait for a pause to end be looked at.
func (r *Runner) lookAgain(now site.Time) {
	if x := r.local.Lookup(lookSite); x != nil {
		r.local.Kick(x, 0, now)
	}
}

// kickSpread is over how long a kick of everything is spread.
const kickSpread = 30 * time.Second

// kick does one thing that somebody asked for. What is about a message the first scan has not come to yet stays in kick/.
func (r *Runner) kick(k control.Kick) (obeyed bool) {
	now := r.now()
	if k.Verb == "all" || k.Verb == "site" || k.Verb == "try" {
		r.kickedAt = now
	}
	switch k.Verb {
	case "all":
		for _, s := range []*site.Scheduler{r.local, r.remote} {
			s.Each(func(x *site.Site) { s.Kick(x, kickSpread, now) })
		}
		clear(r.domains)
		return true
	case "site":
		for _, key := range r.keysOf("site", k.Name) {
			if s := r.schedulerOf(key); s.Lookup(key) != nil {
				s.Kick(s.Lookup(key), 0, now)
			}
		}
		return true
	case "release":
		if err := r.Spool.Release(k.Name); err != nil {
			r.log.Warn("release "+k.Name, err)
			return true
		}
		r.lines = append(r.lines, queue.Event{Time: time.Now(), ID: k.Name, Kind: queue.Release})
		r.log.Release(k.Name)
		select {
		case r.onlyNew <- struct{}{}:
		default:
		}
		return true
	}
	for _, o := range r.kicked {
		if o.kick.Verb == k.Verb && o.kick.Name == k.Name {
			return false // it is being done
		}
	}
	m := r.messages[k.Name]
	if m == nil && !r.scanned {
		return false
	}
	if m == nil || m.flags&endedFlag != 0 {
		r.kickUnknown(k)
		return true
	}
	if err := r.kickMessage(m, k, now); err != nil && !errors.Is(err, errGone) {
		r.log.Warn(k.Verb+" "+k.Name, err)
	}
	if k.Verb == "try" {
		return true
	}
	r.kicked = append(r.kicked, kicked{k, m})
	return false
}

// kicked is a kick that is obeyed in memory. Its file goes when the journal, or the report, is on disk: killed in between we do it again.
type kicked struct {
	kick control.Kick
	m    *message
}

// kicksDone removes the kicks whose effect has been written down.
func (r *Runner) kicksDone() {
	if len(r.kicked) == 0 {
		return
	}
	if err := r.journal.Sync(); err != nil {
		return
	}
	keep := r.kicked[:0]
	for _, o := range r.kicked {
		if o.kick.Verb == "bounce" && r.has(o.m) && o.m.live != nil && o.m.live.failed > 0 {
			keep = append(keep, o) // the report waits for more of its kind, or for the disk
			continue
		}
		if err := control.Done(r.Spool, o.kick); err != nil {
			r.log.Warn("kick", err)
		}
	}
	clear(r.kicked[len(keep):])
	r.kicked = keep
}

// kickUnknown is a wish about a message that is in hold/, or nowhere.
func (r *Runner) kickUnknown(k control.Kick) {
	if k.Verb != "remove" {
		r.log.Warn(k.Verb+" "+k.Name, errNotOurs)
		return
	}
	name, err := r.Spool.Find(k.Name)
	switch {
	case err == nil && name == "":
		err = errNotOurs
	case err == nil:
		err = r.Spool.Remove(name)
	}
	if err != nil {
		r.log.Warn("remove "+k.Name, err)
		return
	}
	r.lines = append(r.lines, queue.Event{Time: time.Now(), ID: k.Name, Kind: queue.Remove, Why: "asked for"})
	r.log.Remove(k.Name, "asked for")
}

func (r *Runner) kickMessage(m *message, k control.Kick, now site.Time) error {
	switch k.Verb {
	case "try":
		m.each(func(it *site.Item) {
			if !it.Idle() && !it.Running() {
				r.schedulerOf(it.Site().Key).Hasten(it, now)
			}
		})
		return nil
	case "hold":
		reason := k.Text
		if reason == "" {
			reason = "asked for"
		}
		r.putAside(m, reason)
		return nil
	case "remove":
		r.lines = append(r.lines, queue.Event{Time: time.Now(), ID: m.id, Kind: queue.Remove, Why: "asked for"})
		r.log.Remove(m.id, "asked for")
		r.leave(m, false)
		return nil
	case "bounce":
		l, err := r.open(m)
		if err == nil {
			err = r.plan(m)
		}
		if err != nil {
			return err
		}
		why := k.Text
		if why == "" {
			why = "given up by the postmaster"
		}
		for i, c := range l.rcpts {
			if l.owed(i) && c.flight == nil && c.failed == nil {
				r.fail(m, i, &failure{result: status.Result{Outcome: status.Failed, Code: 554, Enhanced: "5.0.0", Text: why}})
			}
		}
		r.settle(m)
	}
	return nil
}

// gone reports whether an error says that a file is not there.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }

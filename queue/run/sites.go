package run

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/escape"
	"pennypost/queue/site"
)

// publish rewrites site/NAME of the sites that changed, at most once a second.
func (r *Runner) publish() {
	now := r.now()
	for _, x := range r.remote.Changed() {
		if err := r.writeSite(x, now); err != nil {
			r.log.Warn("site "+x.Key, err)
		}
	}
}

// told is what was last said of a site, for the file and the log.
type told struct {
	state string
	text  string // of the last failure
	at    time.Time
}

func (r *Runner) writeSite(x *site.Site, now site.Time) error {
	f := r.remote.Facts(x)
	t := r.told[x.Key]
	state := f.State
	switch {
	case state == "down":
		state = "parked"
	case state == "up" && f.Window < 2:
		state = "slow"
	case state == "up":
		state = "ok"
	}
	if t == nil {
		t = &told{state: "new"}
		r.told[x.Key] = t
	}
	if t.state != state {
		next := time.Duration(0)
		if x.Down() {
			next = f.Probe - now
		}
		if state != "ok" || t.state != "new" {
			r.log.Site(x.Key, state, next, t.text)
		}
		t.state = state
	}
	name := "site/" + escape.File(x.Key)
	if f.State == "new" && f.Queued == 0 && f.Used == 0 {
		return nil
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "site: %s\nstate: %s\nwindow: %.1f\nmax: %d\nused: %d\nqueued: %d\n", x.Key, state, f.Window, f.Max, f.Used, f.Queued)
	if x.Down() {
		fmt.Fprintf(&b, "next-probe: %s\nwait: %s\n", time.Now().Add(f.Probe-now).UTC().Format(time.RFC3339), f.Wait)
	}
	if f.Rate.Rate > 0 {
		fmt.Fprintf(&b, "rate: %d in %s\n", f.Rate.Rate, f.Rate.Per)
	}
	if f.Typical > 0 {
		fmt.Fprintf(&b, "transaction: %s\n", f.Typical.Round(time.Millisecond))
	}
	if t.text != "" {
		fmt.Fprintf(&b, "last-error: %s\nlast-error-at: %s\n", escape.Terminal(t.text), t.at.UTC().Format(time.RFC3339))
	}
	fmt.Fprintf(&b, "written: %s\n", time.Now().UTC().Format(time.RFC3339))
	tmp := "site/." + strconv.Itoa(int(r.seq%1000)) + ".new"
	r.Spool.Disk.Remove(tmp)
	file, err := r.Spool.Disk.Create(tmp, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(b.Bytes())
	if e := file.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = r.Spool.Disk.Rename(tmp, name)
	}
	return err
}

// siteError remembers why a site failed.
func (r *Runner) siteError(key, text string) {
	t := r.told[key]
	if t == nil {
		t = &told{state: "new"}
		r.told[key] = t
	}
	t.text, t.at = text, time.Now()
}

// learn reads site/ once: windows, and which sites are down. What is older than a day is forgotten.
func (r *Runner) learn() {
	names, err := r.Spool.Disk.ReadDir("site")
	if err != nil {
		r.log.Warn("site", err)
		return
	}
	now := r.now()
	for _, base := range names {
		if strings.HasPrefix(base, ".") {
			r.Spool.Disk.Remove("site/" + base)
			continue
		}
		info, err := r.Spool.Disk.Stat("site/" + base)
		if err != nil {
			continue
		}
		if time.Since(info.ModTime) > 24*time.Hour {
			r.Spool.Disk.Remove("site/" + base)
			continue
		}
		r.learnSite(base, now)
	}
}

func (r *Runner) learnSite(base string, now site.Time) {
	f, err := r.Spool.Disk.Open("site/" + base)
	if err != nil {
		return
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 8192))
	if err != nil {
		return
	}
	var key string
	var window float64
	var wait time.Duration
	down := false
	t := &told{state: "new"}
	for line := range strings.Lines(string(text)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch k {
		case "site":
			key = v
		case "state":
			down, t.state = v == "parked", v
		case "window":
			window, _ = strconv.ParseFloat(v, 64)
		case "wait":
			wait, _ = time.ParseDuration(v)
		case "last-error":
			t.text = v
		case "last-error-at":
			t.at, _ = time.Parse(time.RFC3339, v)
		}
	}
	if key == "" || escape.File(key) != base || !(window >= 0 && window < 1e6) {
		return
	}
	r.told[key] = t
	r.remote.Learnt(key, window, down, wait, now)
}

package run

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pennypost/internal/escape"
	"pennypost/queue"
	"pennypost/queue/site"
)

// TestTidy: what a year of strangers leaves in memory is forgotten, what is of use still stays.
func TestTidy(t *testing.T) {
	b := newBench(t)
	r := b.run
	r.prepare()
	r.start = time.Now().Add(-2 * time.Hour)
	now := r.now()
	for i := range mostDomains + 5000 {
		name := fmt.Sprintf("stranger%d.example", i)
		r.domains[name] = resolved{key: "mx." + name, until: now + time.Hour}
		r.bounced["ann@"+name] = &bounces{since: now}
	}
	r.domains["old.example"], r.bounced["ann@old.example"] = resolved{until: now - 1}, &bounces{since: now - 2*time.Hour}
	put := func(key string, out site.Outcome, at site.Time) *site.Item {
		it := &site.Item{Owner: r, Cost: 1, MiB: 1}
		r.remote.Add(it, key, 0, at)
		if r.remote.Next(at) != it {
			t.Fatal("not started")
		}
		r.siteError(key, "refused")
		r.remote.Done(it, out, at)
		if err := r.writeSite(r.remote.Lookup(key), at); err != nil {
			t.Fatal(err)
		}
		return it
	}
	for i := range 100 {
		put(fmt.Sprintf("down%d", i), site.Silent, 0)
	}
	for i := range mostIdle + 50 {
		put(fmt.Sprintf("up%d", i), site.Answered, 0)
	}
	put("just-down", site.Silent, now)
	r.remote.Add(put("in-use", site.Silent, 0), "in-use", 0, now)
	r.siteError("mx:never-resolved.example", "no answer")
	r.ended["6c47dybdmg65kzmws-t"], r.ended["6c47dybdmg65kzmws-t.b1"], r.scanned = true, true, true
	r.replay["6c47dybdmg65kzmws-t"] = []queue.Event{{}}
	r.tidy()
	if len(r.domains) != mostDomains || len(r.bounced) != mostBounced || r.bounced["ann@old.example"] != nil {
		t.Errorf("%d domains and %d bounce rates are remembered", len(r.domains), len(r.bounced))
	}
	if _, there := r.domains["old.example"]; there {
		t.Error("an answer of DNS is kept beyond its time")
	}
	sites := 0
	r.remote.Each(func(*site.Site) { sites++ })
	if sites > mostIdle+2 || r.remote.Lookup("down1") != nil || r.remote.Lookup("just-down") == nil || r.remote.Lookup("in-use") == nil {
		t.Errorf("%d sites are remembered", sites)
	}
	if len(r.told) > sites {
		t.Errorf("%d sites are spoken of", len(r.told))
	}
	for key, want := range map[string]bool{"down1": false, "just-down": true, "in-use": true} {
		if _, err := os.Stat(filepath.Join(b.dir, "site", escape.File(key))); (err == nil) != want {
			t.Errorf("site/%s: %v", key, err)
		}
	}
	if len(r.ended) != 1 || !r.ended["6c47dybdmg65kzmws-t.b1"] || len(r.replay) != 0 {
		t.Errorf("of the journal are left %v, %v", r.ended, r.replay)
	}
}

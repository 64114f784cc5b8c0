package run

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pennypost/internal/durable/faultdisk"
	"pennypost/internal/maillog"
	"pennypost/queue"
	"pennypost/queue/control"
)

// TestKickCrash: the power goes at every step of obeying "remove" and "bounce". The kick is still there, or what it asked for is in the
// journal and, for the bounce, in the spool.
func TestKickCrash(t *testing.T) {
	b := newBench(t)
	for _, verb := range []string{"remove", "bounce"} {
		for n := 1; ; n++ {
			disk := faultdisk.New()
			s, ids := crashSpool(t, disk)
			if err := control.Ask(s, control.Kick{Verb: verb, Name: ids[0]}); err != nil {
				t.Fatal(err)
			}
			disk.SyncDir("kick")
			b.spool = s
			b.reset()
			r := b.run
			r.prepare()
			r.log = &maillog.Log{Program: "queue-run", Out: b.log}
			r.journal = s.OpenJournal(func(error) {})
			r.scanned = true
			r.enrol(&message{id: ids[0], name: "in/submit/new/" + ids[0]})
			disk.CrashAt(n)
			r.steer()
			r.owing = append(r.owing, r.all...)
			for range 2 {
				r.turn()
				r.tellOld()
			}
			r.steer()
			r.turn()
			r.journal.Sync()
			crashed, step := disk.Crashed(), disk.LastStep()
			left, _ := disk.ReadDir("kick")
			again, err := queue.OpenOn(disk.Restart())
			if err != nil {
				t.Fatal(err)
			}
			kicks, _ := again.Disk.ReadDir("kick")
			done := false
			again.Results(time.Now().Add(-time.Hour), func(ev *queue.Event) error {
				done = done || ev.ID == ids[0] && (ev.Kind == queue.Remove || ev.Kind == queue.Bounce)
				return nil
			})
			if !slices.Contains(kicks, verb+":"+ids[0]) && !done {
				t.Fatalf("%s, cut %d at %s: forgotten; kick/ %v", verb, n, step, kicks)
			}
			if !crashed {
				if len(left) > 0 || !done {
					t.Errorf("%s: not obeyed: %v %v\n%s", verb, left, done, strings.TrimSpace(b.log.String()))
				}
				break
			}
		}
	}
}

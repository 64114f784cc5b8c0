package imapd

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// The collector works when the heap has grown by a percentage. What suits thousands of idle connections, a small one, has it work for every
// 2 MiB of garbage while there are few, several times in the course of one command.
const (
	percentLeast = 50
	percentMost  = 400
	garbage      = 12 << 20 // may come together in any case
)

// paceCollector sets the percentage after each run of the collector, by what is alive. GOGC in the environment overrides.
func paceCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percentMost)
		afterCollection(percentMost)
	}
}

// afterCollection waits for the next run: it ends the life of something nobody refers to.
func afterCollection(percent int) {
	type mark struct{ _ [16]byte } // nothing small is collected for certain
	runtime.AddCleanup(&mark{}, func(before int) {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		percent := percentFor(live[0].Value.Uint64())
		if percent*10 > before*11 || percent*10 < before*9 { // setting it stops the world for a moment
			debug.SetGCPercent(percent)
			before = percent
		}
		afterCollection(before)
	}, percent)
}

// percentFor is what suits so much that is alive.
func percentFor(live uint64) int {
	return int(min(max(100*garbage/max(live, 1), percentLeast), percentMost))
}

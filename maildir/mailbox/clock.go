package mailbox

import (
	"time"

	"pennypost/internal/durable"
)

// wall is the clock of the machine: what stands in files is of it. It may be stepped at any moment, by hours and in either direction, and the
// machine that keeps the files may have another. So what passes between two moments of this process is measured by time.Now, which goes on
// evenly; UIDs and mod-sequences never hang on wall alone but rise above what was there; and where a file's time is compared with
// wall, a wrong answer costs a scan.
var wall = time.Now

// began is a moment of the even clock.
var began = time.Now()

// evenly is the nanoseconds since then.
func evenly() int64 { return int64(time.Since(began)) }

// aged reports whether a change of the directory, made at the time, is so old that what may have hidden behind it is to be looked for. Before a time
// that is yet to come there is no telling: then it is looked for at once where that ends it, and else counted from now on by the even clock.
func (f *Folder) aged(changed time.Time, wait time.Duration) bool {
	age := wall().Sub(changed)
	if age < 0 && f.grain() < 0 {
		return true
	}
	if age < 0 && f.unverified.IsZero() {
		f.unverified = time.Now()
	}
	return age > wait
}

// remote is durable.Remote, a variable for tests.
var remote = durable.Remote

// grain is within what time two changes of a directory may have been given one time: a file server may count in seconds.
func (f *Folder) grain() time.Duration {
	switch {
	case remote(f.disk):
		return 2 * time.Second
	case fineStamps():
		return -1 << 62
	}
	return 20 * time.Millisecond
}

// suspectWait is how long a message must be missing before scans that are not whole prove that it went: on a file server what others do is seen
// when the kernel's cache of attributes allows.
func (f *Folder) suspectWait() time.Duration {
	if remote(f.disk) {
		return 10 * suspectWait
	}
	return suspectWait
}

package run

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/escape"
	"pennypost/queue"
	"pennypost/queue/site"
)

// The checkpoint is a cache: what the runner knew of every message, so that the next one opens no file it knew. A
// line for every message and site it is in line at:
//
//	checkpoint 1 1795321402.120000
//	ID AGE ATTEMPTS DELAYED CLASS COST DUE SITE FLOW NAME
//
// AGE and DUE are seconds, NAME is "-" for the message's place in q/. It is written beside and renamed, every five
// minutes and at the end; what has happened since is in results/.
const (
	checkpointFile  = "index/1"
	checkpointMagic = "checkpoint 1 "
	checkpointEvery = 5 * time.Minute
	// unknownPast is how far back results/ is read where no checkpoint says.
	unknownPast = 2 * time.Hour
	// overlap is how long before the checkpoint results/ is read: its syncs and the unlinks of that time may not have
	// reached the disk.
	overlap = time.Minute
)

// known is one line of the checkpoint.
type known struct {
	id, name, site, flow string
	age, due             time.Duration
	attempts             uint16
	delayed              bool
	class                site.Class
	cost                 float32
}

// checkpoint writes what we know.
func (r *Runner) checkpoint() error {
	if r.DryRun != nil || !r.scanned { // half a list would be worse than the last one
		return nil
	}
	tmp := checkpointFile + ".new"
	r.Spool.Disk.Remove(tmp)
	f, err := r.Spool.Disk.Create(tmp, 0o600)
	if err != nil {
		return err
	}
	now := r.now()
	w := bufio.NewWriterSize(f, 256<<10)
	fmt.Fprintf(w, "%s%d.%06d\n", checkpointMagic, time.Now().Unix(), time.Now().Nanosecond()/1000)
	var b []byte
	for _, m := range r.all {
		m.each(func(it *site.Item) {
			if it.Site() == nil || it.Idle() && m.live == nil {
				return
			}
			b = r.appendKnown(b[:0], m, it, now)
			w.Write(b)
		})
	}
	err = w.Flush()
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = r.Spool.Disk.Rename(tmp, checkpointFile)
	}
	if err != nil {
		r.Spool.Disk.Remove(tmp)
	}
	return err
}

func (r *Runner) appendKnown(b []byte, m *message, it *site.Item, now site.Time) []byte {
	due := it.Due() - now
	if it.Running() || due < 0 {
		due = 0
	}
	b = append(append(b, m.id...), ' ')
	b = strconv.AppendInt(b, int64(r.age(m)/time.Second), 10)
	b = strconv.AppendInt(append(b, ' '), int64(it.Attempts), 10)
	delayed := int64(0)
	if m.flags&delayedFlag != 0 {
		delayed = 1
	}
	b = strconv.AppendInt(append(b, ' '), delayed, 10)
	b = strconv.AppendInt(append(b, ' '), int64(it.Class), 10)
	b = strconv.AppendFloat(append(b, ' '), float64(it.Cost), 'g', 4, 32)
	b = strconv.AppendInt(append(b, ' '), int64(due/time.Second), 10)
	b = escape.Append(append(b, ' '), it.Site().Key)
	b = escape.Append(append(b, ' '), it.Flow)
	b = escape.Append(append(b, ' '), m.name)
	return append(b, '\n')
}

// recall reads the journal since the last checkpoint: what must not be repeated.
func (r *Runner) recall() error {
	since := time.Now().Add(-unknownPast)
	at, err := r.checkpointTime()
	if err == nil {
		since = at.Add(-overlap)
		if d := time.Since(at) - checkpointEvery; d > 0 {
			r.downtime = d // and if the clock has jumped, nothing is older than it was (S140)
		}
	}
	return r.Spool.Results(since, func(ev *queue.Event) error {
		switch ev.Kind {
		case queue.End, queue.Remove:
			if ev.Why == queue.Moved {
				break // mv to hold/ looks like rm; when the file comes back it is not to be taken for one that has ended
			}
			r.ended[ev.ID] = true
			delete(r.replay, ev.ID)
		case queue.Release:
			delete(r.ended, ev.ID)
		case queue.Deliver, queue.Bounce, queue.Expand, queue.Delay:
			if !r.ended[ev.ID] {
				r.replay[ev.ID] = append(r.replay[ev.ID], *ev)
			}
		}
		return nil
	})
}

func (r *Runner) checkpointTime() (time.Time, error) {
	f, err := r.Spool.Disk.Open(checkpointFile)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	var head [64]byte
	n, _ := f.ReadAt(head[:], 0)
	line, _, _ := strings.Cut(string(head[:n]), "\n")
	word, ok := strings.CutPrefix(line, checkpointMagic)
	seconds, err := strconv.ParseFloat(word, 64)
	if !ok || err != nil || seconds < 0 || seconds > 1<<40 {
		return time.Time{}, errors.New(checkpointFile + ": no checkpoint")
	}
	return time.UnixMicro(int64(seconds * 1e6)), nil
}

// recallAll reads the checkpoint and gives it to the loop in pieces. It runs beside the loop: new mail does not wait for it.
func (r *Runner) recallAll(stop chan struct{}) {
	f, err := r.Spool.Disk.Open(checkpointFile)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			r.log.Warn("checkpoint", err)
		}
		return
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 256<<10)
	if _, err := in.ReadSlice('\n'); err != nil {
		return
	}
	words := map[string]string{} // sites and flows are few: one string each
	batch := make([]known, 0, piece)
	for {
		line, err := in.ReadSlice('\n')
		if err == io.EOF || err != nil {
			break // half a line is no line
		}
		k, err := parseKnown(line[:len(line)-1], words)
		if err != nil {
			r.log.Warn("checkpoint", err)
			break // it is a cache
		}
		if batch = append(batch, k); len(batch) == piece {
			select {
			case r.known <- batch:
				runtime.Gosched()
			case <-stop:
				return
			}
			batch = make([]known, 0, piece)
		}
	}
	select {
	case r.known <- batch:
	case <-stop:
	}
}

var errLine = errors.New("unreadable line")

func parseKnown(line []byte, words map[string]string) (k known, err error) {
	var field [10][]byte
	n := 0
	for w := range bytes.SplitSeq(line, []byte(" ")) {
		if n == len(field) {
			return k, errLine
		}
		field[n] = w
		n++
	}
	if n != len(field) {
		return k, errLine
	}
	number := func(i int) int64 {
		v, e := strconv.ParseInt(string(field[i]), 10, 40)
		if e != nil || v < 0 && i != 1 {
			err = errLine
		}
		return v
	}
	word := func(i int) string {
		if s, ok := words[string(field[i])]; ok {
			return s
		}
		s, e := escape.Parse(string(field[i]))
		if e != nil {
			err = errLine
		}
		words[string(field[i])] = s
		return s
	}
	if k.id = string(field[0]); !queue.ValidID(k.id) {
		return k, errLine
	}
	k.age = time.Duration(number(1)) * time.Second
	k.attempts = uint16(min(number(2), 1<<15))
	k.delayed = number(3) == 1
	k.class = site.Class(min(number(4), int64(site.DSN)))
	cost, e := strconv.ParseFloat(string(field[5]), 32)
	if e != nil || !(cost > 0) {
		return k, errLine
	}
	k.cost = float32(cost)
	k.due = min(time.Duration(number(6))*time.Second, 13*time.Hour)
	k.site, k.flow = word(7), word(8)
	if len(field[9]) > 1 {
		k.name, e = escape.Parse(string(field[9]))
		if e != nil {
			return k, errLine
		}
	}
	return k, err
}

// recallBatch takes a piece of the checkpoint: messages in line where they were, their files unopened.
func (r *Runner) recallBatch(batch []known) {
	now := r.now()
	for i := range batch {
		k := &batch[i]
		m := r.messages[k.id]
		switch {
		case r.ended[k.id]:
			continue // the scan finds the file, if it is there
		case m == nil:
			m = &message{id: k.id, name: k.name, flags: scannedFlag | checkedFlag | seenFlag}
			m.born = int32((now - k.age) / time.Second)
			if k.delayed {
				m.flags |= delayedFlag
			}
			if k.class == site.Bulk || k.class == site.DSN {
				m.flags |= bounceFlag
			}
			r.enrol(m)
		case m.flags&seenFlag == 0:
			continue // found already, by a hint or a scan
		}
		it := &m.item
		if !it.Idle() || it.Site() != nil {
			it = new(site.Item)
			m.more = append(m.more, it)
		}
		*it = site.Item{Owner: m, Flow: k.flow, Class: k.class, Attempts: k.attempts, Cost: k.cost, MiB: 1}
		r.schedulerOf(k.site).Add(it, k.site, now+k.due, now)
	}
}

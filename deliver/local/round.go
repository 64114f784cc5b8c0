package local

import (
	"bytes"
	"errors"
	"io/fs"
	"sync"
	"time"

	"pennypost/internal/durable"
	"pennypost/internal/order"
	"pennypost/internal/status"
	"pennypost/queue"
)

// round collects what waits for the next sync, and the answers on their way back.
type round struct {
	agent *Agent
	send  func([]order.Answer) error
	now   func() time.Time

	// Of the goroutine that begins orders: what the Maildirs have that an order of this batch may be a
	// repeat of. One look answers for all orders that came before it.
	oldest int64
	looked map[*box]map[string]string

	mu      sync.Mutex
	waiting []*copying
	answers []order.Answer
	pending int            // recipients without an answer
	running sync.WaitGroup // programs
	idle    *sync.Cond
	kick    chan struct{} // something waits
}

func newRound(a *Agent, send func([]order.Answer) error) *round {
	a.init()
	r := &round{agent: a, send: send, now: time.Now, kick: make(chan struct{}, 1)}
	r.idle = sync.NewCond(&r.mu)
	return r
}

// batch begins some orders that have come together.
func (r *round) batch(orders []order.Order) {
	clear(r.looked)
	r.oldest = 0
	for i := range orders {
		if orders[i].ID != "" {
			if sec := queue.TimeOf(orders[i].ID).Unix(); r.oldest == 0 || sec < r.oldest {
				r.oldest = sec
			}
		}
	}
}

// there is what box has that may be an earlier delivery of the message id.
func (r *round) there(b *box, id string) (map[string]string, error) {
	if found, ok := r.looked[b]; ok {
		return found, nil
	}
	found, err := b.Since(min(r.oldest, queue.TimeOf(id).Unix()))
	if err != nil {
		return nil, err
	}
	if r.looked == nil {
		r.looked = make(map[*box]map[string]string)
	}
	r.looked[b] = found
	return found, nil
}

// add lets a copy take part in the next sync.
func (r *round) add(c *copying) {
	r.mu.Lock()
	r.waiting = append(r.waiting, c)
	r.mu.Unlock()
}

// wake begins a sync if anything waits for one.
func (r *round) wake() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// group takes what waits.
func (r *round) group() []*copying {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.waiting
	r.waiting = nil
	return g
}

// copied notes that one copy of a recipient is done with, well or not.
func (r *round) copied(a *Agent, rc *recipient) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rc.copies--
	if rc.copies > 0 {
		return
	}
	if rc.worst.Text == "" && len(rc.plan.programs) > 0 {
		r.running.Add(1)
		go func() {
			defer r.running.Done()
			defer r.flush()
			a.runPrograms(rc)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.answer(rc)
		}()
		return
	}
	r.answer(rc)
}

// answer says what became of a recipient; r.mu is held.
func (r *round) answer(rc *recipient) {
	j := rc.job
	seq := j.order.Seq
	result := rc.worst
	if result.Text == "" {
		result = rc.plan.result()
		for _, target := range rc.plan.forward {
			r.agent.Log.Forward(j.order.ID, rc.to, target)
			r.answers = append(r.answers, order.Answer{Kind: 'F', Seq: seq, Num: rc.num, Target: target})
		}
	}
	kept := result.Outcome == status.Delivered && rc.plan.kept()
	r.answers = append(r.answers, order.Answer{Kind: result.Outcome.Letter(), Seq: seq, Num: rc.num, Result: result, Kept: kept})
	r.pending--
	if j.open--; j.open == 0 {
		if j.msg != nil {
			j.msg.release()
		}
		j.file.Close()
		r.answers = append(r.answers, order.Answer{Kind: 'E', Seq: seq})
	}
	if r.pending == 0 {
		r.idle.Broadcast()
	}
}

// flush sends the answers there are.
func (r *round) flush() error {
	r.mu.Lock()
	answers := r.answers
	r.answers = nil
	r.mu.Unlock()
	r.agent.Log.Flush()
	if len(answers) == 0 {
		return nil
	}
	return r.send(answers)
}

// wait returns when every recipient has its answer, and flush has nothing more to wait for.
func (r *round) wait() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.pending > 0 {
		r.idle.Wait()
	}
	r.mu.Unlock()
	r.running.Wait() // they have answered; let them have sent it, too
	r.mu.Lock()
}

// place is a directory that holds copies of this group.
type place struct {
	box *box
	dir string
}

// commit makes a group of copies durable: first every file, then every name. Nothing is visible
// before its file is on disk, nobody is answered before its name is.
func (r *round) commit(group []*copying) {
	if len(group) == 0 {
		return
	}
	var written []*copying
	for _, c := range group {
		if c.file != nil {
			written = append(written, c)
		}
	}
	parallel(len(written), func(i int) { written[i].sync() })
	for _, c := range written {
		if c.err == nil {
			c.publish()
		}
	}

	dirs := make(map[place][]*copying)
	var order []place
	for _, c := range group {
		if c.err == nil {
			p := place{c.box, c.dir}
			if dirs[p] == nil {
				order = append(order, p)
			}
			dirs[p] = append(dirs[p], c)
		}
	}
	parallel(len(order), func(i int) {
		p := order[i]
		if err := p.box.Disk.SyncDir(p.dir); err != nil {
			for _, c := range dirs[p] {
				c.takeBack(err)
			}
		}
	})

	r.agent.count(group)
	for _, c := range group {
		r.done(c)
	}
}

// done lets go of a copy, with its box.
func (r *round) done(c *copying) {
	rc := c.rcpt
	if c.err != nil {
		rc.fail(r.agent.trouble(rc, c.err))
	} else {
		r.agent.Log.File(rc.job.order.ID, rc.to, c.folder, c.how, c.size)
		r.agent.index.add(c)
	}
	r.agent.boxes.put(c.box)
	if c.used != nil {
		r.agent.boxes.put(c.used)
	}
	r.copied(r.agent, rc)
}

// parallel calls do(0) … do(n-1), some dozen at once: the disk joins syncs that wait together.
func parallel(n int, do func(i int)) {
	if n == 1 {
		do(0)
		return
	}
	var wg sync.WaitGroup
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	for range min(n, 32) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range next {
				do(i)
			}
		}()
	}
	wg.Wait()
}

// sync puts the text of a copy on disk. After an error the file is given up: a second fsync
// could say yes to octets the kernel has thrown away (S136).
func (c *copying) sync() {
	err := c.file.Sync()
	if cerr := c.file.Close(); err == nil {
		err = cerr
	}
	c.file = nil
	if err != nil {
		c.box.Disk.Remove(c.tmp)
		c.err = err
	}
}

// publish makes the copy visible.
func (c *copying) publish() {
	err := c.box.Disk.RenameNew(c.tmp, "new/"+c.name)
	if isExist(err) {
		err = c.replace()
	}
	if err != nil {
		c.box.Disk.Remove(c.tmp)
		c.err = err
	}
}

// replace meets a file that has our name already: an earlier attempt's, whole or torn by somebody else.
func (c *copying) replace() error {
	same, err := sameFile(c.box.Disk, c.tmp, "new/"+c.name)
	if err != nil || !same {
		return c.box.Disk.Rename(c.tmp, "new/"+c.name)
	}
	c.how = "repeat"
	c.box.Disk.Remove(c.tmp)
	return nil
}

// takeBack undoes a delivery whose name may not be on disk.
func (c *copying) takeBack(err error) {
	c.err = err
	if c.how != "repeat" {
		c.box.Disk.Remove("new/" + c.name)
	}
}

func isExist(err error) bool { return errors.Is(err, fs.ErrExist) }

// sameFile compares two files octet by octet.
func sameFile(disk durable.Disk, a, b string) (bool, error) {
	f, err := disk.Open(a)
	if err != nil {
		return false, err
	}
	defer f.Close()
	g, err := disk.Open(b)
	if err != nil {
		return false, err
	}
	defer g.Close()
	x, y := make([]byte, chunk), make([]byte, chunk)
	for at := int64(0); ; at += chunk {
		n, err := readAt(f, x, at)
		if err != nil {
			return false, err
		}
		m, err := readAt(g, y, at)
		if err != nil || n != m || !bytes.Equal(x[:n], y[:m]) {
			return false, err
		}
		if n < chunk {
			return true, nil
		}
	}
}

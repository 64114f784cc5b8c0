package site

// The two banks of a site, which are two of the scheduler's heaps, too, and the other heaps.
const (
	fresh   = 0 // items never tried
	old     = 1 // the backlog
	reports = 2 // items of class DSN of either bank
	timer   = 3
)

// flow is the ready items of one flow, oldest first.
type flow struct {
	key        string
	share      float64 // recipients started, as the virtual clock of its class has it
	pos        int32
	head, tail *Item
}

// class is the flows of one class that have something ready, by share.
type class struct {
	share float64
	clock float64
	flows []*flow
	index map[string]*flow // nil while the flows are few
}

// bank is what is ready at a site.
type bank struct {
	classes *[classes]class // nil when empty
	n       int
	clock   float64
}

func (b *bank) empty() bool { return b.n == 0 }

// emptyOf reports whether the bank has nothing of one class, or with classes of none.
func (b *bank) emptyOf(only Class) bool {
	return b.n == 0 || only != classes && len(b.classes[only].flows) == 0
}

// few is how many flows are searched one by one.
const few = 8

func (c *class) heap() *heap[*flow] {
	return &heap[*flow]{
		less: func(a, b *flow) bool { return a.share < b.share },
		pos:  func(f *flow) *int32 { return &f.pos },
		all:  c.flows,
	}
}

func (c *class) find(key string) *flow {
	if c.index != nil {
		return c.index[key]
	}
	for _, f := range c.flows {
		if f.key == key {
			return f
		}
	}
	return nil
}

func (b *bank) push(it *Item) {
	if b.classes == nil {
		b.classes = new([classes]class)
	}
	c := &b.classes[it.Class]
	if len(c.flows) == 0 {
		c.share = max(c.share, b.clock)
	}
	f := c.find(it.Flow)
	if f == nil {
		f = &flow{key: it.Flow, share: c.clock}
		h := c.heap()
		h.push(f)
		c.flows = h.all
		if c.index == nil && len(c.flows) > few {
			c.index = make(map[string]*flow, 2*few)
			for _, f := range c.flows {
				c.index[f.key] = f
			}
		} else if c.index != nil {
			c.index[f.key] = f
		}
	}
	it.next = nil
	if f.tail == nil {
		f.head = it
	} else {
		f.tail.next = it
	}
	f.tail = it
	b.n++
}

// pop takes the item that is next by class, flow and age, or by flow and age of one class; nil if what was left had been removed.
func (b *bank) pop(only Class) *Item {
	for !b.emptyOf(only) {
		var best *class
		var weight float64
		for i := range b.classes {
			if c := &b.classes[i]; len(c.flows) > 0 && (only == classes || only == Class(i)) && (best == nil || c.share < best.share) {
				best, weight = c, weights[i]
			}
		}
		it := best.pop()
		b.n--
		b.clock = max(b.clock, best.share)
		if it.state != removed {
			best.share += float64(it.Cost) / weight
		} else {
			it.state, it = idle, nil
		}
		if b.n == 0 {
			b.classes, b.clock = nil, 0
		}
		if it != nil {
			return it
		}
	}
	return nil
}

func (c *class) pop() *Item {
	f := c.flows[0]
	it := f.head
	f.head, it.next = it.next, nil
	c.clock = f.share
	if it.state != removed {
		f.share += float64(it.Cost)
	}
	h := c.heap()
	if f.head == nil {
		h.remove(f)
		c.flows = h.all
		if c.index != nil {
			delete(c.index, f.key)
		}
	} else {
		h.fix(f)
	}
	return it
}

package site

// heap is a binary heap of pointers that know where they are, so that any of them can be moved or taken out.
type heap[T any] struct {
	less func(a, b T) bool
	pos  func(T) *int32
	all  []T
}

func (h *heap[T]) top() (t T) {
	if len(h.all) > 0 {
		t = h.all[0]
	}
	return t
}

func (h *heap[T]) push(t T) {
	h.all = append(h.all, t)
	h.up(len(h.all) - 1)
}

func (h *heap[T]) remove(t T) {
	i, last := int(*h.pos(t)), len(h.all)-1
	*h.pos(t) = -1
	moved := h.all[last]
	var none T
	h.all[last] = none
	h.all = h.all[:last]
	if i != last {
		h.all[i] = moved
		*h.pos(moved) = int32(i)
		h.fix(moved)
	}
}

func (h *heap[T]) fix(t T) {
	i := int(*h.pos(t))
	h.up(i)
	h.down(int(*h.pos(t)))
}

func (h *heap[T]) up(i int) {
	t := h.all[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(t, h.all[parent]) {
			break
		}
		h.all[i] = h.all[parent]
		*h.pos(h.all[i]) = int32(i)
		i = parent
	}
	h.all[i] = t
	*h.pos(t) = int32(i)
}

func (h *heap[T]) down(i int) {
	t := h.all[i]
	for {
		child := 2*i + 1
		if child >= len(h.all) {
			break
		}
		if child+1 < len(h.all) && h.less(h.all[child+1], h.all[child]) {
			child++
		}
		if !h.less(h.all[child], t) {
			break
		}
		h.all[i] = h.all[child]
		*h.pos(h.all[i]) = int32(i)
		i = child
	}
	h.all[i] = t
	*h.pos(t) = int32(i)
}

// dues is the heap of a site's waiting items. It is its own type and not a heap[*Item]: a site without waiting
// items, as most of a million are, keeps three words for it and no functions.
type dues struct{ all []*Item }

func (d *dues) heap() *heap[*Item] {
	return &heap[*Item]{
		less: func(a, b *Item) bool { return a.due < b.due },
		pos:  func(it *Item) *int32 { return &it.pos },
		all:  d.all,
	}
}

func (d *dues) top() *Item {
	if len(d.all) == 0 {
		return nil
	}
	return d.all[0]
}

func (d *dues) push(it *Item)   { h := d.heap(); h.push(it); d.all = h.all }
func (d *dues) remove(it *Item) { h := d.heap(); h.remove(it); d.all = h.all }

package remote

import (
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pool keeps connections that are idle, under what made them: site, TLS, login. One that is taken out again has the rights
// it was opened with, and no others.
type pool struct {
	mu     sync.Mutex
	idle   map[string][]*session
	count  int // of all idle ones
	closed bool

	leaving sync.WaitGroup
}

// maxIdle is how many connections are idle at once, to all sites: a descriptor each.
const maxIdle = 400

// take finds an idle connection that still lives, the one used last first.
func (p *pool) take(key string) *session {
	for {
		p.mu.Lock()
		list := p.idle[key]
		if len(list) == 0 {
			p.mu.Unlock()
			return nil
		}
		s := list[len(list)-1]
		p.count--
		list[len(list)-1] = nil
		if p.idle[key] = list[:len(list)-1]; len(list) == 1 {
			delete(p.idle, key)
		}
		p.mu.Unlock()
		s.timer.Stop()
		if time.Since(s.opened) < maxAge && quiet(s.tcp) {
			s.again = true
			return s
		}
		s.close()
	}
}

// put keeps s for a while, or says QUIT if it has done its share.
func (p *pool) put(key string, s *session, idle time.Duration, most int) {
	if s.broken || s.messages >= most || s.ext.mailMax > 0 && s.messages >= s.ext.mailMax || time.Since(s.opened) >= maxAge {
		p.leave(s)
		return
	}
	if cap(s.out) > 32<<10 {
		s.out = nil // it held a large message
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.count >= maxIdle {
		p.leave(s)
		return
	}
	p.idle[key] = append(p.idle[key], s)
	p.count++
	if s.timer == nil {
		s.timer = time.AfterFunc(idle, func() { p.expire(key, s) })
	} else {
		s.timer.Reset(idle)
	}
}

// leave says QUIT without anybody waiting for it.
func (p *pool) leave(s *session) {
	p.leaving.Add(1)
	go func() {
		defer p.leaving.Done()
		s.quit()
	}()
}

// expire ends a connection that nobody took.
func (p *pool) expire(key string, s *session) {
	p.mu.Lock()
	list := p.idle[key]
	for i, other := range list {
		if other == s {
			p.count--
			if list = append(list[:i], list[i+1:]...); len(list) == 0 {
				delete(p.idle, key)
			} else {
				p.idle[key] = list
			}
			p.mu.Unlock()
			s.quit()
			return
		}
	}
	p.mu.Unlock() // it was taken in the meantime
}

// close ends all that are idle, and those to come, and waits for their QUIT.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	all := p.idle
	p.idle, p.count = make(map[string][]*session), 0
	p.mu.Unlock()
	for _, list := range all {
		for _, s := range list {
			p.leave(s)
		}
	}
	p.leaving.Wait()
}

// quiet reports that the peer has neither closed an idle connection nor said anything (a 421, for example): either means
// that it is of no use any more.
func quiet(conn net.Conn) bool {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var one [1]byte
	ok = false
	raw.Control(func(fd uintptr) {
		_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		ok = err == unix.EAGAIN
	})
	return ok
}

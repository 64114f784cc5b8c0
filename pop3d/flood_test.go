package pop3d

import (
	"io"
	"testing"
	"time"
)

// An octet now and then keeps no connection: a line has its time, before the login and after it (S076).
func TestS076Slow(t *testing.T) {
	h := newHouse(t)
	h.srv.IdleTime = 300 * time.Millisecond
	for _, login := range []bool{false, true} {
		c := h.dial(login)
		if login {
			c.line()
			io.WriteString(c.Conn, "USER bob\r\nPASS secret word\r\n")
		}
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			io.Copy(io.Discard, c.Conn)
		}()
		for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			io.WriteString(c.Conn, "X")
			select {
			case <-closed:
			default:
				if time.Since(begun) < 5*time.Second { // 255 octets end it as well
					continue
				}
				t.Error("an octet now and then goes on for ever")
			}
			break
		}
		c.Conn.Close()
	}
}

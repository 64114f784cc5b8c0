package order

import "golang.org/x/sys/unix"

// Finish lets no more packets in: ReceiveOrders gives io.EOF, answers still go out. Orders that were
// sent and not received come back to queue-run as those of a worker that died.
func (c *Conn) Finish() error {
	var err error
	if cerr := c.raw.Control(func(fd uintptr) { err = unix.Shutdown(int(fd), unix.SHUT_RD) }); cerr != nil {
		return cerr
	}
	return err
}

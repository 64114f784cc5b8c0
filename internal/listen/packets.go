package listen

import (
	"context"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"pennypost/internal/maillog"
	"pennypost/internal/packet"
)

// Packets serves processes of this host that ask by packets: the connection on descriptor 0 to its end; else at the socket a supervisor
// passed, else at our own, whose directory is made with mode; at most so many at once.
func Packets(ctx context.Context, socket string, mode fs.FileMode, most int, log *maillog.Log, handle func(net.Conn)) error {
	if c, ok := packet.Inherited(); ok {
		handle(c)
		return nil
	}
	on, err := Handed(nil)
	if err == nil && len(on) == 0 {
		if err = os.MkdirAll(filepath.Dir(socket), mode); err == nil {
			on, err = Open(Packet(socket))
		}
	}
	if err != nil {
		return err
	}
	log.Start(log.Program, on[0].Addr().String())
	return Serve(ctx, on, Limits{Total: most}, handle, func(net.Conn) {})
}

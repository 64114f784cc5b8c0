package local

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pennypost/internal/order"
)

// BenchmarkDeliver is what a message costs without its wake-ups: groups of 20, by link and by copy.
func BenchmarkDeliver(b *testing.B) {
	for _, ready := range []bool{true, false} {
		b.Run(map[bool]string{true: "link", false: "copy"}[ready], func(b *testing.B) {
			t := &bench{dir: b.TempDir()}
			os.Mkdir(t.dir+"/mail", 0o700)
			t.fill()
			text := letter + strings.Repeat("text text text text text text text text\n", 100)
			if !ready {
				text = plain(text)
			}
			name := t.dir + "/spool"
			os.WriteFile(name, []byte(text), 0o600)
			r := newRound(t.agent, func([]order.Answer) error { return nil })
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				o := t.order("bob@example.org")
				o.ID = fmt.Sprintf("%017d-a", n)
				if ready {
					o.Ready, o.Size, o.Wire = true, int64(len(text)), int64(len(text)+102)
				}
				fd, _ := unix.Open(name, unix.O_RDONLY, 0)
				t.agent.accept(r, o, fd)
				if n++; n%20 == 0 {
					r.commit(r.group())
					r.flush()
				}
			}
			r.commit(r.group())
		})
	}
}

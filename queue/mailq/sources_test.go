package mailq

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pennypost/internal/config"
	"pennypost/internal/listen"
)

// TestSources: who is connected is shown, by a process that is not.
func TestSources(t *testing.T) {
	b := newBench(t)
	conf := config.Default()
	conf.Run = t.TempDir()
	if err := os.MkdirAll(filepath.Join(conf.Run, "sources/smtpd"), 0o755); err != nil {
		t.Fatal(err)
	}
	table, err := listen.OpenTable(filepath.Join(conf.Run, "sources/smtpd/mx"))
	if err != nil {
		t.Fatal(err)
	}
	_ = table // nobody is there yet
	tables := &listen.Tables{Dir: filepath.Join(conf.Run, "sources/smtpd")}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.9")}}
	c, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ready, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		listen.One(s, listen.Limits{Tables: tables}.Of("mx"), func(c net.Conn) {
			close(ready)
			io.Copy(io.Discard, c)
			c.Close()
		}, func(net.Conn) {})
	}()
	<-ready
	for _, json := range []bool{false, true} {
		var out strings.Builder
		tool := &Tool{Spool: b.s, Out: &out, JSON: json, Conf: conf}
		if err := tool.sources(nil); err != nil {
			t.Fatal(err)
		}
		want := "smtpd mx: 1 of 1000\n    127.0.0.9              1\n"
		if json {
			want = `{"program":"smtpd","service":"mx","open":1,"most":1000,"sources":[{"source":"127.0.0.9","open":1}]}` + "\n"
		}
		if out.String() != want {
			t.Errorf("%s", out.String())
		}
	}
	c.Close()
	<-done
}

package roads

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pennypost/test/lab"
)

// flooded is a host with the limits a host in the world has.
func flooded(t *testing.T, keys map[string]string) *road {
	return open(t, func(h *lab.Host) {
		h.Keys["smtpd.trusted_networks"] = `["127.0.0.1/32"]` // the lab itself; hostile clients come from elsewhere
		for key, value := range keys {
			h.Keys[key] = value
		}
	})
}

// hostile opens a connection from an address and keeps it until the test ends; what the server said first is returned.
func (r *road) hostile(from, to string) (net.Conn, string) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 20 * time.Second}
	c, err := d.Dial("tcp", to)
	if err != nil {
		return nil, ""
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	line, _ := bufio.NewReaderSize(c, 512).ReadString('\n')
	return c, line
}

// flood opens so many at once.
func (r *road) flood(n int, to string, from func(i int) string) (in, out int) {
	r.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	room := make(chan struct{}, 100)
	for i := range n {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			c, line := r.hostile(from(i), to)
			mu.Lock()
			defer mu.Unlock()
			if strings.HasPrefix(line, "220") || strings.HasPrefix(line, "* OK") || strings.HasPrefix(line, "+OK") {
				in++
				r.Cleanup(func() { c.Close() })
				return
			}
			if out++; c != nil {
				c.Close()
			}
		})
	}
	all.Wait()
	return in, out
}

// TestS074Flood: 2,000 connections of one source take 20 places of the MX and no more; of 2,000 sources they take all but the last tenth, which
// is for those who have sent mail before.
func TestS074Flood(t *testing.T) {
	r := flooded(t, map[string]string{"smtpd.max_connections": "200"})
	mx := r.host.Addr("SMTP")
	friend := func(mark string) error {
		return sendFrom("127.0.0.9", mx, "friend@elsewhere.test", "bob@demo.test", mark)
	}
	if err := friend("before"); err != nil {
		t.Fatal(err)
	}
	if in, out := r.flood(2000, mx, func(int) string { return "127.0.9.9" }); in != 20 || out != 1980 {
		t.Errorf("one source: %d in, %d out", in, out)
	}
	in, out := r.flood(2000, mx, func(i int) string { return fmt.Sprintf("127.0.%d.%d", 10+i/200, 1+i%200) })
	if in > 180 || in < 100 || in+out != 2000 {
		t.Errorf("many sources: %d in, %d out", in, out)
	}
	if err := friend("amid"); err != nil {
		t.Errorf("who has sent mail before: %v", err)
	}
	if text, _ := os.ReadFile(filepath.Join(r.host.Dir, "log")); strings.Count(string(text), "smtpd: refuse ") > 300 || !strings.Contains(string(text), "stress service=mx state=on") {
		t.Errorf("%d refusals in the log", strings.Count(string(text), "smtpd: refuse "))
	}
	if in, _ := r.flood(30, mx, func(int) string { return "127.0.0.1" }); in != 30 {
		t.Errorf("%d of 30 machines of ours", in)
	}
}

// TestS077SubmitAmid: while 2,000 hostile connections come and stay, users submit and read as before. 2 seconds are what a user may feel; so
// that a busy machine does not fail the test, it looks at whether it works, and says how long it took.
func TestS077SubmitAmid(t *testing.T) {
	r := flooded(t, map[string]string{"smtpd.max_connections": "300"})
	stop := make(chan struct{})
	var flood sync.WaitGroup
	for worker := range 20 {
		flood.Go(func() {
			for n := 0; n < 100; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if c, _ := r.hostile(fmt.Sprintf("127.0.%d.%d", 10+worker, 1+n), r.host.Addr("SMTP")); c != nil {
					io.WriteString(c, "E")
					defer c.Close()
				}
			}
		})
	}
	longest := time.Duration(0)
	for range 20 {
		begun := time.Now()
		mark := r.submit("bob@demo.test")
		longest = max(longest, time.Since(begun))
		if _, _, err := lab.Find(20*time.Second, r.host.Maildir("bob"), mark, 1); err != nil {
			t.Fatal(err)
		}
	}
	r.inbox(r.imap("bob"))
	close(stop)
	flood.Wait()
	t.Logf("the slowest of 20 submissions took %v", longest)
}

// sendFrom sends a message from an address of ours.
func sendFrom(from, to, sender, rcpt, mark string) error {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 20 * time.Second}
	c, err := d.Dial("tcp", to)
	if err != nil {
		return err
	}
	defer c.Close()
	return talk(c, sender, rcpt, mark)
}

func talk(c net.Conn, sender, rcpt, mark string) error {
	c.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(c)
	letter := lab.Letter(sender, rcpt, "flood", mark) + ".\r\n"
	for _, step := range []struct{ say, want string }{{"", "220"}, {"HELO client.test\r\n", "250"}, {"MAIL FROM:<" + sender + ">\r\n", "250"},
		{"RCPT TO:<" + rcpt + ">\r\n", "250"}, {"DATA\r\n", "354"}, {letter, "250"}, {"QUIT\r\n", "221"}} {
		if _, err := io.WriteString(c, step.say); err != nil {
			return err
		}
		line, err := r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, step.want) {
			return fmt.Errorf("after %.20q: %q %v", step.say, line, err)
		}
	}
	return nil
}

// TestInetd: connections of a source count together when each has a process of its own, and a process that was killed leaves nothing behind.
func TestInetd(t *testing.T) {
	r := flooded(t, map[string]string{"smtpd.per_ipv4": "3"})
	bin, _ := lab.Bin()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dial := func() (*exec.Cmd, net.Conn, string) { // as inetd does it
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.9.9")}}
		c, err := d.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		f, err := s.(*net.TCPConn).File()
		s.Close()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd := exec.Command(filepath.Join(bin, "smtpd"), "-c", r.host.Config(), "--service", "mx")
		cmd.Stdin, cmd.Stdout = f, f
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		c.SetDeadline(time.Now().Add(20 * time.Second))
		line, _ := bufio.NewReader(c).ReadString('\n')
		return cmd, c, line
	}
	var cmds []*exec.Cmd
	for i, want := range []string{"220", "220", "220", "421"} {
		cmd, _, line := dial()
		if cmds = append(cmds, cmd); !strings.HasPrefix(line, want) {
			t.Errorf("connection %d: %q, want %s", i+1, line, want)
		}
	}
	if c, line := r.hostile("127.0.9.9", r.host.Addr("SMTP")); !strings.HasPrefix(line, "421") {
		t.Errorf("at the resident server: %q", line)
	} else if c != nil {
		c.Close()
	}
	cmds[0].Process.Kill()
	cmds[0].Wait()
	if _, _, line := dial(); !strings.HasPrefix(line, "220") {
		t.Errorf("after one was killed: %q", line)
	}
}

// TestProxy: HAProxy in front, with either version of the header; the client is who HAProxy says, in limits and in Received.
func TestProxy(t *testing.T) {
	haproxy, err := exec.LookPath("haproxy")
	if err != nil {
		if haproxy = "/usr/sbin/haproxy"; !exists(haproxy) {
			t.Skip("haproxy is not installed")
		}
	}
	r := open(t, func(h *lab.Host) {
		h.Keys["smtpd.trusted_networks"] = "[]"
		h.Keys["smtpd.per_ipv4"] = "2"
		h.Keys["smtpd.proxy_networks"] = `["127.0.0.77/32"]`
		h.Keys["imapd.proxy_networks"] = `["127.0.0.77/32"]`
		h.Keys["pop3d.proxy_networks"] = `["127.0.0.77/32"]`
	})
	base := r.lab.Base + 900
	conf := "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n"
	for i, backend := range []string{r.host.Addr("SMTP") + " send-proxy", r.host.Addr("SMTP") + " send-proxy-v2", r.host.Addr("IMAPS") + " send-proxy-v2", r.host.Addr("POP3S") + " send-proxy"} {
		conf += fmt.Sprintf("listen p%d\n  bind 127.0.0.1:%d\n  server s %s source 127.0.0.77\n", i, base+i, backend)
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(haproxy, "-db", "-f", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for i := range 2 {
		addr, mark := fmt.Sprintf("127.0.0.1:%d", base+i), fmt.Sprintf("proxied-%d-%d", i, time.Now().UnixNano())
		err := lab.Until(20*time.Second, func() error {
			return sendFrom(fmt.Sprintf("127.0.0.%d", 40+i), addr, "friend@elsewhere.test", "bob@demo.test", mark)
		})
		if err != nil {
			t.Fatal(err)
		}
		_, texts, err := lab.Find(20*time.Second, r.host.Maildir("bob"), mark, 1)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("[127.0.0.%d]", 40+i); !strings.Contains(texts[0], want) {
			t.Errorf("no %s in\n%s", want, texts[0])
		}
	}
	reader, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", base+2), &tls.Config{RootCAs: r.lab.CA.Pool(), ServerName: "mx.demo.test"})
	if err != nil {
		t.Fatalf("IMAPS by the proxy: %v", err)
	}
	c, err := lab.LoginIMAP(reader, "bob@demo.test")
	if err != nil {
		t.Fatal(err)
	}
	r.inbox(c)
	c.Close()
	popper, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", base+3), &tls.Config{RootCAs: r.lab.CA.Pool(), ServerName: "mx.demo.test"})
	if err != nil {
		t.Fatalf("POP3S by the proxy: %v", err)
	}
	popper.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(popper, "USER bob@demo.test\r\nPASS %s\r\nSTAT\r\nQUIT\r\n", lab.Password)
	if text, _ := io.ReadAll(popper); strings.Count(string(text), "+OK") != 5 {
		t.Errorf("POP3 by the proxy: %q", text)
	}
	popper.Close()
	for i, want := range []string{"220", "220", "421"} { // two of this client, whichever way they come
		c, line := r.hostile("127.0.0.50", fmt.Sprintf("127.0.0.1:%d", base+i%2))
		if !strings.HasPrefix(line, want) {
			t.Errorf("connection %d: %q, want %s", i+1, line, want)
		}
		if c != nil {
			defer c.Close()
		}
	}
	if c, line := r.hostile("127.0.0.77", r.host.Addr("IMAP")); line != "" {
		t.Errorf("the proxy without a header: %q", line)
	} else if c != nil {
		c.Close()
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.51")}}
	anybody, err := d.Dial("tcp", r.host.Addr("SMTP"))
	if err != nil {
		t.Fatal(err)
	}
	defer anybody.Close()
	anybody.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(anybody, "PROXY TCP4 192.0.2.1 192.0.2.25 12345 25\r\n")
	text, _ := io.ReadAll(io.LimitReader(anybody, 200))
	if strings.Contains(string(text), "\r\n250") {
		t.Errorf("a header from anybody: %q", text)
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// TestS082Descriptors: a server that has run out of descriptors turns new clients away, serves those it has, burns no processor, and goes on
// when some leave.
func TestS082Descriptors(t *testing.T) {
	r := flooded(t, nil)
	bin, _ := lab.Bin()
	addr := fmt.Sprintf("127.0.0.1:%d", r.lab.Base+901)
	cmd := exec.Command("sh", "-c", `ulimit -n 40 && exec "$0" "$@"`, filepath.Join(bin, "smtpd"), "-c", r.host.Config(), "--listen", "mx="+addr)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	var first net.Conn
	err := lab.Until(20*time.Second, func() error {
		c, line := r.hostile("127.0.0.1", addr)
		if !strings.HasPrefix(line, "220") {
			return fmt.Errorf("%q", line)
		}
		first = c
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	before := cpuTime(cmd.Process.Pid)
	var open []net.Conn
	refused := 0
	for range 100 {
		d := net.Dialer{Timeout: 20 * time.Second}
		c, err := d.Dial("tcp", addr)
		if err != nil {
			continue
		}
		c.SetDeadline(time.Now().Add(time.Second))
		if line, _ := bufio.NewReader(c).ReadString('\n'); strings.HasPrefix(line, "421") {
			refused++
		}
		open = append(open, c)
	}
	if refused == 0 {
		t.Error("nobody was turned away with a word")
	}
	if used := cpuTime(cmd.Process.Pid) - before; used > 1000 { // in hundredths of a second; a spin would take more in the time above
		t.Errorf("%d hundredths of a second of processor", used)
	}
	first.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(first, "HELO x\r\nQUIT\r\n")
	if text, _ := io.ReadAll(first); !strings.Contains(string(text), "221") {
		t.Errorf("who was there: %q", text)
	}
	for _, c := range open {
		c.Close()
	}
	err = lab.Until(20*time.Second, func() error { return sendFrom("127.0.0.1", addr, "a@elsewhere.test", "bob@demo.test", "after") })
	if err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// cpuTime is what a process has used, in hundredths of a second.
func cpuTime(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	words := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var user, system int
	fmt.Sscan(words[11], &user)
	fmt.Sscan(words[12], &system)
	return user + system
}

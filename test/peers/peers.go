/*
Package peers runs other people's mail servers beside ours: Postfix, Exim and OpenSMTPD, Dovecot and Courier, unpacked from their
packages by test/packages.sh and never installed. Each runs in a chroot of its own with users of its own, so that the machine's MTA and its
passwd stay as they are. That takes root.

	CACHE/postfix/            what packages.sh unpacked, never written to
	DIR/postfix/              a copy of it, the chroot: configuration, queue and mail of one run
	    var/mail/vhosts/USER/Maildir
	    log
*/
package peers

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// FirstUID is the uid of the first of Options.Users, where they have their own.
const FirstUID = 2001

// Options say what the server is to be.
type Options struct {
	Dir    string   // the chroot is made below it
	Domain string   // of its mailboxes
	More   []string // domains that have the same users
	IP     string   // listens here, and sends from here
	Port   int      // of SMTP; of IMAP where the server speaks that, and POP3 and the TLS ports lie where the standards have them
	Users  []string // mailboxes
	Relay  string   // HOST:PORT where everything else goes; "" refuses it
	Cert   string   // certificate and key in PEM; "" is no TLS
	Key    string
	CA     string   // sending is refused unless a certificate of this authority is shown; "" sends without asking for TLS
	Unix   bool     // Users have uids of their own, from FirstUID on
	Wrap   []string // argv in front: to start it in a cgroup
	Extra  string   // more of the configuration, of Postfix
}

// Peer is a server that runs.
type Peer struct {
	Name string
	Root string // its chroot
	Addr string

	opts  Options
	greet string // what it begins with: "220", "* OK"
	cmd   *exec.Cmd
	done  chan error
}

// ErrMissing is why a test is skipped.
var ErrMissing = errors.New("not unpacked; make packages as root does it")

// Owner is the user and group that mailboxes belong to.
const Owner = vmail

// uids inside the chroots; outside they are numbers nobody has.
const (
	vmail    = 61100
	daemon   = 61101 // the server's own
	daemon2  = 61102
	postdrop = 61103
	login    = 61104 // Dovecot's for those who have not logged in
)

// Cache is where packages.sh unpacks.
func Cache() string {
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "pennypost-test")
	}
	if os.Getuid() == 0 {
		return "/var/cache/pennypost-test"
	}
	return filepath.Join(os.Getenv("HOME"), ".cache/pennypost-test")
}

// Available says whether the package can be run here.
func Available(pkg string) error {
	if _, err := os.Stat(filepath.Join(Cache(), pkg, ".complete-2")); err != nil {
		return fmt.Errorf("%s: %w", pkg, ErrMissing)
	}
	if os.Getuid() != 0 {
		return errors.New("a chroot takes root")
	}
	return nil
}

// prepare makes the chroot: the package, devices, users, mailboxes.
func prepare(name, pkg string, o Options) (*Peer, error) {
	if err := Available(pkg); err != nil {
		return nil, err
	}
	p := &Peer{Name: name, Root: filepath.Join(o.Dir, name), Addr: net.JoinHostPort(o.IP, fmt.Sprint(o.Port)), opts: o, greet: "220"}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	if out, err := exec.Command("cp", "-a", filepath.Join(Cache(), pkg), p.Root).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cp: %w: %s", err, out)
	}
	for _, dir := range []string{"dev", "etc", "tmp", "var/log", "var/mail/vhosts", "var/spool", "var/lib", "run"} {
		if err := os.MkdirAll(p.path(dir), 0o755); err != nil {
			return nil, err
		}
	}
	os.Chmod(p.path("tmp"), 0o1777)
	for name, to := range map[string]string{"var/run": "../run", "usr/bin/sh": "dash"} { // what installing would make
		if err := os.Symlink(to, p.path(name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	for dev, minor := range map[string]uint32{"null": 3, "zero": 5, "random": 8, "urandom": 9} {
		if err := unix.Mknod(p.path("dev/"+dev), unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			return nil, fmt.Errorf("mknod %s: %w", dev, err)
		}
		os.Chmod(p.path("dev/"+dev), 0o666)
	}
	users, groups := "", ""
	for _, u := range []struct {
		name string
		id   int
	}{{"root", 0}, {"daemon", 1}, {"nobody", 65534}, {"mail", 8}, {"vmail", vmail}, {"postfix", daemon}, {"Debian-exim", daemon}, {"opensmtpd", daemon}, {"opensmtpq", daemon2},
		{"dovecot", daemon}, {"dovenull", login}, {"courier", daemon}} {
		users += fmt.Sprintf("%s:x:%d:%d::/var/empty:/bin/sh\n", u.name, u.id, u.id)
		groups += fmt.Sprintf("%s:x:%d:\n", u.name, u.id)
	}
	groups += fmt.Sprintf("postdrop:x:%d:\nnogroup:x:65533:\n", postdrop)
	for i, user := range o.Users {
		uid := vmail
		if o.Unix {
			uid = FirstUID + i
		}
		users += fmt.Sprintf("%s:x:%d:%d::/var/mail/vhosts/%s:/bin/sh\n", user, uid, uid, user)
		if err := p.mkdir("var/mail/vhosts/"+user, uid, uid, 0o700); err != nil {
			return nil, err
		}
	}
	files := map[string]string{
		"etc/passwd":        users,
		"etc/group":         groups,
		"etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\nservices: files\n",
		"etc/hosts":         "127.0.0.1 localhost\n" + o.IP + " mx." + o.Domain + "\n",
		"etc/services":      "smtp 25/tcp mail\nsubmission 587/tcp\ndomain 53/udp\n",
		"etc/resolv.conf":   "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n", // nobody there: fails at once
	}
	for name, text := range files {
		if err := p.write(name, text); err != nil {
			return nil, err
		}
	}
	os.MkdirAll(p.path("var/empty"), 0o755)
	for to, from := range map[string]string{"etc/tls.pem": o.Cert, "etc/tls.key": o.Key, "etc/ca.pem": o.CA} {
		if from == "" {
			continue
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(p.path(to), text, 0o600); err != nil {
			return nil, err
		}
	}
	os.Chmod(p.path("etc/ca.pem"), 0o644)
	return p, nil
}

func (p *Peer) path(name string) string { return filepath.Join(p.Root, name) }

func (p *Peer) write(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(p.path(name)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(p.path(name), []byte(text), 0o644)
}

func (p *Peer) mkdir(name string, uid, gid int, perm os.FileMode) error {
	if err := os.MkdirAll(p.path(name), 0o755); err != nil {
		return err
	}
	if err := os.Chown(p.path(name), uid, gid); err != nil {
		return err
	}
	return os.Chmod(p.path(name), perm) // after chown, which clears bits
}

// start runs argv in the chroot and waits until it greets.
func (p *Peer) start(argv ...string) error {
	log, err := os.OpenFile(p.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	full := append(append([]string{}, p.opts.Wrap...), append([]string{"chroot", p.Root}, argv...)...)
	p.cmd = exec.Command(full[0], full[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TZ=UTC"}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.done = make(chan error, 1)
	go func() { p.done <- p.cmd.Wait() }()
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", p.Addr, time.Second)
		if err == nil {
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			b := make([]byte, len(p.greet))
			_, err = io.ReadFull(conn, b)
			conn.Close()
			if err == nil && string(b) == p.greet {
				return nil
			}
		}
		select {
		case err := <-p.done:
			p.done <- err
			return fmt.Errorf("%s ended (%v): %s", p.Name, err, p.Log())
		default:
		}
		if time.Now().After(deadline) {
			p.Stop()
			return fmt.Errorf("%s does not greet at %s (%v): %s", p.Name, p.Addr, err, p.Log())
		}
	}
}

// run runs a command in the chroot.
func (p *Peer) run(argv ...string) error {
	cmd := exec.Command("chroot", append([]string{p.Root}, argv...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return nil
}

// Stop ends it.
func (p *Peer) Stop() {
	if p.cmd == nil {
		return
	}
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
	p.cmd = nil
}

// Pid is that of its first process.
func (p *Peer) Pid() int { return p.cmd.Process.Pid }

// Maildir is that of a user, seen from outside the chroot.
func (p *Peer) Maildir(user string) string { return p.path("var/mail/vhosts/" + user + "/Maildir") }

// Log is the end of what it said.
func (p *Peer) Log() string {
	var all strings.Builder
	for _, name := range []string{"log", "var/log/postfix.log", "var/log/exim4/mainlog", "var/log/exim4/paniclog", "var/log/dovecot.log"} {
		text, err := os.ReadFile(p.path(name))
		if err != nil {
			continue // not every server has every log
		}
		if len(text) > 12000 {
			text = text[len(text)-12000:]
		}
		all.Write(text)
	}
	return all.String()
}

func chown(file string, id int) error { return os.Chown(file, id, id) }

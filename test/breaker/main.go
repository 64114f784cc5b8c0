/*
Command breaker is what a program is once somebody else's code runs in it (threats.md S161): it gives up the program's rights by the program's own
call, and then tries what it must not. It is run by test/deb in place of each program, under its unit or its uid, and is never installed.

	smtpd read-mailbox denied: permission denied
	smtpd listen ALLOWED

An act that the program is there for is not tried. With --plain, acts that only a supervisor's sandbox can deny are reported as
"not available".
*/
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pennypost/internal/config"
	"pennypost/internal/confine"
	"pennypost/internal/durable"
)

// act is one thing that is forbidden. Set-user-ID files are no way to more rights where no_new_privs is set; those who make directories with the
// set-group-ID bit cannot be kept from them.
type act struct {
	name    string
	may     string // programs that are there for it
	outside bool   // only a supervisor denies it
	try     func() error
}

var acts = []act{
	{"read-mailbox", "imapd pop3d deliver-local", false, func() error { return read("/var/mail/pennypost/example.org/alice/Maildir/cur") }},
	{"read-home", "", false, func() error { return read("/home/bob/Maildir") }},
	{"read-queue", "queue-run", false, func() error { return read("/var/spool/pennypost/q") }},
	{"read-tls-key", "smtpd maillogin mailwebd mailcert imapd pop3d deliver-local", false, func() error { return read("/etc/pennypost/tls/mx.key") }},
	{"read-credential", "mailauthd", false, func() error { return read("/etc/pennypost/domains/example.org/users/alice/credentials/main") }},
	{"read-login-state", "mailauthd", false, func() error { return read("/var/lib/pennypost/auth") }},
	{"read-dkim-key", "mailkey", false, func() error { return read("/etc/pennypost/domains/example.org/dkim") }},
	{"read-shadow", "", false, func() error { return read("/etc/shadow") }},
	{"read-environment", "", false, func() error { return read("/proc/1/environ") }},
	{"write-configuration", "", false, func() error { return write("/etc/pennypost/mail.toml") }},
	{"write-account", "", false, func() error { return os.Mkdir("/etc/pennypost/domains/example.org/users/eve", 0o755) }},
	{"write-program", "", false, func() error { return write("/usr/sbin/smtpd") }},
	{"write-queue", "queue-run", false, func() error { return write("/var/spool/pennypost/hold/x") }},
	{"write-root", "", false, func() error { return write("/x") }},
	{"start-shell", "", false, func() error { return exec.Command("/bin/sh", "-c", "true").Run() }},
	{"start-own-file", "", false, own},
	{"connect-admin", "mailcert", false, func() error { return dial("127.0.0.1:8080") }},
	{"listen", "mailcert", false, func() error { l, err := listen(); closes(l); return err }},
	{"raw-socket", "", false, func() error { return socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP) }},
	{"packet-socket", "", false, func() error { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0) }},
	{"netlink-socket", "", true, func() error { return socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE) }},
	{"signal-others", "", false, func() error { return unix.Kill(1, 0) }},
	{"trace-others", "", false, func() error { return unix.PtraceAttach(1) }},
	{"become-root", "", false, func() error { return syscall.Setuid(0) }},
	{"mount", "", false, func() error { return unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "") }},
	{"user-namespace", "", true, func() error { return unshare(unix.CLONE_NEWUSER) }},
	{"set-user-id-file", "imapd pop3d deliver-local queue-run", true, setuid},
	{"writable-code", "", true, func() error { return code(unix.PROT_READ | unix.PROT_WRITE | unix.PROT_EXEC) }},
	{"load-module", "", false, func() error { return call(unix.SYS_INIT_MODULE, 0, 0, 0) }},
	{"set-clock", "", false, func() error { return unix.Settimeofday(&unix.Timeval{Sec: time.Now().Unix()}) }},
	{"read-kernel-log", "", false, func() error { _, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, make([]byte, 64)); return err }},
	{"raw-disk", "", false, func() error { return unix.Mknod("/tmp/disk", unix.S_IFBLK|0o600, 0x0800) }},
}

func main() {
	plain := os.Args[1] == "--plain"
	if plain {
		os.Args = os.Args[1:]
	}
	program := os.Args[1]
	durable.ClearUmask()
	conf, err := config.Load("", config.Sections()...)
	if err == nil {
		places = confine.Of(program, conf).Write
		err = confine.Program(program, conf, nil)
	}
	if err != nil {
		fmt.Println(program, "ALLOWED: not confined:", err)
		return
	}
	if confine.Level() < 2 {
		fmt.Println(program, "Landlock: not available on this kernel")
	}
	for _, a := range acts {
		if slices.Contains(strings.Fields(a.may), program) {
			continue
		}
		err := a.try()
		switch {
		case err == nil && plain && a.outside, err == nil && confine.Level() < 2:
			fmt.Println(program, a.name, "not available")
		case err == nil || errors.Is(err, os.ErrNotExist) && !strings.HasPrefix(a.name, "read-"):
			fmt.Println(program, a.name, "ALLOWED", err)
		default:
			fmt.Println(program, a.name, "denied:", err)
		}
	}
}

func read(path string) error {
	f, err := os.Open(path)
	if err == nil {
		f.Close()
	}
	return err
}

func write(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		f.Close()
	}
	return err
}

// places are where the program may write.
var places []string

// place is one of them that is there, "" if there is none.
func place() string {
	for _, dir := range places {
		if write(dir+"/breaker") == nil {
			return dir
		}
	}
	return ""
}

var errNowhere = errors.New("there is nowhere to write")

// own starts a file that was written into a directory of the program's own.
func own() error {
	dir := place()
	if dir == "" {
		return errNowhere
	}
	file := dir + "/breaker"
	defer os.Remove(file)
	text, err := os.ReadFile("/proc/self/exe")
	if err != nil { // then what was read before will do: an interpreter line
		text = []byte("#!/bin/sh\n")
	}
	if err := os.WriteFile(file, text, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(file, 0o700); err != nil {
		return err
	}
	return exec.Command(file, "--none").Run()
}

func setuid() error {
	dir := place()
	if dir == "" {
		return errNowhere
	}
	file := dir + "/breaker"
	defer os.Remove(file)
	return unix.Chmod(file, 0o4755)
}

func dial(address string) error {
	c, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err == nil {
		c.Close()
	}
	if errors.Is(err, unix.ECONNREFUSED) { // it got there
		return nil
	}
	return err
}

func listen() (net.Listener, error) {
	var c net.ListenConfig
	c.SetMultipathTCP(false)
	return c.Listen(context.Background(), "tcp", "127.0.0.1:2600")
}

func closes(l net.Listener) {
	if l != nil {
		l.Close()
	}
}

func socket(family, kind, protocol int) error {
	fd, err := unix.Socket(family, kind, protocol)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// unshare is tried in a thread that ends with it: a process of one thread alone may have a user namespace of its own.
func unshare(flags uintptr) error {
	runtime.LockOSThread()
	pid, _, e := unix.RawSyscall6(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if e == 0 && pid == 0 {
		unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	}
	runtime.UnlockOSThread()
	if e != 0 {
		return e
	}
	unix.Wait4(int(pid), nil, 0, nil)
	return nil
}

func code(protection int) error {
	b, err := unix.Mmap(-1, 0, 4096, protection, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err == nil {
		unix.Munmap(b)
	}
	return err
}

func call(number, a, b, c uintptr) error {
	if _, _, e := unix.Syscall(number, a, b, c); e != 0 && e != unix.EFAULT && e != unix.ENOEXEC && e != unix.EINVAL {
		return e
	}
	return nil
}

/*
Package lab runs mail hosts on one machine for the demo, the tests and the benchmarks: 127.0.0.1 is one host, 127.0.0.2 the next,
and no packet leaves the machine. No root is needed; for root, a host may run as it is installed, each program under its own uid (Host.Apart).

	DIR/
	    lab              base port, addresses and the pid of the lab that is up        written by Up
	    pids             HOST PROGRAM PID, one a line, current after every start       written by the supervisor
	    ca/ca.pem        the lab's authority; clients are told to trust it
	    demo.test/       one host
	        etc/         mail.toml, domains/ and the host's certificate; like /etc/pennypost
	        spool/       like /var/spool/pennypost
	        mail/        DOMAIN/USER/Maildir; like /var/mail/pennypost
	        state/ run/  like /var/lib/pennypost and /run/pennypost
	        log          what all its programs said, in one file
	    home/carol/      the home of a Unix user                                        made by AddUnix

Every port is Base plus the one the standards give: with Base 10000, SMTP is 10025. A program that dies is started again. When
the lab is killed its programs end with it; the directory can be brought up again and no mail is missing.
*/
package lab

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"pennypost/internal/dns/fixture"
)

// Lab is hosts, a name server and an authority.
type Lab struct {
	Dir  string   // absolute
	Bin  string   // where the programs are
	Base int      // added to every port
	Wrap []string // argv in front of every program's: to start it in a cgroup
	CA   *CA
	DNS  *fixture.Server

	Hosts []*Host

	mu      sync.Mutex
	started []*Program // of Up, in the order of starting
	log     []*os.File
}

// New makes a lab in dir, or opens the one that is there; nothing runs yet but the name server.
func New(dir, bin string, base int) (*Lab, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	l := &Lab{Dir: dir, Bin: bin, Base: base}
	if pid := RunningAt(dir); pid != 0 {
		return nil, fmt.Errorf("%s is up already, its pid is %d", dir, pid)
	}
	if l.CA, err = OpenCA(filepath.Join(dir, "ca")); err != nil {
		return nil, err
	}
	if l.DNS, err = fixture.Start(fmt.Sprintf("127.0.0.1:%d", base+53), ""); err != nil {
		return nil, fmt.Errorf("name server of the lab: %w", err)
	}
	return l, nil
}

// Up starts the programs of every host and returns when all their ports answer.
func (l *Lab) Up() error {
	state := fmt.Sprintf("pid %d\nbase %d\ndns %s\n", os.Getpid(), l.Base, l.DNS.Addr())
	for _, h := range l.Hosts {
		if h.Apart {
			state += "form apart\n"
			break
		}
	}
	if err := os.WriteFile(l.file("lab"), []byte(state), 0o644); err != nil {
		return err
	}
	for _, h := range l.Hosts {
		if err := h.up(); err != nil {
			return err
		}
	}
	for _, h := range l.Hosts {
		if err := h.wait(20 * time.Second); err != nil {
			return err
		}
	}
	return os.WriteFile(l.file("lab"), []byte(state+"ready yes\n"), 0o644)
}

// Down stops everything, last started first, and is harmless when little or nothing runs.
func (l *Lab) Down() {
	l.mu.Lock()
	started := l.started
	l.started = nil
	l.mu.Unlock()
	var wait sync.WaitGroup
	for _, p := range started {
		wait.Go(p.Stop)
	}
	wait.Wait()
	if l.DNS != nil {
		l.DNS.Close()
		l.DNS = nil
	}
	for _, f := range l.log {
		f.Close()
	}
	l.log = nil
	os.Remove(l.file("lab"))
	os.Remove(l.file("pids"))
}

// Host is the host of that name.
func (l *Lab) Host(name string) *Host {
	for _, h := range l.Hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

func (l *Lab) file(name string) string { return filepath.Join(l.Dir, name) }

// writePids is called after every start of a program.
func (l *Lab) writePids() {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b bytes.Buffer
	for _, p := range l.started {
		if pid := p.Pid(); pid != 0 {
			fmt.Fprintf(&b, "%s %s %d\n", p.Host, p.Name, pid)
		}
	}
	if err := os.WriteFile(l.file("pids.tmp"), b.Bytes(), 0o644); err == nil {
		os.Rename(l.file("pids.tmp"), l.file("pids"))
	}
}

// RunningAt is the pid of the lab that is up in dir, 0 when none is.
func RunningAt(dir string) int {
	pid, err := strconv.Atoi(stateAt(dir)["pid"])
	if err != nil || syscall.Kill(pid, 0) != nil {
		return 0
	}
	return pid
}

// ReadyAt reports whether the lab in dir is up and all its ports have answered.
func ReadyAt(dir string) bool { return RunningAt(dir) != 0 && stateAt(dir)["ready"] == "yes" }

// DNSAt is the name server of the lab in dir.
func DNSAt(dir string) string { return stateAt(dir)["dns"] }

// ApartAt reports whether the programs of the lab in dir run under uids of their own.
func ApartAt(dir string) bool { return stateAt(dir)["form"] == "apart" }

// BaseAt is the base port of the lab in dir.
func BaseAt(dir string) (int, error) {
	base, err := strconv.Atoi(stateAt(dir)["base"])
	if err != nil {
		return 0, fmt.Errorf("no lab is up in %s", dir)
	}
	return base, nil
}

// stateAt reads DIR/lab.
func stateAt(dir string) map[string]string {
	state := map[string]string{}
	text, _ := os.ReadFile(filepath.Join(dir, "lab")) // no file: nothing is up
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		state[key] = value
	}
	return state
}

// Pids are the processes of a host by program name; the workers that queue-run started are among them.
func Pids(dir, host string) map[string]int {
	pids := map[string]int{}
	text, _ := os.ReadFile(filepath.Join(dir, "pids"))
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == host {
			pids[f[1]], _ = strconv.Atoi(f[2])
		}
	}
	for name, pid := range children(pids["queue-run"]) {
		pids[name] = pid
	}
	return pids
}

// children are the programs a process has started, by the name of their file.
func children(parent int) map[string]int {
	found := map[string]int{}
	if parent == 0 {
		return found
	}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile
		}
		// PID (COMM) STATE PPID …, and COMM may hold anything, also a parenthesis
		end := bytes.LastIndexByte(text, ')')
		f := strings.Fields(string(text[end+1:]))
		if len(f) < 2 || f[1] != strconv.Itoa(parent) || f[0] == "Z" {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if exe, err := os.Readlink(filepath.Join(filepath.Dir(file), "exe")); err == nil {
			found[filepath.Base(strings.TrimSuffix(exe, " (deleted)"))] = pid
		}
	}
	return found
}

// FreeBase finds a base port whose services are all free on both addresses.
func FreeBase() int {
	for base := 12000 + os.Getpid()%50*100; base < 31000; base += 1000 {
		if free(base) {
			return base
		}
	}
	return 12000 // taken as it seems: the error will say by what
}

func free(base int) bool {
	for _, ip := range []string{"127.0.0.1", "127.0.0.2"} {
		for _, port := range []int{24, 25, 53, 110, 143, 443, 465, 587, 993, 995} {
			l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", ip, base+port))
			if err != nil {
				return false
			}
			l.Close()
		}
	}
	return true
}

// Until repeats check every 20 ms until it is satisfied; its last error is the answer when the time is over.
func Until(limit time.Duration, check func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v: %w", limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

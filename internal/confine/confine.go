/*
Package confine takes from a program what it has no use for: files, ports, programs to start, signals to others. It is the second fence: the
first is the uid (internal/uids), and a supervisor may build a third (etc/systemd). Landlock is what a program can ask for without being root.

What a program may touch follows from the table in package uids, as its user would be let by the modes there, whatever uid it really
runs under: where one uid runs everything, Landlock is what keeps smtpd out of the Maildirs. The rest is in programs.go.

	level   kernel   what is denied from then on
	1       5.13     other files. Refused as a whole where files are renamed between directories, which level 1 cannot allow
	2       5.19     the same
	3       6.2      truncate(2) of other files
	4       6.7      TCP ports: to listen on, to connect to
	5       6.10     ioctl(2) of devices
	6, 7    6.12     signals to processes outside, abstract sockets outside
	0       -        nothing: the kernel has it not, or mail.toml says confine = false; a warning says so

A level above is not asked for before a machine of ours has run it. The level is logged once, at the start of a server.
*/
package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	sys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"

	"pennypost/internal/config"
	"pennypost/internal/maillog"
	"pennypost/internal/uids"
)

// highest is the last level that our machines have.
const highest = 7

// Rights are what a program keeps. A directory stands for all below it.
type Rights struct {
	AllFiles bool     // it works with files that nobody can list beforehand
	AllExec  bool     // it starts programs that people choose
	Read     []string // files and directories
	Write    []string // directories in which it makes, changes, moves and removes
	Append   []string // files and FIFOs it writes to, and does not make
	Link     []string // directories out of which files are linked that it was handed
	Exec     []string // programs, and the directories their libraries are in
	AllPorts bool
	Connect  []int // TCP ports
	Listen   []int // TCP ports
}

// Program gives up what the program does not need, for good, in all threads and for all it starts. flags are addresses it will
// open besides those of mail.toml, with SERVICE= in front or not. Before that it looks whether its directories are its own. An error says that the kernel has Landlock and it failed all the same.
// A process for one connection, or a worker, whose descriptor 0 is a socket, logs nothing: that would be a line each time.
func Program(name string, c *config.Config, log *maillog.Log, flags ...string) error {
	if program, of, _ := strings.Cut(name, " "); of == "" {
		if err := uids.Ready(program, c); err != nil {
			return err
		}
	}
	if _, err := unix.Getpeername(0); err == nil {
		log = nil
	}
	if !c.Confine {
		log.Warn("confine", errors.New("mail.toml says confine = false: all files stay within reach"))
		return nil
	}
	return Of(name, c, flags...).Enter(log)
}

// Unless is Program, unless there is an error already.
func Unless(err error, name string, c *config.Config, log *maillog.Log, flags ...string) error {
	if err != nil {
		return err
	}
	return Program(name, c, log, flags...)
}

// Tool is Program for a hand tool that parses what strangers wrote: it keeps its configuration, and these directories to write in.
func Tool(c *config.Config, write ...string) error {
	if !c.Confine {
		return nil
	}
	return everybody(c).add(asks(c)).add(Rights{Write: write}).Enter(nil)
}

// Level is what the kernel and we have in common.
func Level() int {
	v, err := sys.LandlockGetABIVersion()
	if err != nil {
		return 0
	}
	return min(v, highest)
}

// Enter gives up all but r. log may be nil.
func (r Rights) Enter(log *maillog.Log) error {
	level := Level()
	if level == 0 || level == 1 && r.moves() {
		log.Warn("confine", errors.New("this kernel cannot: all files stay within reach of this uid"))
		return nil
	}
	if err := r.handled().BestEffort().Restrict(r.rules()...); err != nil {
		return fmt.Errorf("confine: %w (confine = false in mail.toml goes without)", err)
	}
	log.Confined(level, r.what())
	return nil
}

// handled is what the kernel asks the rules about.
func (r Rights) handled() landlock.Config {
	c := landlock.V7
	if r.AllFiles && r.AllExec {
		c.HandledAccessFS = 0
	}
	if r.AllPorts {
		c.HandledAccessNet = 0
	}
	if r.AllExec || len(r.Exec) > 0 {
		// A domain is a thread's before level 8, and the thread that would end a child is often not the one that started it.
		c.Scoped &^= landlock.ScopedSet(sys.ScopeSignal)
	}
	return c
}

// moves: files go from one directory to another.
func (r Rights) moves() bool { return r.AllFiles || len(r.Write)+len(r.Link) > 0 }

// what is confined.
func (r Rights) what() string {
	var list []string
	for _, w := range []struct {
		free bool
		what string
	}{{r.AllFiles, "files"}, {r.AllExec, "programs"}, {r.AllPorts, "ports"}} {
		if !w.free {
			list = append(list, w.what)
		}
	}
	return strings.Join(list, " ")
}

const (
	read = landlock.AccessFSSet(sys.AccessFSReadFile)
	list = read | sys.AccessFSReadDir
	fill = sys.AccessFSWriteFile | sys.AccessFSTruncate
	tree = sys.AccessFSMakeDir | sys.AccessFSMakeReg | sys.AccessFSMakeSock | sys.AccessFSMakeFifo | sys.AccessFSMakeSym |
		sys.AccessFSRemoveDir | sys.AccessFSRemoveFile | sys.AccessFSRefer
	run = read | sys.AccessFSExecute
)

// there is path, or where it is not there the directory above in which the program will make it: a rule is about what is there, and a
// host that mailsetup has made has all of it.
func there(path string) string {
	for range 2 {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path
		}
		path = filepath.Dir(path)
	}
	return path
}

// rules are r in Landlock's words; what is not there and not the program's to make is left out.
func (r Rights) rules() (all []landlock.Rule) {
	allow := func(paths []string, dir, file landlock.AccessFSSet) {
		for _, path := range paths {
			switch info, err := os.Stat(path); {
			case err != nil:
			case info.IsDir():
				all = append(all, landlock.PathAccess(dir, path))
			case file != 0:
				all = append(all, landlock.PathAccess(file, path))
			}
		}
	}
	allow(r.Read, list, read)
	for _, path := range r.Write {
		allow([]string{there(path)}, list|fill|tree, read|fill)
	}
	allow(r.Append, 0, read|fill)
	allow(r.Link, read|fill|sys.AccessFSRefer, 0)
	allow(r.Exec, list|sys.AccessFSExecute, run)
	switch {
	case r.AllFiles && r.AllExec:
		return r.ports(nil)
	case r.AllFiles:
		allow([]string{"/"}, list|fill|tree, 0)
	case r.AllExec:
		allow([]string{"/"}, list|sys.AccessFSExecute, 0)
	}
	return r.ports(all)
}

// ports adds the rules of ports.
func (r Rights) ports(all []landlock.Rule) []landlock.Rule {
	if r.AllPorts {
		return all
	}
	for _, port := range r.Connect {
		all = append(all, landlock.ConnectTCP(uint16(port)))
	}
	for _, port := range r.Listen {
		all = append(all, landlock.BindTCP(uint16(port)))
	}
	return all
}

// add is the rights of both.
func (r Rights) add(o Rights) Rights {
	return Rights{
		AllFiles: r.AllFiles || o.AllFiles, AllExec: r.AllExec || o.AllExec, AllPorts: r.AllPorts || o.AllPorts,
		Read: union(r.Read, o.Read), Write: union(r.Write, o.Write), Append: union(r.Append, o.Append), Link: union(r.Link, o.Link),
		Exec: union(r.Exec, o.Exec), Connect: union(r.Connect, o.Connect), Listen: union(r.Listen, o.Listen),
	}
}

func union[T comparable](a, b []T) []T {
	a = slices.Clone(a)
	for _, v := range b {
		if !slices.Contains(a, v) {
			a = append(a, v)
		}
	}
	return a
}

// around are the directories of files that are replaced by others under their names, and of what links lead to.
func around(files ...string) (dirs []string) {
	for _, file := range files {
		if file == "" {
			continue
		}
		dirs = append(dirs, filepath.Dir(file))
		if real, err := filepath.EvalSymlinks(file); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	return dirs
}

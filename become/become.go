/*
Package become is the only root program: it starts one of three programs as a Unix user, for mailauthd and queue-run; become(8).

A request is one packet at run/become.sock, a line and one descriptor, and its answer is one line:

	imapd 1000 1000,2000 alice /home/alice        ok, or no WHY

	program         argument vector          may ask      its descriptor 0
	imapd           imapd                    mailauth     a session, see package login
	pop3d           pop3d                    mailauth     a session
	deliver-local   deliver-local --worker   mailqueue    orders, order(5)

What is started has that descriptor, nothing to write to, and our standard error; an environment of six words, one of which spares it to start as on all processors; / as its directory; no
way back to more rights. Nothing lies on disk. When become dies what it has started goes on.

Package become/ask is the other end.
*/
package become

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"pennypost/become/ask"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/internal/packet"
)

// Program is one of the list.
type Program struct {
	Name   string
	Args   []string
	Client uint32 // the uid that may ask for it
	Most   int    // of one user at once; 0 any number
}

// Server obeys.
type Server struct {
	Socket         string
	Dir            string // where the programs are
	Programs       []Program
	MinUID, MinGID uint32
	Log            *maillog.Log

	nothing  *os.File
	children sync.WaitGroup
	mu       sync.Mutex
	running  map[string]int // of a program and a uid
}

// prepare opens what is needed later and looks at the programs: what root starts is changed by root alone.
func (s *Server) prepare() (err error) {
	for _, p := range s.Programs {
		info, err := os.Stat(filepath.Join(s.Dir, p.Name))
		if err != nil {
			return err
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 || info.Mode()&0o022 != 0 || !info.Mode().IsRegular() {
			return fmt.Errorf("%s/%s: must be root's, and nobody else may write it", s.Dir, p.Name)
		}
	}
	s.nothing, err = os.OpenFile(os.DevNull, os.O_RDWR, 0)
	return err
}

// Serve obeys whoever connects until ctx ends.
func (s *Server) Serve(ctx context.Context, on []net.Listener) error {
	return listen.Serve(ctx, on, listen.Limits{}, func(c net.Conn) { s.Handle(c.(*net.UnixConn)) }, func(net.Conn) {})
}

// Handle obeys one connection to its end. A mistake costs the connection, and nothing else.
func (s *Server) Handle(c *net.UnixConn) {
	defer c.Close()
	uid, err := packet.Peer(c)
	if err == nil && !slices.ContainsFunc(s.Programs, func(p Program) bool { return p.Client == uid }) {
		err = fmt.Errorf("uid %d may not ask", uid)
	}
	for err == nil {
		err = s.obey(c, uid)
	}
	if !errors.Is(err, io.EOF) {
		s.Log.Refuse("become", "local", err.Error())
	}
}

func (s *Server) obey(c *net.UnixConn, uid uint32) error {
	line, files, err := packet.Receive(c)
	if err != nil {
		return err
	}
	defer packet.Close(files)
	answer := "ok"
	if why := s.start(uid, line, files); why != nil {
		s.Log.Refuse("become", "local", why.Error())
		answer = "no " + why.Error()
	}
	c.SetWriteDeadline(time.Now().Add(10 * time.Second))
	return packet.Send(c, answer, nil)
}

// start starts what a line asks for.
func (s *Server) start(uid uint32, line string, files []*os.File) error {
	r, err := ask.Parse(line)
	if err == nil {
		err = s.allowed(r)
	}
	i := slices.IndexFunc(s.Programs, func(p Program) bool { return p.Name == r.Program && p.Client == uid })
	switch {
	case err != nil:
		return err
	case len(files) != 1:
		return errors.New("one descriptor, please")
	case i < 0:
		return fmt.Errorf("uid %d may not start %s", uid, r.Program)
	}
	return s.run(s.Programs[i], r, files[0])
}

// nobodies are the uids and gids that are no user's: of nobody, and what setresuid(2) takes for "leave it as it is".
var nobodies = map[uint32]bool{0: true, 65534: true, 65535: true, 1<<32 - 2: true, 1<<32 - 1: true}

func (s *Server) allowed(r ask.Request) error {
	if r.UID < s.MinUID || nobodies[r.UID] {
		return fmt.Errorf("uid %d: see become.min_uid in mail.toml(5)", r.UID)
	}
	for _, g := range r.GIDs {
		if g < s.MinGID || nobodies[g] {
			return fmt.Errorf("gid %d: see become.min_gid in mail.toml(5)", g)
		}
	}
	return nil
}

// enter counts one more of a program and a uid, or one less, and reports whether there may be so many.
func (s *Server) enter(p Program, of string, n int) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		s.running = map[string]int{}
	}
	if ok = n < 0 || p.Most == 0 || s.running[of] < p.Most; ok {
		s.running[of] += n
	}
	return ok
}

// run starts a program and has it reaped.
func (s *Server) run(p Program, r ask.Request, input *os.File) error {
	of := p.Name + " of uid " + strconv.FormatUint(uint64(r.UID), 10)
	if !s.enter(p, of, 1) {
		return ask.ErrMost
	}
	process, err := os.StartProcess(filepath.Join(s.Dir, p.Name), p.Args, &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + r.Home, "USER=" + r.Name, "LOGNAME=" + r.Name, "SHELL=/bin/sh", "GOMAXPROCS=1"},
		Files: []*os.File{input, s.nothing, os.Stderr},
		Sys:   &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: r.UID, Gid: r.GIDs[0], Groups: r.GIDs[1:]}},
	})
	if err != nil {
		s.enter(p, of, -1)
		return err
	}
	s.children.Go(func() {
		state, err := process.Wait()
		if s.enter(p, of, -1); err == nil && !state.Success() {
			s.Log.Warn(of, errors.New(state.String()))
		}
	})
	return nil
}

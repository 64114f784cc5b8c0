package lab

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"pennypost/internal/uids"
)

// Unix is a domain of Unix users.
type Unix struct {
	Domain string
	Users  []string // of this machine, with homes in DIR/home
	PAM    bool     // PAM has their passwords; else they have credentials, as everybody
}

// installed are the programs of a host as they run where the suite is installed, in the order they are started, with the arguments that
// etc/systemd gives them; RUN is the host's run/. become, mailgetent and pamcheck are there for Unix users only.
var installed = [][]string{
	{"become"},
	{"mailgetent"},
	{"pamcheck"},
	{"mailauthd"},
	{"imapd"},
	{"pop3d"},
	{"deliver-local", "--listen", "RUN/local/sock"},
	{"deliver-remote", "--listen", "RUN/remote/sock"},
	{"mailkey", "sign", "--listen", "RUN/sign/sign.sock"},
	{"queue-run"},
	{"queue-pickup"},
	{"smtpd"},
	{"maillogin"},
}

// daemons are the programs that the host runs all the time, with their arguments; queue-run may start more.
func (h *Host) daemons() (list [][]string) {
	if h.Apart {
		for _, d := range installed {
			switch d[0] {
			case "become", "mailgetent":
				if h.Unix == nil {
					continue
				}
			case "pamcheck":
				if h.Unix == nil || !h.Unix.PAM {
					continue
				}
			}
			d = slices.Clone(d)
			for i, arg := range d {
				if rest, ok := strings.CutPrefix(arg, "RUN/"); ok {
					d[i] = h.run(rest)
				}
			}
			list = append(list, d)
		}
	} else {
		names := Daemons
		if h.Split {
			names = append([]string{"mailauthd"}, append(names, "maillogin")...)
		}
		for _, name := range names {
			list = append(list, []string{name})
		}
	}
	if h.Web {
		list = append(list, []string{"mailwebd", "--listen", "https=" + h.web()})
	}
	return list
}

func (h *Host) run(name string) string { return filepath.Join(h.Dir, "run", name) }

// sockets are the keys of mail.toml that say where programs which are apart meet, in the directories of the table in package uids.
func (h *Host) sockets() map[string]string {
	keys := map[string]string{
		"login.socket":         quote(h.run("login/sock")),
		"imapd.sessions":       quote(h.run("sessions/imapd.sock")),
		"pop3d.sessions":       quote(h.run("sessions/pop3d.sock")),
		"remote.sign":          quote("unix:" + h.run("sign/sign.sock")),
		"queue.workers.local":  quote("unix:" + h.run("local/sock")),
		"queue.workers.remote": quote("unix:" + h.run("remote/sock")),
	}
	if h.Unix != nil {
		keys["unix.aliases"] = quote(h.etc("aliases")) // not the machine's
	}
	return keys
}

// AddUnix gives the host a domain of Unix users. They are users of this machine already; their homes are made.
func (h *Host) AddUnix(u Unix) error {
	h.Unix = &u
	dir := filepath.Join(h.etc("domains"), u.Domain)
	if err := os.MkdirAll(filepath.Join(dir, "users"), 0o755); err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "system"), nil, 0o644), os.WriteFile(h.etc("aliases"), nil, 0o644)); err != nil {
		return err
	}
	for _, name := range u.Users {
		if err := h.lab.home(name); err != nil {
			return err
		}
		file := filepath.Join(dir, "users", name, "credentials")
		if u.PAM {
			if err := os.RemoveAll(file); err != nil {
				return err
			}
		} else if err := credential(file); err != nil {
			return err
		}
	}
	return nil
}

// Home is that of a Unix user of the lab.
func (l *Lab) Home(name string) string { return filepath.Join(l.Dir, "home", name) }

func (l *Lab) home(name string) error {
	c, err := credentialOf(name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(l.Home(name)), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(l.Home(name), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return reown(l.Home(name), int(c.Uid), int(c.Gid))
}

// Table is who owns what of the host.
func (h *Host) Table() []uids.Entry {
	return uids.Table(uids.Paths{
		Etc: h.etc(""), Domains: h.etc("domains"), Spool: h.Spool(), State: filepath.Join(h.Dir, "state"), Run: filepath.Join(h.Dir, "run"), Mail: filepath.Join(h.Dir, "mail"),
	})
}

// apart gives the host's files to their owners, as mailsetup(8) and mailuser(8) do. Files of a time when one uid ran everything change hands.
func (h *Host) apart() error {
	table := h.Table()
	for _, e := range table {
		uid, err := uids.System.User(e.Owner)
		if err != nil {
			return err
		}
		gid, err := uids.System.Group(e.Group)
		if err != nil {
			return err
		}
		info, err := os.Lstat(e.Path)
		if err != nil || !info.IsDir() || e.Owner == "root" || int(info.Sys().(*syscall.Stat_t).Uid) == uid {
			continue // of root's all entries are in the table
		}
		if err := reown(e.Path, uid, gid); err != nil {
			return err
		}
	}
	if err := errors.Join(os.Chown(h.Dir, 0, 0), uids.Apply(table, uids.System)); err != nil {
		return err
	}
	for pattern, group := range map[string]string{"tls.key": "mailtls", "domains/*/dkim": "mailsign", "domains/*/users/*/credentials": "mailauth"} {
		gid, err := uids.System.Group(group)
		if err != nil {
			return err
		}
		found, err := filepath.Glob(h.etc(pattern))
		if err != nil {
			return err
		}
		for _, name := range found {
			if err := readable(name, gid); err != nil {
				return err
			}
		}
	}
	return nil
}

// reown gives a directory and all below it to somebody.
func reown(dir string, uid, gid int) error {
	return filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, uid, gid)
	})
}

// readable lets a group read a file of root's, or a directory and what is in it and will be.
func readable(root string, gid int) error {
	return filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := os.Lchown(name, 0, gid); err != nil {
			return err
		}
		mode := fs.FileMode(0o640)
		if d.IsDir() {
			mode = fs.ModeSetgid | 0o750
		}
		return os.Chmod(name, mode)
	})
}

// As is whoever runs the program on this host; nil: who runs us.
func (h *Host) As(program string) (*syscall.Credential, error) {
	name := uids.Programs[program]
	if !h.Apart || name == "" || name == "root" {
		return nil, nil
	}
	return credentialOf(name)
}

// credentialOf is a user of this machine with his groups.
func credentialOf(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, err
	}
	numbers := make([]uint32, 2+len(ids))
	for i, s := range append([]string{u.Uid, u.Gid}, ids...) {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return nil, err
		}
		numbers[i] = uint32(n)
	}
	return &syscall.Credential{Uid: numbers[0], Gid: numbers[1], Groups: numbers[2:]}, nil
}

// User is who a name is on this machine, to start something as him.
func User(name string) (*syscall.SysProcAttr, error) {
	c, err := credentialOf(name)
	return &syscall.SysProcAttr{Credential: c}, err
}

// Adopt gives a file to the owner of the directory it is in, as if he had written it.
func Adopt(file string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(filepath.Dir(file))
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	return os.Lchown(file, int(st.Uid), int(st.Gid))
}

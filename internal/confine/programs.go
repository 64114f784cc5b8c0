package confine

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"pennypost/internal/config"
	"pennypost/internal/uids"
)

// needs are what programs use besides that which the table of uids gives their user.
var needs = map[string]func(*config.Config) Rights{
	"smtpd": func(c *config.Config) Rights {
		return checks(c).add(asks(c)).add(Rights{Read: []string{c.SMTPD.Trust}}).add(unixUsers()).add(opens(c.SMTPD.MX, c.SMTPD.Submission, c.SMTPD.Submissions, c.SMTPD.LMTP))
	},
	"maillogin": func(c *config.Config) Rights {
		return opens(c.Maillogin.IMAP, c.Maillogin.IMAPS, c.Maillogin.POP3, c.Maillogin.POP3S)
	},
	"mailauthd": func(c *config.Config) Rights {
		return here(c).add(unixUsers()).add(opens([]string{"unix:" + c.Login.Socket}))
	},
	"imapd": func(c *config.Config) Rights {
		return checks(c).add(mailboxes(c)).add(opens(c.IMAPD.IMAP, c.IMAPD.IMAPS))
	},
	"pop3d": func(c *config.Config) Rights {
		return checks(c).add(mailboxes(c)).add(opens(c.POP3D.POP3, c.POP3D.POP3S))
	},
	"imapd of a user": func(*config.Config) Rights { return Rights{AllFiles: true} },
	"pop3d of a user": func(*config.Config) Rights { return Rights{AllFiles: true} },
	"queue-pickup":    func(*config.Config) Rights { return Rights{} },
	"queue-run":       starts,
	"deliver-local":   delivers,
	"deliver-remote":  sends,
	"mailwebd":        func(*config.Config) Rights { return Rights{Listen: []int{443, 80}} },
	"mailkey":         func(*config.Config) Rights { return Rights{} },
	"mailcert": func(c *config.Config) Rights {
		return Rights{AllPorts: true, Write: around(c.TLS.Certificates...)}.add(asks(c))
	},
	"mailreport send": func(c *config.Config) Rights { // sendmail does what its user may; web servers for reports are where DNS says
		return Rights{AllPorts: true}.add(asks(c)).add(beside())
	},
	"mailreport send by another program": func(*config.Config) Rights { return Rights{AllPorts: true, AllFiles: true, AllExec: true} },
	"mailcert with a hook":               func(*config.Config) Rights { return Rights{AllPorts: true, AllFiles: true, AllExec: true} },
}

// Of are the rights of a program.
func Of(name string, c *config.Config, flags ...string) Rights {
	program, _, _ := strings.Cut(name, " ")
	return common(program, c).add(needs[name](c)).add(opens(flags))
}

// Mailboxes names the rights of a server of mailboxes: those of mail.toml and domains(5), or one Maildir of whoever called, whose
// links lead where they lead.
func Mailboxes(program string, one bool) string {
	if one {
		return program + " of a user"
	}
	return program
}

// opens: where it listens.
func opens(lists ...[]string) (r Rights) {
	for _, list := range lists {
		for _, address := range list {
			if _, behind, ok := strings.Cut(address, "="); ok {
				address = behind
			}
			if path, ok := strings.CutPrefix(address, "unix:"); ok {
				address = path
			}
			if filepath.IsAbs(address) {
				r.Write = append(r.Write, filepath.Dir(address))
			} else if p, ok := port(address); ok {
				r.Listen = append(r.Listen, p)
			}
		}
	}
	return r
}

// common is what the program's user may do, and what everybody needs.
func common(program string, c *config.Config) Rights {
	return table(c, uids.Programs[program]).add(everybody(c))
}

// table is what the table of uids lets a user do. A directory that holds what the user may not read is no reason to read all below it.
func table(c *config.Config, user string) (r Rights) {
	all := uids.Table(uids.Of(c))
	var reach []string
	uids.Rights(all, user, func(e uids.Entry, a uids.Access) {
		if a.Read || a.Enter {
			reach = append(reach, e.Path)
		}
	})
	shut := func(dir string) bool { // holds an entry that is not for user
		for _, e := range all {
			if strings.HasPrefix(e.Path, dir+"/") && !contains(reach, e.Path) && e.Mode.Type() != fs.ModeNamedPipe && e.Mode.Type() != fs.ModeSocket {
				return true
			}
		}
		return false
	}
	uids.Rights(all, user, func(e uids.Entry, a uids.Access) {
		switch {
		case e.Mode.IsDir() && a.Write && !shut(e.Path):
			r.Write = append(r.Write, e.Path)
		case !e.Mode.IsDir() && a.Write:
			r.Append = append(r.Append, e.Path)
		case a.Read && !(e.Mode.IsDir() && shut(e.Path)):
			r.Read = append(r.Read, e.Path)
		}
	})
	return r
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// everybody: the configuration and what it names, the names of users, the time zone, certificates of the system.
func everybody(c *config.Config) Rights {
	r := Rights{
		Read: []string{filepath.Dir(c.File), c.Domains, "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf", "/etc/services", "/etc/localtime",
			"/etc/resolv.conf", "/etc/mailname", "/etc/aliases", "/etc/ssl", "/etc/pki", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
			"/usr/share/zoneinfo", "/proc/sys/kernel/random", "/proc/sys/net/core", "/dev/urandom"},
		Write:  c.ConfinePaths,
		Append: []string{"/dev/null"},
	}
	r.Read = append(r.Read, around(c.TLS.Certificates...)...)
	r.Read = append(r.Read, around(c.TLS.Keys...)...)
	r.Read = append(r.Read, around(c.TLS.CA, c.SRS.Secrets, c.Unix.Aliases)...)
	return r
}

// asks: a resolver, by TCP where an answer is long.
func asks(c *config.Config) (r Rights) {
	if len(c.DNS.Servers) == 0 {
		return Rights{Connect: []int{53}, Read: []string{"/etc", "/run/systemd/resolve"}} // resolv.conf is replaced, not changed
	}
	for _, server := range c.DNS.Servers {
		if p, ok := port(server); ok {
			r.Connect = append(r.Connect, p)
		}
	}
	return r
}

// checks: passwords, where nobody does it for the servers.
func checks(c *config.Config) Rights {
	if c.Login.Socket != "" {
		return Rights{}
	}
	return here(c).add(table(c, "mailauth"))
}

// here is who checks passwords with a program of other people.
func here(c *config.Config) Rights {
	if len(c.Login.Checkpassword) > 0 {
		return Rights{AllFiles: true, AllExec: true, AllPorts: true}
	}
	return Rights{}
}

// unixUsers: getent and id of the C library, and what they read.
func unixUsers() (r Rights) {
	for _, pattern := range []string{"/usr/bin/getent", "/usr/bin/id", "/bin/busybox", "/lib*/ld-*.so*", "/usr/lib/*/ld-*.so*"} {
		files, _ := filepath.Glob(pattern)
		r.Exec = append(r.Exec, files...)
	}
	r.Read = []string{"/etc", "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/var/lib/sss", "/run/nscd", "/run/nslcd"}
	return r
}

// mailboxes: where those of mail.toml(5) and domains(5) are.
func mailboxes(c *config.Config) Rights {
	root := uids.Of(c).Mail
	r := Rights{Write: []string{root}}
	if entries, err := os.ReadDir(root); err == nil { // a domain may be on another disk
		for _, e := range entries {
			if e.Type()&fs.ModeSymlink != 0 {
				r.Write = append(r.Write, filepath.Join(root, e.Name()))
			}
		}
	}
	if filepath.IsAbs(c.Mail.Stamp) {
		r.Read = append(r.Read, filepath.Dir(c.Mail.Stamp))
	}
	for _, text := range settings(c, "path") {
		before, _, _ := strings.Cut(text, "%")
		if path := filepath.Clean(before); filepath.IsAbs(path) && path != "/" {
			r.Write = append(r.Write, path, filepath.Dir(path))
		}
	}
	return r
}

// settings are the first lines of the files of that name of all domains and accounts.
func settings(c *config.Config, name string) (lines []string) {
	for _, pattern := range []string{"*", "*/users/*"} {
		files, _ := filepath.Glob(filepath.Join(c.Domains, pattern, name))
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil {
				line, _, _ := strings.Cut(string(text), "\n")
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	return lines
}

// delivers: into mailboxes, out of the spool by a link to what it was handed; and programs of forward files, where mail.toml lets them run.
func delivers(c *config.Config) Rights {
	r := mailboxes(c)
	if c.Mail.Link {
		r.Link = []string{filepath.Join(c.Spool, "in"), filepath.Join(c.Spool, "q")}
	}
	if c.Mail.Programs || len(settings(c, "programs")) > 0 {
		r.AllFiles, r.AllExec, r.AllPorts = true, true, true
	}
	return r
}

// sends: to the ports of other hosts, which are few.
func sends(c *config.Config) Rights {
	r := asks(c).add(Rights{Connect: []int{c.Remote.Port, 25, 443, c.Remote.STSPort}, Listen: []int{0}}) // port 0: bound to one of remote.sources
	for _, list := range []map[string]config.Route{c.Routes, c.Senders} {
		for _, route := range list {
			r.Read = append(r.Read, around(route.PasswordFile)...)
			for _, next := range route.Next {
				if p, ok := port(next); ok {
					r.Connect = append(r.Connect, p)
				}
			}
		}
	}
	if sign := c.Remote.Sign; sign == "mailkey" {
		r = r.add(beside())
	} else if sign != "" && !strings.HasPrefix(sign, "unix:") {
		return Rights{AllFiles: true, AllExec: true, AllPorts: true}
	}
	return r
}

// starts: what queue-run starts has its rights at most, so it keeps what they need. A worker that is running already needs nothing of ours.
func starts(c *config.Config) Rights {
	r := unixUsers()
	if all, err := config.Load(c.File, "mail", "local", "remote", "dns", "tls", "route", "sender"); err == nil { // what queue-run itself does not read
		all.Transport, all.Queue = c.Transport, c.Queue
		c = all
	}
	if len(c.Transport) > 0 {
		return Rights{AllFiles: true, AllExec: true, AllPorts: true}
	}
	for _, w := range []struct {
		program, worker string
		needs           func(*config.Config) Rights
	}{{"deliver-local", c.Queue.Workers.Local, delivers}, {"deliver-remote", c.Queue.Workers.Remote, sends}} {
		if strings.HasPrefix(w.worker, "unix:") {
			continue
		}
		if w.worker != w.program { // somebody's own
			return Rights{AllFiles: true, AllExec: true, AllPorts: true}
		}
		r = r.add(common(w.program, c)).add(w.needs(c)).add(beside())
	}
	return r
}

// beside are our own programs. One built with cgo looks for its threads in /proc, and is started by the system's loader; make builds
// without.
func beside() (r Rights) {
	if self, err := os.Executable(); err == nil {
		r = Rights{Exec: []string{filepath.Dir(self)}, Read: []string{"/proc"}}
	}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "CGO_ENABLED", Value: "1"}) {
		r.Exec = append(r.Exec, "/lib", "/lib64", "/usr/lib")
	}
	return r
}

// port is the one of HOST:PORT, with whatever in front.
func port(address string) (int, bool) {
	if i := strings.Index(address, "://"); i >= 0 {
		address = address[i+3:]
	}
	_, service, err := net.SplitHostPort(strings.TrimPrefix(address, "lmtp:"))
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(service)
	return n, err == nil && n < 1<<16
}

package uids

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"pennypost/internal/config"
)

// Programs says who runs what where each program has its own uid. become is root's; the admin's hand tools are the admin's.
var Programs = map[string]string{
	"smtpd":          "mailin",
	"maillogin":      "maillogin",
	"mailauthd":      "mailauth",
	"pamcheck":       "mailpam",
	"become":         "root",
	"mailgetent":     "mailgetent",
	"queue-pickup":   "mailpick",
	"queue-run":      "mailqueue",
	"deliver-remote": "mailout",
	"deliver-local":  "vmail",
	"imapd":          "vmail",
	"pop3d":          "vmail",
	"mailkey":        "mailsign",
	"mailcert":       "mailcert",
	"mailwebd":       "mailweb",
	"mailreport":     "mailrep",
}

// Of are the roots that mail.toml names.
func Of(c *config.Config) Paths {
	mail, _, _ := strings.Cut(c.Mail.Path, "%")
	return Paths{
		Etc: filepath.Dir(c.File), Domains: c.Domains, Spool: c.Spool, State: c.State, Run: c.Run,
		Mail: filepath.Clean(mail[:strings.LastIndexByte(mail, '/')+1]),
	}
}

// Access is what the mode of an entry lets a user do there.
type Access struct{ Enter, Read, Write bool }

// Rights is what the table lets a user do: the entries that it gets to, in order, with what it may do there. Root, whom no mode
// stops, gets what everybody does.
func Rights(table []Entry, user string, may func(Entry, Access)) {
	groups := []string{user}
	for _, u := range Users {
		if u.Name == user {
			groups = append(groups, u.Groups...)
		}
	}
	var closed []string // directories that user cannot enter
	for _, e := range table {
		if slices.ContainsFunc(closed, func(dir string) bool { return strings.HasPrefix(e.Path, dir+"/") }) {
			continue
		}
		bits := e.Mode.Perm()
		switch {
		case e.Owner == user:
			bits >>= 6
		case slices.Contains(groups, e.Group):
			bits >>= 3
		}
		a := Access{Enter: bits&1 != 0, Read: bits&4 != 0, Write: bits&2 != 0}
		if e.Mode.IsDir() && !a.Enter {
			closed = append(closed, e.Path)
		}
		may(e, a)
	}
}

// Ready reports the first entry that the program, as whoever it runs now, cannot use as the table says: its error has the entry and what puts it
// right. What is not there yet is no error, and what a supervisor has made read-only is its business.
func Ready(program string, c *config.Config) (err error) {
	user := Programs[program]
	Rights(Table(Of(c)), user, func(e Entry, a Access) {
		ours := e.Owner == user || slices.ContainsFunc(Users, func(u User) bool {
			return u.Name == user && (e.Group == user || slices.Contains(u.Groups, e.Group))
		})
		if err != nil || !ours || !a.Enter || !e.Mode.IsDir() {
			return
		}
		mode, verb := uint32(unix.X_OK), "enter"
		if a.Read {
			mode, verb = mode|unix.R_OK, "read"
		}
		if a.Write {
			mode, verb = mode|unix.W_OK, "write to"
		}
		if unix.Faccessat(unix.AT_FDCWD, e.Path, mode, unix.AT_EACCESS) == unix.EACCES {
			err = fmt.Errorf("%s: %s, run as uid %d, cannot %s it: it is to be %s %s:%s, which mailsetup(8) puts right", e.Path, program, os.Geteuid(), verb, e.Mode, e.Owner, e.Group)
		}
	})
	return err
}

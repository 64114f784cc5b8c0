/*
Package uids is the one table of who owns what: the users and groups of the suite, and the owner and mode of every
directory and file that more than one of them meets. Installer, checks and tests read it; pennypost(7) shows it.

What a program does not need, it cannot read:

	uid         runs                     may enter
	mailin      smtpd                    in/mx in/submit in/lmtp
	mailpick    queue-pickup             drop, in/pickup
	mailqueue   queue-run                the spool but drop and the archive; no network, no Maildirs
	mailout     deliver-remote           state/sts state/tls state/reports/tls; it is handed descriptors
	mailsign    mailkey sign             the DKIM keys; no network, no spool
	vmail       deliver-local, pop3d     the Maildirs, in/local

Every directory that holds an entry belongs to root, so that root can set owners without following anybody's links
(threats.md, A, rule 7).
*/
package uids

import (
	"io/fs"
	"path/filepath"
	"slices"
)

// User is one of ours. Its own group has its name.
type User struct {
	Name    string
	Comment string
	Groups  []string // besides its own
}

// Users are the uids. mailqueue is in the group of each producer, to take what they bring.
var Users = []User{
	{"mailin", "Pennypost, smtpd", []string{"mailmsg", "mailtls"}},
	{"maillogin", "Pennypost, TLS and login", []string{"mailtls"}},
	{"mailauth", "Pennypost, credentials", nil},
	{"mailpick", "Pennypost, queue-pickup", []string{"maildrop"}},
	{"mailqueue", "Pennypost, queue-run", []string{"mailmsg", "mailin", "mailpick", "maillist", "vmail", "mailadmin"}},
	{"mailout", "Pennypost, deliver-remote", nil},
	{"mailsign", "Pennypost, mailkey sign", nil},
	{"mailrep", "Pennypost, mailreport", nil},
	{"mailcert", "Pennypost, certificates", []string{"mailtls"}},
	{"mailweb", "Pennypost, pages", []string{"mailtls"}},
	{"mailgetent", "Pennypost, who is a Unix user", nil},
	{"mailpam", "Pennypost, passwords of Unix users", []string{"shadow"}},
	{"vmail", "Pennypost, mailboxes of virtual users", []string{"mailmsg", "mailtls"}},
	{"mailcmd", "Pennypost, programs of virtual users", nil},
	{"maillist", "Pennypost, mailing lists", nil},
	{"mailarch", "Pennypost, archive", nil},
}

// Group is one that is nobody's own.
type Group struct{ Name, Use string }

// Groups are the shared groups.
var Groups = []Group{
	{"maildrop", "of files in drop/, whoever wrote them"},
	{"mailmsg", "of message files: vmail may link them, and cannot enter where they lie"},
	{"mailtls", "may read the keys of our certificates"},
	{"mailread", "may list the queue; who is in mailmsg as well may read what is in it"},
	{"mailadmin", "may steer the queue"},
}

// HostGroups are groups of the host that some of ours are in: shadow may read password hashes, and pamcheck is to compare them.
var HostGroups = []string{"shadow"}

// Paths are the roots of mail.toml(5).
type Paths struct {
	Etc     string // the directory of mail.toml
	Domains string
	Spool   string
	State   string
	Run     string
	Mail    string // above the first % of mail.path
}

// DefaultPaths are those of an empty mail.toml.
var DefaultPaths = Paths{
	Etc:     "/etc/pennypost",
	Domains: "/etc/pennypost/domains",
	Spool:   "/var/spool/pennypost",
	State:   "/var/lib/pennypost",
	Run:     "/run/pennypost",
	Mail:    "/var/mail/pennypost",
}

// Entry is one directory, FIFO or file.
type Entry struct {
	Path  string
	Mode  fs.FileMode // with type: fs.ModeDir, fs.ModeNamedPipe, or 0
	Owner string
	Group string
	Why   string
}

const (
	dir  = fs.ModeDir
	fifo = fs.ModeNamedPipe
	gid  = fs.ModeSetgid
	keep = fs.ModeSetgid | fs.ModeSticky
)

var (
	etc = []Entry{
		{"", dir | 0o755, "root", "root", "configuration, written by admins only"},
		{"mail.toml", 0o644, "root", "root", ""},
		{"tls", dir | gid | 0o750, "mailcert", "mailtls", "certificates and their keys"},
		{"trust", dir | 0o755, "root", "root", "exceptions from SPF, DMARC and ARC; smtpd reads"},
	}
	domains = []Entry{
		{"", dir | 0o755, "root", "root", "accounts and aliases; credentials/ are 2750 root:mailauth"},
	}
	state = []Entry{
		{"", dir | 0o755, "root", "root", "what programs learn"},
		{"auth", dir | 0o700, "mailauth", "mailauth", "last use, one-time steps"},
		{"over", dir | 0o755, "vmail", "vmail", "accounts over quota; smtpd looks"},
		{"sts", dir | 0o755, "mailout", "mailout", "MTA-STS policies of other domains"},
		{"tls", dir | 0o755, "mailout", "mailout", "which domains had TLS"},
		{"reports", dir | 0o755, "root", "root", "what is told once a day"},
		{"reports/dmarc", dir | gid | 0o770, "mailin", "mailrep", "smtpd adds, mailreport send takes"},
		{"reports/tls", dir | gid | 0o770, "mailout", "mailrep", "deliver-remote adds, mailreport send takes"},
		{"reports/sent", dir | 0o700, "mailrep", "mailrep", "what mailreport send has told"},
		{"reports/in", dir | 0o750, "mailrep", "mailrep", "what mailreport read has read"},
	}
	run = []Entry{
		{"", dir | 0o755, "root", "root", "sockets; those named here are made by a supervisor that starts the programs"},
		{"local", dir | gid | 0o750, "vmail", "mailqueue", "where deliver-local --listen makes its socket"},
		{"remote", dir | gid | 0o750, "mailout", "mailqueue", "where deliver-remote --listen makes its socket"},
		{"getent", dir | 0o755, "mailgetent", "mailgetent", "where mailgetent makes its socket; it answers our users only"},
		{"pam", dir | gid | 0o750, "mailpam", "mailauth", "where pamcheck makes its socket"},
		{"sign", dir | gid | 0o750, "mailsign", "mailout", "where mailkey sign --listen makes its socket"},
		{"login", dir | 0o755, "mailauth", "mailauth", "where mailauthd makes its socket; it asks who is there"},
		{"sessions", dir | gid | 0o750, "vmail", "mailauth", "where imapd and pop3d make the sockets at which mailauthd hands sessions over"},
		{"sources", dir | 0o755, "root", "root", "who is connected to which service, and how often they came"},
		{"sources/smtpd", dir | gid | 0o750, "mailin", "mailread", ""},
		{"sources/imapd", dir | gid | 0o750, "vmail", "mailread", ""},
		{"sources/pop3d", dir | gid | 0o750, "vmail", "mailread", ""},
		{"sources/maillogin", dir | gid | 0o750, "maillogin", "mailread", ""},
		{"login.sock", fs.ModeSocket | 0o666, "mailauth", "mailauth", ""},
		{"imapd.sock", fs.ModeSocket | 0o660, "vmail", "mailauth", ""},
		{"pop3d.sock", fs.ModeSocket | 0o660, "vmail", "mailauth", ""},
		{"become.sock", fs.ModeSocket | 0o666, "root", "root", "it obeys mailauthd and queue-run only"},
		{"deliver-local.sock", fs.ModeSocket | 0o660, "vmail", "mailqueue", ""},
		{"deliver-remote.sock", fs.ModeSocket | 0o660, "mailout", "mailqueue", ""},
	}
	mail = []Entry{
		{"", dir | 0o700, "vmail", "vmail", "Maildirs"},
	}
	spool = append([]Entry{
		{"", dir | 0o755, "root", "root", ""},
		{"FORMAT", 0o644, "root", "root", ""},
		{"drop", dir | 0o755, "root", "root", ""},
		{"drop/tmp", dir | keep | 0o733, "mailpick", "maildrop", "anybody adds, nobody lists"},
		{"drop/new", dir | keep | 0o733, "mailpick", "maildrop", "anybody adds, nobody lists"},
		{"drop/trigger", fifo | 0o622, "mailpick", "maildrop", ""},
		{"in", dir | 0o755, "root", "root", ""},
		{"q", dir | gid | 0o750, "mailqueue", "mailread", "messages on their way"},
		{"hold", dir | gid | 0o770, "mailqueue", "mailadmin", ""},
		{"bad", dir | gid | 0o770, "mailqueue", "mailadmin", ""},
		{"pause", dir | gid | 0o775, "mailqueue", "mailadmin", ""},
		{"limit", dir | gid | 0o775, "mailqueue", "mailadmin", ""},
		{"kick", dir | gid | 0o775, "mailqueue", "mailadmin", ""},
		{"outbound", dir | gid | 0o770, "mailqueue", "mailadmin", "what accounts send, and who sent too much"},
		{"site", dir | 0o755, "mailqueue", "mailread", ""},
		{"results", dir | gid | 0o750, "mailqueue", "mailread", ""},
		{"index", dir | 0o700, "mailqueue", "mailqueue", "checkpoint, a cache"},
		{"run", dir | 0o755, "mailqueue", "mailqueue", "locks"},
		{"archive", dir | 0o755, "root", "root", ""},
		{"archive/new", dir | gid | 0o770, "mailqueue", "mailarch", "second links"},
	}, producers(
		"mx", "mailin", "mailmsg",
		"submit", "mailin", "mailmsg",
		"lmtp", "mailin", "mailmsg",
		"pickup", "mailpick", "mailmsg",
		"list", "maillist", "mailmsg",
		"bounce", "mailqueue", "mailmsg",
		"local", "vmail", "mailmsg",
		"adopt", "mailqueue", "mailadmin",
	)...)
)

// producers are the directories below in/: name, uid, group of the files.
func producers(table ...string) (list []Entry) {
	for row := range slices.Chunk(table, 3) {
		name, owner, group := "in/"+row[0], row[1], row[2]
		enter := owner // the group that may enter: mailqueue is in it
		if row[0] == "adopt" {
			enter = group
		}
		list = append(list,
			Entry{name, dir | 0o750, "root", enter, ""},
			Entry{name + "/tmp", dir | gid | 0o770, owner, group, "being written"},
			Entry{name + "/new", dir | gid | 0o770, owner, group, "accepted"},
			Entry{name + "/trigger", fifo | 0o620, "mailqueue", enter, ""},
		)
	}
	return list
}

// Table is every entry, parents first.
func Table(p Paths) (all []Entry) {
	for _, part := range []struct {
		root    string
		entries []Entry
	}{{p.Etc, etc}, {p.Domains, domains}, {p.Spool, spool}, {p.State, state}, {p.Run, run}, {p.Mail, mail}} {
		for _, e := range part.entries {
			e.Path = filepath.Join(part.root, e.Path)
			all = append(all, e)
		}
	}
	return all
}

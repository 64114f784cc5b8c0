/*
Package local puts messages into Maildirs: deliver-local(8).

It has two forms. As a worker it gets orders and descriptors from queue-run over order(5) and
answers each recipient; by hand it is given one message on fd 0 and prints the same answers.

	                           plain spool file                link-ready file (ID.m)
	when the order comes       write tmp/NAME.CHANCE           link it to new/NAME
	with all of one moment     fsync every tmp/ file           –
	                           rename to new/NAME              –
	                           fsync every new/ once           fsync every new/ once
	then                       K                               K

The moment is local.sync_every, 10 ms: a delivery after a pause is synced at once, those that come
while others are on their way share what a sync costs. A message is in new/ only when it is whole
and on disk, and an answer is given only when its name is on disk too.

NAME is made from id and recipient number. A kill -9 or power cut anywhere leaves at most a
file in tmp/, swept after 36 hours; a repeated order finds what was done by its name:

	before the rename or link   nothing is there: delivered again
	after it                    found in new/, cur/ or the folder: fsynced, K

With local.index the folder's mb-uids, mb-log and mb-cache get what the next look would put there, after the answers and as far as that
needs no waiting (index.go); what a crash leaves of that, the next look completes.

For a Unix user it runs as that user, started by become(8), and does what ~/.forward says:

	~/.forward     the user's or root's, writable by nobody else    read at each delivery
	~/Maildir      made by the first one, 0700

So local mail is never doubled, unless its reader takes the first copy away before the answer is written down.
*/
package local

import (
	"sync"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/internal/maillog"
	"pennypost/internal/passwd"
	"pennypost/maildir"
)

// Directory says whose mail is whose; *domains.Domains is one.
type Directory interface {
	Lookup(to address.Path) (domains.Answer, error)
	Login(name string) (*domains.Account, error)
	Mailbox(to address.Path) (account *domains.Account, detail string, err error)
}

// Agent delivers. Its exported fields are set before the first delivery and not changed.
type Agent struct {
	Directory Directory
	Store     maildir.Store
	Hostname  string
	State     string // state/over/ is below it; "" marks nobody
	Link      bool   // link ready files; else copy them
	SyncEvery time.Duration
	Index     bool // enter what was delivered into the folder's index
	Programs  Programs
	Unix      *passwd.User // who we are, where we deliver as a Unix user
	Log       *maillog.Log

	shellOf func(name string) (*passwd.User, error)

	boxes boxes
	index index
	host  string // Hostname as it stands in file names
	once  sync.Once
}

// Sections are the sections of mail.toml that deliver-local reads.
var Sections = []string{"mail", "log", "local"}

// FromConfig is the agent mail.toml describes.
func FromConfig(conf *config.Config, log *maillog.Log) *Agent {
	a := &Agent{
		Directory: domains.FromConfig(conf),
		Store:     maildir.Store{Stamp: conf.Mail.Stamp},
		Hostname:  conf.Hostname,
		State:     conf.State,
		Link:      conf.Mail.Link,
		SyncEvery: conf.Local.SyncEvery,
		Index:     conf.Local.Index,
		Programs: Programs{
			Time:        conf.Local.ProgramTime,
			Output:      conf.Local.ProgramOutput,
			Environment: conf.Local.Environment,
		},
		Log: log,
	}
	if who := passwd.Ourselves(uint32(conf.Become.MinUID)); who != nil {
		a.asUnixUser(who)
		a.shellOf = new(passwd.Lookup).User // we are nobody whom mailgetent answers
	}
	return a
}

func (a *Agent) init() {
	a.once.Do(func() {
		a.host = maildir.Host(a.Hostname)
		a.boxes.store = &a.Store
		a.boxes.open = make(map[string]*box)
		if a.Log == nil {
			a.Log = &maillog.Log{Program: "deliver-local"}
		}
		if a.Index && a.Unix == nil {
			a.index.host, a.index.stamp, a.index.warn = a.Hostname, a.Store.Stamp, a.Log.Warn
			a.index.waiting = make(map[folder][]string)
		}
	})
}

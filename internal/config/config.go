/*
Package config reads mail.toml: the one configuration of all programs, mail.toml(5). Only this package knows TOML.

A program names the sections it uses; a mistake in another section does not stop it. In the sections it uses an unknown key, a
value of the wrong kind or out of range is an error "FILE:LINE: …" that names the nearest known key.
*/
package config

import (
	"net/netip"
	"time"
)

// Config is mail.toml with defaults filled in. Relative file names are relative to the directory of mail.toml.
type Config struct {
	File string // where it was read

	// Top of the file, before any section; read by every program.
	Hostname      string   // our name in greetings, HELO, Received, DSNs; default: the host's
	Origin        string   // domain that completes bare names; default: /etc/mailname, Hostname
	DefaultDomain string   // domain that completes bare login names; default: Origin
	Node          string   // node letters of ids: "a"
	Domains       string   // /etc/pennypost/domains
	Spool         string   // /var/spool/pennypost
	State         string   // /var/lib/pennypost
	Run           string   // /run/pennypost
	Confine       bool     // programs give up what they have no use for, where the kernel can: true
	ConfinePaths  []string // directories that they keep besides

	Mail      Mail                 // [mail]
	TLS       TLS                  // [tls]
	Login     Login                // [login]
	Become    Become               // [become]
	Unix      Unix                 // [unix], read with [mail] by all who are
	DNS       DNS                  // [dns]
	Log       Log                  // [log]
	Submit    Submit               // [sendmail], used by sendmail, queue-inject, queue-pickup
	SMTPD     SMTPD                // [smtpd]
	Queue     Queue                // [queue]
	Outbound  Outbound             // [outbound], used by queue-run
	Remote    Remote               // [remote]
	Local     Local                // [local]
	POP3D     POP3D                // [pop3d]
	IMAPD     IMAPD                // [imapd]
	Maillogin Maillogin            // [maillogin]
	Archive   Archive              // [archive]
	SRS       SRS                  // [srs]
	Report    Report               // [report]
	Routes    map[string]Route     // [route."DOMAIN"], also ".SUFFIX" and "*"
	Senders   map[string]Route     // [sender."DOMAIN"], looked up first
	Transport map[string]Transport // [transport.NAME]
	Sites     map[string]Site      // [site."KEY or MX host"]
}

// Mail is where mailboxes are.
type Mail struct {
	Path          string // "/var/mail/pennypost/%d/%n/Maildir"
	Layout        string // maildir++ fs
	Delimiter     string // of mailbox names: / or .
	Prefix        string // of mailbox names but INBOX: "" or "INBOX."
	Quota         Quota  // per account
	Separators    string // "+"
	Link          bool   // hard-link from spool to Maildir where they share a file system: true
	Programs      bool   // program lines in forward files of virtual users: false
	DetailFolders []string
	Junk          string // folder of mail that is marked: "Junk"; "" the INBOX
	Stamp         string // file that must exist in a directory above the Maildir (or full path), or the store is not mounted; "" no check
}

// TLS is our certificates.
type TLS struct {
	Certificates []string // PEM chains; the first is the default
	Keys         []string // one for each
	CA           string   // extra roots, PEM; "" the system's
}

// Login is how passwords are checked.
type Login struct {
	Socket        string         // of mailauthd; "": every server checks for itself
	Clients       []string       // users that may ask mailauthd, besides root and its own
	Checkpassword []string       // argv of a program that is asked instead of credential files
	Mechanisms    []string       // offered; SCRAM's also as -PLUS
	Certificates  bool           // clients are asked for a certificate, and EXTERNAL is offered: false
	Approval      bool           // a credential's first login from a new network waits for somebody: false
	Clear         []netip.Prefix // "clear_networks": clients from there may log in without TLS
	Parallel      int            // argon2id runs at once, 0 one a processor
}

// Become is whom become may start programs as.
type Become struct {
	MinUID int // 1000
	MinGID int // 1000, of the supplementary groups too
}

// Unix is what holds for the Unix users of system domains.
type Unix struct {
	Path      string // of their Maildirs: "~/Maildir"
	Aliases   string // "/etc/aliases"; "" none
	Root      string // who gets root's mail where no alias says; "" nobody
	Processes int    // deliver-local at once, each for one user: 20
}

type DNS struct {
	Servers []string // "dns.server": HOST:PORT; default /etc/resolv.conf
	TrustAD bool
	Probe   string        // a name whose DNSSEC signatures are wrong on purpose: dnssec-failed.org; "" not asked for
	Timeout time.Duration // per question, 5s
}

type Log struct {
	Times bool
}

// Submit is what local injection may do.
type Submit struct {
	MaxSize int64         // 50MiB
	Wait    time.Duration // sendmail waits for queue-pickup, and takes the message back if it does not come; 0 no
	Rate    int           // messages an hour for one uid, 0 none
}

// SMTPD is [smtpd].
type SMTPD struct {
	MX, Submission, Submissions, LMTP []string // addresses to listen on, HOST:PORT or unix:PATH

	MaxSize         int64          // of a message, on the wire: 50MiB
	MaxRecipients   int            // 100
	MaxConnections  int            // 1000
	PerIPv4         int            // 20 at once
	PerIPv6         int            // 20 at once per /64
	PerSite         int            // 100 at once per /48
	ConnectRate     Rate           // new connections of one source: 1200/m
	MessageRate     Rate           // mx: messages of one source; none
	RecipientRate   Rate           // mx: and recipients; none
	ErrorRate       Rate           // refused commands of one source before it has to stay away: 100/h
	MaxErrors       int            // 10
	MaxCommands     int            // junk commands (NOOP RSET HELP VRFY EHLO) before 421: 100
	MaxMessages     int            // per connection: 1000
	MaxReceived     int            // 50
	CommandTime     time.Duration  // 5m
	DataTime        time.Duration  // longest silence in DATA: 3m
	MessageTime     time.Duration  // longest DATA in all: 1h
	SlowRate        int64          // octets a second DATA must average after a minute: 1024
	FreeSpace       int64          // refuse MAIL below: 64MiB
	UnknownLimit    int            // unknown recipients per source and hour before 421: 50
	RelayNetworks   []netip.Prefix // may relay without login; empty
	RelayDomains    []string       // we are backup MX for them (S24)
	BareLFNetworks  []netip.Prefix
	TrustedNetworks []netip.Prefix // exempt from limits and rates
	ProxyNetworks   []netip.Prefix // whose connections begin with a PROXY header; empty
	FutureRelease   time.Duration  // longest FUTURERELEASE: 60d, 0 off
	HideClient      bool           // submission: no client address in Received (U12): true
	CheckSender     bool           // submission: MAIL FROM and From must be the account's (U9): true

	// What becomes of mail from outside (mx), msgauth(7): refuse, mark or ignore.
	Verify       bool   // SPF, DKIM, ARC, DMARC, iprev: true
	SPF          string // its domain says that this client may not send it: mark
	DMARC        string // refuse: what the author's domain asks for
	From         string // it has no From, or one that can be read in two ways: refuse
	SenderDomain string // the reverse-path could not be answered: refuse
	Trust        string // directory of exceptions
}

// Rate is so many in a time; the zero Rate is no limit.
type Rate struct {
	N   int
	Per time.Duration
}

// Queue is [queue].
type Queue struct {
	Expire           time.Duration // 5d
	BounceExpire     time.Duration // 2d
	BulkExpire       time.Duration // 2d
	DelayDSN         time.Duration // 4h, 0 none
	Slots            int           // deliveries at once: 200
	PerSite          int           // most at once to one site: 20
	LocalSlots       int           // orders in flight to deliver-local: 256
	ScanEvery        time.Duration // 60s
	SyncEvery        time.Duration // journal: 20ms
	BounceUnverified string        // hold or send
	BounceRate       int           // reports an hour to one address: 20
	DoubleBounce     string        // address for bounces that bounce, "" none
	MaxReceived      int           // 50
	MaxExpansion     int           // addresses one recipient may become: 10000
	ResultsKeep      time.Duration // 30d
	Workers          Workers
}

// Outbound is [outbound]: how much mail an account may send before its further mail is held, as it may have been stolen.
type Outbound struct {
	Messages      Rate // 1000/h
	Recipients    Rate // 5000/h
	NewRecipients Rate // addresses it has never written to before: 1000/d
	BounceRatio   int  // per cent of the recipients of a day that were refused: 30, 0 any
}

// Workers are the programs queue-run starts, or the sockets it finds them at.
type Workers struct {
	Local  string // "deliver-local": a program beside queue-run or a path; "unix:PATH": running already
	Remote string
}

// Remote is [remote].
type Remote struct {
	Port           int            // 25
	Sources        []string       // addresses to send from, at most one per family
	HELO           string         // default Hostname
	IPv6           string         // prefer avoid off
	RefuseNetworks []netip.Prefix // never connected to
	TLS            string         // may verify none: opportunistic, with a verified certificate, never
	DANE           bool           // TLSA records count: true
	MTASTS         bool           // policies of MTA-STS count: true
	STSPort        int            // of their web servers: 443
	DowngradeWait  time.Duration  // how long mail waits where TLS is gone: 1d
	ConnectTime    time.Duration  // 10s first pass
	CommandTime    time.Duration  // 5m
	DataTime       time.Duration  // 10m, after the dot
	Idle           time.Duration  // kept connection: 5s
	MaxPerConn     int            // messages: 100
	Sign           string         // who has the DKIM keys: "mailkey", started; "unix:PATH", running already; "" nothing is signed
}

// Local is [local].
type Local struct {
	SyncEvery     time.Duration // 10ms
	Index         bool          // what was delivered is entered into the folder's index
	ProgramTime   time.Duration // 5m
	ProgramOutput int64         // 64KiB
	Environment   []string      // names passed on to programs
}

type POP3D struct {
	POP3, POP3S    []string
	MaxConnections int
	PerIPv4        int
	PerIPv6        int
	PerSite        int  // per /48
	ConnectRate    Rate // new connections of one source: 1200/m
	ProxyNetworks  []netip.Prefix
	IdleTime       time.Duration // 10m, RFC 1939 section 3
	Sessions       string        // socket where mailauthd hands over who has logged in; "" none
}

// IMAPD is [imapd].
type IMAPD struct {
	IMAP, IMAPS    []string
	MaxConnections int  // 10000
	PerIPv4        int  // 100
	PerIPv6        int  // 100
	PerSite        int  // per /48: 400
	PerUser        int  // sessions of one account: 500
	ConnectRate    Rate // new connections of one source: 1200/m
	ProxyNetworks  []netip.Prefix
	IdleTime       time.Duration // 30m, RFC 9051 section 5.4
	Sessions       string        // socket where mailauthd hands over who has logged in; "" none
	LoginTime      time.Duration // until login: 60s
	MaxAppend      int64         // octets of a message that a client puts into a mailbox: 50MiB
	LeaveNew       bool          // mail stays in new/ until it is seen: false
	ExpungedDays   int           // how long expunged mail can be brought back: 14, 0 not at all
}

// Maillogin is [maillogin].
type Maillogin struct {
	IMAP, IMAPS, POP3, POP3S []string
	MaxConnections           int  // 10000
	PerIPv4                  int  // 100
	PerIPv6                  int  // 100
	PerSite                  int  // per /48: 400
	ConnectRate              Rate // new connections of one source: 1200/m
	ProxyNetworks            []netip.Prefix
	LoginTime                time.Duration // until login: 60s
}

type Archive struct {
	Enabled  bool
	Required bool
}

type SRS struct {
	Domain  string
	Secrets string // file: one secret a line, newest first
}

// Report is [report]: what mailreport send tells other domains, and as whom.
type Report struct {
	Organization string        // default Origin
	From         string        // default postmaster@Origin
	Contact      string        // a URL or an address where people ask; "" none
	DMARC        bool          // true
	TLS          bool          // true
	Delay        time.Duration // a day's reports are sent within this time: 4h
}

// Route is [route."…"] and [sender."…"].
type Route struct {
	Next         []string // "mx" "smtp://HOST:PORT" "lmtp:PATH" "lmtp:HOST:PORT" "command:NAME" "error:5.1.2 text"
	TLS          string   // as remote.tls
	User         string
	PasswordFile string
}

// Transport is [transport.NAME].
type Transport struct {
	Command []string // argv; {sender} {rcpt} {id} are replaced in whole arguments
	Max     int      // at once
	Time    time.Duration
}

// Site is [site."…"].
type Site struct {
	MaxConns int
	Rate     string // "100/m"
	IPv6     string
}

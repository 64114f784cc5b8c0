package config

import (
	"math"
	"time"
)

// A key is one word of mail.toml(5): where its value goes, and what it may be.
type key struct {
	name  string
	field any // pointer into Config; a test looks for fields that have no key
	set   func(value any) error
}

// A section is a table of mail.toml with a fixed set of keys.
type section struct {
	name string
	keys func(c *Config) []key
}

// sections is mail.toml(5), less the tables whose names the admin chooses (see families).
// The first is the top of the file, read by every program.
var sections = []section{
	{"", top},
	{"mail", mail},
	{"tls", tls},
	{"login", login},
	{"become", become},
	{"unix", unixUsers},
	{"dns", dns},
	{"log", logging},
	{"sendmail", submit},
	{"smtpd", smtpd},
	{"queue", queue},
	{"queue.workers", workers},
	{"outbound", outbound},
	{"remote", remote},
	{"local", local},
	{"pop3d", pop3d},
	{"imapd", imapd},
	{"maillogin", maillogin},
	{"archive", archive},
	{"srs", srs},
	{"report", report},
}

func top(c *Config) []key {
	return []key{
		hostname("hostname", &c.Hostname),
		hostname("origin", &c.Origin),
		hostname("default_domain", &c.DefaultDomain),
		word("node", &c.Node, node),
		c.path("domains", &c.Domains),
		c.path("spool", &c.Spool),
		c.path("state", &c.State),
		c.path("run", &c.Run),
		flag("confine", &c.Confine),
		c.paths("confine_paths", &c.ConfinePaths),
	}
}

func mail(c *Config) []key {
	m := &c.Mail
	return []key{
		word("path", &m.Path, mailPath),
		choice("layout", &m.Layout, "maildir++", "fs"),
		choice("delimiter", &m.Delimiter, "/", "."),
		word("prefix", &m.Prefix, mailboxPrefix),
		quota("quota", &m.Quota),
		word("separators", &m.Separators, separators),
		flag("link", &m.Link),
		flag("programs", &m.Programs),
		words("detail_folders", &m.DetailFolders, folder),
		word("junk", &m.Junk, folderOrNone),
		word("stamp", &m.Stamp, stamp),
	}
}

func tls(c *Config) []key {
	t := &c.TLS
	return []key{
		c.paths("certificates", &t.Certificates),
		c.paths("keys", &t.Keys),
		c.path("ca", &t.CA),
	}
}

func login(c *Config) []key {
	l := &c.Login
	return []key{
		c.path("socket", &l.Socket),
		words("clients", &l.Clients, client),
		words("checkpassword", &l.Checkpassword, argument),
		words("mechanisms", &l.Mechanisms, mechanism),
		flag("certificates", &l.Certificates),
		flag("approval", &l.Approval),
		prefixes("clear_networks", &l.Clear),
		number("parallel", &l.Parallel, 0, 1000),
	}
}

func become(c *Config) []key {
	return []key{
		number("min_uid", &c.Become.MinUID, 1, math.MaxInt32),
		number("min_gid", &c.Become.MinGID, 1, math.MaxInt32),
	}
}

func unixUsers(c *Config) []key {
	u := &c.Unix
	return []key{
		word("path", &u.Path, homePath),
		c.path("aliases", &u.Aliases),
		word("root", &u.Root, mailbox),
		number("processes", &u.Processes, 1, 1000),
	}
}

func dns(c *Config) []key {
	d := &c.DNS
	return []key{
		words("server", &d.Servers, dnsServer),
		flag("trust_ad", &d.TrustAD),
		hostname("probe", &d.Probe),
		duration("timeout", &d.Timeout, 100*time.Millisecond, time.Minute),
	}
}

func logging(c *Config) []key {
	return []key{flag("times", &c.Log.Times)}
}

func submit(c *Config) []key {
	s := &c.Submit
	return []key{
		size("max_size", &s.MaxSize, kib, 4*gib),
		duration("wait", &s.Wait, 0, time.Hour),
		number("rate", &s.Rate, 0, 1_000_000),
	}
}

func smtpd(c *Config) []key {
	s := &c.SMTPD
	return []key{
		words("mx", &s.MX, c.listener),
		words("submission", &s.Submission, c.listener),
		words("submissions", &s.Submissions, c.listener),
		words("lmtp", &s.LMTP, c.listener),
		size("max_size", &s.MaxSize, 64*kib, 4*gib), // RFC 5321 section 4.5.3.1.7 wants 64 KiB at least
		number("max_recipients", &s.MaxRecipients, 1, 100_000),
		number("max_connections", &s.MaxConnections, 1, 1_000_000),
		number("per_ipv4", &s.PerIPv4, 1, 1_000_000),
		number("per_ipv6", &s.PerIPv6, 1, 1_000_000),
		number("per_ipv6_site", &s.PerSite, 0, 1_000_000),
		often("connect_rate", &s.ConnectRate),
		often("message_rate", &s.MessageRate),
		often("recipient_rate", &s.RecipientRate),
		often("error_rate", &s.ErrorRate),
		number("max_errors", &s.MaxErrors, 1, 10_000),
		number("max_commands", &s.MaxCommands, 1, 1_000_000),
		number("max_messages", &s.MaxMessages, 1, 100_000_000),
		number("max_received", &s.MaxReceived, 5, 1000),
		duration("command_time", &s.CommandTime, time.Second, day),
		duration("data_time", &s.DataTime, time.Second, day),
		duration("message_time", &s.MessageTime, time.Second, 7*day),
		size("slow_rate", &s.SlowRate, 0, gib),
		size("free_space", &s.FreeSpace, 0, 1<<50),
		number("unknown_limit", &s.UnknownLimit, 0, 1_000_000),
		prefixes("relay_networks", &s.RelayNetworks),
		words("relay_domains", &s.RelayDomains, domainPattern),
		prefixes("bare_lf_networks", &s.BareLFNetworks),
		prefixes("trusted_networks", &s.TrustedNetworks),
		prefixes("proxy_networks", &s.ProxyNetworks),
		duration("future_release", &s.FutureRelease, 0, 3650*day),
		flag("hide_client", &s.HideClient),
		flag("check_sender", &s.CheckSender),
		flag("verify", &s.Verify),
		choice("spf", &s.SPF, "refuse", "mark", "ignore"),
		choice("dmarc", &s.DMARC, "refuse", "mark", "ignore"),
		choice("from", &s.From, "refuse", "mark", "ignore"),
		choice("sender_domain", &s.SenderDomain, "refuse", "mark", "ignore"),
		c.path("trust", &s.Trust),
	}
}

func queue(c *Config) []key {
	q := &c.Queue
	return []key{
		duration("expire", &q.Expire, time.Minute, 365*day),
		duration("bounce_expire", &q.BounceExpire, time.Minute, 365*day),
		duration("bulk_expire", &q.BulkExpire, time.Minute, 365*day),
		duration("delay_dsn", &q.DelayDSN, 0, 365*day),
		number("slots", &q.Slots, 1, 100_000),
		number("per_site", &q.PerSite, 1, 10_000),
		number("local_slots", &q.LocalSlots, 1, 100_000),
		duration("scan_every", &q.ScanEvery, 100*time.Millisecond, day),
		duration("sync_every", &q.SyncEvery, 0, 10*time.Second),
		choice("bounce_unverified", &q.BounceUnverified, "hold", "send"),
		number("bounce_rate", &q.BounceRate, 1, 1_000_000),
		word("double_bounce", &q.DoubleBounce, mailbox),
		number("max_received", &q.MaxReceived, 5, 1000),
		number("max_expansion", &q.MaxExpansion, 1, 10_000_000),
		duration("results_keep", &q.ResultsKeep, time.Hour, 3650*day),
	}
}

func workers(c *Config) []key {
	w := &c.Queue.Workers
	return []key{
		word("local", &w.Local, c.worker),
		word("remote", &w.Remote, c.worker),
	}
}

func outbound(c *Config) []key {
	o := &c.Outbound
	return []key{
		often("messages", &o.Messages),
		often("recipients", &o.Recipients),
		often("new_recipients", &o.NewRecipients),
		number("bounce_ratio", &o.BounceRatio, 0, 100),
	}
}

func remote(c *Config) []key {
	r := &c.Remote
	return []key{
		number("port", &r.Port, 1, 65535),
		words("sources", &r.Sources, ipAddress),
		hostname("helo", &r.HELO),
		choice("ipv6", &r.IPv6, "prefer", "avoid", "off"),
		prefixes("refuse_networks", &r.RefuseNetworks),
		choice("tls", &r.TLS, "may", "verify", "none"),
		flag("dane", &r.DANE),
		flag("mta_sts", &r.MTASTS),
		number("sts_port", &r.STSPort, 1, 65535),
		duration("downgrade_wait", &r.DowngradeWait, 0, 30*day),
		duration("connect_time", &r.ConnectTime, 100*time.Millisecond, 10*time.Minute),
		duration("command_time", &r.CommandTime, time.Second, day),
		duration("data_time", &r.DataTime, time.Second, day),
		duration("idle", &r.Idle, 0, 10*time.Minute),
		number("max_per_conn", &r.MaxPerConn, 1, 1_000_000),
		word("sign", &r.Sign, c.workerOrNone),
	}
}

func report(c *Config) []key {
	r := &c.Report
	return []key{
		word("organization", &r.Organization, oneLine),
		word("from", &r.From, mailbox),
		word("contact", &r.Contact, oneLine),
		flag("dmarc", &r.DMARC),
		flag("tls", &r.TLS),
		duration("delay", &r.Delay, 0, 12*time.Hour),
	}
}

func local(c *Config) []key {
	l := &c.Local
	return []key{
		duration("sync_every", &l.SyncEvery, 0, time.Second),
		flag("index", &l.Index),
		duration("program_time", &l.ProgramTime, time.Second, day),
		size("program_output", &l.ProgramOutput, 0, 16*mib),
		words("environment", &l.Environment, variable),
	}
}

func pop3d(c *Config) []key {
	p := &c.POP3D
	return []key{
		words("pop3", &p.POP3, c.listener),
		words("pop3s", &p.POP3S, c.listener),
		number("max_connections", &p.MaxConnections, 1, 1_000_000),
		number("per_ipv4", &p.PerIPv4, 1, 1_000_000),
		number("per_ipv6", &p.PerIPv6, 1, 1_000_000),
		number("per_ipv6_site", &p.PerSite, 0, 1_000_000),
		often("connect_rate", &p.ConnectRate),
		prefixes("proxy_networks", &p.ProxyNetworks),
		duration("idle_time", &p.IdleTime, time.Second, day), // RFC 1939 section 3 wants 10 minutes
		c.path("sessions", &p.Sessions),
	}
}

func imapd(c *Config) []key {
	i := &c.IMAPD
	return []key{
		words("imap", &i.IMAP, c.listener),
		words("imaps", &i.IMAPS, c.listener),
		number("max_connections", &i.MaxConnections, 1, 1_000_000),
		number("per_ipv4", &i.PerIPv4, 1, 1_000_000),
		number("per_ipv6", &i.PerIPv6, 1, 1_000_000),
		number("per_ipv6_site", &i.PerSite, 0, 1_000_000),
		number("per_user", &i.PerUser, 1, 1_000_000),
		often("connect_rate", &i.ConnectRate),
		prefixes("proxy_networks", &i.ProxyNetworks),
		duration("idle_time", &i.IdleTime, time.Second, 7*day), // RFC 9051 section 5.4 wants 30 minutes
		c.path("sessions", &i.Sessions),
		duration("login_time", &i.LoginTime, time.Second, day),
		size("max_append", &i.MaxAppend, 64*kib, 4*gib),
		flag("leave_new", &i.LeaveNew),
		number("expunged_days", &i.ExpungedDays, 0, 36500),
	}
}

func maillogin(c *Config) []key {
	m := &c.Maillogin
	return []key{
		words("imap", &m.IMAP, c.listener),
		words("imaps", &m.IMAPS, c.listener),
		words("pop3", &m.POP3, c.listener),
		words("pop3s", &m.POP3S, c.listener),
		number("max_connections", &m.MaxConnections, 1, 1_000_000),
		number("per_ipv4", &m.PerIPv4, 1, 1_000_000),
		number("per_ipv6", &m.PerIPv6, 1, 1_000_000),
		number("per_ipv6_site", &m.PerSite, 0, 1_000_000),
		often("connect_rate", &m.ConnectRate),
		prefixes("proxy_networks", &m.ProxyNetworks),
		duration("login_time", &m.LoginTime, time.Second, day),
	}
}

func archive(c *Config) []key {
	return []key{
		flag("enabled", &c.Archive.Enabled),
		flag("required", &c.Archive.Required),
	}
}

func srs(c *Config) []key {
	return []key{
		hostname("domain", &c.SRS.Domain),
		c.path("secrets", &c.SRS.Secrets),
	}
}

// A family is a table of tables: [route."example.org"].
type family struct {
	name  string
	title func(name string) (string, error) // checks and normalises the name the admin chose
	// entry makes room for one member; put stores it when its keys are read.
	entry func(c *Config, name string) (keys []key, put func() error)
}

var families = []family{
	{"route", routeName, func(c *Config, name string) ([]key, func() error) { return c.route(&c.Routes, name) }},
	{"sender", routeName, func(c *Config, name string) ([]key, func() error) { return c.route(&c.Senders, name) }},
	{"transport", transportName, transport},
	{"site", siteName, site},
}

func (c *Config) route(m *map[string]Route, name string) ([]key, func() error) {
	r := &Route{}
	keys := []key{
		words("next", &r.Next, c.nextHop),
		choice("tls", &r.TLS, "", "may", "verify", "none"),
		word("user", &r.User, oneLine),
		c.path("password_file", &r.PasswordFile),
	}
	return keys, func() error {
		switch {
		case len(r.Next) == 0:
			return errorf("needs next")
		case (r.User == "") != (r.PasswordFile == ""):
			return errorf("needs both of user and password_file, or neither")
		case r.User != "" && r.TLS == "none":
			return errorf("would send a password without TLS")
		}
		return store(m, name, *r)
	}
}

func transport(c *Config, name string) ([]key, func() error) {
	t := &Transport{Max: 4, Time: 5 * time.Minute}
	keys := []key{
		words("command", &t.Command, argument),
		number("max", &t.Max, 1, 10_000),
		duration("time", &t.Time, time.Second, day),
	}
	return keys, func() error {
		if len(t.Command) == 0 || t.Command[0] == "" || t.Command[0][0] != '/' {
			return errorf("needs command, and in it the full path of a program first")
		}
		return store(&c.Transport, name, *t)
	}
}

func site(c *Config, name string) ([]key, func() error) {
	s := &Site{}
	keys := []key{
		number("max_conns", &s.MaxConns, 0, 10_000),
		word("rate", &s.Rate, rate),
		choice("ipv6", &s.IPv6, "", "prefer", "avoid", "off"),
	}
	return keys, func() error { return store(&c.Sites, name, *s) }
}

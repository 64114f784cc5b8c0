package config

import (
	"net/netip"
	"os"
	"strings"
	"time"
)

const (
	// DefaultFile is read where a program is not told otherwise; it alone may be missing.
	DefaultFile = "/etc/pennypost/mail.toml"

	day = 24 * time.Hour
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// Default is what an empty mail.toml says.
func Default() *Config {
	c := &Config{
		Node:    "a",
		Domains: "/etc/pennypost/domains",
		Spool:   "/var/spool/pennypost",
		State:   "/var/lib/pennypost",
		Run:     "/run/pennypost",
		Confine: true,

		Mail: Mail{
			Path:       "/var/mail/pennypost/%d/%n/Maildir",
			Layout:     "maildir++",
			Delimiter:  "/",
			Separators: "+",
			Link:       true,
			Junk:       "Junk",
		},
		Login:  Login{Mechanisms: []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"}},
		Become: Become{MinUID: 1000, MinGID: 1000},
		DNS:    DNS{Timeout: 5 * time.Second, Probe: "dnssec-failed.org"},
		Submit: Submit{MaxSize: 50 * mib},
		Unix: Unix{
			Path:      "~/Maildir",
			Aliases:   "/etc/aliases",
			Processes: 20,
		},
		SMTPD: SMTPD{
			MaxSize:        50 * mib,
			MaxRecipients:  100,
			MaxConnections: 1000,
			PerIPv4:        20,
			PerIPv6:        20,
			PerSite:        100,
			ConnectRate:    Rate{1200, time.Minute},
			ErrorRate:      Rate{100, time.Hour},
			MaxErrors:      10,
			MaxCommands:    100,
			MaxMessages:    1000,
			MaxReceived:    50,
			CommandTime:    5 * time.Minute,
			DataTime:       3 * time.Minute,
			MessageTime:    time.Hour,
			SlowRate:       1024,
			FreeSpace:      64 * mib,
			UnknownLimit:   50,
			FutureRelease:  60 * day,
			HideClient:     true,
			CheckSender:    true,
			Verify:         true,
			SPF:            "mark",
			DMARC:          "refuse",
			From:           "refuse",
			SenderDomain:   "refuse",
			Trust:          "/etc/pennypost/trust",
		},
		Queue: Queue{
			Expire:           5 * day,
			BounceExpire:     2 * day,
			BulkExpire:       2 * day,
			DelayDSN:         4 * time.Hour,
			Slots:            200,
			PerSite:          20,
			LocalSlots:       256,
			ScanEvery:        time.Minute,
			SyncEvery:        20 * time.Millisecond,
			BounceUnverified: "hold",
			BounceRate:       20,
			MaxReceived:      50,
			MaxExpansion:     10000,
			ResultsKeep:      30 * day,
			Workers:          Workers{Local: "deliver-local", Remote: "deliver-remote"},
		},
		Outbound: Outbound{
			Messages:      Rate{1000, time.Hour},
			Recipients:    Rate{5000, time.Hour},
			NewRecipients: Rate{1000, day},
			BounceRatio:   30,
		},
		Remote: Remote{
			Port:           25,
			IPv6:           "prefer",
			RefuseNetworks: networks("0.0.0.0/8 10.0.0.0/8 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.168.0.0/16 ::/127 fc00::/7 fe80::/10"),
			TLS:            "may",
			DANE:           true,
			MTASTS:         true,
			STSPort:        443,
			DowngradeWait:  day,
			ConnectTime:    10 * time.Second,
			CommandTime:    5 * time.Minute,
			DataTime:       10 * time.Minute,
			Idle:           5 * time.Second,
			MaxPerConn:     100,
			Sign:           "mailkey",
		},
		Report: Report{DMARC: true, TLS: true, Delay: 4 * time.Hour},
		Local: Local{
			SyncEvery:     10 * time.Millisecond,
			ProgramTime:   5 * time.Minute,
			ProgramOutput: 64 * kib,
			Environment:   []string{"PATH", "LANG", "TZ"},
		},
		POP3D: POP3D{
			MaxConnections: 1000,
			PerIPv4:        20,
			PerIPv6:        20,
			PerSite:        100,
			ConnectRate:    Rate{1200, time.Minute},
			IdleTime:       10 * time.Minute,
		},
		Maillogin: Maillogin{
			MaxConnections: 10000,
			PerIPv4:        100,
			PerIPv6:        100,
			PerSite:        400,
			ConnectRate:    Rate{1200, time.Minute},
			LoginTime:      time.Minute,
		},
		IMAPD: IMAPD{
			MaxConnections: 10_000,
			PerIPv4:        100,
			PerIPv6:        100,
			PerSite:        400,
			PerUser:        500,
			ConnectRate:    Rate{1200, time.Minute},
			IdleTime:       30 * time.Minute,
			LoginTime:      time.Minute,
			MaxAppend:      50 * mib,
			ExpungedDays:   14,
		},
	}
	return c
}

// complete fills in the names that follow from others.
func (c *Config) complete() {
	if c.Hostname == "" {
		c.Hostname = "localhost"
		if name, err := os.Hostname(); err == nil && name != "" {
			c.Hostname = strings.ToLower(strings.TrimSuffix(name, "."))
		}
	}
	if c.Origin == "" {
		c.Origin = mailName()
	}
	if c.Origin == "" {
		c.Origin = c.Hostname
	}
	if c.DefaultDomain == "" {
		c.DefaultDomain = c.Origin
	}
	if c.Remote.HELO == "" {
		c.Remote.HELO = c.Hostname
	}
}

func networks(list string) (nets []netip.Prefix) {
	for _, word := range strings.Fields(list) {
		nets = append(nets, netip.MustParsePrefix(word))
	}
	return nets
}

// mailNameFile is where Debian keeps the domain of this host's mail (Debian policy, section 11.6).
var mailNameFile = "/etc/mailname"

// mailName is the domain in /etc/mailname; "" where there is none, or what it says is none.
func mailName() string {
	text, err := os.ReadFile(mailNameFile)
	if err != nil || len(text) > 1024 {
		return ""
	}
	name, err := domain(strings.ToLower(strings.TrimSpace(string(text))))
	if err != nil {
		return ""
	}
	return name
}

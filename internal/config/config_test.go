package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mail.toml")
	text := `
hostname = "MX.Example.org"
spool = "spool"

[smtpd]
mx = [":25", "127.0.0.1:2525", "unix:run/mx.sock"]
max_size = "25MiB"
command_time = "1h 30m"
relay_networks = ["192.0.2.0/24", "2001:db8::1"]

[queue]
expire = "5d"
delay_dsn = 0
[queue.workers]
local = "unix:/run/local.sock"

[route."Example.NET"]
next = ["smtp://relay.example.com", "mx", "lmtp:/run/lmtp.sock", "error:5.1.2 gone away"]
[route."*"]
next = "smtp://[2001:db8::1]:587"
tls = "verify"
user = "me"
password_file = "relay.password"

[imapd]
whatever = 3 # a program this one does not know
`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file, "smtpd", "queue", "route")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(file)
	for _, check := range []struct{ got, want any }{
		{c.Hostname, "mx.example.org"},
		{c.Origin, "mx.example.org"},
		{c.Spool, dir + "/spool"},
		{c.State, "/var/lib/pennypost"},
		{c.SMTPD.MX, []string{":25", "127.0.0.1:2525", "unix:" + dir + "/run/mx.sock"}},
		{c.SMTPD.MaxSize, int64(25 << 20)},
		{c.SMTPD.CommandTime, 90 * time.Minute},
		{c.SMTPD.MaxErrors, 10},
		{c.SMTPD.RelayNetworks[0].String() + " " + c.SMTPD.RelayNetworks[1].String(), "192.0.2.0/24 2001:db8::1/128"},
		{c.Queue.Expire, 120 * time.Hour},
		{c.Queue.DelayDSN, time.Duration(0)},
		{c.Queue.Workers, Workers{"unix:/run/local.sock", "deliver-remote"}},
		{c.Routes["example.net"].Next, []string{"smtp://relay.example.com:25", "mx", "lmtp:/run/lmtp.sock", "error:5.1.2 gone away"}},
		{c.Routes["*"], Route{[]string{"smtp://[2001:db8::1]:587"}, "verify", "me", dir + "/relay.password"}},
	} {
		if !reflect.DeepEqual(check.got, check.want) {
			t.Errorf("got %v, want %v", check.got, check.want)
		}
	}
}

// Each line of the table is a file, the sections a program uses, and what it says of it.
func TestMistakes(t *testing.T) {
	for _, c := range []struct{ text, used, want string }{
		{"[smtpd]\nmax_recipents = 3", "smtpd", "m:2: unknown key smtpd.max_recipents, did you mean max_recipients? See mail.toml(5)"},
		{"[smtpd]\nmax_recipents = 3", "queue", ""},
		{"[smtpd]\ncolour = 3", "smtpd", "m:2: unknown key smtpd.colour, see mail.toml(5)"},
		{"hostnam = 'x'", "", "m:1: unknown key hostnam, did you mean hostname? See mail.toml(5)"},
		{"[imapd]\nx = 1", "smtpd pop3d mail", ""},
		{"\n[smptd]\nx = 1", "smtpd", "m:2: unknown section [smptd], did you mean [smtpd]? See mail.toml(5)"},
		{"\n[smptd]\nx = 1", "queue", ""},
		{"smtpd = 3", "smtpd", "m:1: smtpd is a section: write [smtpd]"},
		{"[[smtpd]]\nmax_size = 1", "smtpd", "m:1: smtpd is a section: write [smtpd]"},
		{"[smtpd]\nmax_size = '25 Mib'", "smtpd", `m:2: smtpd.max_size is "25 Mib": write a size such as 25MiB (KiB MiB GiB TiB, or kB MB GB TB)`},
		{"[smtpd]\nmax_size = '1KiB'", "smtpd", "m:2: smtpd.max_size is 1KiB, and may be 64KiB to 4GiB"},
		{"[smtpd]\nmax_size = '99999999999999999999GiB'", "smtpd", `m:2: smtpd.max_size is "99999999999999999999GiB", which is too much`},
		{"[smtpd]\nmax_errors = '3'", "smtpd", "m:2: smtpd.max_errors is a number, without quotes and unit"},
		{"[smtpd]\nmax_errors = 0", "smtpd", "m:2: smtpd.max_errors is 0, and may be 1 to 10000"},
		{"[smtpd]\nhide_client = 'yes'", "smtpd", "m:2: smtpd.hide_client is true or false, without quotes"},
		{"[smtpd]\nmx = [25]", "smtpd", "m:2: smtpd.mx is a list of texts in quotes"},
		{"[smtpd]\nmx = '25'", "smtpd", `m:2: smtpd.mx holds "25": write HOST:PORT, [IPv6]:PORT or unix:PATH`},
		{"[smtpd]\nmx = ':smtp'", "smtpd", `m:2: smtpd.mx holds ":smtp", and "smtp" is no port number`},
		{"[smtpd]\nrelay_networks = '10.1.2.3/8'", "smtpd", `m:2: smtpd.relay_networks holds "10.1.2.3/8", which has bits set after the slash's length; did you mean 10.0.0.0/8?`},
		{"[queue]\nexpire = 5", "queue", `m:2: queue.expire is a time such as "90s" or "5d", in quotes`},
		{"[queue]\nexpire = '5 fortnights'", "queue", `m:2: queue.expire is "5 fortnights": write a time such as 90s, 4h or 5d (w d h m s ms)`},
		{"[queue]\nexpire = '1s'", "queue", "m:2: queue.expire is 1s, and may be 1m to 365d"},
		{"[queue]\nbounce_unverified = 'drop'", "queue", `m:2: queue.bounce_unverified is "drop", and may be hold, send`},
		{"[queue.workers]\nlokal = 'x'", "queue", "m:2: unknown key queue.workers.lokal, did you mean local? See mail.toml(5)"},
		{"[queue]\ndouble_bounce = 'postmaster'", "queue", `m:2: queue.double_bounce is "postmaster": write the address with its domain`},
		{"[mail]\npath = '/var/mail'", "mail", `m:2: mail.path is "/var/mail", which is the same for every account: it needs %d and %n, or %u`},
		{"[mail]\npath = '/var/mail/%s'", "mail", "m:2: mail.path may hold %d (domain), %n (name), %u (name@domain) and %%"},
		{"[tls]\ncertificates = 'a.pem'", "tls", "m: tls.certificates names 1 files and tls.keys 0; each certificate needs its key"},
		{"[srs]\ndomain = 'example.org'", "srs", "m: srs.domain needs srs.secrets, a file"},
		{"[route.'example.org']\nnxt = 'mx'", "route", `m:2: unknown key route."example.org".nxt, did you mean next? See mail.toml(5)`},
		{"[route.'example.org']\nnext = 'mail.example.org'", "route", `m:2: route."example.org".next holds "mail.example.org": write mx, smtp://HOST:PORT, lmtp:PATH, lmtp:HOST:PORT, command:NAME or error:5.1.2 text`},
		{"\n[route.'example.org']\ntls = 'may'", "route", `m:2: route."example.org" needs next`},
		{"[route.'a']\nnext = 'mx'\nuser='me'", "route", `m:1: route."a" needs both of user and password_file, or neither`},
		{"[route.'a b']\nnext = 'mx'", "route", `m:1: route."a b" holds "a b", which is no domain name`},
		{"[transport.x]\ncommand = ['cat']", "transport", `m:1: transport."x" needs command, and in it the full path of a program first`},
		{"[site.x]\nrate = '100'", "site", `m:2: site."x".rate is "100": write a number and a unit, such as 100/m (s m h d)`},
		{"[smtpd]\nmax_errors = 0\nmax_command = 1", "smtpd", "m:2: smtpd.max_errors is 0, and may be 1 to 10000\nm:3: unknown key smtpd.max_command, did you mean max_commands? See mail.toml(5)"},
	} {
		got := ""
		if _, err := parse("m", c.text, strings.Fields(c.used)...); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q for %s\n got %s\nwant %s", c.text, c.used, got, c.want)
		}
	}
}

func TestMissingFile(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "mail.toml")); err == nil {
		t.Error("a file that was asked for and is not there is no error")
	}
}

// Whoever adds a field must add its key.
func TestEveryFieldHasItsKey(t *testing.T) {
	c := Default()
	known := map[uintptr]string{}
	for _, s := range sections {
		for _, k := range s.keys(c) {
			known[reflect.ValueOf(k.field).Pointer()] = k.name
		}
	}
	var walk func(where string, v reflect.Value)
	walk = func(where string, v reflect.Value) {
		for i := range v.NumField() {
			f, name := v.Field(i), where+v.Type().Field(i).Name
			switch {
			case name == "File" || f.Kind() == reflect.Map:
			case f.Kind() == reflect.Struct && f.Type() != reflect.TypeFor[Rate]() && f.Type() != reflect.TypeFor[Quota]():
				walk(name+".", f)
			case known[f.Addr().Pointer()] == "":
				t.Errorf("%s has no key", name)
			}
		}
	}
	walk("", reflect.ValueOf(c).Elem())
}

func FuzzConfig(f *testing.F) {
	f.Add("hostname = 'x'\n[smtpd]\nmx = ':25'\nmax_size = '1MiB'\n")
	f.Add("[route.'*']\nnext = ['mx', 'error:5.1.2 x']\n[[site]]\n[queue]\nworkers = {local = 'x'}\nexpire = '1d 2h'")
	f.Add("[site.\"\"]\n'' = 1979-05-27\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse("m", text, Sections()...)
		if err == nil && (c.SMTPD.MaxSize < 64*kib || c.Queue.Expire <= 0 || c.Hostname == "") {
			t.Errorf("accepted a value out of range")
		}
	})
}

func TestRate(t *testing.T) {
	for text, want := range map[string]Rate{"100/m": {100, time.Minute}, "1000/6h": {1000, 6 * time.Hour}, "5/2d": {5, 48 * time.Hour}, "none": {},
		"": {-1, 0}, "100": {-1, 0}, "0/m": {-1, 0}, "-1/m": {-1, 0}, "1/": {-1, 0}, "1/ms": {-1, 0}, "1/60d": {-1, 0}, "9999999/s": {-1, 0}} {
		got, err := ParseRate(text)
		if err != nil {
			got = Rate{-1, 0}
		}
		if got != want {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	var o Outbound
	if err := o.Parse("# ours\nmessages 10/h\n\nnew_recipients none\nbounce_ratio 50\n"); err != nil || o != (Outbound{Messages: Rate{10, time.Hour}, BounceRatio: 50}) {
		t.Errorf("%+v %v", o, err)
	}
	for _, bad := range []string{"messages", "message 10/h", "bounce_ratio 101", "recipients x"} {
		if o.Parse(bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestQuota(t *testing.T) {
	for said, want := range map[string]Quota{"none": {}, "10GiB": {10 << 30, 0}, "512": {512, 0}, "50000 messages": {0, 50000}, "10GiB 50000 messages": {10 << 30, 50000}} {
		q, err := ParseQuota(said)
		if again, err2 := ParseQuota(q.String()); q != want || err != nil || again != q || err2 != nil {
			t.Errorf("%q: %+v %v, again %+v %v", said, q, err, again, err2)
		}
	}
	for _, said := range []string{"", "messages", "0 messages", "-1 messages", "10GiB much messages", "10 furlongs", "1 2 3 messages"} {
		if q, err := ParseQuota(said); err == nil {
			t.Errorf("%q is %+v", said, q)
		}
	}
}

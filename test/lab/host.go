package lab

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"pennypost/login"
	"pennypost/queue"
)

// Host is one mail host of ours: its domain, its address and its programs.
type Host struct {
	Name  string // demo.test: the domain; the host is mx.demo.test
	IP    string
	Users []string          // each with the password "demo"
	Extra string            // more of mail.toml, keys of the top of the file excepted
	Keys  map[string]string // keys of sections we write ourselves: "smtpd.max_size": "1000"
	Dir   string
	Web   bool // mailwebd serves its pages
	Split bool // maillogin and mailauthd stand in front of imapd and pop3d, and nobody else reads credentials
	Apart bool // Split, and each program runs under its own uid, as installed: we are root, and this machine has the users of package uids
	Unix  *Unix

	Programs []*Program
	lab      *Lab
}

// Password is that of every user of a lab.
const Password = "demo"

// Services are the ports a host answers on, as their section and key of mail.toml and the port the standards give.
var Services = []struct {
	Name, Key string
	Port      int
	TLS       bool // from the first octet
	Banner    string
}{
	{"SMTP", "smtpd.mx", 25, false, "220"},
	{"SUBMISSION", "smtpd.submission", 587, false, "220"},
	{"SUBMISSIONS", "smtpd.submissions", 465, true, "220"},
	{"LMTP", "smtpd.lmtp", 24, false, "220"},
	{"POP3", "pop3d.pop3", 110, false, "+OK"},
	{"POP3S", "pop3d.pop3s", 995, true, "+OK"},
	{"IMAP", "imapd.imap", 143, false, "* OK"},
	{"IMAPS", "imapd.imaps", 993, true, "* OK"},
}

// Daemons are the programs that run all the time; queue-run starts its workers itself.
var Daemons = []string{"queue-run", "queue-pickup", "smtpd", "pop3d", "imapd"}

// AddHost makes a host of ours, or opens the one in the lab's directory. Nothing runs yet.
func (l *Lab) AddHost(name, ip string, users ...string) (*Host, error) {
	h := &Host{Name: name, IP: ip, Users: users, Dir: l.file(name), Keys: map[string]string{}, lab: l}
	l.Hosts = append(l.Hosts, h)
	if err := l.Name(name, ip); err != nil {
		return nil, err
	}
	for _, dir := range []string{"etc/domains/" + name + "/users", "spool", "state", "state/reports/dmarc", "state/reports/tls", "state/reports/sent", "run", "mail", "run/sources/smtpd", "run/sources/imapd", "run/sources/pop3d",
		"run/sources/maillogin"} {
		if err := os.MkdirAll(filepath.Join(h.Dir, dir), 0o755); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(h.etc("tls.pem")); err != nil {
		if err := l.CA.Issue(h.etc("tls"), "mx."+name, name, "mta-sts."+name, "localhost", ip, "127.0.0.1"); err != nil {
			return nil, err
		}
	}
	for _, user := range users {
		if err := h.AddUser(user); err != nil {
			return nil, err
		}
	}
	if err := queue.Make(filepath.Join(h.Dir, "spool"), node(ip)); err != nil {
		return nil, err
	}
	return h, nil
}

// Lab is the lab the host is in.
func (h *Host) Lab() *Lab { return h.lab }

// Name makes mx.NAME at the address the exchange of the domain; nothing need listen there.
func (l *Lab) Name(domain, ip string) error {
	return l.DNS.Load(fmt.Sprintf("%[1]s MX 10 mx.%[1]s\nmx.%[1]s A %[2]s\n%[2]s PTR mx.%[1]s", domain, ip))
}

// Judge has the host judge mail from outside, although all of the lab is this host.
func (h *Host) Judge() error {
	if err := os.MkdirAll(h.etc("trust"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(h.etc("trust/networks"), []byte("# nobody; without this file, 127.0.0.0/8\n"), 0o644)
}

// Protect publishes for a domain of Name who may send for it, and that all else is to be refused.
func (l *Lab) Protect(domain string) error {
	return l.DNS.Load(fmt.Sprintf("%[1]s TXT \"v=spf1 mx -all\"\nmx.%[1]s TXT \"v=spf1 a -all\"\n_dmarc.%[1]s TXT \"v=DMARC1; p=reject\"", domain))
}

// node is the node letter of a host's ids: 127.0.0.1 is a.
func node(ip string) string {
	v4 := net.ParseIP(ip).To4()
	return string(rune('a' + (v4[3]-1)%26))
}

// AddUser makes the account, as domains(5) has it: a directory, and a credential in it.
func (h *Host) AddUser(user string) error {
	return credential(filepath.Join(h.etc("domains"), h.Name, "users", user, "credentials"))
}

func credential(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	k, err := login.New("main", Password, cheap)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "main"), []byte(k.String()), 0o600)
}

// cheap is a price for tests: one pass over 64 KiB, not the two over 64 MiB that mailuser takes, and as few iterations as clients accept.
var cheap = login.Params{Memory: 64, Passes: 1, Lanes: 1, Iterations: 4096}

// AddAlias adds a line to the domain's aliases, once.
func (h *Host) AddAlias(name string, targets ...string) error {
	file := filepath.Join(h.etc("domains"), h.Name, "aliases")
	line := name + ": " + strings.Join(targets, ", ") + "\n"
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if strings.Contains("\n"+string(text), "\n"+line) {
		return nil
	}
	return os.WriteFile(file, append(text, line...), 0o644)
}

func (h *Host) etc(name string) string { return filepath.Join(h.Dir, "etc", name) }

// Config is the host's mail.toml.
func (h *Host) Config() string { return h.etc("mail.toml") }

// Spool is the host's spool.
func (h *Host) Spool() string { return filepath.Join(h.Dir, "spool") }

// Maildir is that of a user.
func (h *Host) Maildir(user string) string {
	return filepath.Join(h.Dir, "mail", h.Name, user, "Maildir")
}

// Addr is HOST:PORT of a service: "SMTP", "POP3S".
func (h *Host) Addr(service string) string {
	for _, s := range Services {
		if s.Name == service {
			return net.JoinHostPort(h.IP, strconv.Itoa(h.lab.Base+s.Port))
		}
	}
	panic("no service " + service)
}

// writeConfig writes mail.toml.
func (h *Host) writeConfig() error {
	sections := map[string]map[string]string{}
	set := func(key, value string) {
		dot := strings.LastIndexByte(key, '.') // queue.workers.local is local in [queue.workers]
		section, name := key[:dot], key[dot+1:]
		if sections[section] == nil {
			sections[section] = map[string]string{}
		}
		sections[section][name] = value
	}
	set("mail.path", quote(filepath.Join(h.Dir, "mail/%d/%n/Maildir")))
	set("tls.certificates", "["+quote("tls.pem")+"]")
	set("tls.keys", "["+quote("tls.key")+"]")
	set("tls.ca", quote(h.lab.CA.File()))
	set("dns.server", "["+quote(h.lab.DNS.Addr())+"]")
	set("remote.port", strconv.Itoa(h.lab.Base+25))
	set("remote.sources", "["+quote(h.IP)+"]")
	set("smtpd.trusted_networks", `["127.0.0.0/8"]`) // tests open many connections
	for _, program := range []string{"imapd", "pop3d", "maillogin"} {
		set(program+".connect_rate", `"none"`)
	}
	set("remote.refuse_networks", "[]")
	set("smtpd.trust", quote("trust"))
	for _, s := range Services {
		key := s.Key
		if program, name, _ := strings.Cut(key, "."); (h.Split || h.Apart) && program != "smtpd" {
			key = "maillogin." + name
		}
		set(key, "["+quote(h.Addr(s.Name))+"]")
	}
	if h.Split {
		set("login.socket", quote(filepath.Join(h.Dir, "run/login.sock")))
		for _, program := range []string{"imapd", "pop3d"} {
			set(program+".sessions", quote(filepath.Join(h.Dir, "run", program+".sock")))
		}
	}
	if h.Apart {
		for key, value := range h.sockets() {
			set(key, value)
		}
	}
	for key, value := range h.Keys {
		set(key, value)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by the lab at every start; see mail.toml(5).\n")
	fmt.Fprintf(&b, "hostname = %s\norigin = %s\nnode = %s\n", quote("mx."+h.Name), quote(h.Name), quote(node(h.IP)))
	for _, dir := range []string{"spool", "state", "run"} {
		fmt.Fprintf(&b, "%s = %s\n", dir, quote(filepath.Join(h.Dir, dir)))
	}
	fmt.Fprintf(&b, "domains = %s\n", quote(h.etc("domains")))
	for _, section := range sorted(sections) {
		fmt.Fprintf(&b, "\n[%s]\n", section)
		for _, key := range sorted(sections[section]) {
			fmt.Fprintf(&b, "%s = %s\n", key, sections[section][key])
		}
	}
	b.WriteString("\n" + h.Extra)
	return os.WriteFile(h.Config(), []byte(b.String()), 0o644)
}

// up writes the configuration and starts the programs.
func (h *Host) up() error {
	if h.Programs != nil {
		return nil
	}
	if err := h.writeConfig(); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(h.Dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	h.lab.log = append(h.lab.log, log)
	if h.Apart {
		if err := h.apart(); err != nil {
			return err
		}
	}
	for _, daemon := range h.daemons() {
		name := daemon[0]
		file := filepath.Join(h.lab.Bin, name)
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("%w: run make build", err)
		}
		p := &Program{Name: name, Host: h.Name, log: log, done: make(chan struct{}), onStart: h.lab.writePids}
		if p.as, err = h.As(name); err != nil {
			return err
		}
		p.argv = append(append([]string{}, h.lab.Wrap...), file, "-c", h.Config())
		p.argv = append(p.argv, daemon[1:]...)
		p.env = os.Environ()
		h.Programs = append(h.Programs, p)
		h.lab.mu.Lock()
		h.lab.started = append(h.lab.started, p)
		h.lab.mu.Unlock()
		go p.supervise()
	}
	return nil
}

// Stop ends the host's programs and nothing else; Lab.Up starts them again.
func (h *Host) Stop() {
	var wait sync.WaitGroup
	for _, p := range h.Programs {
		wait.Go(p.Stop)
	}
	wait.Wait()
	h.Programs = nil
}

// Program is one of the host's programs.
func (h *Host) Program(name string) *Program {
	for _, p := range h.Programs {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// wait returns when every service has greeted and every program has a pid.
func (h *Host) wait(limit time.Duration) error {
	for _, s := range Services {
		addr := h.Addr(s.Name)
		err := Until(limit, func() error { return greets(addr, s.TLS, s.Banner) })
		if err != nil {
			return fmt.Errorf("%s of %s at %s does not answer, see %s: %w", s.Name, h.Name, addr, filepath.Join(h.Dir, "log"), err)
		}
	}
	return Until(limit, func() error {
		for _, p := range h.Programs {
			if p.Pid() == 0 {
				return fmt.Errorf("%s of %s does not run, see %s", p.Name, h.Name, filepath.Join(h.Dir, "log"))
			}
		}
		return nil
	})
}

// greets connects and reads the first words of the server.
func greets(addr string, withTLS bool, banner string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Second))
	if withTLS {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // does anybody answer? trust is another test
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, banner) {
		return fmt.Errorf("unexpected greeting %q", line)
	}
	quit := "QUIT\r\n"
	_, err = conn.Write([]byte(quit))
	return err
}

// quote is a TOML string.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

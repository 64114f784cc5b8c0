package peers

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Postfix is Debian's Postfix with its safe settings, virtual(8) to Maildirs; what is tuned is what a busy site would tune.
type Postfix struct{ *Peer }

// services is master.cf: name type private unpriv chroot wakeup maxproc command. The chroot of Postfix's own is not needed in ours.
const services = `
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
local     unix  -       n       n       -       -       local
virtual   unix  -       n       n       -       -       virtual
lmtp      unix  -       -       n       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
`

// StartPostfix starts it. logging costs time, and so is left to the tests.
func StartPostfix(o Options, logging bool) (*Postfix, error) {
	peer, err := prepare("postfix", "postfix", o)
	if err != nil {
		return nil, err
	}
	p := &Postfix{peer}
	boxes := ""
	for _, domain := range append([]string{o.Domain}, o.More...) {
		for _, user := range o.Users {
			boxes += fmt.Sprintf("%s@%s %s/Maildir/\n", user, domain, user)
		}
	}
	main := p.config()
	master := fmt.Sprintf("%s inet n - n - - smtpd\n", p.Addr) + services
	if logging {
		main += "maillog_file = /var/log/postfix.log\n"
		master += "postlog   unix-dgram n  -       n       -       1       postlogd\n"
	}
	for name, text := range map[string]string{"etc/postfix/main.cf": main, "etc/postfix/master.cf": master, "etc/postfix/boxes": boxes} {
		if err := p.write(name, text); err != nil {
			return nil, err
		}
	}
	// what postfix-script makes at the first start
	for _, dir := range strings.Fields("active bounce corrupt defer deferred flush hold incoming private saved trace") {
		if err := p.mkdir("var/spool/postfix/"+dir, daemon, 0, 0o700); err != nil {
			return nil, err
		}
	}
	for _, d := range []struct {
		name     string
		uid, gid int
		perm     os.FileMode
	}{{"var/spool/postfix", 0, 0, 0o755}, {"var/spool/postfix/pid", 0, 0, 0o755}, {"var/spool/postfix/maildrop", daemon, postdrop, 0o730},
		{"var/spool/postfix/public", daemon, postdrop, 0o710}, {"var/lib/postfix", daemon, daemon, 0o700}} {
		if err := p.mkdir(d.name, d.uid, d.gid, d.perm); err != nil {
			return nil, err
		}
	}
	return p, p.start("/usr/lib/postfix/sbin/master", "-c", "/etc/postfix", "-d")
}

// config is main.cf.
func (p *Postfix) config() string {
	o := p.opts
	var b strings.Builder
	set := func(key, value string) { fmt.Fprintf(&b, "%s = %s\n", key, value) }
	set("compatibility_level", "3.6")
	set("queue_directory", "/var/spool/postfix")
	set("command_directory", "/usr/sbin")
	set("daemon_directory", "/usr/lib/postfix/sbin")
	set("data_directory", "/var/lib/postfix")
	set("shlib_directory", "/usr/lib/postfix")
	set("mail_owner", "postfix")
	set("setgid_group", "postdrop")
	set("myhostname", "mx."+o.Domain)
	set("mydomain", o.Domain)
	set("myorigin", o.Domain)
	if o.Unix { // local(8), to ~/Maildir
		set("mydestination", o.Domain)
		set("home_mailbox", "Maildir/")
		set("local_destination_concurrency_limit", "20")
	} else {
		set("mydestination", "")
		set("virtual_mailbox_domains", strings.Join(append([]string{o.Domain}, o.More...), " "))
	}
	set("mynetworks", "127.0.0.0/8")
	set("inet_protocols", "ipv4")
	set("alias_maps", "")
	set("alias_database", "")
	set("local_recipient_maps", "")
	set("virtual_mailbox_base", "/var/mail/vhosts")
	set("virtual_mailbox_maps", "texthash:/etc/postfix/boxes")
	set("virtual_uid_maps", fmt.Sprintf("static:%d", vmail))
	set("virtual_gid_maps", fmt.Sprintf("static:%d", vmail))
	set("smtp_bind_address", o.IP)
	set("smtp_helo_name", "mx."+o.Domain)
	if o.Relay != "" {
		host, port, _ := strings.Cut(o.Relay, ":")
		set("relayhost", fmt.Sprintf("[%s]:%s", host, port))
	}
	// one machine, no names to ask for
	set("disable_dns_lookups", "yes")
	set("smtp_host_lookup", "native")
	set("smtpd_peername_lookup", "no")
	// a busy site
	set("in_flow_delay", "0")
	set("default_process_limit", "100")
	set("default_destination_concurrency_limit", "50")
	set("virtual_destination_concurrency_limit", "20")
	set("qmgr_message_active_limit", "40000")
	set("qmgr_message_recipient_limit", "40000")
	set("smtpd_client_connection_count_limit", "0")
	set("minimal_backoff_time", "60s")
	if o.Cert != "" {
		set("smtpd_tls_security_level", "may")
		set("smtpd_tls_cert_file", "/etc/tls.pem")
		set("smtpd_tls_key_file", "/etc/tls.key")
		set("smtpd_tls_received_header", "yes")
	}
	if o.CA != "" {
		set("smtp_tls_security_level", "encrypt")
		set("smtp_tls_CAfile", "/etc/ca.pem")
		set("smtp_tls_loglevel", "1")
	}
	return b.String() + o.Extra
}

// Defer makes it keep everything that is to leave the host, or send it again.
func (p *Postfix) Defer(on bool) error {
	value := "defer_transports="
	if on {
		value = "defer_transports=smtp,relay"
	}
	if err := p.run("/usr/sbin/postconf", "-c", "/etc/postfix", "-e", value); err != nil {
		return err
	}
	return p.reload()
}

// Flush tries everything that is queued now.
func (p *Postfix) Flush() error { return p.run("/usr/sbin/postqueue", "-c", "/etc/postfix", "-f") }

// reload is what postfix-script does at reload: every daemon ends when it has finished what it has in hand.
func (p *Postfix) reload() error {
	return p.cmd.Process.Signal(syscall.SIGHUP)
}

// Queued counts the queue files.
func (p *Postfix) Queued() int {
	n := 0
	for _, queue := range []string{"incoming", "active", "deferred"} {
		filepath.WalkDir(p.path("var/spool/postfix/"+queue), func(_ string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() { // one that is gone meanwhile is not queued
				n++
			}
			return nil
		})
	}
	return n
}

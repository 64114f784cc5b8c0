package peers

import (
	"fmt"
	"strings"
)

// Exim is Debian's exim4-daemon-light with a configuration of one file.
type Exim struct{ *Peer }

// StartExim starts it.
func StartExim(o Options) (*Exim, error) {
	peer, err := prepare("exim", "exim4-daemon-light", o)
	if err != nil {
		return nil, err
	}
	p := &Exim{peer}
	for _, dir := range []string{"var/spool/exim4", "var/log/exim4"} {
		if err := p.mkdir(dir, daemon, daemon, 0o750); err != nil {
			return nil, err
		}
	}
	if err := p.write("etc/exim4/exim4.conf", p.config()); err != nil {
		return nil, err
	}
	if o.Cert != "" { // Exim reads its key as its own user
		for _, name := range []string{"etc/tls.pem", "etc/tls.key"} {
			if err := chown(p.path(name), daemon); err != nil {
				return nil, err
			}
		}
	}
	return p, p.start("/usr/sbin/exim4", "-bdf", "-q5s") // no -C: it would cost its privileges
}

func (p *Exim) config() string {
	o := p.opts
	var b strings.Builder
	fmt.Fprintf(&b, `primary_hostname = mx.%[1]s
domainlist local_domains = %[1]s
hostlist relay_from_hosts = 127.0.0.0/8
local_interfaces = %[2]s
daemon_smtp_ports = %[3]d
exim_user = Debian-exim
exim_group = Debian-exim
never_users = root
host_lookup =
rfc1413_hosts =
log_selector = +tls_cipher +received_recipients
acl_smtp_rcpt = acl_rcpt
acl_smtp_data = acl_data
smtp_accept_max = 200
`, o.Domain, o.IP, o.Port)
	if o.Cert != "" {
		b.WriteString("tls_advertise_hosts = *\ntls_certificate = /etc/tls.pem\ntls_privatekey = /etc/tls.key\n")
	} else {
		b.WriteString("tls_advertise_hosts =\n")
	}
	b.WriteString(`
begin acl
acl_rcpt:
  accept domains = +local_domains
         verify = recipient
  deny   domains = +local_domains
         message = 5.1.1 unknown user
  accept hosts = +relay_from_hosts
  deny   message = relay not permitted
acl_data:
  accept

begin routers
`)
	if o.Relay != "" {
		host, port, _ := strings.Cut(o.Relay, ":")
		fmt.Fprintf(&b, "away:\n  driver = manualroute\n  domains = !+local_domains\n  transport = remote_smtp\n  route_list = * \"%s::%s\" byname\n  self = send\n  no_more\n", host, port)
	}
	fmt.Fprintf(&b, `box:
  driver = accept
  domains = +local_domains
  local_parts = %s
  transport = maildir

begin transports
`, strings.Join(o.Users, " : "))
	fmt.Fprintf(&b, "remote_smtp:\n  driver = smtp\n  interface = %s\n  helo_data = mx.%s\n", o.IP, o.Domain)
	if o.CA != "" {
		b.WriteString("  hosts_require_tls = *\n  tls_verify_certificates = /etc/ca.pem\n  tls_verify_hosts =\n  tls_try_verify_hosts = *\n")
	}
	fmt.Fprintf(&b, `maildir:
  driver = appendfile
  directory = /var/mail/vhosts/$local_part_data/Maildir
  maildir_format
  create_directory
  delivery_date_add
  envelope_to_add
  return_path_add
  user = %[1]d
  group = %[1]d
  mode = 0600

begin retry
* * F,1h,2s

begin rewrite
begin authenticators
`, vmail)
	return b.String()
}

package peers

import (
	"fmt"
	"net"
	"strings"
)

// Dovecot is Debian's Dovecot with IMAP, POP3 and LMTP over Maildirs; what is tuned is what a busy site would tune.
type Dovecot struct{ *Peer }

// Password is that of every mailbox of a peer.
const Password = "demo"

// StartDovecot starts it.
func StartDovecot(o Options) (*Dovecot, error) {
	peer, err := prepare("dovecot", "dovecot-core", o)
	if err != nil {
		return nil, err
	}
	p := &Dovecot{peer}
	p.greet = "* OK"
	users := ""
	for _, user := range o.Users {
		users += fmt.Sprintf("%s:{PLAIN}%s\n%s@%s:{PLAIN}%s\n", user, Password, user, o.Domain, Password)
	}
	for name, text := range map[string]string{"etc/dovecot/users": users, "etc/dovecot/dovecot.conf": p.config()} {
		if err := p.write(name, text); err != nil {
			return nil, err
		}
	}
	for _, dir := range []string{"var/lib/dovecot", "run/dovecot"} {
		if err := p.mkdir(dir, 0, 0, 0o755); err != nil {
			return nil, err
		}
	}
	return p, p.Restart()
}

// Restart starts it again after a Stop, over the mail as it is now.
func (p *Dovecot) Restart() error {
	return p.start("/usr/sbin/dovecot", "-F", "-c", "/etc/dovecot/dovecot.conf")
}

// At is HOST:PORT of a service, by the port the standards give it: 993, 110.
func (p *Peer) At(standard int) string {
	return net.JoinHostPort(p.opts.IP, fmt.Sprint(p.opts.Port-143+standard))
}

// config is dovecot.conf.
func (p *Dovecot) config() string {
	o := p.opts
	base := o.Port - 143
	var b strings.Builder
	fmt.Fprintf(&b, `protocols = imap pop3 lmtp
listen = %[1]s
base_dir = /run/dovecot
state_dir = /var/lib/dovecot
log_path = /var/log/dovecot.log
hostname = mx.%[2]s
default_internal_user = dovecot
default_internal_group = dovecot
default_login_user = dovenull
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_username_format = %%n
auth_cache_size = 10 M
passdb {
  driver = passwd-file
  args = /etc/dovecot/users
}
userdb {
  driver = static
  args = uid=%[3]d gid=%[3]d home=/var/mail/vhosts/%%n
}
first_valid_uid = %[3]d
mail_location = maildir:~/Maildir
namespace inbox {
  inbox = yes
}
mail_max_userip_connections = 0
default_process_limit = 1000
default_client_limit = 20000
default_vsz_limit = 0
service imap-login {
  inet_listener imap {
    port = %[4]d
  }
  inet_listener imaps {
    port = %[5]d
    ssl = yes
  }
  service_count = 0
  process_min_avail = 2
}
service pop3-login {
  inet_listener pop3 {
    port = %[6]d
  }
  inet_listener pop3s {
    port = %[7]d
    ssl = yes
  }
  service_count = 0
}
service imap {
  service_count = 256
  process_limit = 12000
}
service pop3 {
  service_count = 256
}
service lmtp {
  inet_listener lmtp {
    port = %[8]d
  }
}
service stats {
  unix_listener stats-writer {
    mode = 0666
  }
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`, o.IP, o.Domain, vmail, base+143, base+993, base+110, base+995, base+24)
	if o.Cert != "" {
		b.WriteString("ssl = yes\nssl_cert = </etc/tls.pem\nssl_key = </etc/tls.key\n")
	} else {
		b.WriteString("ssl = no\n")
	}
	return b.String()
}

package peers

import (
	"fmt"
	"os"
	"strings"
)

// OpenSMTPD is Debian's opensmtpd.
type OpenSMTPD struct{ *Peer }

// StartOpenSMTPD starts it.
func StartOpenSMTPD(o Options) (*OpenSMTPD, error) {
	peer, err := prepare("opensmtpd", "opensmtpd", o)
	if err != nil {
		return nil, err
	}
	p := &OpenSMTPD{peer}
	for _, d := range []struct {
		name     string
		uid, gid int
		perm     os.FileMode
	}{{"var/spool/smtpd", 0, 0, 0o711}, {"var/spool/smtpd/queue", daemon2, 0, 0o700}, {"var/spool/smtpd/corrupt", daemon2, 0, 0o700},
		{"var/spool/smtpd/incoming", daemon2, 0, 0o700}, {"var/spool/smtpd/purge", daemon2, 0, 0o700}, {"var/spool/smtpd/temporary", daemon2, 0, 0o700},
		{"var/spool/smtpd/offline", 0, daemon2, 0o770}, {"var/empty", 0, 0, 0o755}, {"run", 0, 0, 0o755}} {
		if err := p.mkdir(d.name, d.uid, d.gid, d.perm); err != nil {
			return nil, err
		}
	}
	if err := p.write("etc/smtpd.conf", p.config()); err != nil {
		return nil, err
	}
	return p, p.start("/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd.conf")
}

func (p *OpenSMTPD) config() string {
	o := p.opts
	var b strings.Builder
	tls := ""
	if o.Cert != "" {
		fmt.Fprintf(&b, "pki box cert \"/etc/tls.pem\"\npki box key \"/etc/tls.key\"\n")
		tls = " tls pki box"
	}
	fmt.Fprintf(&b, "table users { %s }\n", strings.Join(pairs(o.Users), ", "))
	fmt.Fprintf(&b, "listen on %s port %d hostname mx.%s%s\n", o.IP, o.Port, o.Domain, tls)
	fmt.Fprintf(&b, "action box maildir \"/var/mail/vhosts/%%{dest.user}/Maildir\" virtual <users>\n")
	fmt.Fprintf(&b, "match from any for domain \"%s\" action box\n", o.Domain)
	if o.Relay != "" {
		scheme, verify := "smtp", ""
		if o.CA != "" { // the name it would verify is an address here
			scheme, verify = "smtp+tls", " tls no-verify"
		}
		fmt.Fprintf(&b, "action away relay host %s://%s%s helo mx.%s\n", scheme, o.Relay, verify, o.Domain)
		b.WriteString("match from local for any action away\n") // its own reports
		b.WriteString("match from src 127.0.0.0/8 for any action away\n")
	}
	return b.String()
}

// pairs maps each user to the system user of the same name.
func pairs(users []string) []string {
	var all []string
	for _, user := range users {
		all = append(all, user+" = "+user)
	}
	return all
}

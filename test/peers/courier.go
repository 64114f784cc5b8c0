package peers

import (
	"fmt"
	"os"
	"strings"
)

// Courier is Debian's courier-imap over Maildirs: IMAP, and no TLS.
type Courier struct{ *Peer }

// authenticate answers authpipe(7): a user's line of the passwd file, or his password to be compared.
const authenticate = `#!/bin/sh
# the request is AUTH N, then N octets: service, kind, user, password, one a line
IFS=' '
read -r verb arg rest
account() {
	user=${1%%@*}
	[ -d "/var/mail/vhosts/$user" ] || { echo FAIL; return; }
	printf 'ADDRESS=%s\nUID=VMAIL\nGID=VMAIL\nHOME=/var/mail/vhosts/%s\nMAILDIR=/var/mail/vhosts/%s/Maildir\n.\n' "$user" "$user" "$user"
}
case $verb in
PRE) account "${rest##* }";;
AUTH)
	read -r service; read -r kind; read -r user; read -r password
	if [ "$password" = PASSWORD ]; then account "$user"; else echo FAIL; fi;;
*) echo FAIL;;
esac
`

// StartCourier starts it.
func StartCourier(o Options) (*Courier, error) {
	peer, err := prepare("courier", "courier-imap", o)
	if err != nil {
		return nil, err
	}
	p := &Courier{peer}
	p.greet = "* OK"
	script := strings.NewReplacer("VMAIL", fmt.Sprint(vmail), "PASSWORD", Password).Replace(authenticate)
	for name, text := range map[string]string{
		"etc/courier/authProg":     script,
		"etc/courier/authdaemonrc": "authmodulelist=\"authpipe\"\nauthmodulelistorig=\"authpipe\"\ndaemons=5\nauthdaemonvar=/run/courier/authdaemon\nDEFAULTOPTIONS=\"\"\nLOGGEROPTS=\"\"\n",
		"start":                    p.script(),
	} {
		if err := p.write(name, text); err != nil {
			return nil, err
		}
	}
	if err := p.mkdir("run/courier/authdaemon", daemon, daemon, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(p.path("etc/courier/authProg"), 0o755); err != nil {
		return nil, err
	}
	return p, p.start("/bin/sh", "/start")
}

// script does what /usr/lib/courier/imapd does at a start.
func (p *Courier) script() string {
	return fmt.Sprintf(`set -a
. /etc/courier/imapd
AUTHMODULES=authdaemon IMAP_EMPTYTRASH= IMAP_STARTTLS=NO IMAPDSTARTTLS=NO TLS_CERTFILE=/etc/tls.pem MAILDIRPATH=Maildir MAILDIR=Maildir DEFDOMAIN=
MAXDAEMONS=200 MAXPERIP=200
/usr/lib/courier/courier-authlib/authdaemond &
while ! [ -S /run/courier/authdaemon/socket ]; do :; done
exec /usr/sbin/couriertcpd -address=%s -maxprocs=2000 -maxperip=2000 -nodnslookup -noidentlookup -user=root %d /usr/lib/courier/courier/imaplogin /usr/bin/imapd Maildir
`, p.opts.IP, p.opts.Port)
}

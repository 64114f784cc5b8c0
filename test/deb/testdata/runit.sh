. testdata/common.sh
set +e
echo "== install, without systemd"
$in dpkg -i /root/1.deb 2>&1 | grep '^Setting'
configure
echo "== a directory that somebody else owns"
$in bash -c 'for row in smtpd:mailin:spool/pennypost/in/mx/new mailauthd:mailauth:lib/pennypost/auth imapd:vmail:mail/pennypost pop3d:vmail:mail/pennypost \
	queue-run:mailqueue:spool/pennypost/q queue-pickup:mailpick:spool/pennypost/drop/new deliver-local:vmail:mail/pennypost \
	deliver-remote:mailout:lib/pennypost/reports/tls; do
	IFS=: read program user dir <<<"$row"
	chown root:root /var/$dir; chmod 700 /var/$dir
	case $program in deliver-*) more="--listen /tmp/sock";; *) more=;; esac
	timeout 5 setpriv --reuid $user --regid $user --init-groups $program $more 2>&1 </dev/null | head -n 1 | sed "s/uid [0-9]*/uid N/"
	mailsetup >/dev/null
done'
echo "== S161: somebody else's code in each program"
$in bash /root/breaker-plain.sh
echo "== runit"
$in sh -c 'for s in mailauthd imapd pop3d maillogin become mailgetent pamcheck mailkey deliver-local deliver-remote queue-run queue-pickup smtpd; do
	ln -s /usr/share/pennypost/runit/$s /etc/pennypost-services/$s; done
	sed -i "s/^#mx = \[\]/mx = \":25\"/; s/^#submission = \[\]/submission = \":587\"/; /^\[maillogin\]/,/^\[/ { s/^#imap = \[\]/imap = \":143\"/; s/^#pop3 = \[\]/pop3 = \":110\"/ }" /etc/pennypost/mail.toml'
eventually '$net python3 -c "import socket; [socket.create_connection((\"127.0.0.1\", p)) for p in (25, 587, 143, 110)]"'
eventually '$in test -S /run/pennypost/login/sock -a -S /run/pennypost/sessions/imapd.sock -a -S /run/pennypost/become.sock -a -S /run/pennypost/local/sock -a -S /run/pennypost/pam/sock'
send 25 x@example.net alice@example.org,bob@example.org
send 587 bob@example.org alice@example.org bob@example.org open-sesame-1
eventually 'imap alice@example.org "$password" | grep -q "MESSAGES 2"'
imap alice@example.org "$password"
pop alice@example.org "$password"
eventually 'imap bob@example.org open-sesame-1 | grep -q "MESSAGES 1"'
imap bob@example.org open-sesame-1
$in ps -eo user:12,comm --no-headers --sort user,comm | grep -v '^bob' | grep -E ' (smtpd|imapd|pop3d|maillogin|mailauthd|become|pamcheck|mailgetent|mailkey|deliver-.*|queue-.*)$' | LC_ALL=C sort -u
echo "== inetd"
$in sv -w 20 stop /usr/share/pennypost/runit/smtpd /usr/share/pennypost/runit/maillogin >/dev/null
$in sh -c 'cp /usr/share/pennypost/inetd.conf /etc/inetd.conf; exec inetd' </dev/null >/dev/null 2>&1
eventually 'send 25 x@example.net alice@example.org | grep -q "250 2.0.0"'
eventually 'imap alice@example.org "$password" | grep -q "MESSAGES 3"'
imap alice@example.org "$password"
pop alice@example.org "$password"
$in pkill -x inetd
echo "== tcpserver"
for s in mx imap pop3; do $in /usr/share/pennypost/tcpserver $s </dev/null >/dev/null 2>&1 & done
eventually 'send 25 x@example.net alice@example.org | grep -q "250 2.0.0"'
eventually 'imap alice@example.org "$password" | grep -q "MESSAGES 4"'
imap alice@example.org "$password"
pop alice@example.org "$password"
echo "== what was refused"
$in sh -c "cat /var/log/pennypost/*/current | grep -iE 'denied|not permitted'" || true

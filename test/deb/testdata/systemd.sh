. testdata/common.sh
set +e
eventually '$in systemctl is-system-running | grep -qE "running|degraded"'
echo "== install"
$in dpkg -i /root/1.deb 2>&1 | grep '^Setting'
$in systemctl list-units --no-legend --no-pager 'pennypost*' # nothing runs
$in mailsetup -n && echo "directories are as they should be"
$in sh -c 'printf "Subject: x\n\nhi\n" | sendmail root; newaliases; /usr/lib/sendmail -bp | tail -n 1; ls /var/spool/pennypost/drop/new | wc -l; rm /var/spool/pennypost/drop/new/*'
configure
echo "== S161: somebody else's code in each program"
$in bash /root/breaker-units.sh
resident="pennypost-mx.socket pennypost-submission.socket pennypost-imap.socket pennypost-imaps.socket pennypost-pop3.socket"
each="pennypost-mx-each.socket pennypost-imap-each.socket pennypost-pop3-each.socket"
$in systemctl enable --now -q $resident pennypost-mailauthd.socket pennypost-imapd.socket pennypost-pop3d.socket pennypost-become.socket \
	pennypost-mailgetent pennypost-pamcheck pennypost-mailkey pennypost-queue-run pennypost-queue-pickup
echo "== both send"
send 25 x@example.net alice@example.org,bob@example.org
send 587 alice@example.org bob@example.org alice@example.org "$password"
send 587 bob@example.org alice@example.org bob@example.org open-sesame-1
echo "== both receive and read"
eventually 'imap alice@example.org "$password" | grep -q "MESSAGES 2"'
imap alice@example.org "$password"
pop alice@example.org "$password"
eventually 'imap bob@example.org open-sesame-1 | grep -q "MESSAGES 2"'
imap bob@example.org open-sesame-1
pop bob@example.org open-sesame-1
$in find /home/bob/Maildir /var/mail/pennypost/example.org/alice/Maildir -type f -name '*,S=*' -printf '%u %m\n' | sort | uniq -c | sed 's/^ *//'
echo "== what timers start"
for u in mailcert mailkey-rotate purge mailreport; do $in systemctl start pennypost-$u 2>/dev/null && echo $u || $in journalctl --no-pager -o cat -n 4 -u pennypost-$u; done
echo "== a process for each connection"
# the sockets are the services' too, while those run
$in systemctl stop -q $resident pennypost-smtpd pennypost-maillogin
$in systemctl start -q $each
send 25 x@example.net alice@example.org
eventually 'imap alice@example.org "$password" | grep -q "MESSAGES 3"'
imap alice@example.org "$password"
pop alice@example.org "$password"
echo "== S078: a burst of connections"
$net python3 - <<'.'
import socket
open_ = []
for i in range(1000):
    s = socket.socket()
    s.settimeout(5)
    try:
        s.connect(("127.0.0.1", 25))
        open_.append(s)
    except OSError as e:
        pass
for s in open_:
    s.close()
.
$in systemctl is-active pennypost-mx-each.socket
eventually 'send 25 x@example.net alice@example.org | grep -q "250 2.0.0"'
$in systemctl stop -q $each
$in systemctl start -q $resident
eventually 'imap alice@example.org "$password" | grep -q "MESSAGES 4"'
echo "== fill, upgrade, drain"
$in systemctl stop -q pennypost-deliver-local pennypost-become.socket pennypost-become 2>/dev/null
for i in 1 2 3 4 5 6 7 8 9 10; do send 25 x@example.net alice@example.org,bob@example.org; done | sort | uniq -c | sed 's/^ *//'
$in dpkg -i /root/2.deb 2>&1 | grep '^Setting'
send 25 x@example.net alice@example.org,bob@example.org
$in systemctl start -q pennypost-deliver-local pennypost-become.socket
$in mailq retry all >/dev/null
eventually 'imap alice@example.org "$password" | grep -q "MESSAGES 15"'
eventually 'imap bob@example.org open-sesame-1 | grep -q "MESSAGES 13"'
imap alice@example.org "$password"
imap bob@example.org open-sesame-1
echo "== fill, downgrade, drain"
$in systemctl stop -q pennypost-deliver-local pennypost-become.socket pennypost-become 2>/dev/null
for i in 1 2 3 4 5; do send 25 x@example.net alice@example.org,bob@example.org; done | sort | uniq -c | sed 's/^ *//'
$in dpkg -i --force-downgrade /root/1.deb 2>&1 | grep '^Setting'
$in systemctl start -q pennypost-deliver-local pennypost-become.socket
$in mailq retry all >/dev/null
eventually 'imap alice@example.org "$password" | grep -q "MESSAGES 20"'
eventually 'imap bob@example.org open-sesame-1 | grep -q "MESSAGES 18"'
imap alice@example.org "$password"
imap bob@example.org open-sesame-1
$in sh -c 'find /var/spool/pennypost/q /var/spool/pennypost/in /var/spool/pennypost/hold -type f | wc -l'
echo "== what was refused"
$in journalctl --no-pager -o cat -u 'pennypost*' | grep -iE 'denied|not permitted|confine.*why' | sort | uniq -c
echo "== remove, purge"
$in dpkg -r pennypost 2>&1 | grep '^Removing'
$in systemctl list-units --no-legend --no-pager 'pennypost*.service' 'pennypost*.socket' | grep -v not-found
$in grep -c '^hostname = "mx.example.org"' /etc/pennypost/mail.toml
$in dpkg -P pennypost 2>&1 | grep '^pennypost:'
$in ls -d /etc/pennypost /var/lib/pennypost /var/spool/pennypost /var/mail/pennypost 2>/dev/null
$in rm -rf /var/mail/pennypost
$in dpkg -i /root/1.deb >/dev/null 2>&1
$in dpkg -P pennypost >/dev/null 2>&1
$in grep -E '^(mail[a-z]+|vmail):' /etc/passwd
$in sh -c 'ls -d /etc/pennypost /var/*/pennypost 2>/dev/null | wc -l'

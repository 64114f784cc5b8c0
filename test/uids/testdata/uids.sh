# A host of its own: /etc, /var and /run are private copies of this mount namespace. Every program runs under its own uid.
# $1: a directory to work in. $2: the programs. $3: the sample of mail.toml.
d=$1; export PATH=$d/bin:$PATH
set -e
mkdir -p $d/bin $d/etc $d/run $d/var/spool $d/var/mail $d/var/lib $d/var/tmp
cp -a /etc/. $d/etc/
mount --bind $2 $d/bin # where everybody gets at them
mount --bind $d/etc /etc; mount --bind $d/var /var; mount --bind $d/run /run
chmod 755 $d
echo "== setup"
mailsetup --users | sh
mailsetup --users
mailsetup -n --sample $3 >$d/plan || echo "something to do"
mailsetup --sample $3 >$d/done
cmp $d/plan $d/done && echo "as planned"
mailsetup -n && echo "nothing to do"
cat >/etc/pennypost/mail.toml <<.
hostname = "mx.example.org"
origin = "example.org"
[smtpd]
mx = "127.0.0.41:10025"
[pop3d]
pop3 = "127.0.0.41:10110"
[dns]
server = ["127.0.0.41:9"]
[remote]
sign = "unix:/run/pennypost/sign/sign.sock"
[route."here.test"]
next = ["smtp://127.0.0.41:10025"]
[queue.workers]
local = "unix:/run/pennypost/local/sock"
remote = "unix:/run/pennypost/remote/sock"
.
mailuser domain add example.org
mailuser user add alice@example.org --no-credential
useradd --system --groups mailread,mailmsg reader
useradd --system --groups mailread,mailmsg,mailadmin admin
set +e
cd /

as() { u=$1; shift; setpriv --reuid $u --regid $(id -g $u) --init-groups "$@"; }
serve() { u=$1; shift; setpriv --reuid $u --regid $u --init-groups "$@" 2>>$d/log.$1 </dev/null >/dev/null & pids="$pids $!"; }
trap 'kill $pids; wait' EXIT
eventually() { for i in $(seq 100); do eval "$1" >/dev/null 2>&1 && return; sleep 0.1; done; echo "never: $1"; }

serve vmail deliver-local --listen /run/pennypost/local/sock
serve mailout deliver-remote --listen /run/pennypost/remote/sock
eventually 'test -S /run/pennypost/local/sock -a -S /run/pennypost/remote/sock'
serve mailqueue queue-run
serve mailin smtpd
serve mailpick queue-pickup
serve vmail pop3d
eventually 'exec 3<>/dev/tcp/127.0.0.41/10025'

echo "== mail"
printf 'Subject: hi\n\nhi\n' | as nobody sendmail alice@example.org carol@example.net; echo "sendmail: $?"
exec 3<>/dev/tcp/127.0.0.41/10025
printf 'HELO c\r\nMAIL FROM:<x@example.net>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n' >&3
for i in 1 2 3 4 5; do read -r line <&3; done
printf 'Subject: hi\r\n\r\nhi\r\n.\r\nQUIT\r\n' >&3
read -r line <&3; echo "smtpd: ${line%% *}"
new=/var/mail/pennypost/example.org/alice/Maildir/new
eventually "test \$(ls $new | wc -l) = 2"
find $new -type f -printf 'a file of %u:%g %m\n' | sort

echo "== mailq"
eventually 'mailq | grep -q "next try"'
id=$(as reader mailq --json 2>/dev/null | sed 's/^{"id":"\([^"]*\)".*/\1/')
as reader mailq 2>/dev/null | grep -q carol@example.net && echo "reader sees who waits"
as nobody mailq 2>/dev/null; echo "nobody: $?"
as reader mailq hold $id 2>/dev/null; echo "reader holds: $?"
as admin mailq hold $id | sed "s/$id/ID/"
eventually 'test -e /var/spool/pennypost/hold/'$id
as admin mailq release $id 2>/dev/null | sed "s/$id/ID/"
eventually 'as reader mailq list '$id' | grep -q "next try"'
as admin mailq remove $id | sed "s/$id/ID/"
eventually 'as reader mailq 2>/dev/null | grep -q empty'
as reader mailq why $id 2>/dev/null | grep -o 'remove: asked for'
ls $new | wc -l

echo "== signing"
mailkey create example.org >/dev/null
cd /etc/pennypost/domains/example.org
stat -c '%n: %U:%G %a' dkim dkim/* | sed 's/[0-9]\{6\}/DATE/'
as mailout cat dkim/* 2>/dev/null || echo "mailout reads no key"
cd /
serve mailsign mailkey sign --listen /run/pennypost/sign/sign.sock
eventually 'test -S /run/pennypost/sign/sign.sock'
printf 'pennypost: 1\nvia: pickup\nfrom: alice@example.org\nrcpt: 1 alice@example.org\n\n' >$d/env
printf 'From: alice@example.org\nSubject: signed\n\nhi\n' >$d/message
as mailout deliver-remote smtp://127.0.0.41:10025 alice@example.org alice@example.org <$d/message 3<$d/env 2>>$d/log.once | cut -c1-9
eventually "grep -l 'Subject: signed' $new/*"
cat $(grep -l 'Subject: signed' $new/*) | grep -o '^DKIM-Signature: v=1; a=[a-z0-9-]*'
as nobody deliver-remote smtp://127.0.0.41:10025 alice@example.org alice@example.org <$d/message 3<$d/env 2>/dev/null | grep -o 'Z .*not be signed'

echo "== reports"
day=/var/lib/pennypost/reports/dmarc/$(date -u -d yesterday +%F)
as mailin sh -c "umask 022; echo '1 policy=example.net p=none from=example.net source=192.0.2.1 do=none dkim=fail spf=fail' >$day"
as vmail cat $day 2>/dev/null || echo "only who reports reads it"
as mailrep mailreport send | sed 's/ 20[0-9-]* / DAY /; s/:.*//'
as mailrep rm $day && echo "and may remove it"
grep -h denied $d/log.*

# A host of its own with Unix users: /etc, /var, /run and /home are private copies of this mount namespace. Every program runs under its
# own uid, and deliver-local under each user's.
# $1: a directory to work in. $2: the programs. $3: the sample of mail.toml. $4: our file for /etc/pam.d.
d=$1; export PATH=$d/bin:$PATH
set -e
mkdir -p $d/bin $d/etc $d/run $d/home $d/var/spool $d/var/mail $d/var/lib $d/var/tmp
cp -a /etc/. $d/etc/
cp $2/* $d/bin; chown root:root $d/bin/*; chmod 755 $d/bin/*
mount --bind $d/etc /etc; mount --bind $d/var /var; mount --bind $d/run /run; mount --bind $d/home /home
chmod 755 $d
mailsetup --users | sh
mailsetup --sample $3 >/dev/null
cat >/etc/pennypost/mail.toml <<.
hostname = "mx.example.org"
[login]
socket = "/run/pennypost/login/sock"
clients = ["mailin", "maillogin", "vmail"]
clear_networks = ["127.0.0.0/8"]
[maillogin]
imap = "127.0.0.42:10143"
pop3 = "127.0.0.42:10110"
[imapd]
sessions = "/run/pennypost/sessions/imapd.sock"
[pop3d]
sessions = "/run/pennypost/sessions/pop3d.sock"
[smtpd]
mx = "127.0.0.42:10025"
[dns]
server = ["127.0.0.42:9"]
[queue.workers]
local = "unix:/run/pennypost/local/sock"
remote = "unix:/run/pennypost/remote/sock"
.
echo example.org >/etc/mailname
mailuser domain add example.org --system >/dev/null
mailuser user add virtual@example.org --no-credential >/dev/null
cp $4 /etc/pam.d/pennypost
groupadd -g 3000 team
useradd -m -u 2001 -s /bin/bash -G team alice
useradd -m -u 2002 -s /usr/sbin/nologin bob
useradd -m -u 2003 -s /bin/bash carol
useradd -m -u 2004 -s /bin/bash dave
useradd -u 2005 -d /home/away erin
printf 'alice:geheim und lang\nbob:auch geheim 7\n' | chpasswd
cat >/etc/aliases <<.
# as any Debian host has them
mailer-daemon: postmaster
postmaster: root
root: alice
dave: \dave, bob
prog: |/bin/false
noreply: /dev/null
team: :include:/etc/team
.
printf 'alice\nbob # both\n' >/etc/team
printf '# to three places\n\\carol, "|cat >~/got; echo $SENDER $EXTENSION >>~/got; pwd >>~/got; id -u >>~/got"\nbob@example.org\n' >/home/carol/.forward
chown carol: /home/carol/.forward; chmod 644 /home/carol/.forward
set +e
cd /

serve() { u=$1; shift; setpriv --reuid $u --regid $u --init-groups "$@" 2>>$d/log.$1 </dev/null >/dev/null & pids="$pids $!"; }
trap 'kill $pids; wait' EXIT
eventually() { for i in $(seq 100); do eval "$1" >/dev/null 2>&1 && return; sleep 0.1; done; echo "never: $1"; }
count() { ls /home/$1/Maildir/new 2>/dev/null | wc -l; }

become 2>>$d/log.become </dev/null & pids=$!
serve mailgetent mailgetent
serve vmail deliver-local --listen /run/pennypost/local/sock
serve mailout deliver-remote --listen /run/pennypost/remote/sock
eventually 'test -S /run/pennypost/local/sock -a -S /run/pennypost/remote/sock -a -S /run/pennypost/become.sock -a -S /run/pennypost/getent/sock'
serve mailqueue queue-run
serve mailin smtpd
eventually 'exec 3<>/dev/tcp/127.0.0.42/10025'

# smtp ADDRESS... : what smtpd says to each, and a message to those it takes
smtp() {
  exec 3<>/dev/tcp/127.0.0.42/10025
  read -r line <&3
  say() { printf '%s\r\n' "$1" >&3; read -r line <&3; line=${line%$'\r'}; }
  say "HELO c"; say 'MAIL FROM:<x$y@example.net>'
  for a; do say "RCPT TO:<$a@example.org>"; echo "$a: $line"; done
  say DATA; printf 'Subject: to %s\r\n\r\nhi\r\n' "$*" >&3; say .; echo "message: ${line%% *}"; say QUIT
}

echo "== who is there"
smtp alice bob root daemon nobody mailqueue nosuch 0 postmaster prog noreply erin
eventually 'test $(count alice) = 3 && test $(count bob) = 1'
find /home/*/Maildir /var/mail -type f -printf 'a file of %u:%g %m\n' | sort
stat -c '%n %U:%G %a' /home/alice/Maildir /home/alice/Maildir/new
echo "== an alias that keeps a copy"
smtp dave
eventually 'test $(count dave) = 1 && test $(count bob) = 2'
echo "== an included list"
smtp team
eventually 'test $(count alice) = 4 && test $(count bob) = 3'
echo "== .forward"
smtp carol+lists
eventually 'test $(count carol) = 1 && test $(count bob) = 4 && test -s /home/carol/got'
eventually 'test $(wc -l </home/carol/got) -gt 5'
grep -v '^Received\|^\s' /home/carol/got
stat -c '%U:%G %a' /home/carol/got
echo "== not written for others"
chmod 664 /home/carol/.forward
smtp carol
eventually 'test $(count carol) = 2'
grep -c 'forward of carol.*others may write it' $d/log.become
echo "== the process of a user keeps its descriptors to itself"
smtp carol
eventually 'test $(count carol) = 3'
setpriv --reuid carol --regid carol --init-groups sh -c 'ls /proc/$(pgrep -n -U carol deliver-local)/fd' 2>&1 | sed 's,/proc/[0-9]*,/proc/PID,'
echo "== a password of the system"
serve mailpam pamcheck
serve mailauth mailauthd
serve vmail imapd
serve vmail pop3d
serve maillogin maillogin
eventually 'test -S /run/pennypost/pam/sock -a -S /run/pennypost/login/sock -a -S /run/pennypost/sessions/imapd.sock'
eventually 'exec 3<>/dev/tcp/127.0.0.42/10143'
imap() { curl -s --max-time 20 "imap://127.0.0.42:10143/$1" -u "$2" | tr -d '\r'; }
ln -s ../project /home/alice/Maildir/.Project
mkdir -m 2770 /home/alice/project /home/alice/project/cur /home/alice/project/new /home/alice/project/tmp
chown -R alice:team /home/alice/project; chmod -R 2770 /home/alice/project; chown -h alice: /home/alice/Maildir/.Project
imap "" "alice:geheim und lang" | sort
imap "INBOX;MAILINDEX=1" "alice@example.org:geheim und lang" | grep -v '^Received\|^\s'
printf 'Subject: plan\r\n\r\nour plan\r\n' >$d/plan.eml
curl -s --max-time 20 -T $d/plan.eml "imap://127.0.0.42:10143/Project" -u "alice:geheim und lang"; echo "append: $?"
find /home/alice/project -type f -path '*/[nc]*/*' -printf 'a file of %u:%g %m\n'
curl -s --max-time 20 "imap://127.0.0.42:10143/" -u "alice:falsch"; echo "wrong: $?"
curl -s --max-time 20 "pop3://127.0.0.42:10110/1" -u "alice:geheim und lang" | tr -d '\r' | tail -1 # RETR
curl -s --max-time 20 "pop3://127.0.0.42:10110/" -u "alice:falsch"; echo "wrong: $?"
imap "INBOX;MAILINDEX=1" "bob:auch geheim 7" | grep -c Delivered-To # whose shell lets nobody log in, and mail is no shell
usermod -L bob; imap "" "bob:auch geheim 7"; usermod -U bob
curl -s --max-time 20 "imap://127.0.0.42:10143/" -u "root:root"; echo "root: $?"
curl -s --max-time 20 "imap://127.0.0.42:10143/" -u "nosuch:x"; echo "nosuch: $?"
echo "== processes"
eventually '! pgrep -U alice,bob,carol,dave'
pgrep -l -U alice,bob,carol,dave
grep -h denied $d/log.deliver-local $d/log.become $d/log.queue-run $d/log.smtpd $d/log.mailgetent

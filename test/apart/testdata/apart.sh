# A host of its own with virtual and Unix users, whose logins are apart from their mail: /etc, /var, /run and /home are private copies of
# this mount namespace, and every program runs under its own uid.
# $1: a directory to work in. $2: the programs. $3: the sample of mail.toml. $4: the test, which puts itself in maillogin's place.
d=$1; export PATH=$d/bin:$PATH
set -e
mkdir -p $d/bin $d/etc $d/run $d/home $d/var/spool $d/var/mail $d/var/lib $d/var/tmp
cp -a /etc/. $d/etc/
cp $2/* $d/bin; cp $4 $d/stub; chown root:root $d/bin/*; chmod 755 $d/bin/* $d/stub
mount --bind $d/etc /etc; mount --bind $d/var /var; mount --bind $d/run /run; mount --bind $d/home /home
chmod 755 $d
mailsetup --users | sh
mailsetup --sample $3 >/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=mx.example.org -addext subjectAltName=IP:127.0.0.43 \
  -keyout /etc/pennypost/tls/key.pem -out /etc/pennypost/tls/cert.pem 2>/dev/null
chgrp mailtls /etc/pennypost/tls/*; chmod 640 /etc/pennypost/tls/*
cat >/etc/pennypost/mail.toml <<.
hostname = "mx.example.org"
[tls]
certificates = ["tls/cert.pem"]
keys = ["tls/key.pem"]
[login]
socket = "/run/pennypost/login/sock"
clear_networks = ["127.0.0.99/32"]
[maillogin]
proxy_networks = ["127.0.0.98/32"]
imap = "127.0.0.43:10143"
imaps = "127.0.0.43:10993"
pop3 = "127.0.0.43:10110"
pop3s = "127.0.0.43:10995"
[imapd]
per_user = 2
sessions = "/run/pennypost/sessions/imapd.sock"
[pop3d]
sessions = "/run/pennypost/sessions/pop3d.sock"
[smtpd]
submission = "127.0.0.43:10587"
[queue.workers]
local = "unix:/run/pennypost/local/sock"
.
echo example.org >/etc/mailname
mailuser domain add example.org >/dev/null
mailuser domain add unix.example --system >/dev/null
groupadd -g 3000 team
useradd -m -u 2101 -s /bin/bash -G team uma
echo "looking glass 1" | mailuser user add alice@example.org --stdin >/dev/null
echo "through the 2" | mailuser user add bob@example.org --stdin >/dev/null
useradd -m -u 2102 -s /bin/bash carl
echo "homely word 3" | mailuser credential add uma@unix.example main --stdin >/dev/null
set +e
cd /

as() { u=$1; shift; setpriv --reuid $u --regid $u --init-groups "$@"; }
serve() { u=$1; shift; setpriv --reuid $u --regid $u --init-groups "$@" 2>>$d/log.$1 </dev/null >/dev/null & pids="$pids $!"; }
trap 'kill $pids 2>/dev/null; wait' EXIT
eventually() { for i in $(seq 100); do eval "$1" >/dev/null 2>&1 && return; sleep 0.1; done; echo "never: $1"; }

become 2>>$d/log.become </dev/null & pids=$!
serve mailgetent mailgetent
serve mailauth mailauthd
serve vmail imapd
serve vmail pop3d
serve vmail deliver-local --listen /run/pennypost/local/sock
serve maillogin maillogin
login=$!
serve mailin smtpd
r=/run/pennypost
eventually "test -S $r/login/sock -a -S $r/sessions/imapd.sock -a -S $r/sessions/pop3d.sock -a -S $r/become.sock -a -S $r/local/sock -a -S $r/getent/sock"
eventually 'exec 3<>/dev/tcp/127.0.0.43/10995'

echo "== clients"
printf 'Subject: hi\r\nFrom: alice@example.org\r\n\r\nhello\r\n' >$d/m
get() { curl -sk --max-time 20 "$@" | tr -d '\r'; }
for who in "alice@example.org:looking glass 1" "uma@unix.example:homely word 3"; do
  get imaps://127.0.0.43:10993/INBOX -T $d/m -u "$who"
  get "imaps://127.0.0.43:10993/INBOX;MAILINDEX=1" -u "$who" | tail -1
  get pop3s://127.0.0.43:10995/1 -u "$who" | tail -1
  get --interface 127.0.0.99 "imap://127.0.0.43:10143/INBOX;MAILINDEX=1" -u "$who" | tail -1
done
for url in "imaps://127.0.0.43:10993/INBOX;MAILINDEX=1" pop3s://127.0.0.43:10995/1; do # as by a load balancer, and past it
  get --interface 127.0.0.98 --haproxy-protocol "$url" -u "alice@example.org:looking glass 1" | tail -1
  curl -sk --interface 127.0.0.98 --max-time 20 "$url" -u "alice@example.org:looking glass 1"; echo "without a header: $?"
  curl -sk --haproxy-protocol --max-time 20 "$url" -u "alice@example.org:looking glass 1"; echo "a header from anybody: $?"
done
curl -sk --max-time 20 imaps://127.0.0.43:10993/ -u "alice@example.org:looking glass 2"; echo "wrong password: $?"
curl -sk --max-time 20 smtp://127.0.0.43:10587 --ssl-reqd --mail-from alice@example.org --mail-rcpt bob@example.org -T $d/m -u "alice@example.org:looking glass 1"; echo "submission: $?"
find /var/mail /home -type f -path '*Maildir/*' -name '*mx.example.org*' -printf 'a file of %u:%g in %P\n' | sed 's,/[0-9][^/]*$,,' | sort
echo "== a session of each"
exec 3> >(openssl s_client -quiet -connect 127.0.0.43:10993 2>/dev/null | tr -d '\r' | cut -c1-20 >$d/alice)
printf 'a LOGIN alice@example.org "looking glass 1"\r\n' >&3
exec 4> >(openssl s_client -quiet -connect 127.0.0.43:10993 2>/dev/null | tr -d '\r' | cut -c1-20 >$d/uma)
printf 'a LOGIN uma@unix.example "homely word 3"\r\n' >&4
eventually "pgrep -U uma imapd"
ps -o user:12=,args= -p "$(echo $pids $(pgrep -U uma imapd) | tr " " ,)" | tr -s " " | sort
tr '\0' '\n' </proc/$(pgrep -U uma imapd)/environ | sort
grep -E '^(Groups|NoNewPrivs|Seccomp|CapBnd):' /proc/$(pgrep -U uma imapd)/status | tr -s '\t ' ' ' | sed 's/ $//; s/ 0*c0/ c0/'
echo "== what each can read"
for u in maillogin mailin vmail mailauth uma; do
  can=
  for f in /etc/pennypost/tls/key.pem /etc/pennypost/domains/example.org/users/alice/credentials/main /var/mail/pennypost/example.org /home/uma/Maildir /var/lib/pennypost/auth /run/pennypost/sessions; do
    as $u ls $f >/dev/null 2>&1 && as $u test -r $f && can="$can $f"
  done
  echo "$u:$can"
done
echo "== devices of a Unix user"
mailuser domain list
printf 'Subject: hi\r\nFrom: carl@unix.example\r\n\r\nhello\r\n' >$d/c
mailuser device add carl@unix.example phone >$d/phone
mailuser device add carl@unix.example reader --scope imap >$d/reader
sed 's/^password .*/password  …/' $d/phone
find /etc/pennypost/domains/unix.example/users/carl -printf '%P %u:%g %m\n' | sort
phone=$(sed -n 's/^password *//p' $d/phone) reader=$(sed -n 's/^password *//p' $d/reader)
get imaps://127.0.0.43:10993/INBOX -T $d/c -u "carl@unix.example:$phone"
get "imaps://127.0.0.43:10993/INBOX;MAILINDEX=1" -u "carl@unix.example:$reader" | tail -1
get pop3s://127.0.0.43:10995/1 -u "carl@unix.example:$phone" | tail -1
submit() { curl -sk --max-time 20 smtp://127.0.0.43:10587 --ssl-reqd --mail-from carl@unix.example --mail-rcpt bob@example.org -T $d/c -u "carl@unix.example:$1"; }
submit "$phone"; echo "submission: $?"
submit "$reader"; echo "submission with what is for imap: $?"
mailuser logins carl@unix.example | awk '{print $2,$3,$5,$6}' | sort | uniq
exec 5> >(openssl s_client -quiet -connect 127.0.0.43:10993 2>/dev/null >/dev/null)
printf 'a LOGIN carl@unix.example "%s"\r\n' "$phone" >&5
eventually "pgrep -U carl imapd"
exec 6> >(openssl s_client -quiet -connect 127.0.0.43:10993 2>/dev/null >/dev/null)
printf 'a LOGIN carl@unix.example "%s"\r\n' "$reader" >&6
eventually 'test $(pgrep -U carl imapd | wc -l) = 2'
curl -skv --max-time 20 imaps://127.0.0.43:10993/ -u "carl@unix.example:$phone" 2>&1 | grep -o '\[LIMIT\]' # one more than imapd.per_user
mailuser device remove carl@unix.example reader
eventually 'test $(pgrep -U carl imapd | wc -l) = 1'
get "imaps://127.0.0.43:10993/INBOX;MAILINDEX=1" -u "carl@unix.example:$phone" | tail -1
mailuser device remove carl@unix.example phone
for i in $(seq 50); do pgrep -U carl imapd >/dev/null || break; sleep 0.1; done; echo "after five seconds: $(pgrep -l -U carl)"
exec 5>&- 6>&-
echo "== in maillogin's place"
kill $login; wait $login
STUB_DIR=/run/pennypost as maillogin $d/stub -test.run '^TestStub$' 2>&1 | sed '/^PASS$/d'
exec 3>&-
echo "== a device that is removed"
rm /etc/pennypost/domains/unix.example/users/uma/credentials/main
eventually "! pgrep -U uma imapd"
pgrep -l -U uma
exec 4>&-
grep -h denied $d/log.*

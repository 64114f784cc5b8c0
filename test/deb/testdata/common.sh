# what both scripts use; PID is process 1 of the tree
in="nsenter -t $PID -a --"  # in the tree
net="nsenter -t $PID -n --" # a client of the host, in the network of the tree
eventually() { for i in $(seq 150); do eval "$1" >/dev/null 2>&1 && return; sleep 0.2; done; echo "never: $1"; }
send() { # PORT FROM TO [USER PASSWORD]
	if [ $# -gt 3 ]; then set -- "$1" "$2" "$3" -tls --auth PLAIN --auth-user "$4" --auth-password "$5"; fi
	port=$1 from=$2 to=$3; shift 3
	$net swaks --server 127.0.0.1:$port --helo client.example.net --from $from --to $to --body "mark $RANDOM" "$@" 2>&1 | sed -n 's/^<[-~*]*  *\(\(235\|[45][0-9][0-9]\) .*\|250 2.0.0\) .*/\1/p' | cut -c 1-9
}
imap() { $net curl -sk --ssl-reqd --max-time 30 -u "$1:$2" "imap://127.0.0.1/INBOX" -X 'STATUS INBOX (MESSAGES)' | tr -d '\r'; }
pop() { $net curl -sk --ssl-reqd --max-time 30 -u "$1:$2" "pop3://127.0.0.1/" | wc -l | sed 's/^/pop3: /'; }
configure() {
	$in sh -c 'set -e
	sed -i "s/^#hostname = \"\"/hostname = \"mx.example.org\"/; s|^#certificates = \[\]|certificates = [\"tls/mx.pem\"]|; s|^#keys = \[\]|keys = [\"tls/mx.key\"]|" /etc/pennypost/mail.toml
	mkdir /etc/pennypost/domains/example.org
	touch /etc/pennypost/domains/example.org/system
	useradd -m -s /bin/sh bob
	echo bob:open-sesame-1 | chpasswd
	mailcert self mx.example.org >/dev/null
	mailkey create --algorithm ed25519 example.org >/dev/null
	smtpd -n; queue-run -n; maillogin -n; imapd -n; pop3d -n'
	mailuser=$($in mailuser user add alice@example.org)
	password=$(echo "$mailuser" | sed -n 's/^password: //p')
}

# In the tree: the breaker under each uid, with no supervisor's sandbox but what etc/runit gives.
for u in smtpd:mailin maillogin:maillogin mailauthd:mailauth imapd:vmail pop3d:vmail queue-run:mailqueue queue-pickup:mailpick deliver-local:vmail \
	deliver-remote:mailout mailkey:mailsign mailwebd:mailweb mailcert:mailcert; do
	user=${u##*:}
	setpriv --reuid $user --regid $user --init-groups --bounding-set -all --no-new-privs breaker --plain ${u%%:*}
done >/run/breaker
grep ALLOWED /run/breaker
sed -n 's/^[a-z-]* \([a-z-]* not available\)$/\1/p' /run/breaker | sort -u
[ "$(grep -c ' denied: ' /run/breaker)" -gt 300 ] && echo "all else is denied"

# In the tree: every unit starts the breaker in place of its program, and it says what it could not do (S161).
for u in smtpd:smtpd mx-each@x:smtpd maillogin:maillogin mailauthd:mailauthd imapd:imapd pop3d:pop3d imap-each@x:imapd queue-run:queue-run queue-pickup:queue-pickup deliver-local:deliver-local deliver-remote:deliver-remote mailkey:mailkey mailwebd:mailwebd mailcert:mailcert; do
	unit=pennypost-${u%%:*}.service program=${u##*:}
	dir=/run/systemd/system/$(echo $unit | sed 's/@x/@/').d
	mkdir -p $dir
	printf '[Service]\nType=oneshot\nNotifyAccess=none\nWatchdogSec=0\nRestart=no\nRuntimeMaxSec=infinity\nStandardInput=null\nStandardOutput=file:/run/breaker.%s\nExecStart=\nExecStart=/usr/local/bin/breaker %s\n' ${u%%:*} $program >$dir/99-breaker.conf
done
systemctl daemon-reload
for dropin in /run/systemd/system/*.d/99-breaker.conf; do
	unit=$(basename "$(dirname "$dropin")" .d | sed 's/@/@x/')
	systemctl start "$unit" || echo "$unit did not run"
	rm "$dropin"
done
systemctl daemon-reload
cat /run/breaker.* >/run/breaker
grep ALLOWED /run/breaker
sed -n 's/.* \(Landlock: not available.*\)/\1/p' /run/breaker | sort -u
[ "$(grep -cE ' (denied:|not available)' /run/breaker)" -gt 400 ] && echo "all is denied or not available"

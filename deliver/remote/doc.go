/*
Package remote takes messages to other hosts: one message, one site, one connection at a time, as the client of
RFC 5321 or, for lmtp: sites, of RFC 2033.

	queue-run ── orders ──▶ worker.go ──▶ deliver.go ─ which hosts ─▶ hosts.go (MX)  dial.go (addresses)
	             answers ◀──     one goroutine an order │             memory.go (who did not answer, who has no TLS)
	                                                    ▼
	                 pool.go (idle) ◀──▶ session.go  greeting, EHLO   starttls.go  auth.go  reply.go
	                                                    ▼
	                             transaction.go  MAIL, RCPT, DATA or BDAT   body.go, wire.go (LF becomes CRLF)
	                             sign.go ─pipe─▶ mailkey sign: what goes on top

	policy.go      what TLS must do: DANE, MTA-STS, mail.toml, what is to be had, REQUIRETLS     dane/ sts/
	validate.go    whether what DNS says counts for DANE
	starttls.go    whether it was done, and what that is called: dane mta-sts verified … none     downgrade/
	tlsreport.go   what is counted for the domain

It keeps no message. It reads it from the descriptor of its order and asks DNS; what it has learnt of hosts and its idle
connections die with it, and nothing is lost. If it is killed after a host took a message and before the answer reached
queue-run, the message is sent again: RFC 5321 section 4.5.4.1 prefers twice to never.

What it learns of TLS elsewhere stays, in files that anybody may remove; a crash leaves the old or the new one:

	STATE/sts/DOMAIN         the domain's MTA-STS policy              package sts
	STATE/tls/DOMAIN         that the domain had TLS                  package downgrade
	STATE/reports/tls/DAY    a line for each session                  package tlsrpt

What becomes of a recipient:

	K   a host said 2yz to the end of the data (LMTP: for this recipient)
	D   a host said 5yz, or there is no host: null MX, no such domain, only ourselves
	Z   all else: 4yz, no connection, DNS without an answer, the answer to the final dot lost

The hosts of a site are tried in the order of their preference. The next one is tried when a host cannot be reached,
does not greet, lacks what the message needs, or says 4yz or 421 before it has judged the recipients. What a host says
about a recipient stands for this attempt. If no host could be spoken to, an S line tells queue-run so.
*/
package remote

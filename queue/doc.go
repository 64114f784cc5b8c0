/*
Package queue is the spool: the one place where a message rests between being accepted and
being delivered or bounced. It knows nobody who uses it. spool(5) is its manual.

A message with id 0fk2v9qk3x7m2c000-a is up to three files, each with one writer:

	0fk2v9qk3x7m2c000-a     envelope, blank line, message; immutable   written by its producer
	0fk2v9qk3x7m2c000-a.r   recipients of a list message; immutable    written by its producer
	0fk2v9qk3x7m2c000-a.s   one line per event, append only            written by queue-run
	results/2026-11-22T04   one line per event, all messages           written by queue-run

The envelope is text, made to be read with cat:

	pennypost: 1
	id: 0fk2v9qk3x7m2c000-a
	via: mx esmtps ip=192.0.2.7 helo=mx.example.net
	from: alice@example.net
	rcpt: 1 bob@example.org NOTIFY=FAILURE
	body: 000000048213 lf 3b7f0a…            length, line ends, half a SHA-256

A message for one virtual mailbox may be ID.m,S=…,W=…,H=… instead: no envelope, but a message as
the Maildir wants it, with Return-Path, Delivered-To and Received in front. Its name proves it.

Where the file is says what is owed:

	    in                  meaning                          after a crash
	T   in/P/tmp/           being written, not acknowledged  removed after 36 hours
	N   in/P/new/           accepted: we owe delivery or DSN found by the next scan
	Q   q/DAY/MINUTE/       known to queue-run, being tried  tried again, less what the journal has
	H   hold/               put aside by a person or a rule  untouched
	B   bad/                not what it says it is           untouched, NAME.why says why

T becomes N by one rename(2) and an fsync of the file. That is the moment of RFC 5321
section 6.1; only after it does a producer say 250. The rename is not durable before the fsync,
and a file found by a scan may be torn: so a spool file proves itself by length and hash.

A crash may deliver twice. It never loses a message.
*/
package queue

/*
Package msgauth says whether a message is from whom it says: SPF, DKIM, DMARC and ARC, and the Authentication-Results about them;
and it signs what we send. Nothing of it lies on the disk: keys are mailkey's, the message is whoever's who writes it in.

	smtpd ─▶ Checker.Begin(client) ─ Write(message) ─▶ End ─▶ Report ─▶ Header()  Authentication-Results, on top of the message
	            │ SPF, iprev: at once                              ├──▶ Checks()  the checks: line of the envelope, the log
	            │ keys: when the header is over                    └──▶ DMARC.Do  none, quarantine, reject
	            │ body hashes: as it passes
	deliver-remote ─▶ Digester ─ Digest ─▶ signer.Client ─pipe─▶ mailkey sign: Sign, Seal ─▶ fields on top of the message

One pass is enough, and its memory does not grow with the message: the header is kept (up to 1 MiB), the body goes through a hash for each
of the two canonical forms that a signature asks for. Lines may end in LF, as in the spool, or in CRLF; what is hashed has CRLF.

	message.go        one pass: the header, and what of it a signature picks
	canon.go          the canonical forms (RFC 6376 section 3.4)
	tags.go           NAME=VALUE; NAME=VALUE
	signature.go      DKIM-Signature, ARC-Message-Signature, ARC-Seal as text
	key.go            key records
	dkim.go           the verdict on a signature (RFC 6376, 8301, 8463, 8616)
	spf.go            SPF by blitiri.com.ar/go/spf (RFC 7208), with our resolver and limits; spfrecord.go is the grammar
	author.go         who a message says it is from, and when it says so in two ways
	dmarc.go          the tree walk and the verdict (RFC 9989); dmarcrecord.go is the record
	arc.go            the verdict on a chain (RFC 8617), and whose word counts
	authres.go        Authentication-Results read (RFC 8601), forged ones told; authreswrite.go writes them
	strip.go          a message passed on less the forged ones
	checker.go        all of it for one message; report.go is what comes out
	sign.go           DKIM signatures and ARC sets of our own
	signer/           the pipe to the process that has the keys
	mailverify/       the program that shows why

What costs is bounded, whatever the message and the records say (S049 to S058):

	8 signatures       and 1000 names in h=; an RSA key has 1024 to 4096 bits
	40 questions       to DNS for SPF, 20 s; 10 terms, 2 void answers, 10 exchanges (RFC 7208 section 4.6.4)
	8 questions        of a tree walk, and no walk from a domain that could not align
	50 sets            of ARC; the seals are not looked at until the newest signature fits

What is judged is the message as it came; Stripper takes the forged Authentication-Results out of what is kept. The verdict is known when the
last octet is there and stands before the first: who keeps a message while it comes leaves room for HeaderOf.

An answer that did not come is temperror and never fail. A signature with l= is neutral: it would fit a message with anything
appended (S050).
*/
package msgauth

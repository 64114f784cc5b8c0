package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"pennypost/internal/dns/fixture"
	"pennypost/msgauth"
	"pennypost/test/lab"
	"pennypost/test/peers"
	"pennypost/test/sink"
)

// resolver is where the milters ask: they know no other port than 53. What it costs is nobody's.
const resolver = "127.0.0.53"

// compareJudges is bench milters: every message is signed, and both sides do SPF, DKIM and DMARC before they take it.
func compareJudges(o options) error {
	want, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	d, err := o.disk()
	if err != nil {
		return err
	}
	defer d.remove()
	text, zone, err := signedLetter()
	if err != nil {
		return err
	}
	dns, err := fixture.Start(resolver+":53", zone)
	if err != nil {
		return err
	}
	defer dns.Close()
	servers, err := startJudges(d, o, dns.Addr())
	for _, s := range servers {
		defer s.stop()
	}
	if err != nil {
		return err
	}
	for _, s := range servers {
		if err := s.warm(); err != nil {
			return err
		}
	}
	jobs := []job{ // with one client the milters wait for DNS most of the time: few messages will do
		deliverWhole("judged, signed, 4 KiB, 1 client", 300, 1, text),
		deliverWhole("judged, signed, 4 KiB, 10 clients", 3000, 10, text),
	}
	if o.quick {
		jobs = []job{deliverWhole("judged, signed, 4 KiB, 10 clients", 300, 10, text)}
	}
	var figures []figure
	for rep := range o.reps {
		for _, j := range jobs {
			if !want.MatchString(j.row) {
				continue
			}
			for i := range servers {
				f := measure(servers[(i+rep)%len(servers)], j, nil)
				fmt.Fprintf(os.Stderr, "round %d  %-40s %-10s %s\n", rep+1, f.row, f.server, f.line())
				figures = append(figures, f)
			}
		}
	}
	var b strings.Builder
	report(&b, figures, fmt.Sprintf("%s, %d CPUs, %s, %d rounds in turns, median (least–most). Postfix has OpenDKIM and OpenDMARC as milters, their CPU is counted with it.",
		time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), d.what, o.reps))
	return o.print(b.String())
}

func startJudges(d *disk, o options, dns string) (servers []*server, err error) {
	ours, host, err := startPennypost(d, o.bin, o.base, "", map[string]string{"smtpd.relay_networks": "[]", "dns.server": fmt.Sprintf("[%q]", dns)}, (*lab.Host).Judge)
	if err != nil {
		return nil, err
	}
	servers = append(servers, ours)
	ours.check = func() error { return judgedBy(host.Maildir("u0"), "dkim=pass", "dmarc=pass", "spf=pass") }
	m := newMeter("postfix")
	ask := func(port int) peers.Options {
		return peers.Options{Dir: d.dir, Domain: "bench.test", IP: "127.0.0.11", Port: o.base + port, Wrap: m.wrap()}
	}
	dkim, err := peers.StartOpenDKIM(ask(891), resolver, "Mode v\nInternalHosts /etc/nobody\n")
	if err != nil {
		fmt.Fprintf(os.Stderr, "OpenDKIM, and with it Postfix, is left out: %v\n", err)
		return servers, nil
	}
	dmarc, err := peers.StartOpenDMARC(ask(893), resolver)
	if err != nil {
		dkim.Stop()
		return servers, err
	}
	po := ask(25)
	po.Users, po.Extra = userNames(), peers.Milters(dkim.Addr, dmarc.Addr)
	p, err := peers.StartPostfix(po, false)
	if err != nil {
		dkim.Stop()
		dmarc.Stop()
		return servers, err
	}
	theirs := &server{name: "postfix", addr: p.Addr, domain: "bench.test", meter: m, queued: p.Queued,
		stop: func() { p.Stop(); dkim.Stop(); dmarc.Stop(); m.close() }}
	for _, u := range userNames() {
		theirs.maildirs = append(theirs.maildirs, p.Maildir(u))
	}
	theirs.check = func() error { return judgedBy(p.Maildir("u0"), "dkim=pass", "dmarc=pass") }
	return append(servers, theirs), nil
}

// judgedBy reports whether a message in the Maildir has these results: both sides are to do the same work.
func judgedBy(maildir string, want ...string) error {
	_, texts, err := lab.Find(10*time.Second, maildir, "Subject: signed", 1)
	if err != nil {
		return err
	}
	header, _, _ := strings.Cut(texts[0], "\n\n")
	for _, w := range want {
		if !strings.Contains(header, w) {
			return fmt.Errorf("%s: no %s in\n%s", filepath.Dir(maildir), w, header)
		}
	}
	return nil
}

// deliverWhole is deliver of one text again and again.
func deliverWhole(row string, n, clients int, text []byte) job {
	return job{row, func(s *server, _ *sink.Server) (int, time.Duration, error) {
		a, err := watchNew(s.maildirs, false)
		if err != nil {
			return 0, 0, err
		}
		defer a.close()
		begun := time.Now()
		l := load{addr: s.addr, from: "sender@signed.example", rcpt: s.rcpt, n: n, clients: clients, whole: text}
		if _, err := l.run(); err != nil {
			return 0, 0, err
		}
		err = a.wait(int64(n), 60*time.Second)
		t := time.Since(begun)
		if err == nil {
			err = s.check()
		}
		return n, t, err
	}}
}

// signedLetter is a message of 4 KiB with a signature by an RSA key, which both sides know, and what DNS has to say. OpenDKIM's resolver
// does not ask for names in test (RFC 6761), hence example.
func signedLetter() (text []byte, zone string, err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, "", err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, "", err
	}
	l := load{size: 4096}
	letter := "From: <sender@signed.example>\nTo: <u0@bench.test>\nSubject: signed\nDate: Tue, 24 Nov 2026 12:00:00 +0000\nMessage-ID: <1@signed.example>\n\n" +
		strings.ReplaceAll(string(l.body()), "\r\n", "\n")
	digest, err := msgauth.ReadDigest(strings.NewReader(letter))
	if err != nil {
		return nil, "", err
	}
	signature, err := msgauth.Sign(digest, []msgauth.Key{{Domain: "signed.example", Selector: "s", Signer: key}}, time.Now(), msgauth.Lifetime)
	if err != nil {
		return nil, "", err
	}
	record := "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)
	zone = fmt.Sprintf(`$TTL 86400
signed.example              MX  10 mx.signed.example
mx.signed.example           A   127.0.0.1
signed.example              TXT "v=spf1 ip4:127.0.0.0/8 -all"
_dmarc.signed.example       TXT "v=DMARC1; p=reject"
s._domainkey.signed.example TXT %q %q
127.0.0.1                PTR mx.signed.example
bench.test               TXT "v=spf1 ip4:127.0.0.0/8 -all"
elsewhere.test           MX  10 mx.signed.example
`, record[:200], record[200:])
	return bytes.ReplaceAll(append(signature, letter...), []byte("\n"), []byte("\r\n")), zone, nil
}

package mailkey

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Record is one record that DNS should have.
type Record struct {
	Name    string `json:"name"` // without a dot at its end
	Type    string `json:"type"`
	Value   string `json:"value"` // names in it likewise; a TXT is whole, however long
	Level   string `json:"level"` // must, should, nice
	Why     string `json:"why"`
	Without string `json:"without"` // what breaks without it
}

// Host is the machine that mail for the domain goes to.
type Host struct {
	Name      string       // of mail.toml, the name in HELO
	Addresses []netip.Addr // that it sends from; nil leaves A, AAAA and PTR out
	TLSA      []string     // values of TLSA for port 25: of the key, and of the next one
}

// words are the files in which a domain may say that a record of it is to be another.
type words struct{ mx, spf, dmarc, sts, tlsrpt string }

func (s *Store) words(n Name) (w words, err error) {
	for _, f := range []struct {
		file string
		to   *string
	}{{"mx", &w.mx}, {"spf", &w.spf}, {"dmarc", &w.dmarc}, {"mta-sts", &w.sts}, {"tlsrpt", &w.tlsrpt}} {
		if *f.to, err = s.setting(n, f.file); err != nil {
			return w, err
		}
	}
	w.sts = cmp.Or(w.sts, "testing")
	if !slices.Contains([]string{"off", "none", "testing", "enforce"}, w.sts) {
		return w, fmt.Errorf("%s/%s/mta-sts holds %q, and may be off, none, testing or enforce", s.Dir, n.Dir, w.sts)
	}
	return w, nil
}

// Records lists all that DNS should have for a domain.
func (s *Store) Records(n Name, h Host) ([]Record, error) {
	keys, err := s.Keys(n)
	if err != nil {
		return nil, err
	}
	w, err := s.words(n)
	if err != nil {
		return nil, err
	}
	h.Name = strings.ToLower(strings.TrimSuffix(h.Name, "."))
	list := mailRecords(n.ASCII, h, w)
	for _, k := range keys {
		list = append(list, Record{k.Selector + "._domainkey." + n.ASCII, "TXT", k.Record, "must",
			"the " + k.Algorithm + " key " + keyWhy[k.State],
			keyWithout[k.State]})
	}
	list = append(list, policyRecords(n.ASCII, h, w)...)
	list = append(list, clientRecords(n.ASCII, h)...)
	return append(list, hostRecords(n.ASCII, h)...), nil
}

var keyWhy = map[State]string{Sign: "that signs our mail (DKIM)", Publish: "that will sign next: caches must know it before",
	Retire: "that signed until lately: mail signed with it is still on its way"}

var keyWithout = map[State]string{Sign: "signatures do not verify; Gmail, Yahoo and Microsoft refuse or bin our mail",
	Publish: "mailkey rotate waits, and the old key is used for ever", Retire: "what waits in queues fails when it arrives"}

// mailRecords say where mail goes and who may send it.
func mailRecords(domain string, h Host, w words) (list []Record) {
	for _, mx := range exchanges(h, w) {
		list = append(list, Record{domain, "MX", mx, "must", "where mail for " + domain + " is delivered",
			"mail goes to the A record of the domain, or nowhere"})
	}
	spf := cmp.Or(w.spf, "v=spf1 mx a:"+h.Name+" -all")
	return append(list, Record{domain, "TXT", spf, "must", "who may send with our reverse-path (SPF)",
		"big providers refuse our mail or bin it; anybody may use our name"})
}

// exchanges are the values of MX.
func exchanges(h Host, w words) (list []string) {
	for line := range strings.Lines(w.mx) {
		if f := strings.Fields(line); len(f) == 2 {
			list = append(list, f[0]+" "+strings.ToLower(strings.TrimSuffix(f[1], ".")))
		}
	}
	if len(list) == 0 {
		list = []string{"10 " + h.Name}
	}
	return list
}

// policyRecords say what others are to do with mail in our name, and how they are to bring us ours.
func policyRecords(domain string, h Host, w words) []Record {
	dmarc := cmp.Or(w.dmarc, "v=DMARC1; p=none; rua=mailto:postmaster@"+domain)
	list := []Record{{"_dmarc." + domain, "TXT", dmarc, "must",
		"what others do with mail in our name that fails, and where they report it (DMARC); begin with p=none, read the reports for weeks, then quarantine, then reject",
		"big providers bin mail of those who send much; forged mail is delivered and nobody tells us"}}
	if w.sts != "off" {
		list = append(list,
			Record{"_mta-sts." + domain, "TXT", "v=STSv1; id=" + policy(h, w).ID(), "should",
				"others bring us mail by verified TLS only (MTA-STS); id changes with the policy", "whoever sits between may read and change mail to us"},
			Record{"mta-sts." + domain, "CNAME", h.Name, "should", "where the MTA-STS policy is fetched, by HTTPS", "the policy is not found, as if there were none"})
	}
	list = append(list, Record{"_smtp._tls." + domain, "TXT", cmp.Or(w.tlsrpt, "v=TLSRPTv1; rua=mailto:postmaster@"+domain), "should",
		"others report when they cannot reach us by TLS (TLS-RPT)", "a broken certificate is found out by complaints"})
	for _, host := range elsewhere(domain, dmarc) {
		list = append(list, Record{domain + "._report._dmarc." + host, "TXT", "v=DMARC1", "must",
			host + " agrees to have the reports about " + domain + "; it stands in the zone of " + host, "nobody sends the reports (RFC 9990 section 4)"})
	}
	return list
}

// elsewhere are the hosts in rua= that are not of the domain: they have to agree. Whether one above or below it is of the same organization only a
// walk through DNS could tell; it is, for all who have one name registered.
func elsewhere(domain, dmarc string) (hosts []string) {
	for tag := range strings.SplitSeq(dmarc, ";") {
		name, value, _ := strings.Cut(tag, "=")
		if strings.TrimSpace(name) != "rua" {
			continue
		}
		for uri := range strings.SplitSeq(value, ",") {
			uri, _, _ = strings.Cut(strings.TrimSpace(uri), "!")
			at := strings.LastIndexByte(uri, '@')
			host := strings.ToLower(uri[at+1:])
			if at < 0 || host == domain || strings.HasSuffix(host, "."+domain) || strings.HasSuffix(domain, "."+host) || slices.Contains(hosts, host) {
				continue
			}
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// clientRecords let mail programs set themselves up (RFC 6186, RFC 8314). A target "." says that there is none.
func clientRecords(domain string, h Host) (list []Record) {
	for _, service := range []struct {
		name  string
		port  int // 0 is none
		level string
		why   string
	}{
		{"_submissions._tcp", 465, "should", "mail programs find where to send, by TLS"},
		{"_submission._tcp", 587, "nice", "mail programs find where to send, by STARTTLS"},
		{"_imaps._tcp", 993, "should", "mail programs find IMAP, by TLS"},
		{"_pop3s._tcp", 995, "nice", "mail programs find POP3, by TLS"},
		{"_imap._tcp", 0, "nice", "there is no IMAP without TLS"},
		{"_pop3._tcp", 0, "nice", "there is no POP3 without TLS"},
	} {
		value, without := fmt.Sprintf("0 1 %d %s", service.port, h.Name), "users type host and port by hand"
		if service.port == 0 {
			value, without = "0 0 0 .", "a mail program may try without TLS"
		}
		list = append(list, Record{service.name + "." + domain, "SRV", value, service.level, service.why, without})
	}
	return append(list, Record{"autoconfig." + domain, "CNAME", h.Name, "nice", "Thunderbird and others fetch their settings there",
		"users type host and port by hand"})
}

// hostRecords are those of the machine itself.
func hostRecords(domain string, h Host) (list []Record) {
	for _, a := range h.Addresses {
		typ := "AAAA"
		if a.Is4() {
			typ = "A"
		}
		list = append(list, Record{h.Name, typ, a.String(), "must", "the address of the mail host", "nobody finds the host"})
	}
	for _, a := range h.Addresses {
		list = append(list, Record{reverse(a), "PTR", h.Name, "must",
			"the name of the address we send from; the provider of the address sets it", "big providers refuse mail from addresses without a name"})
	}
	if h.Name != domain { // else it has a record already, and two are none
		list = append(list, Record{h.Name, "TXT", "v=spf1 a -all", "should", "the HELO name passes SPF, so bounces do, which have no other sender",
			"bounces of ours are doubted"})
	}
	for i, value := range h.TLSA {
		which := "the key of our certificate"
		if i > 0 {
			which = "the next key, before it is used"
		}
		list = append(list, Record{"_25._tcp." + h.Name, "TLSA", value, "should",
			which + " (DANE); good for something only where the zone is signed", "mail to us falls back to TLS that anybody in between may strip"})
	}
	return list
}

// reverse is the name of an address in in-addr.arpa or ip6.arpa.
func reverse(a netip.Addr) string {
	var b strings.Builder
	octets := a.Unmap().AsSlice()
	for _, o := range slices.Backward(octets) {
		if len(octets) == 4 {
			fmt.Fprintf(&b, "%d.", o)
		} else {
			fmt.Fprintf(&b, "%x.%x.", o&15, o>>4)
		}
	}
	if len(octets) == 4 {
		return b.String() + "in-addr.arpa"
	}
	return b.String() + "ip6.arpa"
}

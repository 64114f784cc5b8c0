package lab

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"pennypost/mailkey"
)

// bogus is a name that the lab's resolver refuses to answer for, as one that validates refuses bad signatures: dns.probe of its hosts.
const bogus = "bogus.test"

// Validate makes the lab's name server a resolver that has validated everything. It is the one that says so, and the zones are not
// signed: test/peers has zones that are, and a resolver that is none of ours.
func (l *Lab) Validate() {
	l.DNS.Misbehave("*", "!ad")
	l.DNS.Misbehave(bogus, "!servfail")
	for _, h := range l.Hosts {
		h.Keys["dns.probe"] = quote(bogus)
	}
}

// Unsigned makes a domain one that DNSSEC does not vouch for.
func (l *Lab) Unsigned(domain string) { l.DNS.Misbehave(domain, "!noad") }

// PublishTLS has the host publish what its mail must be brought by: TLSA records of its certificate, and an MTA-STS policy in mode
// enforce, served by its mailwebd.
func (h *Host) PublishTLS() error {
	values, err := mailkey.TLSA(h.etc("tls.pem"), h.etc("tls.key"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(h.etc("domains"), h.Name, "mta-sts"), []byte("enforce\n"), 0o644); err != nil {
		return err
	}
	store, err := mailkey.Open(h.etc("domains"))
	if err != nil {
		return err
	}
	name, err := store.Domain(h.Name)
	if err != nil {
		return err
	}
	policy, err := store.STS(name, mailkey.Host{Name: "mx." + h.Name})
	if err != nil {
		return err
	}
	h.Web = true
	for _, other := range h.lab.Hosts {
		other.Keys["remote.sts_port"] = strconv.Itoa(h.lab.Base + 443)
	}
	h.lab.DNS.Set(fmt.Sprintf("_%d._tcp.mx.%s", h.lab.Base+25, h.Name), "TLSA", values...)
	return h.lab.DNS.Load(fmt.Sprintf("_mta-sts.%[1]s TXT \"v=STSv1; id=%[2]s;\"\nmta-sts.%[1]s CNAME mx.%[1]s", h.Name, policy.ID()))
}

// web is where the host's mailwebd listens.
func (h *Host) web() string { return net.JoinHostPort(h.IP, strconv.Itoa(h.lab.Base+443)) }

// Results are the lines of the host's journal that have all of the words.
func (h *Host) Results(words ...string) (found []string, err error) {
	files, err := filepath.Glob(filepath.Join(h.Spool(), "results", "*"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
	lines:
		for line := range strings.Lines(string(text)) {
			for _, word := range words {
				if !strings.Contains(line, word) {
					continue lines
				}
			}
			found = append(found, strings.TrimSuffix(line, "\n"))
		}
	}
	return found, nil
}

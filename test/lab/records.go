package lab

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"pennypost/mailkey"
)

// PublishRecords makes the host sign what it sends, and has the lab's name server know all that mailkey dns says of its domain. What
// PublishTLS publishes comes first.
func (h *Host) PublishRecords() error {
	dir := filepath.Join(h.etc("domains"), h.Name)
	dmarc := "v=DMARC1; p=reject; rua=mailto:postmaster@" + h.Name
	if err := os.WriteFile(filepath.Join(dir, "dmarc"), []byte(dmarc+"\n"), 0o644); err != nil {
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
	if keys, err := store.Keys(name); err != nil || len(keys) == 0 {
		for _, algorithm := range mailkey.Algorithms {
			if _, err := store.Create(name, algorithm, ""); err != nil {
				return err
			}
		}
	}
	host := mailkey.Host{Name: "mx." + h.Name, Addresses: []netip.Addr{netip.MustParseAddr(h.IP)}}
	if host.TLSA, err = mailkey.TLSA(h.etc("tls.pem"), h.etc("tls.key")); err != nil {
		return err
	}
	records, err := store.Records(name, host)
	if err != nil {
		return err
	}
	h.publish(records)
	return nil
}

// publish puts records in the place of those with their names and types.
func (h *Host) publish(records []mailkey.Record) {
	type set struct{ name, typ string }
	values := map[set][]string{}
	for _, r := range records {
		value := r.Value
		if r.Type == "TXT" {
			value = mailkey.ZoneText(value)
		}
		s := set{r.Name, r.Type}
		values[s] = append(values[s], value)
	}
	for s, list := range values {
		if s.typ == "CNAME" && strings.HasPrefix(s.name, "mta-sts.") && !h.Web {
			continue
		}
		h.lab.DNS.Set(s.name, s.typ, list...)
	}
}

// Mailkey are the arguments of mailkey that speak of the host.
func (h *Host) Mailkey(verb string) []string {
	return []string{"-c", h.Config(), verb, "--address", h.IP, h.Name}
}

package peers

import (
	"fmt"
	"strings"
)

// Milters are OpenDKIM, which signs and verifies, and OpenDMARC, which also does SPF: what Postfix asks about a message.

// StartOpenDKIM starts it at o.IP and o.Port. config is more of its opendkim.conf; ns is the address of a name server at port 53. It
// verifies, and signs what it has a key for in config.
func StartOpenDKIM(o Options, ns, config string) (*Peer, error) {
	p, err := prepare("opendkim", "opendkim", o)
	if err != nil {
		return nil, err
	}
	p.greet = ""
	err = p.milter("opendkim", fmt.Sprintf("Socket inet:%d@%s\nNameservers %s\nSyslog no\nBackground no\nAlwaysAddARHeader yes\nAuthservID mx.%s\n%s",
		o.Port, o.IP, ns, o.Domain, config), ns)
	if err != nil {
		return nil, err
	}
	return p, p.start("/usr/sbin/opendkim", "-f", "-x", "/etc/opendkim.conf")
}

// StartOpenDMARC starts it at o.IP and o.Port: it believes what OpenDKIM of the same host wrote, asks SPF itself, and refuses what is to be refused.
func StartOpenDMARC(o Options, ns string) (*Peer, error) {
	p, err := prepare("opendmarc", "opendkim", o)
	if err != nil {
		return nil, err
	}
	p.greet = ""
	err = p.milter("opendmarc", fmt.Sprintf("Socket inet:%d@%s\nSyslog false\nAuthservID mx.%s\nTrustedAuthservIDs mx.%s\nIgnoreHosts /etc/nobody\nRejectFailures true\nSPFSelfValidate true\nSPFIgnoreResults true\n",
		o.Port, o.IP, o.Domain, o.Domain), ns)
	if err != nil {
		return nil, err
	}
	return p, p.start("/usr/sbin/opendmarc", "-f", "-c", "/etc/opendmarc.conf")
}

// milter writes what both have in the chroot.
func (p *Peer) milter(name, config, ns string) error {
	for file, text := range map[string]string{
		"etc/" + name + ".conf": config,
		"etc/nobody":            "10.9.9.9\n", // whom a milter would not look at; by default this host
		"etc/resolv.conf":       "nameserver " + ns + "\n",
	} {
		if err := p.write(file, text); err != nil {
			return err
		}
	}
	return nil
}

// Milters is main.cf for a Postfix that asks them.
func Milters(addrs ...string) string {
	var list []string
	for _, a := range addrs {
		list = append(list, "inet:"+a)
	}
	return "smtpd_milters = " + strings.Join(list, ", ") + "\nnon_smtpd_milters = \nmilter_default_action = tempfail\n"
}

package mailwebd

import (
	"encoding/xml"
	"fmt"
	"strings"

	"pennypost/internal/config"
)

// Service is one that a mail program may use, best first.
type Service struct {
	Type   string // imap, pop3, smtp
	Port   int
	Socket string // SSL, STARTTLS
}

// services are those that mail.toml opens. TLS from the first octet comes first (RFC 8314 section 3), IMAP before POP3.
func services(conf *config.Config) (list []Service) {
	for _, s := range []struct {
		on []string
		Service
	}{
		{conf.IMAPD.IMAPS, Service{"imap", 993, "SSL"}}, {conf.IMAPD.IMAP, Service{"imap", 143, "STARTTLS"}},
		{conf.POP3D.POP3S, Service{"pop3", 995, "SSL"}}, {conf.POP3D.POP3, Service{"pop3", 110, "STARTTLS"}},
		{conf.SMTPD.Submissions, Service{"smtp", 465, "SSL"}}, {conf.SMTPD.Submission, Service{"smtp", 587, "STARTTLS"}},
	} {
		if len(s.on) > 0 {
			list = append(list, s.Service)
		}
	}
	return list
}

// clientConfig is Thunderbird's file: the address is the login name. Passwords go over TLS only, so they go as they are.
func clientConfig(domain, host string, services []Service) string {
	var b strings.Builder
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<clientConfig version=\"1.1\">\n")
	fmt.Fprintf(&b, "  <emailProvider id=\"%[1]s\">\n    <domain>%[1]s</domain>\n    <displayName>%[1]s</displayName>\n    <displayShortName>%[1]s</displayShortName>\n", text(domain))
	for _, s := range services {
		tag := "incomingServer"
		if s.Type == "smtp" {
			tag = "outgoingServer"
		}
		fmt.Fprintf(&b, "    <%s type=\"%s\">\n      <hostname>%s</hostname>\n      <port>%d</port>\n      <socketType>%s</socketType>\n"+
			"      <authentication>password-cleartext</authentication>\n      <username>%%EMAILADDRESS%%</username>\n    </%s>\n", tag, s.Type, text(host), s.Port, s.Socket, tag)
	}
	b.WriteString("  </emailProvider>\n</clientConfig>\n")
	return b.String()
}

func text(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s))
	return b.String()
}

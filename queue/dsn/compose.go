package dsn

import (
	"bytes"
	"strconv"
	"strings"

	"pennypost/internal/address"
	"pennypost/queue"
)

// compose makes envelope and text of the report: a function of r and the message, so that
// making it again makes the same.
func (r *Report) compose() (*queue.Envelope, []byte, error) {
	text, whole, err := r.text()
	if err != nil {
		return nil, nil, err
	}
	head := header(text)
	first := part{kind: "text/plain; charset=utf-8", about: "Report for people", body: r.person(head)}
	if !isASCII(first.body) {
		first.encoding = "quoted-printable"
	}
	parts := []part{first, r.machine(), r.original(text, whole)}

	eight := false
	bodies := make([][]byte, len(parts))
	for i := range parts {
		bodies[i] = parts[i].encode()
		eight = eight || parts[i].encoding == "8bit"
	}
	sender := r.Message.Env.From
	env := &queue.Envelope{
		ID:    r.ID,
		Time:  r.Now,
		Via:   "bounce",
		Class: "dsn",
		Mail:  mailParams(eight, !sender.ASCII() || !r.From.ASCII(), r.Message.Env.Mail),
		// RFC 3461 section 6.2: of a report nothing is reported.
		Rcpts: []queue.Rcpt{{N: 1, To: sender, Params: "NOTIFY=NEVER"}},
	}

	mark := boundary(r.ID, bodies)
	b := r.top(head, mark, eight)
	for i, p := range parts {
		b = append(b, "\n--"+mark+"\nContent-Type: "+p.kind+"\nContent-Description: "+p.about+"\n"...)
		if p.encoding != "" {
			b = append(b, "Content-Transfer-Encoding: "+p.encoding+"\n"...)
		}
		b = append(append(b, '\n'), bodies[i]...)
	}
	return env, append(b, "\n--"+mark+"--\n"...), nil
}

// machine is the second part; global where an address demands it (RFC 6533 section 4).
func (r *Report) machine() part {
	global := false
	for _, to := range r.Recipients {
		_, addr, _ := orcpt(to.Params)
		global = global || !to.To.ASCII() || !isASCII([]byte(addr))
	}
	p := part{kind: "message/delivery-status", about: "Report for programs", body: r.blocks(global)}
	if global {
		p.kind = "message/global-delivery-status"
		p.encoding = "quoted-printable" // so that any server can carry it
	}
	return p
}

// mailParams are those of the report. The report on a message with REQUIRETLS has it too: it repeats what was to be kept safe (RFC 8689
// section 5).
func mailParams(eight, utf8 bool, original string) string {
	var words []string
	if eight || utf8 {
		words = append(words, "BODY=8BITMIME")
	}
	if utf8 {
		words = append(words, "SMTPUTF8")
	}
	if _, require := param(original, "REQUIRETLS"); require {
		words = append(words, "REQUIRETLS")
	}
	return strings.Join(words, " ")
}

// top is the header of the report.
func (r *Report) top(head []byte, mark string, eight bool) []byte {
	var b []byte
	field := func(name, value string) { b = append(b, name+": "+value+"\n"...) }
	field("From", "Mail Delivery System <"+r.From.String()+">")
	field("To", "<"+r.Message.Env.From.String()+">")
	field("Date", date(r.Now))
	field("Message-ID", "<"+r.ID+"@"+r.Host+">")
	if id := messageID(parse(head).Get("Message-ID")); id != "" {
		field("In-Reply-To", id) // RFC 3834 section 3.1.6: readers put it beside the message
		field("References", id)
	}
	field("Subject", r.subject())
	field("Auto-Submitted", "auto-replied")
	field("MIME-Version", "1.0")
	field("Content-Type", "multipart/report; report-type=delivery-status;\n\tboundary=\""+mark+"\"")
	if eight {
		field("Content-Transfer-Encoding", "8bit")
	}
	return b
}

// messageID is a Message-ID that can be repeated as it is, or nothing.
func messageID(s string) string {
	s = strings.TrimSpace(s)
	if len(s) < 3 || len(s) > 250 || s[0] != '<' || s[len(s)-1] != '>' || strings.Count(s, "<") != 1 {
		return ""
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return ""
		}
	}
	return s
}

// boundary is a line that stands in no part. It is made from the id, so a message composed twice is
// the same; a sender cannot put it into his message, as he does not know the id yet, and it is looked for all the same.
func boundary(id string, bodies [][]byte) string {
	for n := 0; ; n++ {
		mark := "=_" + id
		if n > 0 {
			mark += "_" + strconv.Itoa(n)
		}
		found := false
		for _, b := range bodies {
			found = found || bytes.Contains(b, []byte("--"+mark))
		}
		if !found {
			return mark
		}
	}
}

// Daemon is the usual Report.From.
func Daemon(host string) address.Path { return address.Path{Local: "MAILER-DAEMON", Domain: host} }

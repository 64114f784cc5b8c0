package dsn

import (
	"fmt"
	"mime"
	"net/mail"
	"strings"
	"time"
	"unicode/utf8"

	"pennypost/internal/escape"
	"pennypost/internal/status"
)

// named is how many recipients the first part names; the second has them all.
const named = 50

// subject says the worst first: who reads no further has read that.
func (r *Report) subject() string {
	switch n := r.count(Failed); {
	case n > 0 && n < len(r.Recipients):
		return "Your message did not reach everybody"
	case n > 0:
		return "Your message could not be delivered"
	case r.count(Delayed) > 0:
		return "Your message is delayed"
	}
	return "Your message was delivered"
}

func (r *Report) count(a Action) (n int) {
	for _, to := range r.Recipients {
		if to.Action == a {
			n++
		}
	}
	return n
}

// sections are what the first part says of the recipients of an action.
var sections = []struct {
	action Action
	text   string
}{
	{Failed, "Your message could not be delivered to:"},
	{Delayed, "Your message has not reached these recipients yet:"},
	{Delivered, "Your message was delivered to:"},
	{Relayed, "Your message was handed on to a system that will not report further about:"},
	{Expanded, "Your message was sent on to all the addresses behind:"},
}

// person is the first part, for a reader who does not know what SMTP is.
func (r *Report) person(head []byte) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "This is the mail system of %s.\n", r.Host)
	if r.count(Delayed) > 0 && r.count(Failed) == 0 {
		b.WriteString("\nYou need not do anything: your message is safe here, and we go on trying.\n")
	}
	for _, s := range sections {
		n, of := 0, r.count(s.action)
		if of == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s\n", s.text)
		for i := range r.Recipients {
			to := &r.Recipients[i]
			if to.Action != s.action {
				continue
			}
			if n++; n > named {
				fmt.Fprintf(&b, "\n    and %d more, listed in the second part of this report.\n", of-named)
				break
			}
			b.WriteByte('\n')
			to.describe(&b)
		}
	}
	r.about(&b, head)
	return []byte(b.String())
}

// describe says of one recipient who it is, what the other side said, and what can be done.
func (to *Recipient) describe(b *strings.Builder) {
	fmt.Fprintf(b, "  %s\n", escape.Terminal(to.To.String()))
	if kind, addr, ok := orcpt(to.Params); ok && addr != to.To.String() {
		if strings.EqualFold(kind, "rfc822") || strings.EqualFold(kind, "utf-8") {
			fmt.Fprintf(b, "    (you wrote to %s)\n", clip(escape.Terminal(addr), 320))
		}
	}
	if to.Action == Failed || to.Action == Delayed {
		said := words(to.Result)
		switch {
		case said == "" && to.Result.Code == 0:
		case to.Host == "":
			wrap(b, "    ", said)
		default:
			host := to.Host
			if i := strings.IndexByte(host, '['); i > 0 {
				host = host[:i]
			}
			if status.Ours(to.Result.Code, to.Result.Enhanced) {
				wrap(b, "    ", "The mail server "+host+" did not answer as it should:")
				wrap(b, "      ", said)
				break
			}
			wrap(b, "    ", "The mail server "+host+" said:")
			wrap(b, "      ", reply(to.Result))
		}
	}
	switch {
	case to.Action == Failed:
		wrap(b, "    ", advice(to.status()))
	case to.Action == Delayed && !to.RetryUntil.IsZero():
		wrap(b, "    ", "If it cannot be delivered by "+day(to.RetryUntil)+", you will get another report.")
	}
}

// advices are what a person can do, by the enhanced code of the cause (RFC 3463): the first that fits.
var advices = []struct{ code, text string }{
	{".1.1", "There is no such mailbox. Please check the address for typing mistakes, or ask the recipient in another way for the right one."},
	{".1.2", "There is no such mail domain. Please check the part of the address after the @ for typing mistakes."},
	{".1.10", "That domain takes no mail at all. Please ask the recipient for another address."},
	{".1.6", "The recipient has moved. Please ask for the new address."},
	{".1.", "Something is wrong with the address. Please check it, or ask the recipient for the right one."},
	{".2.1", "The mailbox is closed. Please reach the recipient in another way."},
	{".2.2", "The recipient's mailbox is full. Please try again in some days, or tell the recipient in another way."},
	{".2.3", "The message is too large for the recipient. Please send a smaller one, or put what is large where it can be fetched."},
	{".3.4", "The message is too large for the recipient's mail system. Please send a smaller one, or put what is large where it can be fetched."},
	{".4.6", "The mail goes in a circle. Please show this report to whoever runs the recipient's mail."},
	{".4.7", "We tried for as long as we keep mail, and it could not be delivered. Please send it again later, or reach the recipient in another way."},
	{".4.", "The recipient's mail system cannot be reached. Please check the part of the address after the @, and send the message again later."},
	{".6.7", "The recipient's mail system cannot take addresses with letters beyond a to z. Please ask for another address."},
	{".6.", "The recipient's mail system cannot handle this kind of message. Please send it in a simpler form, for example as plain text."},
	{".7.", "The recipient's mail system does not want this message. Please show this report to whoever runs your mail; sending it again unchanged will not help."},
	{"", "Please show this report to whoever runs your mail if you do not understand it."},
}

func advice(code string) string {
	for _, a := range advices {
		rest := strings.TrimLeft(code, "245")
		if rest == a.code || a.code == "" || strings.HasSuffix(a.code, ".") && strings.HasPrefix(rest, a.code) {
			return a.text
		}
	}
	return ""
}

// about says which message this is about.
func (r *Report) about(b *strings.Builder, head []byte) {
	b.WriteString("\nAbout the message:\n\n")
	h := parse(head)
	if s := strings.TrimSpace(h.Get("Subject")); s != "" {
		if d, err := new(mime.WordDecoder).DecodeHeader(s); err == nil && utf8.ValidString(d) {
			s = d
		}
		fmt.Fprintf(b, "  Subject:  %s\n", clip(escape.Terminal(s), 200))
	}
	if t := r.Message.Env.Time; !t.IsZero() {
		fmt.Fprintf(b, "  Received: %s\n", day(t))
	}
	fmt.Fprintf(b, "  Our name for it: %s\n", r.Message.ID)
	b.WriteString("\nA report for programs and the message or its beginning follow.\n")
}

// parse reads a header as far as it is one.
func parse(head []byte) mail.Header {
	m, err := mail.ReadMessage(strings.NewReader(string(head) + "\n"))
	if err != nil {
		return mail.Header{}
	}
	return m.Header
}

func day(t time.Time) string { return t.UTC().Format("Monday, 2 January 2006, 15:04 UTC") }

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + " [...]"
}

// wrap writes text in lines of up to 72 letters behind an indent; a word from outside is broken
// where it alone is longer than a line of mail may be.
func wrap(b *strings.Builder, indent, text string) {
	n := 0
	for _, word := range strings.Fields(escape.Terminal(text)) {
		for len(word) > 700 {
			cut := 700
			for !utf8.RuneStart(word[cut]) {
				cut--
			}
			if n > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(indent + word[:cut])
			word, n = word[cut:], 72
		}
		w := utf8.RuneCountInString(word)
		switch {
		case n == 0:
			b.WriteString(indent)
			n = len(indent)
		case n+1+w > 72:
			b.WriteString("\n" + indent)
			n = len(indent)
		default:
			b.WriteByte(' ')
			n++
		}
		b.WriteString(word)
		n += w
	}
	if n > 0 {
		b.WriteByte('\n')
	}
}

package remote

import (
	"strconv"

	"pennypost/internal/status"
	"pennypost/internal/tlsrpt"
)

// trouble is why a host did not take a message. It becomes the result of the recipients if no other host does better.
type trouble struct {
	status.Result
	said  bool   // the host said it
	host  string // "mx1.example.org[192.0.2.5]", "" before there was one
	site  bool   // it concerns the host as such, not this message: an S line if all hosts are like this
	other bool   // another host may do better
	stale bool   // a connection used again was dead: try a new one
	plain bool   // a new connection without TLS may do better
	data  bool   // a new connection without CHUNKING may do better

	tls tlsrpt.Failure // what it is in the reports to the domain, "" if it is not about TLS
}

// about is the trouble as an S line has it: there the host is part of the text, and so is the code of a reply, by which
// queue-run tells a busy site from a dead one.
func (t *trouble) about() *status.Result {
	r := t.Result
	if t.host != "" {
		r.Text = t.host + ": " + r.Text
	}
	if t.said {
		r.Text = strconv.Itoa(r.Code) + " " + r.Text
	}
	return &r
}

// later and never make results of our own.
func later(code int, enhanced, text string) status.Result {
	return status.Result{Outcome: status.Deferred, Code: code, Enhanced: enhanced, Text: text}
}

func never(code int, enhanced, text string) status.Result {
	return status.Result{Outcome: status.Failed, Code: code, Enhanced: enhanced, Text: text}
}

// judge makes a result of a reply by its first digit (RFC 5321 section 4.3.2); a missing enhanced code is filled in.
// A reply of any other kind is no answer to the question, and nothing is certain.
func judge(r reply) status.Result {
	result := status.Result{Code: r.code, Enhanced: r.enhanced, Text: r.text}
	switch r.code / 100 {
	case 2:
		result.Outcome = status.Delivered
	case 5:
		result.Outcome = status.Failed
	case 4:
		result.Outcome = status.Deferred
	default:
		return later(451, "4.5.0", "unexpected reply: "+r.text)
	}
	if result.Enhanced == "" {
		result.Enhanced = usual(r.code)
	}
	return result
}

// usual is the enhanced code (RFC 3463) that goes with a reply code which came without; RFC 5248 has the pairs.
func usual(code int) string {
	switch code {
	case 421:
		return "4.3.2"
	case 450:
		return "4.2.0"
	case 451:
		return "4.3.0"
	case 452:
		return "4.3.1"
	case 454:
		return "4.7.0"
	case 500:
		return "5.5.2"
	case 501, 504, 555:
		return "5.5.4"
	case 502, 503:
		return "5.5.1"
	case 521:
		return "5.3.2"
	case 530, 535, 538:
		return "5.7.0"
	case 551:
		return "5.1.6"
	case 553:
		return "5.1.3"
	case 556:
		return "5.1.10"
	}
	return [...]string{"2.0.0", "4.0.0", "5.0.0"}[map[int]int{2: 0, 4: 1, 5: 2}[code/100]]
}

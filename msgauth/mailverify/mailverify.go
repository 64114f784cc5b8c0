/*
Package mailverify shows why a message passes or fails: mailverify(1). It asks what msgauth asks, changes nothing, and sends nothing.

	pass 192.0.2.1 may send for example.org (ip)           the verdict is the first word
	helo: none: client.example.org has no SPF record       the rest is why
	record: example.org TXT "v=spf1 ip4:192.0.2.0/24 -all" and what DNS said
*/
package mailverify

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"pennypost/internal/address"
	"pennypost/internal/escape"
	"pennypost/msgauth"
)

// Tool does what the command line says.
type Tool struct {
	Checker *msgauth.Checker
	In      io.Reader
	Out     io.Writer
	JSON    bool

	IP, HELO, From string // who brought the message, for dmarc and all; "" is not known
}

// Usage is a mistake on the command line.
type Usage string

func (u Usage) Error() string { return string(u) }

// answer is what --json prints.
type answer struct {
	Verdict  msgauth.Result   `json:"verdict"`
	Why      string           `json:"why"`
	HELO     *msgauth.SPF     `json:"helo,omitempty"`
	MailFrom *msgauth.SPF     `json:"mailfrom,omitempty"`
	IPRev    *msgauth.IPRev   `json:"iprev,omitempty"`
	DKIM     []msgauth.DKIM   `json:"dkim,omitempty"`
	Skipped  int              `json:"skipped,omitempty"`
	ARC      *msgauth.ARC     `json:"arc,omitempty"`
	Author   *msgauth.Author  `json:"author,omitempty"`
	DMARC    *msgauth.DMARC   `json:"dmarc,omitempty"`
	Header   string           `json:"header,omitempty"`
	Records  []msgauth.Record `json:"records"`

	lines [][2]string // for people: what, and its text
}

func (a *answer) line(what, format string, args ...any) {
	a.lines = append(a.lines, [2]string{what, fmt.Sprintf(format, args...)})
}

// Run carries out one command and returns its verdict.
func (t *Tool) Run(ctx context.Context, args []string) (msgauth.Result, error) {
	if len(args) == 0 {
		return "", Usage("say what to verify: spf, dkim, arc, dmarc or all")
	}
	command, args := args[0], args[1:]
	var a *answer
	var err error
	switch command {
	case "spf":
		a, err = t.spf(ctx, args)
	case "dkim", "arc", "dmarc", "all":
		a, err = t.message(ctx, command, args)
	default:
		return "", Usage(fmt.Sprintf("%q is none of spf, dkim, arc, dmarc, all", command))
	}
	if err != nil {
		return "", err
	}
	return a.Verdict, t.print(a)
}

func (t *Tool) spf(ctx context.Context, args []string) (*answer, error) {
	if len(args) != 3 {
		return nil, Usage("spf takes IP HELO MAIL-FROM; the null sender is '<>'")
	}
	client, err := client(args[0], args[1], args[2])
	if err != nil {
		return nil, err
	}
	helo, from, records := t.Checker.SPF(ctx, client)
	a := &answer{Verdict: from.Result, Why: from.Why, HELO: &helo, MailFrom: &from, Records: records}
	a.line("helo", "%s: %s", helo.Result, helo.Why)
	return a, nil
}

// client reads who brought it. The reverse-path may be as odd as it likes: SPF is about what comes.
func client(ip, helo, from string) (c msgauth.Client, err error) {
	if c.Addr, err = netip.ParseAddr(strings.Trim(ip, "[]")); err != nil {
		return c, Usage(fmt.Sprintf("%q is no address", ip))
	}
	c.HELO = helo
	from = strings.TrimSuffix(strings.TrimPrefix(from, "<"), ">")
	if i := strings.LastIndexByte(from, '@'); i >= 0 {
		c.From = address.Path{Local: from[:i], Domain: from[i+1:]}
	} else if from != "" { // RFC 7208 section 4.3
		c.From = address.Path{Local: "postmaster", Domain: from}
	}
	return c, nil
}

func (t *Tool) message(ctx context.Context, command string, args []string) (*answer, error) {
	if len(args) > 1 {
		return nil, Usage(command + " takes one file, or the message on standard input")
	}
	in := t.In
	if len(args) == 1 && args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	who := msgauth.Client{}
	if t.IP != "" {
		var err error
		if who, err = client(t.IP, t.HELO, t.From); err != nil {
			return nil, err
		}
	} else if t.HELO != "" || t.From != "" {
		return nil, Usage("--helo and --from say nothing without --ip")
	}
	var r *msgauth.Report
	var err error
	switch command {
	case "dkim":
		r, err = t.Checker.DKIM(ctx, in)
	case "arc":
		r, err = t.Checker.ARC(ctx, in)
	default:
		r, err = t.Checker.Check(ctx, who, in)
	}
	if err != nil {
		return nil, err
	}
	return explain(command, r), nil
}

// ExitCode is what the shell learns: 0 pass, 1 anything else but temperror, which is 75 for "ask again later".
func ExitCode(r msgauth.Result, err error) int {
	var usage Usage
	switch {
	case errors.As(err, &usage):
		return 64
	case err != nil:
		return 74
	case r == msgauth.Pass:
		return 0
	case r == msgauth.TempError:
		return 75
	}
	return 1
}

// print writes the verdict first. All of it may come from strangers, so all of it is escaped.
func (t *Tool) print(a *answer) error {
	if t.JSON {
		if a.Records == nil {
			a.Records = []msgauth.Record{}
		}
		e := json.NewEncoder(t.Out)
		e.SetEscapeHTML(false)
		return e.Encode(a)
	}
	w := bufio.NewWriter(t.Out)
	fmt.Fprintf(w, "%s %s\n", a.Verdict, escape.Terminal(a.Why))
	for _, line := range a.lines {
		fmt.Fprintf(w, "%s: %s\n", line[0], escape.Terminal(line[1]))
	}
	for _, r := range a.Records {
		fmt.Fprintf(w, "record: %s %s %s\n", escape.Terminal(r.Name), r.Type, said(r))
	}
	if a.Header != "" {
		fmt.Fprintf(w, "header: %s\n", escape.Terminal(strings.Join(strings.Fields(a.Header), " ")))
	}
	return w.Flush()
}

// said is what DNS answered.
func said(r msgauth.Record) string {
	if r.Err != "" {
		return escape.Terminal(r.Err)
	}
	var values []string
	for _, v := range r.Values {
		if v = escape.Terminal(v); r.Type == "TXT" {
			v = `"` + v + `"`
		}
		values = append(values, v)
	}
	return strings.Join(values, " ")
}

package smtpd

import (
	"errors"
	"strings"

	"pennypost/internal/address"
)

var (
	errSyntax = errors.New("an address belongs in angle brackets")
	errSpace  = errors.New("a space is missing behind the address")
)

// parsePath reads the argument of MAIL and RCPT: prefix (FROM: or TO:), path, parameters. A space behind the colon and
// missing brackets are wrong and common; both are taken. A source route is dropped (RFC 5321 appendix C).
func parsePath(prefix, arg string) (p address.Path, params string, err error) {
	if len(arg) < len(prefix) || !strings.EqualFold(arg[:len(prefix)], prefix) {
		return p, "", errors.New("say " + prefix + "<address>")
	}
	arg = strings.TrimLeft(arg[len(prefix):], " ")
	text, params, bracketed := arg, "", strings.HasPrefix(arg, "<")
	if bracketed {
		end := closing(arg)
		if end < 0 {
			return p, "", errSyntax
		}
		text, params = arg[1:end], arg[end+1:]
		if params != "" && params[0] != ' ' {
			return p, "", errSpace
		}
	} else {
		text, params, _ = strings.Cut(arg, " ")
		if text == "" || strings.ContainsAny(text, "<>") {
			return p, "", errSyntax
		}
	}
	if strings.HasPrefix(text, "@") {
		i := strings.IndexByte(text, ':')
		if i < 0 {
			return p, "", errSyntax
		}
		text = text[i+1:]
		if text == "" {
			return p, "", errSyntax
		}
	}
	p, err = address.Parse(text)
	return p, strings.TrimSpace(params), err
}

// closing is where the bracket that opens s is closed: not within a quoted local part.
func closing(s string) int {
	quoted := false
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			quoted = !quoted
		case '\\':
			if quoted {
				i++
			}
		case '>':
			if !quoted {
				return i
			}
		}
	}
	return -1
}

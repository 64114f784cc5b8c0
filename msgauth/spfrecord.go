package msgauth

import (
	"errors"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// spfSyntax is a record that is wrong.
type spfSyntax struct {
	name string
	why  error
}

func (e *spfSyntax) Error() string { return "the record of " + e.name + " is wrong: " + e.why.Error() }
func (e *spfSyntax) Unwrap() error { return e.why }

// isSPF reports whether a TXT record is an SPF record (RFC 7208 section 4.5).
func isSPF(text string) bool {
	version, _, _ := strings.Cut(text, " ")
	return strings.EqualFold(version, "v=spf1")
}

// The grammar of RFC 7208 sections 5 to 7, as far as a regular expression says it best.
var (
	spfModifier = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]*=`)
	spfDomainRE = regexp.MustCompile(`^(?:[!-$&-~]|%[%_-]|%\{[A-Za-z][0-9]*[rR]?[-.+,/_=]*\})*$`)
	spfMacro    = regexp.MustCompile(`%\{([A-Za-z])([0-9]*)[rR]?[-.+,/_=]*\}`)
	// the last label is a name or a macro: section 7.1, domain-end
	spfEnd  = regexp.MustCompile(`(?:\.(?:[A-Za-z0-9]*[A-Za-z][A-Za-z0-9]*|[A-Za-z0-9]+-[A-Za-z0-9-]*[A-Za-z0-9])\.?|%\{[^}]*\}|%[%_-])$`)
	spfMask = regexp.MustCompile(`^(.*?)(?:/([0-9]+))?(?://([0-9]+))?$`)
)

// checkSPF reports the first mistake of a record, wherever it stands.
func checkSPF(text string) error {
	for i := range len(text) {
		if text[i] < ' ' || text[i] >= 0x7f {
			return errors.New("it has a character that is not printable ASCII")
		}
	}
	seen := make(map[string]bool)
	_, rest, _ := strings.Cut(text, " ")
	for term := range strings.FieldsSeq(rest) {
		if err := checkTerm(term, seen); err != nil {
			return errors.New(strconv.Quote(term) + " " + err.Error())
		}
	}
	return nil
}

func checkTerm(term string, seen map[string]bool) error {
	if name := spfModifier.FindString(term); name != "" {
		name, value := strings.ToLower(strings.TrimSuffix(name, "=")), term[len(name):]
		if name != "redirect" && name != "exp" {
			return checkMacros(value, false)
		}
		if seen[name] {
			return errors.New("stands there twice")
		}
		seen[name] = true
		return checkDomain(value)
	}
	term = strings.TrimLeft(term[:1], "+-?~") + term[1:]
	end := strings.IndexAny(term, ":/")
	if end < 0 {
		end = len(term)
	}
	name, value := strings.ToLower(term[:end]), term[end:]
	argument, colon := strings.CutPrefix(value, ":")
	switch name {
	case "all":
		if value != "" {
			return errors.New("has something after all")
		}
		return nil
	case "include", "exists":
		return checkDomain(argument)
	case "ip4", "ip6":
		return checkAddress(name, argument)
	case "ptr":
		if value == "" {
			return nil
		}
		return checkDomain(argument)
	case "a", "mx":
		return checkMasks(argument, colon)
	}
	return errors.New("is no mechanism")
}

// checkMasks: a:domain/24//64, each of them optional.
func checkMasks(argument string, colon bool) error {
	parts := spfMask.FindStringSubmatch(argument)
	for i, most := range []int{32, 128} {
		if n := parts[i+2]; n != "" {
			if v, err := strconv.Atoi(n); err != nil || v > most || len(n) > 1 && n[0] == '0' {
				return errors.New("has no prefix length after /")
			}
		}
	}
	if !colon {
		if parts[1] != "" {
			return errors.New("has no prefix length after /")
		}
		return nil
	}
	return checkDomain(parts[1])
}

func checkAddress(name, argument string) error {
	addr, mask, slash := strings.Cut(argument, "/")
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" || a.Is4() != (name == "ip4") {
		return errors.New("has no address")
	}
	if slash {
		if n, err := strconv.Atoi(mask); err != nil || n > a.BitLen() || n < 0 || len(mask) > 1 && mask[0] == '0' || mask[0] == '+' {
			return errors.New("has no prefix length after /")
		}
	}
	return nil
}

// checkDomain: a domain-spec of section 7.1.
func checkDomain(domain string) error {
	if domain == "" {
		return errors.New("has no domain")
	}
	if err := checkMacros(domain, true); err != nil {
		return err
	}
	if !spfEnd.MatchString(domain) {
		return errors.New("has no domain that ends in a name")
	}
	return nil
}

func checkMacros(text string, inDomain bool) error {
	if !spfDomainRE.MatchString(text) {
		return errors.New("has a wrong macro")
	}
	for _, m := range spfMacro.FindAllStringSubmatch(text, -1) {
		letters := "slodiphv"
		if !inDomain {
			letters += "crt" // only of use in explanations, but no mistake in a modifier we do not know
		}
		if !strings.Contains(letters, strings.ToLower(m[1])) {
			return errors.New("has a macro that does not exist here")
		}
		if m[2] != "" {
			if n, err := strconv.Atoi(m[2]); err != nil || n == 0 {
				return errors.New("has a macro that takes 0 labels")
			}
		}
	}
	return nil
}

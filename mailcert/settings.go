package mailcert

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"

	"pennypost/internal/address"
)

// LetsEncrypt is the directory that is asked where no other is named.
const LetsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// Challenges are the ways to show that a name is ours (RFC 8555 section 8, RFC 8737).
var Challenges = []string{"http-01", "tls-alpn-01", "dns-01"}

// Settings are how a chain is got: the file beside it.
type Settings struct {
	Directory string   // URL of the ACME server
	Agreed    bool     // to its terms
	Contact   string   // address it may write to
	Names     []string // of the certificate, the mail host first
	Challenge string
	Listen    string // address for http-01 and tls-alpn-01
	Hook      string // program for dns-01
	Profile   string // of the certificate, one of those the server has
	Root      string // PEM file: who vouches for the server's own certificate, where the system does not
	Algorithm string // of keys that are made
}

// lines are the lines of the file, in order.
func (s *Settings) lines() []struct {
	name  string
	value *string
} {
	return []struct {
		name  string
		value *string
	}{{"directory", &s.Directory}, {"contact", &s.Contact}, {"challenge", &s.Challenge}, {"listen", &s.Listen}, {"hook", &s.Hook},
		{"profile", &s.Profile}, {"root", &s.Root}, {"algorithm", &s.Algorithm}}
}

func (s *Settings) text() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "names: %s\n", strings.Join(s.Names, " "))
	if s.Agreed {
		b.WriteString("agreed: yes\n")
	}
	for _, l := range s.lines() {
		if *l.value != "" {
			fmt.Fprintf(&b, "%s: %s\n", l.name, *l.value)
		}
	}
	return []byte(b.String())
}

func parseSettings(text string) (*Settings, error) {
	s := &Settings{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		lines := s.lines()
		i := slices.IndexFunc(lines, func(l struct {
			name  string
			value *string
		}) bool {
			return l.name == name
		})
		switch {
		case !ok:
			return nil, fmt.Errorf("line %d: no colon in it", n)
		case name == "names":
			s.Names = strings.Fields(value)
		case name == "agreed":
			s.Agreed = value == "yes"
		case i >= 0:
			*lines[i].value = value
		default:
			return nil, fmt.Errorf("line %d: unknown name %q", n, name)
		}
	}
	return s, s.Check()
}

// Check fills in what was not said, and says what is wrong.
func (s *Settings) Check() error {
	if s.Directory == "" {
		s.Directory = LetsEncrypt
	}
	if s.Challenge == "" {
		s.Challenge = Challenges[0]
	}
	if s.Listen == "" {
		s.Listen = map[string]string{"http-01": ":80", "tls-alpn-01": ":443"}[s.Challenge]
	}
	u, err := url.Parse(s.Directory)
	switch {
	case len(s.Names) == 0:
		return errors.New("a certificate is for a name at least")
	case !s.Agreed:
		return fmt.Errorf("%s gives certificates to those who agree to its terms: read them, then say --agree", s.Directory)
	case err != nil || u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("%q is no https URL of an ACME directory", s.Directory)
	case !slices.Contains(Challenges, s.Challenge):
		return fmt.Errorf("%q: a challenge is %s", s.Challenge, strings.Join(Challenges, ", "))
	case s.Challenge == "dns-01" && !strings.HasPrefix(s.Hook, "/"):
		return errors.New("dns-01 needs a hook, a program with its whole path")
	case s.Algorithm != "" && !slices.Contains(Algorithms, s.Algorithm):
		return fmt.Errorf("%q: an algorithm is ecdsa or rsa", s.Algorithm)
	}
	for i, name := range s.Names {
		if s.Names[i], err = s.name(name); err != nil {
			return err
		}
	}
	return nil
}

// name is a name as certificates have it.
func (s *Settings) name(name string) (string, error) {
	rest, wild := strings.CutPrefix(name, "*.")
	a, err := address.Parse("x@" + rest)
	if err == nil {
		rest, err = a.DomainASCII()
	}
	switch {
	case err != nil || !strings.Contains(rest, "."):
		return "", fmt.Errorf("%q is no name for a certificate", name)
	case wild && s.Challenge != "dns-01":
		return "", fmt.Errorf("%s: CAs give a wildcard by dns-01 only", name)
	case wild:
		rest = "*." + rest
	}
	return rest, nil
}

// Settings reads how the chain is got; fs.ErrNotExist where nobody has said it.
func (p *Pair) Settings() (*Settings, error) {
	text, err := p.read(p.Chain + howSuffix)
	if err != nil {
		return nil, err
	}
	s, err := parseSettings(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s%s: %w", p.Path(), howSuffix, err)
	}
	return s, nil
}

// managed reports whether the chain is got by ACME.
func (p *Pair) managed() bool {
	_, err := p.Settings()
	return !errors.Is(err, fs.ErrNotExist)
}

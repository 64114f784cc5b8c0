package domains

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"pennypost/internal/address"
)

// normalise is the form account names have on disk: NFC and lower case. ASCII in lower case costs nothing.
func normalise(name string) string {
	for i := 0; i < len(name); i++ {
		if name[i] >= utf8.RuneSelf {
			return norm.NFC.String(strings.ToLower(norm.NFC.String(name)))
		}
	}
	return strings.ToLower(name)
}

// Normalise is the name under which an account is kept: NFC and lower case.
func Normalise(name string) string { return normalise(name) }

// longest name of a directory; the rest of NAME_MAX is for what others make of it.
const longest = 200

var (
	errEmptyName = errors.New("is empty")
	errLongName  = fmt.Errorf("is longer than %d octets", longest)
	errDotName   = errors.New("starts with a dot or a dash")
	errCharName  = errors.New("holds / or a character that cannot be seen")
	errAtName    = errors.New("holds an @")
	errCaseName  = errors.New("is not in lower case (and NFC)")
)

// checkName says why a name from outside may not be a file name: threats S114 and S123. There is nothing else
// that a name could do here: no shell, no query and no pattern ever sees it.
func checkName(name string) error {
	switch {
	case name == "":
		return errEmptyName
	case len(name) > longest:
		return errLongName
	case name[0] == '.' || name[0] == '-':
		return errDotName
	case !utf8.ValidString(name):
		return errCharName
	}
	for _, r := range name {
		if r == '/' || r == 0x7f || r < ' ' || r >= utf8.RuneSelf && !unicode.IsGraphic(r) {
			return errCharName
		}
	}
	return nil
}

// CheckUser says why a name cannot be an account's, nil if it can.
func CheckUser(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	switch {
	case strings.IndexByte(name, '@') >= 0:
		return errAtName
	case name != normalise(name):
		return errCaseName
	}
	return nil
}

// CheckDomain says why a name cannot be a domain directory's, nil if it can: U-labels in lower case.
func CheckDomain(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	p, err := address.Parse("postmaster@" + name)
	switch {
	case err != nil:
		return err
	case p.IsLiteral():
		return errors.New("is an address literal")
	case p.DomainUnicode() != name:
		return fmt.Errorf("is written %s here", p.DomainUnicode())
	}
	return nil
}

// readDir is the names in a directory, in order; hidden ones are nobody's.
func readDir(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	names = slices.DeleteFunc(names, func(name string) bool { return name[0] == '.' })
	slices.Sort(names)
	return names, err
}

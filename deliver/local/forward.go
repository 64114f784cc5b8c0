package local

import (
	"errors"
	"path/filepath"
	"strings"

	"pennypost/internal/address"
	"pennypost/internal/domains"
)

// plan is what an account's forward file asks for.
type plan struct {
	keep     bool
	maildirs []string       // roots
	programs []string       // command lines
	forward  []address.Path // queue-run sends there
}

var errOutside = errors.New("forward file names a Maildir outside the mail of its user")

// plan reads the forward file; an account without one keeps its mail. Programs and directories are
// in it only where the account may have them: package domains sees to that.
func (a *Agent) plan(account *domains.Account) (plan, error) {
	p := plan{keep: account.Plain()}
	for _, line := range account.Forward {
		switch line.Kind {
		case '\\':
			p.keep = true
		case '&':
			p.forward = append(p.forward, line.Target)
		case '|':
			p.programs = append(p.programs, line.Arg)
		case '/':
			root, err := inside(account, line.Arg)
			if err != nil {
				return p, err
			}
			p.maildirs = append(p.maildirs, root)
		}
	}
	return p, nil
}

// inside is the Maildir a "/" line means: one below the directory the account's own Maildir is in.
func inside(account *domains.Account, name string) (string, error) {
	home := filepath.Dir(account.Maildir)
	root := filepath.Clean(name)
	if !filepath.IsAbs(root) {
		root = filepath.Join(home, root)
	}
	if !strings.HasPrefix(root, home+"/") {
		return "", errOutside
	}
	return root, nil
}

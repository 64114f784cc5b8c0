package local

import (
	"errors"
	"path/filepath"
	"strings"

	"pennypost/internal/address"
	"pennypost/internal/domains"
	"pennypost/internal/status"
)

// plan is what an account's forward file asks for.
type plan struct {
	keep     bool
	maildirs []string       // roots
	programs []string       // command lines
	forward  []address.Path // queue-run sends there
	nothing  bool           // /dev/null
}

var errOutside = errors.New("forward file names a Maildir outside the mail of its user")

// planOf is what is to be done with a recipient's mail.
func (a *Agent) planOf(rc *recipient) (plan, error) {
	if rc.account.Unix != nil {
		return a.planForUnix(rc)
	}
	return planFor(rc.account, rc.to)
}

// planFor reads the forward file; an account without one keeps its mail. Programs and directories are
// in it only where the account may have them: package domains sees to that.
func planFor(account *domains.Account, to address.Path) (plan, error) {
	p := plan{keep: account.Plain()}
	for _, line := range account.Forward {
		switch line.Kind {
		case '\\':
			p.keep = true
		case '&':
			if sameAddress(line.Target, account.Path()) || sameAddress(line.Target, to) {
				p.keep = true // to himself: that is here
				continue
			}
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
	if len(p.forward)+len(p.maildirs)+len(p.programs) == 0 {
		p.keep = true // never nothing at all
	}
	return p, nil
}

// result is what is said once all of it is done.
// kept reports whether somebody here has the message once the plan is carried out.
func (p *plan) kept() bool { return p.keep || len(p.maildirs)+len(p.programs) > 0 }

func (p *plan) result() status.Result {
	r := delivered
	switch {
	case p.keep || len(p.maildirs) > 0:
	case len(p.forward) > 0:
		r.Text = "forwarded"
	case len(p.programs) == 0:
		r.Text = "thrown away, as its user wants"
	default:
		r.Text = "given to a program"
	}
	return r
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

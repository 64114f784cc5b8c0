package domains

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"pennypost/internal/address"
	"pennypost/internal/config"
)

const maxSetting = 64 << 10 // octets of a settings file

// ReadFile reads a regular file that not everybody may write; a FIFO cannot hold us up (threats, A).
func ReadFile(path string, limit int64) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s: not a regular file", path)
	case info.Mode().Perm()&0o002 != 0:
		return "", fmt.Errorf("%s: everybody may write it, so nobody should trust it: chmod o-w", path)
	case info.Size() > limit:
		return "", fmt.Errorf("%s: larger than %s", path, config.FormatSize(limit))
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	return string(text), err
}

// override replaces what dir has files for.
func (s *Settings) override(dir string, seen snapshot) error {
	if seen.err != nil {
		return seen.err
	}
	for _, o := range []struct {
		name string
		set  func(string) error
	}{
		{"separators", func(v string) error {
			if strings.ContainsAny(v, " \t\n@") {
				return errors.New("may not hold spaces and @")
			}
			s.Separators = v
			return nil
		}},
		{"path", s.setPath},
		{"system", func(string) error {
			s.System = true
			return nil
		}},
		{"layout", func(v string) error {
			if v != "maildir++" && v != "fs" {
				return fmt.Errorf("holds %q, and may be maildir++ or fs", v)
			}
			s.Layout = v
			return nil
		}},
		{"delimiter", func(v string) error {
			if v != "/" && v != "." {
				return fmt.Errorf("holds %q, and may be / or .", v)
			}
			s.Delimiter = v
			return nil
		}},
		{"prefix", func(v string) error {
			if v != "" && v != "INBOX." && v != "INBOX/" {
				return fmt.Errorf("holds %q, and may be empty, INBOX. or INBOX/", v)
			}
			s.Prefix = v
			return nil
		}},
		{"quota", func(v string) error {
			q, err := config.ParseQuota(v)
			s.Quota, s.QuotaMessages = q.Octets, q.Messages
			return err
		}},
		{"outbound", func(v string) error { return s.Outbound.Parse(v) }},
		{"programs", func(v string) error {
			if v != "yes" && v != "no" {
				return fmt.Errorf("holds %q, and may be yes or no", v)
			}
			s.Programs = v == "yes"
			return nil
		}},
		{"junk", func(v string) error {
			if strings.HasPrefix(v, ".") || strings.HasPrefix(v, "/") || strings.Contains(v, "..") || strings.Contains(v, "\n") {
				return fmt.Errorf("holds %q, which is no folder", v)
			}
			if s.Junk = v; strings.EqualFold(v, "INBOX") {
				s.Junk = ""
			}
			return nil
		}},
		{"detail_folders", func(v string) error {
			s.DetailFolders = lines(v)
			for _, folder := range s.DetailFolders {
				if folder[0] == '.' || folder[0] == '/' || strings.Contains(folder, "..") {
					return fmt.Errorf("holds %q, which is no folder", folder)
				}
			}
			return nil
		}},
	} {
		if !seen.has(o.name) {
			continue
		}
		path := dir + "/" + o.name
		text, err := ReadFile(path, maxSetting)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since the stat
		}
		if err != nil {
			return err
		}
		if err := o.set(strings.TrimSpace(text)); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func (s *Settings) setPath(v string) error {
	if strings.HasPrefix(v, "~/") && filepath.Clean(v) == v {
		s.UnixPath = v
		return nil
	}
	if !filepath.IsAbs(v) || !strings.Contains(v, "%n") && !strings.Contains(v, "%u") {
		return fmt.Errorf("holds %q: write a full path with %%n or %%u in it", v)
	}
	s.MailPath, s.UnixPath = v, v
	return nil
}

// lines are the lines of a setting, less blank ones and comments.
func lines(text string) (list []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			list = append(list, line)
		}
	}
	return list
}

// expand fills %d, %n, %u and %% of a mail path in, once: a % in a name stays what it is.
func expand(path, user, domain string) string {
	return strings.NewReplacer("%%", "%", "%d", domain, "%n", user, "%u", user+"@"+domain).Replace(path)
}

// readUser reads an account's directory.
func readUser(dom *domain, st *domainState, dir string) *userState {
	us := &userState{seen: take(dir, userFiles)}
	s := st.settings
	if us.err = s.override(dir, us.seen); us.err != nil {
		return us
	}
	us.account = s.account(dom, st, filepath.Base(dir))
	if us.seen.has("forward") {
		us.account.Forward, us.forwardErr = readForward(dir+"/forward", us.account, s.Programs)
	}
	return us
}

// account is the account of a name with these settings.
func (s *Settings) account(dom *domain, st *domainState, name string) *Account {
	return &Account{
		User:          name,
		Domain:        dom.name,
		Dir:           dom.dir + "/users/" + name,
		Maildir:       filepath.Clean(expand(s.MailPath, name, dom.name)),
		Layout:        s.Layout,
		Delimiter:     s.Delimiter,
		Prefix:        s.Prefix,
		Quota:         s.Quota,
		QuotaMessages: s.QuotaMessages,
		Outbound:      s.Outbound,
		DetailFolders: s.DetailFolders,
		Junk:          s.Junk,
		Postmaster:    st.isPostmaster(dom, name),
	}
}

// isPostmaster: the account has the name, or the alias of that name leads to it.
func (st *domainState) isPostmaster(dom *domain, name string) bool {
	if name == postmaster {
		return true
	}
	for _, target := range st.aliases.Names[postmaster] {
		if normalise(target.Unquoted()) == name && target.DomainUnicode() == dom.name {
			return true
		}
	}
	return false
}

// readForward reads a forward file: a line an address, several with commas between them, \ for "keep here",
// |program and /directory/ where the account may have them.
func readForward(path string, a *Account, programs bool) (list []ForwardLine, err error) {
	text, err := ReadFile(path, maxSetting)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	scan := bufio.NewScanner(strings.NewReader(text))
	scan.Buffer(nil, maxSetting+1)
	for n := 1; scan.Scan(); n++ {
		line := strings.TrimSpace(scan.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		forward, err := forwardLine(line, a, programs)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		list = append(list, forward...)
	}
	return list, scan.Err()
}

func forwardLine(line string, a *Account, programs bool) ([]ForwardLine, error) {
	switch line[0] {
	case '|', '/':
		if !programs {
			return nil, errors.New("programs and directories are off for this account, see domains(5) about programs")
		}
		if line[0] == '/' && (!strings.HasSuffix(line, "/") || strings.Contains(line, "/../")) {
			return nil, errors.New("a directory is a full path that ends in /")
		}
		arg := strings.TrimSpace(strings.TrimPrefix(line, "|"))
		if arg == "" || strings.ContainsRune(arg, 0) {
			return nil, errors.New("no program after |")
		}
		return []ForwardLine{{Kind: line[0], Arg: arg}}, nil
	case '\\':
		if name := normalise(line[1:]); name != "" && name != a.User && name != a.User+"@"+a.Domain {
			return nil, errors.New(`\ keeps mail here; it cannot name another account`)
		}
		return []ForwardLine{{Kind: '\\'}}, nil
	}
	targets, err := targets(strings.TrimPrefix(line, "&"), a.Domain)
	if err != nil {
		return nil, err
	}
	list := make([]ForwardLine, len(targets))
	for i, target := range targets {
		list[i] = ForwardLine{Kind: '&', Target: target}
	}
	return list, nil
}

// complete gives a bare local part its domain.
func complete(p address.Path, domain string) address.Path {
	if p.Domain == "" {
		p.Domain = domain
	}
	return p
}

package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"pennypost/internal/address"
	"pennypost/internal/domains"
)

// A Unix user's ~/.forward, as sendmail and Postfix read it:
//
//	# a comment
//	bob@example.net, carol         addresses, with commas or line ends between them
//	\alice                         keep a copy here
//	|/usr/bin/procmail             a command; "|cmd with words" or |"cmd, with a comma"
//	/home/alice/Mail/copy/         a Maildir; ~/Mail/copy/ as well
//	/dev/null                      nothing
//
// We run as that user, so the file can name nothing the user could not do by hand. What the file may not be is somebody else's:
// then it is as if it were not there, and mail is kept. It is kept too when a line makes no sense: the user finds the mail, and the
// log has the line.

const maxDotForward = 64 << 10

var errUnsafe = errors.New("not read")

// homeOf looks at a home directory. One that is not there may be on a disk that is not there: mail waits.
func homeOf(account *domains.Account) error {
	who := account.Unix
	info, err := os.Stat(who.Home)
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s: not a directory", who.Home)
	case st.Uid != who.UID && st.Uid != 0:
		return fmt.Errorf("%s: belongs to uid %d, and is the home of %s (%d)", who.Home, st.Uid, who.Name, who.UID)
	case info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("%s: anybody may write into this home directory; take that right away", who.Home)
	}
	return nil
}

// dotForward reads ~/.forward. An error that is errUnsafe means "as if there were none".
func dotForward(account *domains.Account) (list []domains.ForwardLine, err error) {
	who := account.Unix
	path := filepath.Join(who.Home, ".forward")
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0) // a symlink is the user's to make: what counts is the file
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) || errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w: %w", err, errUnsafe)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	st := info.Sys().(*syscall.Stat_t)
	why := ""
	switch {
	case !info.Mode().IsRegular():
		why = "is no regular file"
	case st.Uid != who.UID && st.Uid != 0:
		why = fmt.Sprintf("belongs to uid %d", st.Uid)
	case info.Mode().Perm()&0o022 != 0:
		why = "others may write it: chmod go-w"
	case info.Size() > maxDotForward:
		why = "is too long"
	}
	if why != "" {
		return nil, fmt.Errorf("%s: %s: %w", path, why, errUnsafe)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxDotForward))
	if err != nil {
		return nil, err
	}
	if list, err = parseDotForward(string(text), account); err != nil {
		return nil, fmt.Errorf("%s:%w: %w", path, err, errUnsafe)
	}
	return list, nil
}

// parseDotForward reads the text; the error begins with the line.
func parseDotForward(text string, account *domains.Account) (list []domains.ForwardLine, err error) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		for line = strings.TrimSpace(line); line != ""; {
			if line[0] == '#' {
				break
			}
			var item string
			if item, line, err = nextItem(line); err == nil && item != "" {
				var entry domains.ForwardLine
				if entry, err = forwardItem(item, account); err == nil {
					list = append(list, entry)
				}
			}
			if err != nil {
				return nil, fmt.Errorf("%d: %w", n, err)
			}
		}
	}
	return list, nil
}

// nextItem takes what stands before a comma, or a comment, off a line. Quotes around the whole, or around what follows |, are taken off a
// command; an address keeps its own.
func nextItem(line string) (item, rest string, err error) {
	var b strings.Builder
	quoted := false
	i := 0
loop:
	for ; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quoted && i+1 < len(line):
			b.WriteString(line[i : i+2])
			i++
		case c == '"':
			quoted = !quoted
			b.WriteByte(c)
		case c == ',' && !quoted:
			break loop
		case c == '#' && !quoted && i > 0 && (line[i-1] == ' ' || line[i-1] == '\t'):
			i = len(line) - 1
			break loop
		default:
			b.WriteByte(c)
		}
	}
	if quoted {
		return "", "", errors.New("a quote without its end")
	}
	item = strings.TrimSpace(b.String())
	rest = strings.TrimSpace(line[min(i+1, len(line)):])
	bar := strings.HasPrefix(item, "|")
	inner := strings.TrimSpace(strings.TrimPrefix(item, "|"))
	if whole, ok := unquote(inner); ok && (bar || strings.HasPrefix(whole, "|") || strings.HasPrefix(whole, "/") || strings.HasPrefix(whole, "~/")) {
		if item = whole; bar {
			item = "|" + whole
		}
	}
	return item, rest, nil
}

// unquote takes one pair of quotes off that goes around all of s.
func unquote(s string) (string, bool) {
	if len(s) < 2 || s[0] != '"' {
		return s, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			if i++; s[i] != '"' && s[i] != '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(s[i])
		case s[i] == '"':
			return b.String(), i == len(s)-1
		default:
			b.WriteByte(s[i])
		}
	}
	return s, false
}

var errMbox = errors.New("a mailbox is a Maildir here, and ends in /")

func forwardItem(item string, account *domains.Account) (line domains.ForwardLine, err error) {
	switch {
	case strings.ContainsRune(item, 0):
		return line, errors.New("holds a NUL")
	case item[0] == '|':
		line = domains.ForwardLine{Kind: '|', Arg: strings.TrimSpace(item[1:])}
		if line.Arg == "" {
			err = errors.New("no command after |")
		}
		return line, err
	case item == "/dev/null":
		return domains.ForwardLine{Kind: '0'}, nil
	case item[0] == '/' || strings.HasPrefix(item, "~/"):
		if !strings.HasSuffix(item, "/") {
			return line, errMbox
		}
		if rest, ok := strings.CutPrefix(item, "~/"); ok {
			item = account.Unix.Home + "/" + rest
		}
		return domains.ForwardLine{Kind: '/', Arg: filepath.Clean(item)}, nil
	case strings.HasPrefix(item, ":include:"):
		return line, errors.New(":include: is for /etc/aliases")
	}
	here := strings.HasPrefix(item, `\`)
	item = strings.TrimPrefix(item, `\`)
	if i := strings.LastIndexByte(item, '<'); i >= 0 && strings.HasSuffix(item, ">") { // Bob <bob@example.net>
		item = item[i+1 : len(item)-1]
	}
	p, err := address.Parse(item)
	switch {
	case err != nil:
		return line, err
	case p.IsNull():
		return line, errors.New("no address")
	case p.Domain == "":
		p.Domain = account.Domain
	}
	if here && sameAddress(p, account.Path()) {
		return domains.ForwardLine{Kind: '\\'}, nil
	}
	return domains.ForwardLine{Kind: '&', Target: p}, nil
}

package passwd

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// searchPath is where getent and id are.
const searchPath = "/usr/bin:/bin:/usr/local/bin"

const mostOutput = 64 << 10 // octets of what a program prints

// getent asks the C library.
func (l *Lookup) getent(name string) (*User, error) {
	ctx, cancel := context.WithTimeout(context.Background(), l.limit())
	defer cancel()
	out, _, code, err := l.run(ctx, "getent", "passwd", "--", name)
	switch {
	case err != nil:
		return nil, err
	case code == 2:
		return nil, l.nobody(ctx, name)
	case code != 0:
		return nil, fmt.Errorf("getent passwd -- %s: exit status %d", name, code)
	}
	u, err := parse(name, out)
	if err != nil {
		return nil, err
	}
	if u.UID < l.MinUID || nobodies[u.UID] {
		return nil, ErrUnknown
	}
	out, _, code, err = l.run(ctx, "getent", "initgroups", "--", name)
	if err == nil && code != 0 {
		err = fmt.Errorf("getent initgroups -- %s: exit status %d", name, code)
	}
	if err != nil {
		return nil, err
	}
	u.Groups, err = parseGroups(name, out)
	return u, err
}

// nobody tells an unknown name from one that nobody can look up now: getent ends with 2 for both. id prints what errno is, which is 0
// after an answer (getpwnam_r(3) of the C library sees to that), and "no such user" alone is then the end of its line.
func (l *Lookup) nobody(ctx context.Context, name string) error {
	_, errs, code, err := l.run(ctx, "id", "-u", "--", name)
	text := strings.TrimSpace(errs)
	switch {
	case err != nil:
		return err
	case code == 1 && (strings.HasSuffix(text, "no such user") || strings.HasSuffix(text, "unknown user "+name)): // coreutils; busybox
		return ErrUnknown
	case code == 0:
		return fmt.Errorf("getent does not know %s, and id does", name)
	}
	return fmt.Errorf("id -u -- %s: exit status %d: %s", name, code, text)
}

// run runs a program to its end, or kills it with all it has started.
func (l *Lookup) run(ctx context.Context, program string, args ...string) (stdout, stderr string, code int, err error) {
	path := l.Path
	if path == "" {
		path = searchPath
	}
	file := ""
	for _, dir := range filepath.SplitList(path) {
		if found, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			file = found
			break
		}
	}
	if file == "" {
		return "", "", 0, fmt.Errorf("%s: not found in %s", program, path)
	}
	var out, errs capped
	cmd := exec.CommandContext(ctx, file, args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=" + path}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 500 * time.Millisecond
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case out.over:
		return "", "", 0, fmt.Errorf("%s %s: prints too much", program, strings.Join(args, " "))
	case ctx.Err() != nil:
		return "", "", 0, fmt.Errorf("%s %s: no answer in time", program, strings.Join(args, " "))
	case errors.As(err, &exit) && exit.Exited():
		return string(out.text), string(errs.text), exit.ExitCode(), nil
	case err != nil:
		return "", "", 0, fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	return string(out.text), string(errs.text), 0, nil
}

// capped keeps the beginning of what is written to it.
type capped struct {
	text []byte
	over bool
}

func (c *capped) Write(p []byte) (int, error) {
	room := min(mostOutput-len(c.text), len(p))
	c.text, c.over = append(c.text, p[:room]...), c.over || room < len(p)
	return len(p), nil
}

// parse reads a line of passwd(5) that must be name's.
func parse(name, text string) (*User, error) {
	line, rest, _ := strings.Cut(text, "\n")
	f := strings.Split(line, ":")
	if rest != "" || len(f) != 7 || !strings.EqualFold(f[0], name) {
		return nil, fmt.Errorf("getent passwd -- %s: says %.200q", name, text)
	}
	uid, err := strconv.ParseUint(f[2], 10, 32)
	gid, err2 := strconv.ParseUint(f[3], 10, 32)
	if err = errors.Join(err, err2); err != nil {
		return nil, fmt.Errorf("getent passwd -- %s: %w", name, err)
	}
	u := &User{Name: name, UID: uint32(uid), GID: uint32(gid), Home: f[5], Shell: f[6]}
	if !filepath.IsAbs(u.Home) {
		return nil, fmt.Errorf("home directory of %s is %q", name, u.Home)
	}
	u.Home = filepath.Clean(u.Home)
	return u, nil
}

// parseGroups reads "NAME GID GID …".
func parseGroups(name, text string) (groups []uint32, err error) {
	words := strings.Fields(text)
	if len(words) == 0 || !strings.EqualFold(words[0], name) {
		return nil, fmt.Errorf("getent initgroups -- %s: says %.200q", name, text)
	}
	for _, w := range words[1:] {
		g, err := strconv.ParseUint(w, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("getent initgroups -- %s: %w", name, err)
		}
		groups = append(groups, uint32(g))
	}
	return groups, nil
}

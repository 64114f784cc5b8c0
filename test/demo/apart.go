package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"pennypost/internal/uids"
	"pennypost/test/lab"
)

// apartFacts are so besides the others where each program has a uid of its own.
var apartFacts = []fact{
	{"each program runs under its own uid, in its groups and no other; nobody but become is root", ownUids},
	{"every directory belongs to whom the table says, with the mode there", tableHolds},
	{"nobody can open what is not his: maillogin no mailbox and no credential, vmail no credential and no spool", notTheirs},
	{"mail for a Unix user is in her home, and hers", unixReceives},
	{"she reads it by IMAP and POP3, from processes of her own", unixReads},
	{"a wrong password of hers is refused", unixWrong},
	{"she sends, by submission and with sendmail", unixSends},
	{"her .forward runs her program as her", unixForward},
}

// carols is the Maildir of carol.
func (c *checker) carols() string { return filepath.Join(c.lab.Home(carol), "Maildir") }

// status are the uids and groups of a process, the effective ones, as /proc has them.
func status(pid int) (uid string, groups []string, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", nil, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 5 && f[0] == "Uid:":
			for _, other := range f[1:] {
				if other != f[1] {
					return "", nil, fmt.Errorf("pid %d has several uids: %s", pid, line)
				}
			}
			uid = f[1]
		case len(f) == 5 && f[0] == "Gid:":
			groups = append(groups, f[1])
		case len(f) > 1 && f[0] == "Groups:":
			groups = append(groups, f[1:]...)
		}
	}
	slices.Sort(groups)
	return uid, slices.Compact(groups), nil
}

func ownUids(c *checker) error {
	for _, h := range c.lab.Hosts {
		for _, p := range h.Programs {
			name := uids.Programs[p.Name]
			want, err := uids.System.User(name)
			if err != nil {
				return err
			}
			if (want == 0) != (p.Name == "become") {
				return fmt.Errorf("%s of %s is to run as uid %d", p.Name, h.Name, want)
			}
			uid, groups, err := status(p.Pid())
			if err != nil {
				return err
			}
			if uid != fmt.Sprint(want) {
				return fmt.Errorf("%s of %s runs as uid %s, and %s is %d", p.Name, h.Name, uid, name, want)
			}
			if want == 0 {
				continue
			}
			if in, err := groupsOf(name); err != nil || !slices.Equal(groups, in) {
				return fmt.Errorf("%s of %s runs in the groups %v, and %s is in %v (%v)", p.Name, h.Name, groups, name, in, err)
			}
		}
	}
	return nil
}

// groupsOf are the numbers of the groups of a user of ours, as the table of uids has them.
func groupsOf(name string) (numbers []string, err error) {
	i := slices.IndexFunc(uids.Users, func(u uids.User) bool { return u.Name == name })
	for _, g := range append([]string{name}, uids.Users[i].Groups...) {
		id, err := uids.System.Group(g)
		if err != nil && !slices.Contains(uids.HostGroups, g) {
			return nil, err
		}
		if err == nil {
			numbers = append(numbers, fmt.Sprint(id))
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func tableHolds(c *checker) error {
	for _, h := range c.lab.Hosts {
		if wrong := uids.Check(h.Table(), uids.System); len(wrong) > 0 {
			return errors.Join(wrong...)
		}
	}
	return nil
}

// canRead: could a user of this machine list the directory, or read the file?
func canRead(user, name string) (bool, error) {
	as, err := lab.User(user)
	if err != nil {
		return false, err
	}
	cmd := exec.Command("cat", name)
	if info, err := os.Stat(name); err != nil {
		return false, err
	} else if info.IsDir() {
		cmd = exec.Command("ls", name)
	}
	cmd.SysProcAttr, cmd.Dir = as, "/"
	out, err := cmd.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "Permission denied") {
		return false, fmt.Errorf("%s as %s: %v: %s", cmd, user, err, out)
	}
	return err == nil, nil
}

func notTheirs(c *checker) error {
	if _, _, err := c.deliverHere("a secret"); err != nil {
		return err
	}
	if _, err := c.carolGets("a secret"); err != nil {
		return err
	}
	etc := filepath.Dir(c.here.Config())
	alices := filepath.Join(etc, "domains", here, "users/alice/credentials/main")
	keys, err := filepath.Glob(filepath.Join(etc, "domains", here, "dkim", "*.key"))
	if err != nil || len(keys) == 0 {
		return fmt.Errorf("no DKIM keys: %v", err)
	}
	who := []string{"maillogin", "mailauth", "mailin", "mailpick", "mailqueue", "mailout", "mailsign", "mailweb", "mailgetent", "mailpam", "vmail", carol}
	for _, what := range []struct {
		name string
		by   []string // and nobody else
	}{
		{c.here.Maildir("bob"), []string{"vmail"}},
		{filepath.Join(c.carols(), "new"), []string{carol}},
		{alices, []string{"mailauth"}},
		{keys[0], []string{"mailsign"}},
		{filepath.Join(etc, "tls.key"), []string{"maillogin", "mailin", "mailweb", "vmail"}},
		{filepath.Join(c.here.Spool(), "q"), []string{"mailqueue"}},
		{filepath.Join(c.here.Spool(), "in/submit/new"), []string{"mailin", "mailqueue"}},
		{"/etc/shadow", []string{"mailpam"}},
	} {
		for _, user := range who {
			can, err := canRead(user, what.name)
			if err != nil {
				return err
			}
			if can != slices.Contains(what.by, user) && !(user == "mailpam" && !pam()) {
				return fmt.Errorf("%s can read %s: %v", user, what.name, can)
			}
		}
	}
	return nil
}

// carolGets brings a letter from the other host to carol, and returns the file it became.
func (c *checker) carolGets(subject string) (file string, err error) {
	mark := c.mark()
	if err := c.there.Submit("bob", carol+"@"+unixHost, lab.Letter("bob@"+there, carol+"@"+unixHost, subject, mark)); err != nil {
		return "", err
	}
	files, _, err := lab.Find(15*time.Second, c.carols(), mark, 1)
	if err != nil {
		return "", err
	}
	return files[0], nil
}

func unixReceives(c *checker) error {
	file, err := c.carolGets("to her home")
	if err != nil {
		return err
	}
	her, err := uids.System.User(carol)
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err == nil && int(info.Sys().(*syscall.Stat_t).Uid) != her {
		err = fmt.Errorf("%s belongs to uid %d, and %s is %d", file, info.Sys().(*syscall.Stat_t).Uid, carol, her)
	}
	return err
}

// hers are the processes of carol that run the program.
func hers(program string) (found []string, err error) {
	her, err := uids.System.User(carol)
	if err != nil {
		return nil, err
	}
	names, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, name := range names {
		exe, err := os.Readlink(name)
		info, serr := os.Stat(filepath.Dir(name))
		if err == nil && serr == nil && filepath.Base(exe) == program && int(info.Sys().(*syscall.Stat_t).Uid) == her {
			found = append(found, filepath.Dir(name))
		}
	}
	return found, nil
}

func unixReads(c *checker) error {
	file, err := c.carolGets("to be read")
	if err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	wire := strings.ReplaceAll(string(text), "\n", "\r\n")
	s, err := inbox(c.here, carol+"@"+unixHost)
	if err != nil {
		return err
	}
	defer s.Close()
	said, err := s.Do("FETCH * (BODY.PEEK[])")
	if err != nil || !strings.Contains(strings.Join(said, "\n"), wire) {
		return fmt.Errorf("FETCH gives %.300q (%v)", said, err)
	}
	p, err := c.here.POP(carol + "@" + unixHost)
	if err != nil {
		return err
	}
	defer p.Close()
	list, err := p.Lines("LIST")
	if err != nil || len(list) == 0 {
		return fmt.Errorf("LIST gives %q (%v)", list, err)
	}
	last, _, _ := strings.Cut(list[len(list)-1], " ")
	got, err := p.Lines("RETR " + last)
	if err != nil || strings.Join(got, "\r\n")+"\r\n" != wire {
		return fmt.Errorf("RETR gives %.300q (%v)", got, err)
	}
	for _, program := range []string{"imapd", "pop3d"} {
		if found, err := hers(program); err != nil || len(found) == 0 {
			return fmt.Errorf("no %s runs as %s (%v)", program, carol, err)
		}
	}
	_, err = p.Do("QUIT")
	return err
}

func unixWrong(c *checker) error {
	err := c.here.SubmitAs(carol+"@"+unixHost, "guess", "bob@"+here, "Subject: x\r\n\r\nx\r\n")
	if err == nil || !strings.Contains(err.Error(), "535") {
		return fmt.Errorf("the answer is %v", err)
	}
	return nil
}

func unixSends(c *checker) error {
	from := carol + "@" + unixHost
	mark := c.mark()
	if err := c.here.Submit(from, "bob@"+there, lab.Letter(from, "bob@"+there, "from home", mark)); err != nil {
		return err
	}
	if _, _, err := lab.Find(15*time.Second, c.there.Maildir("bob"), mark, 1); err != nil {
		return err
	}
	as, err := lab.User(carol)
	if err != nil {
		return err
	}
	mark = c.mark()
	cmd := exec.Command(filepath.Join(c.lab.Bin, "sendmail"), "-C", c.here.Config(), "-f", from, "bob@"+here)
	cmd.SysProcAttr, cmd.Dir, cmd.Stdin = as, "/", strings.NewReader("From: "+from+"\nSubject: from a shell\n\n"+mark+"\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("sendmail as %s: %v\n%s", carol, err, out)
	}
	_, _, err = lab.Find(15*time.Second, c.here.Maildir("bob"), mark, 1)
	return err
}

func unixForward(c *checker) error {
	forward, got := filepath.Join(c.lab.Home(carol), ".forward"), filepath.Join(c.lab.Home(carol), "got")
	if err := os.WriteFile(forward, []byte("\\carol\n\"|id -un >~/got\"\n"), 0o644); err != nil {
		return err
	}
	defer os.Remove(forward)
	if err := lab.Adopt(forward); err != nil {
		return err
	}
	if _, err := c.carolGets("to be forwarded"); err != nil {
		return err
	}
	return lab.Until(10*time.Second, func() error {
		text, err := os.ReadFile(got)
		if errors.Is(err, fs.ErrNotExist) || err == nil && string(text) != carol+"\n" {
			err = fmt.Errorf("%s has %q", got, text)
		}
		return err
	})
}

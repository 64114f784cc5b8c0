package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"pennypost/internal/uids"
)

// carol is a Unix user, and has her mail in her home.
const (
	carol    = "carol"
	unixHost = "unix.test" // the domain of Unix users, at the first host
)

// hash is crypt(3) of the password of everybody, demo.
const hash = "$6$pennypost$x/RRMVWXexl7p2fh6GNa08D6Y4yvgnkrKvcOkQW/IM/2ixs0uNMdcRJuKxX4pfjML2gZYExOrCSE4RWO./yw/0"

// inside says to the maildemo that is started again which directory it was started for: it sees the private files by now.
const inside = "MAILDEMO_INSIDE"

/*
ownUsers starts this program again, under the same pid, where the machine has the users of the suite, and carol: in a mount namespace, in
which /etc is one in memory, with a few lines more in passwd, group and shadow, and a service more in pam.d. Nobody outside sees it, and with
the last process of the namespace it is gone. It returns where that was done already, and where it cannot be: then why says what is in the way.
*/
func ownUsers(dir string) (apart bool, why string) {
	if os.Getenv(inside) != "" {
		os.Unsetenv(inside)
		syscall.Umask(0o022) // others are to reach what we make
		return true, ""
	}
	if os.Geteuid() != 0 {
		return false, "only root may give each program a uid of its own"
	}
	if err := usable(dir); err != nil {
		return false, err.Error()
	}
	users, err := readUsers("/etc")
	if err == nil {
		err = users.add(filepath.Join(dir, "home"))
	}
	if err != nil {
		return false, err.Error()
	}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: a thread with a mount namespace of its own is nothing for others
		failed <- startAgain(dir, users)
	}()
	return false, (<-failed).Error()
}

// usable reports why others than root could not use the directory.
func usable(dir string) error {
	if strings.ContainsAny(dir, ":\n") {
		return fmt.Errorf("%s cannot be the home of a Unix user for its colon", dir)
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist) || at == dir && err == nil: // we make it, or open it
		case err != nil:
			return err
		case info.Mode()&1 == 0:
			return fmt.Errorf("others than root cannot enter %s; --dir /tmp/demo would do", at)
		}
		if at == "/" {
			break
		}
	}
	for _, program := range []string{"getent", "id"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("there is no program %s, which says who is a Unix user", program)
		}
	}
	return nil
}

// startAgain makes the namespace and starts us in it; it returns only where that failed.
func startAgain(dir string, users *userFiles) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("no mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts cannot be made private: %w", err)
	}
	if err := users.mount(dir); err != nil {
		return err
	}
	return unix.Exec(self, os.Args, append(os.Environ(), inside+"="+dir))
}

// userFiles are the lines of passwd, group and shadow; shadow is empty where there is none.
type userFiles struct{ passwd, group, shadow []string }

func readUsers(etc string) (*userFiles, error) {
	u := &userFiles{}
	for name, lines := range map[string]*[]string{"passwd": &u.passwd, "group": &u.group, "shadow": &u.shadow} {
		text, err := os.ReadFile(filepath.Join(etc, name))
		if err != nil && !(name == "shadow" && errors.Is(err, fs.ErrNotExist)) {
			return nil, err
		}
		*lines = strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
	}
	return u, nil
}

// add adds the users and groups of the suite that are missing, and carol; a carol of the machine's own has no mail here.
func (u *userFiles) add(homes string) error {
	for _, lines := range []*[]string{&u.passwd, &u.group, &u.shadow} {
		*lines = slices.DeleteFunc(*lines, func(line string) bool { return strings.HasPrefix(line, carol+":") })
	}
	var groups []string // all of them first: users are in groups of users that come later
	for _, g := range uids.Groups {
		groups = append(groups, g.Name)
	}
	for _, user := range uids.Users {
		groups = append(groups, user.Name)
	}
	for _, name := range groups {
		if err := u.addGroup(name); err != nil {
			return err
		}
	}
	for _, user := range uids.Users {
		if !has(u.passwd, user.Name) {
			id := field(u.group, user.Name, 2)
			if u.taken(id) {
				return fmt.Errorf("the group %s is there without its user, and another has its number; mailsetup --users puts it right", user.Name)
			}
			u.passwd = append(u.passwd, fmt.Sprintf("%s:x:%s:%s:%s:/nonexistent:/usr/sbin/nologin", user.Name, id, id, user.Comment))
		}
		for _, g := range user.Groups {
			u.join(g, user.Name)
		}
	}
	id := strconv.Itoa(u.free(1000, 1))
	u.group = append(u.group, carol+":x:"+id+":")
	u.passwd = append(u.passwd, fmt.Sprintf("%s:x:%s:%s:Carol, a Unix user:%s:/bin/sh", carol, id, id, filepath.Join(homes, carol)))
	u.shadow = append(u.shadow, carol+":"+hash+":20000:0:99999:7:::")
	return nil
}

func (u *userFiles) addGroup(name string) error {
	if has(u.group, name) {
		return nil
	}
	id := u.free(999, -1)
	if id < 100 {
		return errors.New("no number below 1000 is left for a group")
	}
	u.group = append(u.group, fmt.Sprintf("%s:x:%d:", name, id))
	return nil
}

// join makes the user a member of a group, where there is such a group.
func (u *userFiles) join(group, user string) {
	for i, line := range u.group {
		f := strings.Split(line, ":")
		if f[0] != group || len(f) != 4 || slices.Contains(strings.Split(f[3], ","), user) {
			continue
		}
		if f[3] != "" {
			f[3] += ","
		}
		f[3] += user
		u.group[i] = strings.Join(f, ":")
	}
}

// free is the first number from id on that is neither a uid nor a gid.
func (u *userFiles) free(id, step int) int {
	for u.taken(strconv.Itoa(id)) || slices.ContainsFunc(u.group, func(line string) bool { return nth(line, 2) == strconv.Itoa(id) }) {
		id += step
	}
	return id
}

func (u *userFiles) taken(id string) bool {
	return slices.ContainsFunc(u.passwd, func(line string) bool { return nth(line, 2) == id })
}

func nth(line string, n int) string {
	if f := strings.Split(line, ":"); n < len(f) {
		return f[n]
	}
	return ""
}

func has(lines []string, name string) bool {
	return slices.ContainsFunc(lines, func(line string) bool { return nth(line, 0) == name })
}

func field(lines []string, name string, n int) string {
	for _, line := range lines {
		if nth(line, 0) == name {
			return nth(line, n)
		}
	}
	return ""
}

/*
mount puts another /etc in the place of the machine's: its files are copies, with our lines in three of them, its directories are the same, but
for pam.d. The copies lie in memory. It is the whole of /etc because what is mounted on a single file goes when somebody replaces that file,
as useradd(8) does.
*/
func (u *userFiles) mount(dir string) (err error) {
	private := filepath.Join(dir, "private")
	if err := os.MkdirAll(private, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("maildemo", private, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=64m,mode=755"); err != nil {
		return errors.Join(fmt.Errorf("%s cannot have a file system of its own: %w", private, err), os.Remove(private))
	}
	defer func() { err = errors.Join(err, unix.Unmount(private, unix.MNT_DETACH), os.Remove(private)) }()
	entries, err := os.ReadDir("/etc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, to := filepath.Join("/etc", e.Name()), filepath.Join(private, e.Name())
		switch {
		case e.IsDir() && e.Name() == "pam.d" && pam():
			err = services(from, to)
		case e.IsDir():
			if err = os.Mkdir(to, 0o755); err == nil {
				err = unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, "")
			}
		default:
			err = u.file(from, to, e)
		}
		if err != nil {
			return err
		}
	}
	if err := unix.Mount(private, "/etc", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("no /etc of our own: %w", err)
	}
	if _, err := os.Stat("/run/nscd"); err == nil { // who would be asked before these files
		return unix.Mount("maildemo", "/run/nscd", "tmpfs", 0, "")
	}
	return nil
}

// file copies a file, with its owner and mode, or a link.
func (u *userFiles) file(from, to string, e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil {
		return err
	}
	var text []byte
	switch lines := map[string][]string{"passwd": u.passwd, "group": u.group, "shadow": u.shadow}[e.Name()]; {
	case lines != nil:
		text = []byte(strings.Join(lines, "\n") + "\n")
	case e.Type() == fs.ModeSymlink:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case !e.Type().IsRegular():
		return nil
	default:
		if text, err = os.ReadFile(from); err != nil {
			return err
		}
	}
	st := info.Sys().(*syscall.Stat_t)
	return errors.Join(os.WriteFile(to, text, 0o600), os.Chown(to, int(st.Uid), int(st.Gid)), os.Chmod(to, info.Mode().Perm()))
}

// services copies /etc/pam.d with one service more, ours.
func services(from, to string) error {
	ours := "auth required pam_unix.so\naccount required pam_unix.so\n"
	return errors.Join(os.CopyFS(to, os.DirFS(from)), os.WriteFile(filepath.Join(to, "pennypost"), []byte(ours), 0o644), os.Chmod(to, 0o755))
}

// pam: is there PAM, with passwords in /etc/shadow that the group shadow may read?
func pam() bool {
	for _, file := range []string{"/etc/pam.d", "/etc/shadow"} {
		if _, err := os.Stat(file); err != nil {
			return false
		}
	}
	if _, err := uids.System.Group(uids.HostGroups[0]); err != nil {
		return false
	}
	for _, library := range []string{"libpam.so.0", "security/pam_unix.so"} {
		found := false
		for _, pattern := range []string{"/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/", "/lib/*-linux-gnu*/", "/usr/lib/*-linux-gnu*/"} {
			files, _ := filepath.Glob(pattern + library)
			found = found || len(files) > 0
		}
		if !found {
			return false
		}
	}
	return true
}

// programs is where the hosts have their programs: where they are, if others can enter there and become(8), which starts no file but root's, has
// nothing against them; else copies in DIR/bin.
func programs(bin, dir string) (string, error) {
	names := []string{"become", "deliver-local", "deliver-remote", "imapd", "mailauthd", "mailgetent", "mailkey", "maillogin", "mailq", "mailreport", "mailuser", "mailwebd",
		"pamcheck", "pop3d", "queue-pickup", "queue-run", "sendmail", "smtpd"}
	good := usable(bin) == nil
	for _, name := range names {
		info, err := os.Stat(filepath.Join(bin, name))
		if err != nil {
			return "", fmt.Errorf("%w: run make build", err)
		}
		good = good && info.Sys().(*syscall.Stat_t).Uid == 0 && info.Mode()&0o022 == 0 && info.Mode()&0o005 == 0o005
	}
	if info, err := os.Stat(bin); err != nil || good && info.Mode()&1 != 0 {
		return bin, err
	}
	to := filepath.Join(dir, "bin")
	if err := os.MkdirAll(to, 0o755); err != nil {
		return "", err
	}
	for _, name := range names {
		file, err := os.ReadFile(filepath.Join(bin, name))
		if err != nil {
			return "", err
		}
		os.Remove(filepath.Join(to, name)) // it may be running
		if err := os.WriteFile(filepath.Join(to, name), file, 0o755); err != nil {
			return "", err
		}
	}
	return to, nil
}

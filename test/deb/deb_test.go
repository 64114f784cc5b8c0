/*
Package deb installs the package in a Debian tree that has nothing else, boots it, and lives there for a minute: once with systemd as process 1,
whose units hold the programs as etc/systemd says, and once with runit, inetd and tcpserver. The clients are the host's own, in the network
namespace of the tree.
*/
package deb

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bin is where the programs are.
func bin(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("PENNYPOST_BIN"); dir != "" {
		return dir
	}
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "urfave_cli_no_docs", "-o", dir, "./cmd/...")
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// build makes a package of that version; nothing is compressed, for it is soon gone.
func build(t *testing.T, bin, version string) string {
	t.Helper()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("needs dpkg-deb")
	}
	file := filepath.Join(t.TempDir(), "pennypost_"+version+".deb")
	cmd := exec.Command("sh", "../../etc/debian/build.sh", bin, version, file)
	cmd.Env = append(os.Environ(), "DEB_COMPRESS=-Znone", "SOURCE_DATE_EPOCH=1764000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return file
}

// Nothing is set-user-ID or set-group-ID, no program is a script, and the same input gives the same package.
func TestFiles(t *testing.T) {
	programs := bin(t)
	first, second := build(t, programs, "1"), build(t, programs, "1")
	a, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("two packages of the same files differ")
	}
	out, err := exec.Command("dpkg-deb", "-c", first).Output()
	if err != nil {
		t.Fatal(err)
	}
	list := string(out)
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		if strings.ContainsAny(f[0], "sStT") || f[0][0] != 'l' && (f[0][5] == 'w' || f[0][8] == 'w') || f[1] != "root/root" {
			t.Error(line)
		}
	}
	for _, name := range []string{"./usr/sbin/sendmail", "./usr/bin/mailq -> ../sbin/mailq", "./usr/bin/newaliases -> ../sbin/sendmail",
		"./usr/lib/sendmail -> ../sbin/sendmail", "./etc/pennypost/mail.toml", "./usr/lib/systemd/system/pennypost-.service.d/10-hardened.conf"} {
		if !strings.Contains(list, " "+name+"\n") {
			t.Errorf("no %s", name)
		}
	}
	root := t.TempDir()
	if out, err := exec.Command("dpkg-deb", "-x", first, root).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files, err := filepath.Glob(root + "/usr/sbin/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d programs in usr/sbin: %v", len(files), err)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 4)
		if _, err := f.Read(head); err != nil || string(head) != "\x7fELF" {
			t.Errorf("%s is no program: %q", filepath.Base(file), head)
		}
		f.Close()
	}
}

// host is a booted tree.
type host struct {
	t    *testing.T
	root string
	pid  string // of process 1
}

// boot unpacks the tree of test/packages.sh and starts init in it.
func boot(t *testing.T, init ...string) *host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	for _, program := range []string{"unshare", "nsenter", "swaks", "curl", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs " + program)
		}
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = "/var/cache"
	}
	tar := filepath.Join(cache, "pennypost-test/debian-1.tar")
	if _, err := os.Stat(tar); err != nil {
		t.Skip("needs a Debian tree, see test/packages.sh: " + tar)
	}
	root, err := os.MkdirTemp("", "pennypost-deb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	if out, err := exec.Command("tar", "-xf", tar, "-C", root, "--exclude=./dev/*").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	os.Chmod(root, 0o755)
	os.Mkdir(filepath.Join(root, "etc/pennypost-services"), 0o755)
	cmd := exec.Command("unshare", append([]string{"-m", "-p", "-f", "-n", "-u", "-i", "-C", "--kill-child", "bash", "testdata/boot.sh", root}, init...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Skipf("needs namespaces: %v", err)
	}
	done := make(chan bool)
	go func() { cmd.Wait(); close(done) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-done })
	h := &host{t: t, root: root}
	for range 200 {
		select {
		case <-done:
			t.Skipf("a tree cannot be booted here: %s", out.String())
		case <-time.After(50 * time.Millisecond):
		}
		list, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		if h.pid = strings.TrimSpace(string(list)); h.pid == "" {
			continue
		}
		if name, _ := os.ReadFile("/proc/" + h.pid + "/comm"); strings.TrimSpace(string(name)) == filepath.Base(init[0]) {
			return h
		}
	}
	t.Fatalf("process 1 is not %s: %s", init[0], out.String())
	return nil
}

// script runs testdata/NAME in the tree, where IN is in front of a program of the host that is to be in the network of the tree. Its
// output must be what testdata/NAME.out says.
func (h *host) script(name string, env ...string) {
	h.t.Helper()
	want, err := os.ReadFile("testdata/" + name + ".out")
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command("bash", "testdata/"+name)
	cmd.Env = append(append(os.Environ(), "PID="+h.pid, "ROOT="+h.root), env...)
	got, err := cmd.CombinedOutput()
	if string(got) != string(want) || err != nil {
		log, _ := exec.Command("nsenter", "-t", h.pid, "-a", "--", "sh", "-c", "journalctl --no-pager -o cat -n 80 -u 'pennypost*' 2>/dev/null; tail -n 60 /var/log/pennypost/*/current 2>/dev/null").CombinedOutput()
		h.t.Errorf("%s: %v\n%s\nwant\n%s\nlog\n%s", name, err, got, want, log)
	}
}

func (h *host) put(file, as string) {
	h.t.Helper()
	if out, err := exec.Command("cp", file, filepath.Join(h.root, as)).CombinedOutput(); err != nil {
		h.t.Fatalf("%v\n%s", err, out)
	}
}

// breaker builds it and puts it into the tree, with the script that runs it there.
func (h *host) breaker(script string) {
	h.t.Helper()
	cmd := exec.Command("go", "build", "-o", filepath.Join(h.root, "usr/local/bin/breaker"), "../breaker")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("%v\n%s", err, out)
	}
	h.put("testdata/"+script, "root/"+script)
}

// TestS161Systemd: code in the place of each program gets nothing that is not its own; install, fill, upgrade, drain, fill, downgrade, drain, purge; a virtual user and a Unix user send, receive and read.
func TestS161Systemd(t *testing.T) {
	programs := bin(t)
	old, young := build(t, programs, "1"), build(t, programs, "2")
	if was := os.Getenv("PENNYPOST_PREVIOUS_DEB"); was != "" {
		old = was
	}
	h := boot(t, "/lib/systemd/systemd")
	h.put(old, "root/1.deb")
	h.put(young, "root/2.deb")
	h.breaker("breaker-units.sh")
	h.script("systemd.sh")
}

// TestS161Runit: the same without units, and the same programs under the same uids, with runsvdir as process 1, and inetd and tcpserver in front of them.
func TestS161Runit(t *testing.T) {
	h := boot(t, "/usr/bin/runsvdir", "/etc/pennypost-services")
	h.put(build(t, bin(t), "1"), "root/1.deb")
	h.breaker("breaker-plain.sh")
	h.script("runit.sh")
}

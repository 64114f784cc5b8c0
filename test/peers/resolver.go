package peers

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

/*
Zones is signed DNS as the world has it: zones signed with ldns, served by NSD, and Unbound in front, which validates them from a trust
anchor for each signed zone. All of it runs on loopback, under our own uid.

	DIR/
	    NAME.zone  NAME.signed     a zone and what ldns-signzone made of it
	    K….key  K….ds  K….private  its key
	    nsd.conf  unbound.conf  nsd.log  unbound.log
*/
type Zones struct {
	Dir  string
	Addr string // of Unbound

	signer  string // directory of ldns, "" in PATH
	running []*exec.Cmd
}

// A Zone is one of them.
type Zone struct {
	Name    string
	Records string // lines of NAME TYPE VALUE; @ is the zone
	Signed  bool
	Expired bool                       // signed, and no longer good
	Spoil   func(signed string) string // changes what was signed: bogus
	Dead    bool                       // nobody serves it
}

// program finds one of a package: installed, or unpacked beside the system.
func program(pkg, name string) (argv0 string, env []string, err error) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin") {
		if file := filepath.Join(dir, name); executable(file) {
			return file, os.Environ(), nil
		}
	}
	root := filepath.Join(Cache(), pkg)
	for _, dir := range []string{"usr/sbin", "usr/bin"} {
		if file := filepath.Join(root, dir, name); executable(file) {
			libs, _ := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu*"))
			return file, append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libs, ":")), nil
		}
	}
	return "", nil, fmt.Errorf("%s: %w", name, ErrMissing)
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// StartZones signs and serves the zones. Both servers have their ports on 127.0.0.1.
func StartZones(dir string, zones []Zone, resolver, server int) (*Zones, error) {
	z := &Zones{Dir: dir, Addr: fmt.Sprintf("127.0.0.1:%d", resolver)}
	for _, p := range [][2]string{{"unbound", "unbound"}, {"nsd", "nsd"}, {"ldnsutils", "ldns-keygen"}, {"ldnsutils", "ldns-signzone"}} {
		if _, _, err := program(p[0], p[1]); err != nil {
			return nil, err
		}
	}
	nsd := fmt.Sprintf("server:\n ip-address: 127.0.0.1@%d\n server-count: 1\n username: \"\"\n zonesdir: %q\n database: \"\"\n pidfile: \"\"\n logfile: %q\n zonelistfile: %q\n xfrdfile: %q\n xfrdir: %q\n cookie-secret-file: \"\"\nremote-control:\n control-enable: no\n",
		server, dir, z.path("nsd.log"), z.path("zone.list"), z.path("xfrd.state"), dir)
	unbound := fmt.Sprintf("server:\n interface: 127.0.0.1@%d\n access-control: 127.0.0.0/8 allow\n do-not-query-localhost: no\n do-daemonize: no\n chroot: \"\"\n username: \"\"\n directory: %q\n pidfile: \"\"\n use-syslog: no\n logfile: %q\n module-config: \"validator iterator\"\n val-log-level: 2\n num-threads: 1\n do-ip6: no\n local-zone: \"test.\" nodefault\n",
		resolver, dir, z.path("unbound.log"))
	stubs := "remote-control:\n control-enable: no\n"
	for _, zone := range zones {
		anchor, err := z.write(zone)
		if err != nil {
			return nil, err
		}
		unbound += anchor
		port := server
		if zone.Dead {
			port = 1
		} else {
			nsd += fmt.Sprintf("zone:\n name: %q\n zonefile: %q\n", zone.Name, zone.Name+".signed")
		}
		stubs += fmt.Sprintf("stub-zone:\n name: %q\n stub-addr: 127.0.0.1@%d\n", zone.Name, port)
	}
	if err := errors.Join(os.WriteFile(z.path("nsd.conf"), []byte(nsd), 0o644), os.WriteFile(z.path("unbound.conf"), []byte(unbound+stubs), 0o644)); err != nil {
		return nil, err
	}
	err := z.start("nsd", server, "nsd", "-d", "-c", z.path("nsd.conf"))
	if err == nil {
		err = z.start("unbound", resolver, "unbound", "-d", "-c", z.path("unbound.conf"))
	}
	if err != nil {
		z.Stop()
		return nil, err
	}
	return z, nil
}

func (z *Zones) path(name string) string { return filepath.Join(z.Dir, name) }

// write makes the file of a zone, signed if that is wanted, and returns what Unbound must know to validate it.
func (z *Zones) write(zone Zone) (anchor string, err error) {
	text := fmt.Sprintf("$ORIGIN %s.\n$TTL 60\n@ SOA ns postmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n%s\n", zone.Name, zone.Records)
	plain, signed := z.path(zone.Name+".zone"), z.path(zone.Name+".signed")
	if err := os.WriteFile(plain, []byte(text), 0o644); err != nil {
		return "", err
	}
	if !zone.Signed {
		return "", os.WriteFile(signed, []byte(text), 0o644)
	}
	key, err := z.ldns("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", zone.Name)
	if err != nil {
		return "", err
	}
	until := time.Now().Add(30 * 24 * time.Hour)
	if zone.Expired {
		until = time.Now().Add(-24 * time.Hour)
	}
	const form = "20060102150405"
	if _, err := z.ldns("ldns-signzone", "-i", until.Add(-60*24*time.Hour).UTC().Format(form), "-e", until.UTC().Format(form), "-f", signed, plain, strings.TrimSpace(key)); err != nil {
		return "", err
	}
	if zone.Spoil != nil {
		text, err := os.ReadFile(signed)
		if err != nil {
			return "", err
		}
		spoilt := zone.Spoil(string(text))
		if spoilt == string(text) {
			return "", fmt.Errorf("%s: nothing was spoilt", zone.Name)
		}
		if err := os.WriteFile(signed, []byte(spoilt), 0o644); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf(" trust-anchor-file: %q\n", z.path(strings.TrimSpace(key)+".ds")), nil
}

// ldns runs one of its programs in Dir.
func (z *Zones) ldns(name string, args ...string) (string, error) {
	file, env, err := program("ldnsutils", name)
	if err != nil {
		return "", err
	}
	cmd := exec.Command(file, args...)
	cmd.Dir, cmd.Env = z.Dir, env
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return string(out), nil
}

// start runs a server and waits until it takes connections.
func (z *Zones) start(pkg string, port int, name string, args ...string) error {
	file, env, err := program(pkg, name)
	if err != nil {
		return err
	}
	cmd := exec.Command(file, args...)
	cmd.Dir, cmd.Env = z.Dir, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	z.running = append(z.running, cmd)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not answer at port %d: %s", name, port, z.Log())
		}
	}
}

// Log is what the servers said.
func (z *Zones) Log() string {
	var all strings.Builder
	for _, name := range []string{"nsd.log", "unbound.log"} {
		text, _ := os.ReadFile(z.path(name)) // no log: it said nothing
		all.Write(text)
	}
	return all.String()
}

// Stop ends both.
func (z *Zones) Stop() {
	for _, cmd := range z.running {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		cmd.Wait()
	}
	z.running = nil
}

package login

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pennypost/internal/domains"
	"pennypost/internal/escape"
)

/*
With approval, the first login of a credential from a new network waits, although its password is right:

	pending/alice@example.org,phone,192.0.2.0-24     somebody has tried
	approved/alice@example.org,phone,192.0.2.0-24    and may

mv from one to the other approves; rm from approved takes it back. The file names the verifiers it was made for: a new credential
of the same name starts again. The client is told what it would be told of a wrong password.
*/

// Approval is a file of pending or approved.
type Approval struct {
	Credential string    `json:"credential"`
	Network    string    `json:"network"`
	Service    string    `json:"service"`
	IP         string    `json:"ip"`
	Time       time.Time `json:"time"`
	of         string
}

func approvalFile(a *domains.Account, credential, network string) string {
	return home(a) + "," + escape.File(credential) + "," + strings.ReplaceAll(network, "/", "-")
}

func (p Approval) String() string {
	return fmt.Sprintf("credential: %s\nof: %s\nnetwork: %s\nservice: %s\nip: %s\ntime: %s\n", p.Credential, p.of, p.Network, p.Service, p.IP, p.Time.UTC().Format(time.RFC3339))
}

func parseApproval(text string) (p Approval, ok bool) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "credential":
			p.Credential = value
		case "of":
			p.of = value
		case "network":
			p.Network = value
		case "service":
			p.Service = value
		case "ip":
			p.IP = value
		case "time":
			p.Time, _ = time.Parse(time.RFC3339, value)
		}
	}
	return p, p.of != "" && p.Credential != "" && p.Network != ""
}

// approved reports whether the login may go on; where it may not, somebody can now say that it may.
func (c *Checker) approved(r Request, who finding, k Credential) (bool, error) {
	if k.Approval != "yes" && (k.Approval != "" || !c.Approval) {
		return true, nil
	}
	if c.State == nil {
		return false, errors.New("approval needs the state directory")
	}
	name := approvalFile(who.owner, k.Name, Network(r.Remote))
	text, err := c.State.read("approved/" + name)
	if err != nil {
		return false, err
	}
	if p, ok := parseApproval(text); ok && p.of == k.of {
		return true, nil
	}
	p := Approval{k.Name, Network(r.Remote), r.Service, ipOf(r.Remote), c.now(), k.of}
	if c.recent.again("pending "+name+k.of, p.Time) {
		if text, err := c.State.read("pending/" + name); err != nil || text != "" {
			return false, err
		}
	}
	disk, err := c.State.make()
	if err == nil {
		err = mkdir(disk, "approved")
	}
	if err == nil {
		err = c.State.write("pending/"+name, p.String(), false)
	}
	if err == nil {
		c.Warn("login waits", fmt.Errorf("%s/pending/%s: approve it with mailuser, or mv", c.State.dir, name))
	}
	return false, err
}

func ipOf(a netip.Addr) string {
	if !a.IsValid() {
		return "local"
	}
	return a.Unmap().WithZone("").String()
}

// Approvals lists what waits, or what was approved, for an account.
func (s *State) Approvals(a *domains.Account, approved bool) (list []Approval, err error) {
	dir := "pending"
	if approved {
		dir = "approved"
	}
	disk, err := s.open()
	var names []string
	if err == nil {
		names, err = disk.ReadDir(dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	slices.Sort(names)
	for _, name := range names {
		if !strings.HasPrefix(name, home(a)+",") {
			continue
		}
		text, err := s.read(dir + "/" + name)
		if err != nil {
			return list, err
		}
		if p, ok := parseApproval(text); ok {
			list = append(list, p)
		}
	}
	return list, s.wrap(err)
}

// Approve lets a credential in from a network that it waits for, from all of them where network is "".
func (s *State) Approve(a *domains.Account, credential, network string) (networks []string, err error) {
	waiting, err := s.Approvals(a, false)
	if err != nil {
		return nil, err
	}
	waiting = slices.DeleteFunc(waiting, func(p Approval) bool { return p.Credential != credential || network != "" && p.Network != network })
	if len(waiting) == 0 {
		return nil, errors.New("nothing of that name waits for approval")
	}
	disk, err := s.open()
	if err != nil {
		return nil, err
	}
	for _, p := range waiting {
		name := approvalFile(a, credential, p.Network)
		if err := disk.Rename("pending/"+name, "approved/"+name); err != nil {
			return networks, s.wrap(err)
		}
		networks = append(networks, p.Network)
	}
	return networks, errors.Join(disk.SyncDir("approved"), disk.SyncDir("pending"))
}

// disapprove removes what was approved of a credential, of all where it is "", and what waits.
func (s *State) disapprove(a *domains.Account, credential string) error {
	disk, err := s.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, dir := range []string{"pending", "approved"} {
		names, err := disk.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return s.wrap(err)
		}
		start := home(a) + ","
		if credential != "" {
			start += escape.File(credential) + ","
		}
		for _, name := range names {
			if !strings.HasPrefix(name, start) {
				continue
			}
			if err := disk.Remove(dir + "/" + name); err != nil {
				return s.wrap(err)
			}
		}
	}
	return nil
}

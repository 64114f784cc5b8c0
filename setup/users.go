package setup

import (
	"fmt"
	"io"
	"os/user"
	"slices"
	"strings"

	"pennypost/internal/uids"
)

// Host is what is asked about this host's users.
type Host struct {
	uids.IDs
	Groups func(user string) ([]string, error) // by name
}

// System is the host we run on.
var System = Host{uids.System, func(name string) (names []string, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	ids, err := u.GroupIds()
	for _, id := range ids {
		if g, err := user.LookupGroupId(id); err == nil {
			names = append(names, g.Name)
		}
	}
	return names, err
}}

// Names prints all users and groups of the table, a line each: "user NAME", "group NAME".
func Names(w io.Writer) {
	for _, u := range uids.Users {
		fmt.Fprintln(w, "user", u.Name)
	}
	for _, g := range uids.Groups {
		fmt.Fprintln(w, "group", g.Name)
	}
}

// Users prints the shell commands that make the users and groups of the table that are missing. It returns how many.
func Users(w io.Writer, h Host) (n int) {
	say := func(format string, args ...any) {
		n++
		fmt.Fprintf(w, format+"\n", args...)
	}
	var groups []string
	for _, u := range uids.Users {
		groups = append(groups, u.Name)
	}
	for _, g := range uids.Groups {
		groups = append(groups, g.Name)
	}
	for _, g := range groups {
		if _, err := h.Group(g); err != nil {
			say("groupadd --system %s", g)
		}
	}
	for _, u := range uids.Users {
		if _, err := h.User(u.Name); err != nil {
			more := ""
			if len(u.Groups) > 0 {
				more = " --groups " + strings.Join(u.Groups, ",")
			}
			say("useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin --gid %s%s --comment '%s' %s",
				u.Name, more, u.Comment, u.Name)
			continue
		}
		has, err := h.Groups(u.Name)
		if err != nil {
			continue
		}
		for _, g := range u.Groups {
			if !slices.Contains(has, g) {
				say("usermod --append --groups %s %s", g, u.Name)
			}
		}
	}
	return n
}

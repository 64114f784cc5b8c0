package uids

import (
	"fmt"
	"os/user"
	"strconv"
)

// Lookup is the uid of one of our users on this host.
func Lookup(name string) (uint32, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, fmt.Errorf("no user %s on this host, see mailsetup(8)", name)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	return uint32(uid), err
}

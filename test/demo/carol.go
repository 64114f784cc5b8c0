package demo

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pennypost/internal/uids"
	"pennypost/test/lab"
)

// who says under which user each program of the host runs.
func (s *story) who() string {
	runs := map[string][]string{}
	for _, p := range s.here.Programs {
		user := uids.Programs[p.Name]
		runs[user] = append(runs[user], p.Name)
	}
	var rows []string
	for _, user := range slices.Sorted(maps.Keys(runs)) {
		rows = append(rows, user+": "+strings.Join(runs[user], " "))
	}
	return "  " + strings.Join(rows, "\n  ")
}

// carol is the chapter of a Unix user.
func (s *story) carol(mark string) ([]string, error) {
	to := carol + "@" + unixHost
	if err := s.here.Submit("alice", to, lab.Letter("alice@"+here, to, "to your home", mark)); err != nil {
		return nil, err
	}
	files, _, err := lab.Find(15*time.Second, filepath.Join(s.lab.Home(carol), "Maildir"), mark, 1)
	if err != nil {
		return nil, err
	}
	c, err := inbox(s.here, to)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	found, err := hers("imapd")
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("no imapd runs as %s (%v)", carol, err)
	}
	return append(paths("delivered by a process of hers: ", files), "read by a process of hers: "+filepath.Base(found[0])+", an imapd that become started for this session"), nil
}

// homely are lines to paste about her.
func (s *story) homely() []string {
	_, port, _ := net.SplitHostPort(s.here.Addr("IMAPS"))
	enter := fmt.Sprintf("nsenter -m -t %d ", os.Getpid())
	return []string{
		"curl -s --cacert " + rel(s.lab.CA.File()) + " -u " + carol + "@" + unixHost + ":" + lab.Password + " 'imaps://localhost:" + port + "/INBOX?ALL'",
		enter + "su - " + carol + "   # a shell of hers; her mail is in ~/Maildir",
		enter + "ps -eo user:11,pid,args   # who runs what, with names that only these processes know",
	}
}

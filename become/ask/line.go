package ask

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"

	"pennypost/internal/escape"
)

// Request is a program of the list, and whom it is to run as.
type Request struct {
	Program string // imapd, pop3d, deliver-local
	UID     uint32
	GIDs    []uint32 // the user's own group, and those besides
	Name    string
	Home    string
}

// String is the line: PROGRAM UID GID[,GID…] NAME HOME.
func (r Request) String() string {
	gids := make([]string, len(r.GIDs))
	for i, g := range r.GIDs {
		gids[i] = strconv.FormatUint(uint64(g), 10)
	}
	b := append(escape.Append(nil, r.Program), ' ')
	b = append(strconv.AppendUint(b, uint64(r.UID), 10), " "+strings.Join(gids, ",")+" "...)
	return string(escape.Append(append(escape.Append(b, r.Name), ' '), r.Home))
}

// MostGroups is how many groups a line may have.
const MostGroups = 64

var errLine = errors.New("not PROGRAM UID GID[,GID…] NAME HOME")

// Parse reads a line.
func Parse(line string) (r Request, err error) {
	words := strings.Split(line, " ")
	if len(words) != 5 || strings.Count(words[2], ",") >= MostGroups {
		return r, errLine
	}
	for i, text := range append(words[1:2:2], strings.Split(words[2], ",")...) {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return r, errLine
		}
		if i == 0 {
			r.UID = uint32(n)
		} else {
			r.GIDs = append(r.GIDs, uint32(n))
		}
	}
	for i, to := range map[int]*string{0: &r.Program, 3: &r.Name, 4: &r.Home} {
		if *to, err = escape.Parse(words[i]); err != nil || *to == "" || strings.ContainsRune(*to, 0) {
			return r, errLine
		}
	}
	if len(r.Name) > 256 || r.Name[0] == '-' || !filepath.IsAbs(r.Home) {
		return r, errLine
	}
	return r, nil
}

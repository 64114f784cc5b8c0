package pull

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"pennypost/internal/sequence"
)

/*
journal is the file mb-pull in the Maildir: what of another account has been fetched. A line for a batch before it is made visible,
and one behind it:

	? "ACCOUNT" "MAILBOX" VALIDITY UIDS NEXT    these will be at UID NEXT here, and above
	= "ACCOUNT" "MAILBOX" VALIDITY UIDS         they are
*/
type journal struct {
	file    *os.File
	account string
	done    map[string]sequence.Set
	open    map[string]intent // "?" without its "="
}

// intent is a batch of which it is not known whether it arrived.
type intent struct {
	uids sequence.Set
	next uint32
}

const journalName = "mb-pull"

func openJournal(root, account string) (*journal, error) {
	file, err := os.OpenFile(filepath.Join(root, journalName), os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{file: file, account: account, done: map[string]sequence.Set{}, open: map[string]intent{}}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var kind, who, box, uids string
		var validity, next uint32
		n, _ := fmt.Sscanf(lines.Text(), "%s %q %q %d %s %d", &kind, &who, &box, &validity, &uids, &next)
		set, ok := sequence.Parse([]byte(uids))
		if n < 5 || !ok || set.Dynamic() || who != account {
			continue
		}
		at := place(box, validity)
		if kind == "=" {
			j.add(at, set)
			delete(j.open, at)
		} else if n == 6 {
			j.open[at] = intent{set, next}
		}
	}
	if err := lines.Err(); err != nil {
		file.Close()
		return nil, err
	}
	return j, nil
}

func place(box string, validity uint32) string { return strconv.Itoa(int(validity)) + " " + box }

// numbered is the UIDVALIDITY under which mail of a mailbox is here, when it is not this one.
func (j *journal) numbered(box string, validity uint32) (other string, is bool) {
	if len(j.done[place(box, validity)]) > 0 {
		return "", false
	}
	for at := range j.done {
		if other, name, _ := strings.Cut(at, " "); name == box {
			return other, true
		}
	}
	return "", false
}

func (j *journal) add(at string, set sequence.Set) {
	j.done[at] = append(j.done[at], set...).Resolve(0)
}

func (j *journal) say(kind, box string, validity uint32, set sequence.Set, next string) error {
	row := strings.TrimSpace(fmt.Sprintf("%s %q %q %d %s %s", kind, j.account, box, validity, set, next)) + "\n"
	_, err := j.file.WriteString(row)
	return err
}

package mailq

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"pennypost/internal/escape"
	"pennypost/queue/outbound"
)

// account is what outbound/ has of one. Its JSON keys are those of mailq(8) and stay.
type account struct {
	User       string     `json:"user"`
	Held       string     `json:"held,omitempty"` // why
	Since      *time.Time `json:"since,omitempty"`
	Messages   float64    `json:"messages"`
	Recipients float64    `json:"recipients"`
	New        float64    `json:"new_recipients"`
	Taken      int        `json:"taken"`
	Refused    int        `json:"refused"`
	At         *time.Time `json:"at,omitempty"`
}

// accounts lists what accounts send, the held ones first.
func (t *Tool) accounts(args []string) error {
	list, err := t.outbound(func(name string) bool { return len(args) == 0 || slices.Contains(args, name) })
	if err != nil {
		return err
	}
	for _, a := range list {
		if t.JSON {
			if err := t.object(a); err != nil {
				return err
			}
			continue
		}
		t.printf("%s  messages %.0f, recipients %.0f, new %.0f; taken %d, refused %d", a.User, a.Messages, a.Recipients, a.New, a.Taken, a.Refused)
		if a.Held != "" {
			t.printf("  (held since %s: %s)", t.when(*a.Since), a.Held)
		}
	}
	if len(list) == 0 && !t.JSON {
		t.printf("No account has sent anything")
	}
	return nil
}

// outbound reads outbound/.
func (t *Tool) outbound(wanted func(name string) bool) ([]*account, error) {
	names, err := t.Spool.Disk.ReadDir("outbound")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	of := map[string]*account{}
	get := func(name string) *account {
		if of[name] == nil {
			of[name] = &account{User: name}
		}
		return of[name]
	}
	for _, base := range names {
		if name, ok := outbound.Held(base); ok && wanted(name) {
			t.readHeld(get(name), "outbound/"+base)
		} else if name, ok := outbound.Counted(base); ok && wanted(name) {
			t.readCount(get(name), "outbound/"+base)
		}
	}
	var list []*account
	for _, a := range of {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b *account) int {
		if (a.Held == "") != (b.Held == "") {
			if a.Held != "" {
				return -1
			}
			return 1
		}
		return strings.Compare(a.User, b.User)
	})
	return list, nil
}

func (t *Tool) readHeld(a *account, name string) {
	text, _ := t.small(name, 1024)
	if a.Held = strings.TrimSpace(string(text)); a.Held == "" {
		a.Held = "by hand"
	}
	info, err := t.Spool.Disk.Stat(name)
	if err != nil {
		info.ModTime = t.now()
	}
	a.Since = &info.ModTime
}

func (t *Tool) readCount(a *account, name string) {
	text, err := t.small(name, outbound.FileMost)
	if err != nil {
		return
	}
	c, err := outbound.Parse(text)
	if err != nil {
		t.note("%s: %v", name, err)
		return
	}
	a.Messages, a.Recipients, a.New, a.At = c.Messages, c.Recipients, c.New, &c.At
	a.Taken, a.Refused = c.Taken[0]+c.Taken[1], c.Refused[0]+c.Refused[1]
}

// small reads a file of so many octets at most.
func (t *Tool) small(name string, most int64) ([]byte, error) {
	f, err := t.Spool.Disk.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most+1))
}

// letSend takes away the file that holds an account; false if there was none.
func (t *Tool) letSend(name string) (bool, error) {
	err := t.Spool.Disk.Remove(outbound.HeldFile(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// letSendAll does so for every auth:NAME among args; the rest is what they select. let says whether an account was let go.
func (t *Tool) letSendAll(args []string) (let bool, err error) {
	for _, arg := range args {
		name, ok := strings.CutPrefix(arg, "auth:")
		if !ok || name == "" {
			continue
		}
		did, err := t.letSend(plain(name))
		if err != nil {
			return let, err
		}
		if did {
			let = true
			if err := t.done("may send again", arg); err != nil {
				return let, err
			}
		}
	}
	return let, nil
}

// heldAccounts are the lines of mailq pause about accounts that are held.
func (t *Tool) heldAccounts() []pauseLine {
	list, err := t.outbound(func(string) bool { return true })
	if err != nil {
		if !errors.Is(err, fs.ErrPermission) {
			t.note("%v", err)
		}
		return nil
	}
	var lines []pauseLine
	for _, a := range list {
		if a.Held != "" {
			lines = append(lines, pauseLine{What: "held", Kind: "auth", Name: a.User, Reason: a.Held, Since: a.Since})
		}
	}
	return lines
}

// holdAccount makes the file by hand.
func (t *Tool) holdAccount(name, reason string) error {
	f, err := t.Spool.Disk.Create(outbound.HeldFile(name), 0o660)
	if errors.Is(err, fs.ErrExist) {
		return &exit{exUsage, "auth:" + escape.Terminal(name) + " is held already"}
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, strings.ReplaceAll(reason, "\n", " "))
	return errors.Join(err, f.Close())
}

/*
Package check is maildircheck(1): it looks at a Maildir and says what is wrong with it, what would be done about it, and, when told to,
does it. What it looks for is in package mailbox, which owns the files; here is what a person sees.
*/
package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pennypost/maildir"
	"pennypost/maildir/mailbox"
)

// Check is what to do.
type Check struct {
	Fix      bool // do it, not only say it
	Restored bool // mb-uids comes from a backup
	Purge    bool // remove days of the undelete area that are over
	Days     int  // how long expunged mail is kept
	JSON     bool
	Layout   string
	Out      io.Writer
	Now      func() time.Time
}

// ErrFound is that something was found and not put right.
var ErrFound = errors.New("see above; --fix puts right what can be")

// line is what is said of one finding, as JSON.
type line struct {
	Maildir string `json:"maildir"`
	Folder  string `json:"folder,omitempty"`
	File    string `json:"file,omitempty"`
	Found   string `json:"found"`
	Do      string `json:"do,omitempty"`
	Done    bool   `json:"done"`
	Error   string `json:"error,omitempty"`
}

// Maildir checks the Maildir root.
func (c *Check) Maildir(ctx context.Context, root string) error {
	if _, err := os.Stat(filepath.Join(root, "cur")); err != nil { // nothing is made here
		return err
	}
	a, err := mailbox.OpenAccount(root, mailbox.Options{Layout: c.Layout, ExpungedDays: c.Days})
	if err != nil {
		return err
	}
	defer a.Close()
	var failed error
	if c.Restored {
		l := line{Maildir: root, Found: "you say that it was restored", Do: "leave UIDs unused, so that none means another message"}
		failed = errors.Join(failed, c.say(l, func() error { return a.Restored(ctx) }, true))
	}
	findings, err := a.Inspect()
	if err != nil {
		return err
	}
	for i := range findings {
		f := &findings[i]
		l := line{Maildir: root, Folder: f.Folder, File: f.File, Found: f.What, Do: f.Do}
		var fix func() error
		if f.Do != "" {
			fix = func() error { return f.Fix(ctx) }
		}
		failed = errors.Join(failed, c.say(l, fix, c.Fix))
	}
	if c.Purge {
		failed = errors.Join(failed, c.purge(root))
	}
	return failed
}

// say prints a finding and, if it may, mends it.
func (c *Check) say(l line, fix func() error, may bool) error {
	var err error
	if fix != nil && may {
		if err = fix(); err != nil {
			l.Error = err.Error()
		}
		l.Done = err == nil
	}
	if c.JSON {
		text, _ := json.Marshal(l)
		fmt.Fprintf(c.Out, "%s\n", text)
	} else {
		where := l.Maildir
		if l.Folder != "" {
			where += ": " + l.Folder
		}
		if l.File != "" {
			where += ": " + l.File
		}
		text := plain(where) + ": " + plain(l.Found)
		switch {
		case l.Error != "":
			text += "; could not " + l.Do + ": " + plain(l.Error)
		case l.Done:
			text += "; done: " + l.Do
		case l.Do != "":
			text += "; would " + l.Do
		}
		fmt.Fprintln(c.Out, text)
	}
	if err == nil && fix != nil && !l.Done {
		err = ErrFound
	}
	return err
}

// plain is s as a terminal may have it.
func plain(s string) string {
	q := strconv.Quote(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// purge removes what was expunged longer ago than days.
func (c *Check) purge(root string) error {
	now := time.Now()
	if c.Now != nil {
		now = c.Now()
	}
	area := filepath.Clean(root) + ".expunged"
	entries, err := os.ReadDir(area)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var failed error
	for _, e := range entries {
		day, err := time.Parse("2006-01-02", e.Name())
		if err != nil || !e.IsDir() || now.Sub(day) < time.Duration(c.Days+1)*24*time.Hour {
			continue
		}
		l := line{Maildir: area, File: e.Name(), Found: fmt.Sprintf("expunged over %d days ago", c.Days), Do: "remove it"}
		failed = errors.Join(failed, c.say(l, func() error { return os.RemoveAll(filepath.Join(area, e.Name())) }, true))
	}
	return failed
}

// Layouts are what Layout may be.
var Layouts = []string{maildir.PlusPlus, maildir.FS}

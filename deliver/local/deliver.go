package local

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"pennypost/internal/address"
	"pennypost/internal/domains"
	"pennypost/internal/durable"
	"pennypost/internal/order"
	"pennypost/internal/status"
	"pennypost/maildir"
	"pennypost/queue"
)

// job is one order: a message and its recipients.
type job struct {
	order order.Order
	file  durable.File
	msg   *message // nil until somebody needs the text
	open  int      // recipients without an answer, guarded by round.mu
}

// recipient is one answer owed. Its copies are made first, because a repeat finds them
// again; then its programs run; then it is answered.
type recipient struct {
	job     *job
	num     queue.Num
	to      address.Path
	account *domains.Account
	detail  string
	copies  int           // not on disk yet
	worst   status.Result // of what was done so far; Text is empty while all is well
	plan    plan
}

// copying is one recipient's message on its way into one Maildir.
type copying struct {
	rcpt     *recipient
	box      *box
	name     string       // in new/; "" for a message found from an earlier attempt
	how      string       // link copy repeat
	tmp      string       // in tmp/, waiting for its sync
	file     durable.File // of tmp
	size     int64
	folder   string // as the log has it
	within   string // directory of the account's Maildir, "" none: for the index
	used     *box   // the account's own Maildir, where its quota is counted; nil where there is none
	reserved int64  // octets
	dir      string // that must be synced: new or cur
	err      error
}

// take makes the copies of all recipients of an order as far as that goes without a sync.
// What is not answered at once is in r when it returns.
func (a *Agent) take(r *round, o order.Order, file durable.File) {
	j := &job{order: o, file: file, open: len(o.Rcpts)}
	r.mu.Lock()
	r.pending += len(o.Rcpts)
	r.mu.Unlock()
	now := r.now()
	rcpts := make([]recipient, len(o.Rcpts))
	programs := false
	for i := range rcpts {
		rc := &rcpts[i]
		*rc = recipient{job: j, num: o.Rcpts[i].Num, to: o.Rcpts[i].To, copies: 1} // one for ourselves, until all are begun
		a.begin(r, rc, now)
		programs = programs || len(rc.plan.programs) > 0
	}
	if j.msg != nil && !programs {
		j.msg.release()
	}
	for i := range rcpts {
		r.copied(a, &rcpts[i])
	}
}

// begin decides what the recipient's mail has to become, and begins it. A mistake of ours stays in
// its recipient.
func (a *Agent) begin(r *round, rc *recipient, now time.Time) {
	defer func() {
		if wrong := recover(); wrong != nil {
			rc.fail(a.trouble(rc, fmt.Errorf("panic: %v\n%s", wrong, debug.Stack())))
		}
	}()
	if account, detail, err := a.person(rc); account != nil || err != nil {
		if err != nil {
			rc.fail(a.trouble(rc, err))
			return
		}
		a.deliver(r, rc, account, detail, now)
		return
	}
	answer, err := a.Directory.Lookup(rc.to)
	switch {
	case err != nil:
		rc.fail(a.trouble(rc, err))
		return
	case answer.Kind == domains.Unknown:
		rc.fail(status.Result{Outcome: status.Failed, Code: 550, Enhanced: "5.1.1", Text: "no such user here"})
		return
	case answer.Account == nil:
		// Routed here while it was a mailbox; it will be routed anew.
		rc.fail(status.Result{Outcome: status.Deferred, Code: 451, Enhanced: "4.3.5", Text: "not a mailbox of this host any more"})
		return
	}
	a.deliver(r, rc, answer.Account, answer.Detail, now)
}

// deliver begins delivery to a known account.
func (a *Agent) deliver(r *round, rc *recipient, account *domains.Account, detail string, now time.Time) {
	rc.account, rc.detail = account, detail
	if result, no := a.notUs(rc, account); no {
		rc.fail(result)
		return
	}
	j := rc.job
	if !j.order.Ready {
		if j.msg == nil {
			msg, err := openMessage(j.file, &j.order)
			if err != nil {
				rc.fail(a.trouble(rc, err))
				return
			}
			j.msg = msg
		}
		if j.msg.looped(rc.to) {
			rc.fail(status.Result{Outcome: status.Failed, Code: 554, Enhanced: "5.4.6", Text: "mail loop: this message was delivered here before"})
			return
		}
	}
	plan, err := a.planOf(rc)
	if err != nil {
		rc.fail(a.trouble(rc, err))
		return
	}
	rc.plan = plan
	if plan.keep {
		folder := folderFor(account, detail)
		if j.order.Junk && account.Junk != "" {
			folder = account.Junk
		}
		a.copyInto(r, rc, account, folder, "", now)
	}
	for _, root := range plan.maildirs {
		a.copyInto(r, rc, account, "", root, now)
	}
}

// folderFor is the folder for mail to user+detail: the one the user listed, else the INBOX.
func folderFor(account *domains.Account, detail string) string {
	if detail == "" {
		return ""
	}
	for _, name := range account.DetailFolders {
		if strings.EqualFold(name, detail) && !strings.EqualFold(name, "INBOX") {
			return name
		}
	}
	return ""
}

// copyInto begins one copy: into a folder of the account, or into the Maildir root.
func (a *Agent) copyInto(r *round, rc *recipient, acc *domains.Account, folder, root string, now time.Time) {
	if rc.worst.Text != "" {
		return
	}
	c := &copying{rcpt: rc, folder: "INBOX", within: "."}
	switch {
	case folder != "":
		dir, err := maildir.FolderDir(acc.Layout, folder)
		if err != nil {
			rc.fail(a.trouble(rc, err))
			return
		}
		root, c.folder, c.within = filepath.Join(acc.Maildir, dir), folder, dir
	case root != "":
		c.folder, c.within = root, ""
	default:
		root = acc.Maildir
	}
	if acc.Quota > 0 || acc.QuotaMessages > 0 {
		b, err := a.boxes.get(acc.Maildir, now)
		if err != nil {
			rc.fail(a.trouble(rc, err))
			return
		}
		c.used = b
	}
	for tried := false; ; tried = true {
		b, err := a.boxes.get(root, now)
		if err == nil {
			c.box = b
			if err = a.place(r, c, acc); err == nil {
				break
			}
			if (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESTALE)) && !tried { // removed while we held it
				a.boxes.forget(b)
				a.boxes.put(b)
				continue
			}
			a.boxes.put(b)
		}
		if c.used != nil {
			a.boxes.put(c.used)
		}
		rc.fail(a.trouble(rc, err))
		return
	}
	r.mu.Lock()
	rc.copies++
	r.mu.Unlock()
	r.add(c)
}

// place puts the copy where the next sync finds it: linked into new/, or written into tmp/.
func (a *Agent) place(r *round, c *copying, acc *domains.Account) error {
	rc := c.rcpt
	o := &rc.job.order
	var space [160]byte
	b := maildir.AppendBase(space[:0], queue.TimeOf(o.ID).Unix(), o.ID, rc.num.String(), a.host)
	base := len(b)
	if o.Repeat || o.Attempt > 1 {
		there, err := r.there(c.box, o.ID)
		if err != nil {
			return err
		}
		if name := there[string(b)]; name != "" {
			c.how, c.dir = "repeat", name[:3]
			return nil
		}
	}
	if err := a.room(c, acc); err != nil {
		return err
	}
	c.dir = "new"
	if o.Ready {
		c.size = o.Size
		b = appendSizes(b, o.Size, o.Wire)
		c.name = string(b)
		if a.Link {
			err := c.link(rc.job.file)
			if err == nil || !unlinkable(err) {
				return err
			}
		}
	}
	return c.write(string(b[:base]))
}

func appendSizes(b []byte, size, wire int64) []byte {
	if wire <= 0 {
		return b // the reader counts
	}
	return maildir.AppendSizes(b, size, wire)
}

// link gives the spool file its second name.
func (c *copying) link(file durable.File) error {
	c.how = "link"
	err := c.box.Disk.LinkFile(file, "new/"+c.name)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	there, err := c.box.Disk.Stat("new/" + c.name)
	if err != nil {
		return err
	}
	ours, err := file.Stat()
	if err != nil {
		return err
	}
	if there.Dev == ours.Dev && there.Inode == ours.Inode {
		c.how = "repeat"
		return nil
	}
	return syscall.EEXIST // an earlier attempt copied it: the copy is compared with what is there
}

// unlinkable reports whether err means that this file can be copied but not linked.
func unlinkable(err error) bool {
	for _, e := range []error{syscall.EXDEV, syscall.EPERM, syscall.EMLINK, syscall.EACCES, syscall.EOPNOTSUPP, syscall.ENOSYS, syscall.EEXIST} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// write makes a file in tmp/. Its name has chance in it: should an old deliver-local still be at
// work on the same message, neither touches the file of the other.
func (c *copying) write(base string) (err error) {
	c.how = "copy"
	var b [8]byte
	for i, x := 0, rand.Uint64(); i < len(b); i, x = i+1, x>>8 {
		b[i] = byte(x)
	}
	tmp := "tmp/" + base + "." + hex.EncodeToString(b[:])
	file, err := c.box.Disk.Create(tmp, 0o600)
	if err != nil {
		return err
	}
	j := c.rcpt.job
	if j.order.Ready {
		err = copyAll(file, j.file, j.order.Size)
	} else {
		var wire int64
		if c.size, wire, err = j.msg.copyTo(file, c.rcpt.to); err == nil {
			c.name = string(maildir.AppendSizes([]byte(base), c.size, wire))
		}
	}
	if err != nil {
		file.Close()
		c.box.Disk.Remove(tmp)
		return err
	}
	c.tmp, c.file = tmp, file
	return nil
}

// fail makes r the recipient's result if it is worse than what there is.
func (rc *recipient) fail(r status.Result) {
	if rc.worst.Text == "" || r.Outcome > rc.worst.Outcome {
		rc.worst = r
	}
}

// trouble is the answer to an error of ours: again. The log has the cause, the peer does not.
func (a *Agent) trouble(rc *recipient, err error) status.Result {
	r := status.Result{Outcome: status.Deferred, Code: 451, Enhanced: "4.3.0", Text: "cannot write the mailbox now"}
	var over *overQuota
	switch {
	case errors.As(err, &over):
		r = status.Result{Outcome: status.Deferred, Code: 452, Enhanced: "4.2.2", Text: "mailbox full"}
		if over.never {
			r = status.Result{Outcome: status.Failed, Code: 552, Enhanced: "5.2.3", Text: "message larger than the whole mailbox may be"}
		}
		return r // no trouble of ours
	case errors.Is(err, syscall.EDQUOT):
		r.Code, r.Enhanced, r.Text = 452, "4.2.2", "mailbox full"
	case errors.Is(err, syscall.ENOSPC):
		r.Code, r.Enhanced, r.Text = 452, "4.3.1", "no space for the mailbox now"
	case errors.Is(err, maildir.ErrNotMounted):
		r.Text = "mail store not available now"
	case errors.Is(err, queue.ErrBad), errors.Is(err, errShort):
		r.Text = "spool file is damaged"
	}
	a.Log.Warn("delivery of "+rc.job.order.ID+" to "+rc.to.String(), err)
	return r
}

// equalFold is strings.EqualFold for local parts.
func equalFold(a, b string) bool { return strings.EqualFold(a, b) }

var delivered = status.Result{Outcome: status.Delivered, Code: 250, Enhanced: "2.0.0", Text: "delivered to mailbox"}

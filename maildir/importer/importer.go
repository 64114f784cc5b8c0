// Package importer is maildirimport(1): it sees where the mail comes from, and says how far it is.
package importer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"pennypost/maildir"
	"pennypost/maildir/mailbox"
	"pennypost/maildir/mbox"
	"pennypost/maildir/pull"
	"pennypost/maildir/takeover"
)

// Job is what to do.
type Job struct {
	Dry          bool
	ToDovecot    bool
	Folder       string // where an mbox goes
	Quoting      string
	PasswordFile string
	CAFile       string
	Skip         []string
	Clear        bool
	Layout       string
	UIDL         string // as mailbox.UIDLFormat
	In           io.Reader
	Out          *os.File
}

// Run brings the mail of sources into the Maildir root; without sources it takes the Maildir itself over.
func (j *Job) Run(ctx context.Context, sources []string, root string) error {
	if j.Layout != maildir.PlusPlus && j.Layout != maildir.FS {
		return errors.New("--layout wants maildir++ or fs")
	}
	uidl := mailbox.UIDLFormat(j.UIDL)
	if err := uidl.Check(); err != nil {
		return err
	}
	if len(sources) == 0 || j.Dry {
		if _, err := os.Stat(filepath.Join(root, "cur")); err != nil { // nothing is made by mistake
			return err
		}
	}
	a, err := mailbox.OpenAccount(root, mailbox.Options{Layout: j.Layout, Delimiter: '/', UIDL: uidl})
	if err != nil {
		return err
	}
	defer a.Close()
	switch {
	case len(sources) == 0 && j.ToDovecot:
		return takeover.ToDovecot(ctx, a, j.Dry, j.Out)
	case len(sources) == 0:
		return takeover.From(ctx, a, j.Dry, j.Out)
	}
	for _, source := range sources {
		if strings.HasPrefix(source, "imap://") || strings.HasPrefix(source, "imaps://") {
			err = j.pull(ctx, source, a)
		} else {
			err = j.mbox(ctx, source, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (j *Job) mbox(ctx context.Context, file string, a *mailbox.Account) error {
	kind := mbox.Kind(j.Quoting)
	if kind != mbox.Guess && !slices.Contains(mbox.Kinds, kind) {
		return fmt.Errorf("--quoting %s: want one of %v", kind, mbox.Kinds)
	}
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	if j.Dry {
		n := 0
		for r := mbox.NewReader(in, kind); ; n++ {
			if _, err := r.Next(); err == io.EOF {
				break
			} else if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
		fmt.Fprintf(j.Out, "%s: %d messages for %s\n", file, n, j.Folder)
		return nil
	}
	f, err := a.Folder(j.Folder)
	if errors.Is(err, mailbox.ErrNoMailbox) {
		if err = a.Create(j.Folder, ""); err == nil {
			f, err = a.Folder(j.Folder)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", j.Folder, err)
	}
	defer f.Close()
	n, err := mbox.Import(ctx, mbox.NewReader(in, kind), f)
	fmt.Fprintf(j.Out, "%s: %d messages in %s\n", file, n, j.Folder)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func (j *Job) pull(ctx context.Context, url string, a *mailbox.Account) error {
	in := j.In
	if j.PasswordFile != "" {
		file, err := os.Open(j.PasswordFile)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	password, err := pull.ReadPassword(in)
	if err != nil {
		return err
	}
	s := &pull.Source{URL: url, Password: password, Skip: j.Skip, Clear: j.Clear, Dry: j.Dry, Progress: j.progress()}
	if j.CAFile != "" {
		pem, err := os.ReadFile(j.CAFile)
		if err != nil {
			return err
		}
		s.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
		if !s.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s: no certificate in it", j.CAFile)
		}
	}
	return pull.Pull(ctx, s, a)
}

// progress says how far we are: on a terminal in one line for each mailbox, else when one is done.
func (j *Job) progress() func(pull.Progress) {
	_, err := unix.IoctlGetTermios(int(j.Out.Fd()), unix.TCGETS)
	terminal := err == nil
	return func(p pull.Progress) {
		text := fmt.Sprintf("%q: %d of %d", p.Mailbox, p.Done, p.Of)
		if p.To != p.Mailbox && p.To != "" {
			text += fmt.Sprintf(", as %q", p.To)
		}
		if p.Bytes > 0 {
			text += fmt.Sprintf(", %d KiB", p.Bytes>>10)
		}
		switch {
		case p.Note != "":
			fmt.Fprintf(j.Out, "%s: %s\n", text, p.Note)
		case terminal && p.Done < p.Of:
			fmt.Fprintf(j.Out, "\r%s\x1b[K", text)
		case terminal:
			fmt.Fprintf(j.Out, "\r%s\x1b[K\n", text)
		case p.Done == p.Of:
			fmt.Fprintln(j.Out, text)
		}
	}
}

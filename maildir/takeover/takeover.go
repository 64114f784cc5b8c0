/*
Package takeover takes a Maildir over from Dovecot or Courier, in place, and hands one back to Dovecot: maildirimport(1). What is read and
written is in package mailbox; here is what a person sees, folder by folder.
*/
package takeover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"pennypost/maildir/mailbox"
)

// From takes the Maildir of the account over; with dry it only says what there is.
func From(ctx context.Context, a *mailbox.Account, dry bool, out io.Writer) error {
	found, err := a.Foreigners()
	if err != nil {
		return err
	}
	for _, f := range found {
		text := f.Folder + ": "
		switch {
		case f.Ours:
			text += "has an mb-uids, which stays"
		case f.Server == "":
			text += "no list of UIDs; they are given anew"
		default:
			text += fmt.Sprintf("%d UIDs of %s (%s), UIDVALIDITY %d", f.Messages, f.Server, f.File, f.Validity)
			if len(f.Keywords) > 0 {
				text += fmt.Sprintf(", keywords %q", f.Keywords)
			}
		}
		if f.ACL {
			text += ", rights (dovecot-acl)"
		}
		fmt.Fprintln(out, text)
		if dry {
			continue
		}
		if err := take(ctx, a, f, out); err != nil {
			return fmt.Errorf("%s: %w", f.Folder, err)
		}
	}
	return subscriptions(a, dry, out)
}

func take(ctx context.Context, a *mailbox.Account, f mailbox.Foreign, out io.Writer) error {
	box, err := a.Folder(f.Folder)
	if err != nil {
		return err
	}
	defer box.Close()
	counts, err := box.Counts(ctx)
	if err != nil {
		return err
	}
	if f.Ours {
		return nil
	}
	notes, err := box.TakeOver(ctx)
	for _, note := range notes {
		fmt.Fprintf(out, "  %s\n", note)
	}
	fmt.Fprintf(out, "  %d messages, UIDVALIDITY %d, next UID %d\n", counts.Messages, counts.UIDValidity, counts.UIDNext)
	if f.Validity != 0 && counts.UIDValidity != f.Validity {
		err = errors.Join(err, errors.New("the UIDVALIDITY was not kept"))
	}
	return err
}

// subscriptions takes Courier's list; Dovecot's is ours, too.
func subscriptions(a *mailbox.Account, dry bool, out io.Writer) error {
	text, err := os.ReadFile(filepath.Join(a.Root(), "courierimapsubscribed"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for row := range strings.SplitSeq(string(text), "\n") {
		name := strings.TrimPrefix(strings.TrimSpace(row), "INBOX.")
		if name == "" {
			continue
		}
		name = strings.ReplaceAll(name, ".", string(a.Delimiter()))
		if name != "INBOX" {
			name = a.Prefix() + name
		}
		fmt.Fprintf(out, "subscription of Courier: %s\n", name)
		if dry {
			continue
		}
		if err := a.Subscribe(name, true); err != nil {
			fmt.Fprintf(out, "  %v\n", err)
		}
	}
	return nil
}

// ToDovecot hands the Maildir to Dovecot.
func ToDovecot(ctx context.Context, a *mailbox.Account, dry bool, out io.Writer) error {
	list, err := a.List()
	if err != nil {
		return err
	}
	for _, info := range list {
		if info.NoSelect || info.NonExistent {
			continue
		}
		if dry {
			fmt.Fprintf(out, "%s: would write dovecot-uidlist and dovecot-keywords, and rename mb-uids\n", info.Name)
			continue
		}
		box, err := a.Folder(info.Name)
		if err != nil {
			return fmt.Errorf("%s: %w", info.Name, err)
		}
		n, unsaid, err := box.ToDovecot(ctx)
		box.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", info.Name, err)
		}
		fmt.Fprintf(out, "%s: %d UIDs in dovecot-uidlist\n", info.Name, n)
		if unsaid > 0 {
			fmt.Fprintf(out, "  %d messages have keywords for which there are no letters; Dovecot will not see those\n", unsaid)
		}
	}
	return nil
}

package importer

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pennypost/maildir"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	root, file := filepath.Join(dir, "Maildir"), filepath.Join(dir, "old.mbox")
	os.WriteFile(file, []byte("From a@b Sat Jan  3 01:05:34 1996\nSubject: 1\nStatus: R\n\nx\n\nFrom a@b Sat Jan  3 01:05:35 1996\nSubject: 2\n\ny\n"), 0o600)
	run := func(j Job, sources ...string) (string, error) {
		t.Helper()
		out, err := os.Create(filepath.Join(dir, "out"))
		if err != nil {
			t.Fatal(err)
		}
		j.Out, j.Layout = out, maildir.PlusPlus
		err = j.Run(context.Background(), sources, root)
		out.Close()
		text, _ := os.ReadFile(out.Name())
		return strings.ReplaceAll(string(text), dir, "D"), err
	}
	if _, err := run(Job{}); err == nil {
		t.Error("took over what is not there")
	}
	if got, err := run(Job{Folder: "Old/1996"}, file); err != nil || got != "D/old.mbox: 2 messages in Old/1996\n" {
		t.Error(got, err)
	}
	if names, _ := filepath.Glob(root + "/.Old.1996/cur/*:2,S"); len(names) != 1 {
		t.Errorf("%q", names)
	}
	if got, err := run(Job{Folder: "INBOX", Dry: true}, file); err != nil || got != "D/old.mbox: 2 messages for INBOX\n" {
		t.Error(got, err)
	}
	if _, err := run(Job{Folder: "INBOX", Quoting: "mh"}, file); err == nil {
		t.Error("no such quoting")
	}
	if got, err := run(Job{}); err != nil || !strings.Contains(got, "Old/1996: has an mb-uids, which stays\n") {
		t.Error(got, err)
	}
	if got, err := run(Job{ToDovecot: true}); err != nil || !strings.Contains(got, "Old/1996: 2 UIDs in dovecot-uidlist\n") {
		t.Error(got, err)
	}
}

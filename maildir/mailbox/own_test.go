package mailbox

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestOwnFolders: what mutt users have in their homes. A folder that is a symlink is the folder it leads to; one that is shared with a
// group stays shared, whatever is made in it; and nothing but a regular file is mail (S124).
func TestOwnFolders(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	home := t.TempDir()
	root, project := home+"/Maildir", home+"/project"
	for _, dir := range []string{root + "/new", root + "/cur", root + "/tmp", project + "/new", project + "/cur", project + "/tmp"} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"", "/new", "/cur", "/tmp"} {
		os.Chmod(project+dir, 0o770|os.ModeSetgid)
	}
	os.Symlink("../project", root+"/.Project")
	os.Symlink("/nowhere", root+"/.Gone")
	os.Symlink(root, root+"/.Self")
	write(t, root, "new/1.a", "Subject: a\n\na\n")
	write(t, project, "new/1.p", "Subject: p\n\np\n")
	secret := home + "/secret"
	os.WriteFile(secret, []byte("not mail\n"), 0o600)
	os.Symlink(secret, project+"/new/2.link")
	syscall.Mkfifo(project+"/new/3.fifo", 0o600)
	os.Mkdir(project+"/new/4.dir", 0o700)

	a, err := OpenAccount(root, Options{Own: true, Host: "mx", Stamp: "nothing-has-this-name"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	list, err := a.List()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, info := range list {
		names = append(names, info.Name)
	}
	if got := strings.Join(names, " "); !strings.Contains(got, "Project") || strings.Contains(got, "Gone") {
		t.Fatalf("folders %s", got)
	}
	f, err := a.Folder("Project")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v := look(t, f)
	if v.Len() != 1 {
		t.Fatalf("%d messages:\n%s", v.Len(), shown(v))
	}
	inbox, err := a.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	defer inbox.Close()
	look(t, inbox)
	app, err := f.Append()
	if err != nil {
		t.Fatal(err)
	}
	app.Write([]byte("Subject: x\n\nhi\n"))
	if _, err := f.CommitAll(context.Background(), []*Appender{app}); err != nil {
		t.Fatal(err)
	}
	look(t, f)
	filepath.Walk(project, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() && !strings.HasSuffix(path, "/1.p") && info.Mode().Perm()&0o060 != 0o060 {
			t.Errorf("%s is %v, in a folder of a group", path, info.Mode())
		}
		return nil
	})
	filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() && !strings.HasSuffix(path, "/1.a") && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %v, and nobody else's", path, info.Mode())
		}
		return nil
	})
	if text, _ := os.ReadFile(secret); string(text) != "not mail\n" {
		t.Error("a symlink among the mail was followed")
	}
}

// Mailboxes that are vmail's follow nothing.
func TestS124FolderSymlink(t *testing.T) {
	home := t.TempDir()
	root, other := home+"/Maildir", home+"/other"
	for _, dir := range []string{root + "/new", root + "/cur", root + "/tmp", other + "/new", other + "/cur", other + "/tmp"} {
		os.MkdirAll(dir, 0o700)
	}
	os.Symlink("../other", root+"/.Other")
	a, err := OpenAccount(root, Options{Host: "mx"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	list, err := a.List()
	if err != nil || len(list) != 1 {
		t.Error(list, err)
	}
}

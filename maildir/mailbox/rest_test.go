package mailbox

import (
	"os"
	"testing"
	"time"
)

// TestRest: a folder that everybody has left is as it was for who comes back, sees what happened meanwhile, and is closed in time.
func TestRest(t *testing.T) {
	root := t.TempDir() + "/Maildir"
	a, err := OpenAccount(root, Options{Host: "test", Rest: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	write(t, root, "new/1.a", "Subject: x\n\nhi\n")
	f, err := a.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	look(t, f)
	f.Close()
	write(t, root, "new/2.b", "Subject: y\n\nho\n")
	again, err := a.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	if again != f {
		t.Error("the folder did not rest")
	}
	if v := look(t, again); v.Len() != 2 {
		t.Errorf("%d messages", v.Len())
	}
	again.Close()
	if !a.Still() {
		t.Error("it is where it was")
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		a.mu.Lock()
		n := len(a.folders)
		a.mu.Unlock()
		if n == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it rests for ever")
		}
	}
	if len(resting) != 0 {
		t.Errorf("%d are said to rest", len(resting))
	}
	third, err := a.Folder("INBOX")
	if err != nil || look(t, third).Len() != 2 {
		t.Fatal(err)
	}
	third.Close()
	os.Rename(root, root+".away")
	if a.Still() {
		t.Error("it was moved away")
	}
}

// TestRestReplaced: a mailbox that was deleted while it rested is not served.
func TestRestReplaced(t *testing.T) {
	root := t.TempDir() + "/Maildir"
	a, err := OpenAccount(root, Options{Host: "test", Rest: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for range 2 {
		if err := a.Create("x", ""); err != nil {
			t.Fatal(err)
		}
		f, err := a.Folder("x")
		if err != nil {
			t.Fatal(err)
		}
		if look(t, f).Len() != 0 {
			t.Error("there is mail of the one before")
		}
		write(t, root, ".x/new/1.a", "Subject: x\n\nhi\n")
		look(t, f)
		f.Close()
		if err := a.Delete("x"); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Folder("x"); err != ErrNoMailbox {
			t.Errorf("a deleted mailbox: %v", err)
		}
	}
}

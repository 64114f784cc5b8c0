package uids

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"pennypost/queue"
)

func paths(root string) Paths {
	return Paths{
		Etc: root + "/etc", Domains: root + "/etc/domains", Spool: root + "/spool",
		State: root + "/state", Run: root + "/run", Mail: root + "/mail",
	}
}

// The table knows every directory and FIFO that queue.Make makes, and is no wider than it.
func TestTableCoversSpool(t *testing.T) {
	p := paths(t.TempDir())
	if err := queue.Make(p.Spool, "a"); err != nil {
		t.Fatal(err)
	}
	known := map[string]Entry{}
	for _, e := range Table(p) {
		if _, twice := known[e.Path]; twice {
			t.Errorf("%s is there twice", e.Path)
		}
		known[e.Path] = e
	}
	made := map[string]bool{}
	err := filepath.WalkDir(p.Spool, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		made[path] = true
		info, err := d.Info()
		if err != nil {
			return err
		}
		e, ok := known[path]
		switch {
		case !ok:
			t.Errorf("%s is not in the table", path)
		case e.Mode.Type() != info.Mode().Type():
			t.Errorf("%s is %v, and in the table %v", path, info.Mode(), e.Mode)
		case e.Mode&^info.Mode() != 0:
			t.Errorf("%s is %v, and the table wants more: %v", path, info.Mode(), e.Mode)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range spool {
		if path := filepath.Join(p.Spool, e.Path); !made[path] {
			t.Errorf("queue.Make does not make %s", e.Path)
		}
	}
}

// Owners and groups are ours; a directory that holds an entry is root's, and nobody else may write it.
func TestTable(t *testing.T) {
	groups := map[string]bool{"root": true}
	users := map[string]bool{"root": true}
	for _, u := range Users {
		users[u.Name], groups[u.Name] = true, true
	}
	for _, g := range Groups {
		groups[g.Name] = true
	}
	for _, g := range HostGroups {
		groups[g] = true
	}
	for _, u := range Users {
		for _, g := range u.Groups {
			if !groups[g] {
				t.Errorf("%s is in group %s, which is not there", u.Name, g)
			}
		}
	}
	parents := map[string]Entry{}
	for _, e := range Table(DefaultPaths) {
		if !users[e.Owner] || !groups[e.Group] {
			t.Errorf("%s: %s:%s is not in the table of users", e.Path, e.Owner, e.Group)
		}
		parents[e.Path] = e
	}
	for _, e := range Table(DefaultPaths) {
		if parent, ok := parents[filepath.Dir(e.Path)]; ok && (parent.Owner != "root" || parent.Mode&0o022 != 0) {
			t.Errorf("%s lies in %s, where others than root may write", e.Path, parent.Path)
		}
	}
}

func TestApplyThenCheck(t *testing.T) {
	p := paths(t.TempDir())
	ids := One(os.Getuid(), os.Getgid())
	table := Table(p)
	if wrong := Check(table, ids); len(wrong) == 0 {
		t.Error("nothing is there, and nothing is wrong")
	}
	for range 2 {
		if err := Apply(table, ids); err != nil {
			t.Fatal(err)
		}
		for _, err := range Check(table, ids) {
			t.Error(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(p.Spool+"/q", 0o777))
	must(os.Remove(p.Spool + "/hold"))
	must(os.Symlink("q", p.Spool+"/hold"))
	if wrong := Check(table, ids); len(wrong) != 2 {
		t.Errorf("want two mistakes: %v", wrong)
	}
	if err := Apply(table, ids); err == nil {
		t.Error("a symlink was followed")
	}
}

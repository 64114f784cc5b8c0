package maildir

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Layouts of folders below a Maildir.
const (
	PlusPlus = "maildir++" // Lists/go is .Lists.go
	FS       = "fs"        // Lists/go is Lists/go
)

// ErrFolderName is a folder name that cannot be a directory.
var ErrFolderName = errors.New("not a folder name")

// FolderDir is the directory below the Maildir's root that the folder name lies in. Components are
// separated by '/'; on disk each is modified UTF-7 (RFC 3501 section 5.1.3) as Dovecot
// writes it, with '.' and '/' inside a component escaped likewise.
func FolderDir(layout, name string) (string, error) {
	if name == "" || len(name) > 200 || !utf8.ValidString(name) {
		return "", ErrFolderName
	}
	parts := strings.Split(name, "/")
	for i, part := range parts {
		if part == "" || strings.ContainsAny(part, "\x00\n\r") {
			return "", ErrFolderName
		}
		enc := EncodeComponent(part)
		if layout == FS && (strings.HasPrefix(enc, ".") || enc == "cur" || enc == "new" || enc == "tmp") {
			return "", ErrFolderName
		}
		parts[i] = enc
	}
	if layout == FS {
		return strings.Join(parts, "/"), nil
	}
	return "." + strings.Join(parts, "."), nil
}

// Folders are the directories below the root that are folders.
func (m *Maildir) Folders(layout string) ([]string, error) {
	if layout == FS {
		return m.foldersBelow("", 0)
	}
	names, err := m.Disk.ReadDir(".")
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, name := range names {
		if len(name) > 1 && name[0] == '.' && name != ".." && m.isDir(name) {
			folders = append(folders, name)
		}
	}
	return folders, nil
}

// deepest bounds a tree of folders.
const deepest = 16

func (m *Maildir) foldersBelow(dir string, depth int) (folders []string, err error) {
	at := dir
	if at == "" {
		at = "."
	}
	names, err := m.Disk.ReadDir(at)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if name[0] == '.' || name == "cur" || name == "new" || name == "tmp" {
			continue
		}
		if dir != "" {
			name = dir + "/" + name
		}
		if depth == deepest || !m.isDir(name) {
			continue
		}
		below, err := m.foldersBelow(name, depth+1)
		if err != nil {
			return nil, err
		}
		folders = append(append(folders, name), below...)
	}
	return folders, nil
}

func (m *Maildir) isDir(name string) bool {
	info, err := m.Disk.Stat(name)
	return err == nil && info.Mode.IsDir()
}

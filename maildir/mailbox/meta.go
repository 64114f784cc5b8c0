package mailbox

import (
	"context"
	"sort"
	"strconv"
	"strings"

	"pennypost/internal/durable"
)

// metaName holds METADATA entries (RFC 5464), ACL (RFC 4314, as entries /acl/IDENTIFIER) and the special use: a line each,
// "NAME \"VALUE\"", the value quoted as Go and JSON quote strings.
const metaName = "mb-meta"

// Meta is the folder's mb-meta.
func (f *Folder) Meta() (map[string]string, error) { return readMeta(f.disk, ".") }

// SetMeta sets entries and removes those whose value is nil, all or none.
func (f *Folder) SetMeta(changes map[string]*string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	unlock, err := f.lock(context.Background())
	if err != nil {
		return err
	}
	defer unlock()
	return writeMeta(f.disk, ".", changes)
}

func readMeta(disk durable.Disk, dir string) (map[string]string, error) {
	text, err := readAll(disk, metaIn(dir))
	if err != nil {
		return nil, err
	}
	meta := map[string]string{}
	for _, row := range strings.Split(string(text), "\n") {
		name, quoted, ok := strings.Cut(row, " ")
		if value, err := strconv.Unquote(quoted); ok && err == nil {
			meta[name] = value
		}
	}
	return meta, nil
}

func metaIn(dir string) string {
	if dir == "." {
		return metaName
	}
	return dir + "/" + metaName
}

func writeMeta(disk durable.Disk, dir string, changes map[string]*string) error {
	meta, err := readMeta(disk, dir)
	if err != nil {
		return err
	}
	for name, value := range changes {
		if value == nil {
			delete(meta, name)
		} else {
			meta[name] = *value
		}
	}
	names := make([]string, 0, len(meta))
	for name := range meta {
		names = append(names, name)
	}
	sort.Strings(names)
	var b []byte
	for _, name := range names {
		b = append(b, name...)
		b = append(strconv.AppendQuote(append(b, ' '), meta[name]), '\n')
	}
	return putFile(disk, metaIn(dir), b)
}

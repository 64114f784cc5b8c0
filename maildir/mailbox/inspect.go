package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"pennypost/maildir"
)

// Finding is something in a Maildir that is not as it should be, or that the next look will change.
type Finding struct {
	Folder string // the mailbox, "" the account
	File   string // below the folder
	What   string
	Do     string // what would be done about it, "" nothing

	fix func(ctx context.Context) error
}

// Fix does what Do says.
func (f *Finding) Fix(ctx context.Context) error {
	if f.fix == nil {
		return nil
	}
	return f.fix(ctx)
}

// Inspect looks at all mailboxes of the account without changing anything.
func (a *Account) Inspect() ([]Finding, error) {
	list, err := a.List()
	if err != nil {
		return nil, err
	}
	var out []Finding
	ids := map[string]string{}
	highest := uint32(0)
	for _, info := range list {
		if info.NonExistent || info.NoSelect {
			continue
		}
		in := &inspection{account: a, name: info.Name}
		if in.dir, err = a.dirOf(info.Name); err != nil {
			return nil, err
		}
		in.files()
		in.uids()
		in.caches()
		if in.list != nil {
			highest = max(highest, in.list.validity)
			if other, twice := ids[in.list.id]; twice {
				in.find(uidsName, "it has the MAILBOXID of "+other+": one was copied from the other", "give the copy a UIDVALIDITY and a MAILBOXID of its own", in.look)
			}
			ids[in.list.id] = info.Name
		}
		out = append(out, in.found...)
	}
	text, err := readAll(a.disk, validityName)
	if mark, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32); err == nil && uint32(mark) < highest {
		out = append(out, Finding{File: validityName, What: fmt.Sprintf("it says %d, and a folder has UIDVALIDITY %d", mark, highest), Do: "write the higher one",
			fix: func(context.Context) error { return a.put(validityName, []byte(strconv.Itoa(int(highest))+"\n")) }})
	}
	return out, nil
}

// Restored says of all mailboxes that their mb-uids comes from a backup: UIDs that were given out after it stay unused.
func (a *Account) Restored(ctx context.Context) error {
	list, err := a.List()
	if err != nil {
		return err
	}
	for _, info := range list {
		if info.NonExistent || info.NoSelect {
			continue
		}
		f, err := a.Folder(info.Name)
		if err != nil {
			return fmt.Errorf("%s: %w", info.Name, err)
		}
		f.mu.Lock()
		f.restored = true
		err = f.remake(ctx)
		f.mu.Unlock()
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", info.Name, err)
		}
	}
	return nil
}

// inspection is one mailbox being looked at.
type inspection struct {
	account   *Account
	name, dir string
	found     []Finding
	list      *uids
	keys      map[string]int // of the files, and how many have it
}

func (in *inspection) path(file string) string { return in.dir + "/" + file }

func (in *inspection) find(file, what, do string, fix func(context.Context) error) {
	in.found = append(in.found, Finding{in.name, file, what, do, fix})
}

// look lets the mailbox put itself right.
func (in *inspection) look(ctx context.Context) error {
	f, err := in.account.Folder(in.name)
	if err != nil {
		return err
	}
	defer f.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.remake(ctx)
}

func (in *inspection) remove(file string) func(context.Context) error {
	return func(context.Context) error {
		err := in.account.disk.Remove(strings.TrimPrefix(in.path(file), "./"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
}

// files looks at tmp/, new/ and cur/.
func (in *inspection) files() {
	disk := in.account.disk
	in.keys = map[string]int{}
	under := strings.TrimPrefix(in.dir+"/", "./")
	for _, dir := range []string{"tmp", "new", "cur"} {
		names, err := disk.ReadDir(under + dir)
		if errors.Is(err, fs.ErrNotExist) {
			in.find(dir+"/", "it is missing", "make it", func(context.Context) error { return disk.Mkdir(under+dir, 0o700) })
			continue
		}
		if err != nil {
			in.find(dir+"/", err.Error(), "", nil)
			continue
		}
		slices.Sort(names)
		for _, name := range names {
			file := dir + "/" + name
			info, err := disk.Stat(under + file)
			switch {
			case err != nil || name[0] == '.':
			case dir == "tmp":
				if info.Mode.IsRegular() && wall().Sub(info.ModTime) > 36*time.Hour {
					in.find(file, "its writer died over 36 hours ago", "remove it", in.remove(file))
				}
			case !info.Mode.IsRegular():
				in.find(file, "it is no regular file and is not shown", "", nil)
			default:
				key := maildir.Key(name)
				if in.keys[key]++; in.keys[key] == 2 {
					in.find(file, "another file has this key", "give it a name and a UID of its own, or remove it if it is the same file", in.look)
				}
				if size, _ := maildir.Sizes(key); size >= 0 && size != info.Size {
					in.find(file, fmt.Sprintf("its name says %d octets, it has %d; readers count for themselves", size, info.Size), "", nil)
				}
			}
		}
	}
}

// uids compares mb-uids with the files.
func (in *inspection) uids() {
	disk := in.account.disk
	name := strings.TrimPrefix(in.path(uidsName), "./")
	info, err := disk.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		in.find(uidsName, fmt.Sprintf("none: %d messages have no UID yet", len(in.keys)), "take the UIDs of another server over, or give new ones", in.look)
		return
	}
	text, err := readAll(disk, name)
	if err != nil {
		in.find(uidsName, err.Error(), "", nil)
		return
	}
	u, err := parseUIDs(text)
	if err != nil {
		in.find(uidsName, "nothing in it can be read", "put it aside as mb-uids.bad and use mb-uids.old; else all messages get new UIDs", in.look)
		return
	}
	in.list = u
	if u.torn {
		in.find(uidsName, fmt.Sprintf("%d octets behind the last whole batch, line %d, do not count", int64(len(text))-u.size, u.lines+1), "put them aside in mb-uids.bad", in.look)
	}
	if u.inode != 0 && u.inode != info.Inode {
		in.find(uidsName, "it was copied or restored: it is not the file it was written as", fmt.Sprintf("leave %d UIDs unused, so that none means another message", restoredGap), in.look)
	}
	if u.next > max(u.bound, 1) {
		in.find(uidsName, fmt.Sprintf("UID %d is beyond the reservation of %d", u.next-1, u.bound), "reserve more", in.look)
	}
	if u.vow != nil {
		in.find(uidsName, fmt.Sprintf("%d messages have flags that the names of their files may not say yet", u.vow.uids.Count()), "rename the files", in.look)
	}
	holder := map[string]uint32{}
	gone := 0
	for _, uid := range sortedUIDs(u) {
		l := u.live[uid]
		if other := holder[l.key]; other != 0 {
			in.find(uidsName, fmt.Sprintf("UIDs %d and %d are the same file", other, uid), "keep the first, expunge the second", in.look)
		}
		holder[l.key] = uid
		if in.keys[l.key] == 0 {
			gone++
		}
	}
	fresh := 0
	for key := range in.keys {
		if holder[key] == 0 {
			fresh++
		}
	}
	if gone > 0 {
		in.find(uidsName, fmt.Sprintf("%d UIDs have no file", gone), "write down that they went", in.look)
	}
	if fresh > 0 {
		in.find(uidsName, fmt.Sprintf("%d messages have no UID", fresh), "give them UIDs", in.look)
	}
}

func sortedUIDs(u *uids) []uint32 {
	order := make([]uint32, 0, len(u.live))
	for uid := range u.live {
		order = append(order, uid)
	}
	slices.Sort(order)
	return order
}

// caches looks at what may be deleted at any time.
func (in *inspection) caches() {
	disk := in.account.disk
	under := strings.TrimPrefix(in.dir+"/", "./")
	at := in.dir
	names, err := disk.ReadDir(at)
	if err != nil {
		return
	}
	var snap *snapshot
	if file, err := disk.Open(under + indexName); err == nil {
		if snap = openSnapshot(file); snap == nil {
			in.find(indexName, "it is damaged, or of another version", "remove it", in.remove(indexName))
		} else {
			defer snap.close()
			for i, s := range snap.slots() {
				if s.get(); snap.bad.Load() {
					in.find(indexName, fmt.Sprintf("block %d is damaged", i), "remove it", in.remove(indexName))
					break
				}
			}
		}
	}
	for _, name := range names {
		number, isLog := strings.CutPrefix(name, logPrefix)
		gen, err := strconv.ParseUint(number, 10, 64)
		switch {
		case strings.HasPrefix(name, "mb-") && strings.HasSuffix(name, ".tmp"):
			if info, err := disk.Stat(under + name); err == nil && wall().Sub(info.ModTime) > time.Hour {
				in.find(name, "its writer died", "remove it", in.remove(name))
			}
		case isLog && err == nil && snap != nil && (gen+1 < snap.gen || gen > snap.gen):
			in.find(name, "no index goes with it", "remove it", in.remove(name))
		case name == cacheName:
			if file, err := disk.Open(under + name); err == nil {
				head := make([]byte, len(cacheMagic))
				if n, _ := file.ReadAt(head, 0); n < len(head) || string(head) != cacheMagic {
					in.find(name, "it is damaged, or of another version", "remove it", in.remove(name))
				}
				file.Close()
			}
		}
	}
}

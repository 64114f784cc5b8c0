package mailbox

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"pennypost/internal/durable"
	"pennypost/internal/sequence"
)

// handedOver is what mb-uids is called after another server took the Maildir over: it says nothing any more.
const handedOver = uidsName + ".handed-over"

// ToDovecot writes the folder's UIDs and keywords as Dovecot has them, dovecot-uidlist version 3 and dovecot-keywords, and puts
// mb-uids away. Nobody else may have the folder open. It says how many messages have keywords that no file name can carry.
func (f *Folder) ToDovecot(ctx context.Context) (messages, unsaid int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	done, err := f.begin(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer done()
	names := f.lettersFor()
	guid := hex.EncodeToString([]byte(f.id + "0000000000000000"))[:32]
	list := fmt.Appendf(nil, "3 V%d N%d G%s\n", f.validity, f.totals.uidNext, guid)
	for i := range f.view.Len() {
		c, j := f.view.at(i)
		e := c.entry(j)
		ending, all := f.dovecotEnding(&e, names)
		if !all {
			unsaid++
		}
		if from, to := e.path(), "cur/"+e.key+ending; ending != e.ending() {
			if err := f.disk.RenameNew(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return 0, 0, err
			}
		}
		list = fmt.Appendf(list, "%d", e.uid)
		if e.wire >= 0 {
			list = fmt.Appendf(list, " W%d", e.wire)
		}
		list = fmt.Appendf(list, " P%s :%s\n", f.view.UIDL(i), e.key)
	}
	var words []byte
	for n, name := range names {
		if name != "" {
			words = fmt.Appendf(words, "%d %s\n", n, name)
		}
	}
	if err := putFile(f.disk, "dovecot-uidlist", list); err != nil {
		return 0, 0, err
	}
	if len(words) > 0 {
		if err := putFile(f.disk, "dovecot-keywords", words); err != nil {
			return 0, 0, err
		}
	}
	for _, name := range []string{"dovecot.index", "dovecot.index.log", "dovecot.index.cache", indexName, uidsName + ".old"} {
		f.disk.Remove(name) // of before we were here: they say what is not so any more
	}
	if err := f.disk.Rename(uidsName, handedOver); err != nil {
		return 0, 0, err
	}
	f.opened = false
	return f.view.Len(), unsaid, f.disk.SyncDir(".")
}

// lettersFor is what the letters a–z mean in this folder, by number.
func (f *Folder) lettersFor() []string {
	names := make([]string, 26)
	for n, name := range f.Keywords() {
		if l := f.letters.of(n); l >= 0 && l < 26 {
			names[l] = name
		}
	}
	if f.letters != nil {
		for l, n := range f.letters.number {
			if n == isForwarded {
				names[l] = forwardedWord
			}
		}
	}
	return names
}

// forwardedWord is our flag P as Dovecot knows it.
const forwardedWord = "$Forwarded"

// dovecotEnding is what stands behind the key of a message's file for Dovecot: P is a keyword there, and keywords that have no letter in
// this folder get one, in names, as long as there are any. all: every keyword has one.
func (f *Folder) dovecotEnding(e *entry, names []string) (ending string, all bool) {
	ending, all = e.ending(), true
	if ending != "" && !strings.HasPrefix(ending, ":2,") {
		return ending, e.flags == 0
	}
	said := []byte(strings.TrimPrefix(ending, ":2,"))
	add := func(word string) bool {
		l := letterOf(word, names)
		if l < 0 {
			all = false
			return false
		}
		said = append(said, byte('a'+l))
		return true
	}
	if e.flags&Forwarded != 0 && add(forwardedWord) {
		said = slices.DeleteFunc(said, func(c byte) bool { return c == 'P' })
	}
	for n, word := range f.Keywords() {
		if word != "" && e.flags&Keyword(n) != 0 && f.letters.of(n) < 0 {
			add(word)
		}
	}
	slices.Sort(said)
	if said = slices.Compact(said); len(said) == 0 {
		return ending, all
	}
	return ":2," + string(said), all
}

// letterOf is the number of the letter for a keyword, taken where none has it; -1 when all are taken.
func letterOf(word string, names []string) int {
	free := -1
	for l, have := range names {
		if strings.EqualFold(have, word) {
			return l
		}
		if have == "" {
			free = l
		}
	}
	if free >= 0 {
		names[free] = word
	}
	return free
}

// Foreign is what another server left in a folder.
type Foreign struct {
	Folder   string
	Ours     bool   // it has an mb-uids already: what the other server left is not read
	Server   string // "Dovecot", "Courier", "" none
	File     string
	Messages int // with a UID in the list
	Keywords []string
	Validity uint32
	ACL      bool
}

// Foreigners is what other servers left in the folders of the account. Nothing is changed.
func (a *Account) Foreigners() ([]Foreign, error) {
	infos, err := a.List()
	if err != nil {
		return nil, err
	}
	var out []Foreign
	for _, info := range infos {
		if info.NoSelect || info.NonExistent {
			continue
		}
		dir, err := a.dirOf(info.Name)
		if err != nil {
			continue
		}
		f := &Folder{account: a, dir: dir, disk: nil}
		if f.disk, err = a.open(a.root + "/" + dir); err != nil {
			return nil, err
		}
		out = append(out, f.foreign(info.Name))
		f.disk.Close()
	}
	return out, nil
}

func (f *Folder) foreign(name string) Foreign {
	found := Foreign{Folder: name}
	_, err := f.disk.Stat(uidsName)
	found.Ours = err == nil
	_, err = f.disk.Stat("dovecot-acl")
	found.ACL = err == nil
	for _, s := range []struct {
		server, file string
		read         func([]byte) *uids
	}{{"Dovecot", "dovecot-uidlist", parseDovecot}, {"Courier", "courierimapuiddb", parsePlainList}} {
		text, err := f.readFile(s.file)
		if err != nil {
			continue
		}
		if u := s.read(text); u != nil {
			found.Server, found.File, found.Messages, found.Validity = s.server, s.file, len(u.live), u.validity
			if s.server == "Dovecot" {
				f.dovecotKeywords(u)
			}
			for c := byte('a'); c <= 'z'; c++ {
				if u.letters[c] != "" {
					found.Keywords = append(found.Keywords, u.letters[c])
				}
			}
			return found
		}
	}
	return found
}

// TakeOver takes of another server what a look does not: Courier's keywords and subscriptions, Dovecot's ACL. It says what it could not.
func (f *Folder) TakeOver(ctx context.Context) (notes []string, err error) {
	if text, err := f.readFile("dovecot-acl"); err == nil {
		changes := map[string]*string{}
		for row := range strings.SplitSeq(string(text), "\n") {
			id, rights, ok := strings.Cut(strings.TrimSpace(row), " ")
			id, negative := strings.CutPrefix(id, "-")
			name, isUser := strings.CutPrefix(id, "user=")
			switch {
			case !ok || strings.HasPrefix(row, "#") || id == "owner":
				continue
			case !isUser && id != "anyone" && id != "authenticated":
				notes = append(notes, "the rights of "+id+" are not taken over: there are no groups")
				continue
			case id == "authenticated":
				name = "anyone"
			}
			if negative {
				name = "-" + name
			}
			rights = strings.TrimSpace(rights)
			changes[aclEntry+name] = &rights
		}
		if len(changes) > 0 {
			if err := f.SetMeta(changes); err != nil {
				return notes, err
			}
			if err := touch(f.account.disk, SharedName); err != nil {
				return notes, err
			}
		}
	}
	more, err := f.courierKeywords(ctx)
	return append(notes, more...), err
}

// courierKeywords reads courierimapkeywords/:list: names, an empty line, then "KEY:NUMBER NUMBER".
func (f *Folder) courierKeywords(ctx context.Context) (notes []string, err error) {
	file, err := f.disk.Open("courierimapkeywords/:list")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, durable.ErrNotRegular) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	file.Close()
	text, err := f.readFile("courierimapkeywords/:list")
	if err != nil {
		return nil, err
	}
	head, rest, _ := strings.Cut(string(text), "\n\n")
	names := strings.Split(strings.TrimSpace(head), "\n")
	v, err := f.Look(ctx)
	if err != nil {
		return nil, err
	}
	at := map[string]uint32{}
	for i := range v.Len() {
		c, j := v.at(i)
		at[string(c.key(j))] = v.UID(i)
	}
	for row := range strings.SplitSeq(rest, "\n") {
		i := strings.LastIndexByte(row, ':')
		if i < 0 || at[row[:i]] == 0 {
			continue
		}
		var flags Flags
		for _, number := range strings.Fields(row[i+1:]) {
			var n int
			if _, err := fmt.Sscan(number, &n); err != nil || n < 0 || n >= len(names) {
				continue
			}
			k, err := f.account.keyword(names[n], true)
			if err != nil {
				return append(notes, "keyword "+names[n]+": "+err.Error()), nil
			}
			flags |= Keyword(k)
		}
		if _, err := f.Store(ctx, seqOf(at[row[:i]]), Add, flags, Unconditional); err != nil {
			return notes, err
		}
	}
	return notes, nil
}

func seqOf(uid uint32) (s sequence.Set) {
	s.Add(uid)
	return s
}

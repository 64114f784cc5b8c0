package mailbox

import (
	"fmt"
	"strings"
	"sync"

	"pennypost/internal/durable"
)

// keywordsName says what keyword letters and numbers mean, for all folders of the account: a line each, "NUMBER NAME", and
// the letter of number 0 is a.
const keywordsName = "mb-keywords"

// MaxKeywords is how many keywords an account can have: 26 with a letter, the others in mb-uids.
const MaxKeywords = 58

// words is mb-keywords. A number is never given a second name.
type words struct {
	account *Account
	mu      sync.Mutex
	size    int64
	names   []string // "" where no name is known
}

// load reads the file again if it has grown. w.mu is held.
func (w *words) load() {
	info, err := w.account.disk.Stat(keywordsName)
	if err != nil || info.Size == w.size {
		return
	}
	text, err := readAll(w.account.disk, keywordsName)
	if err != nil {
		return
	}
	w.size = int64(len(text))
	for _, row := range strings.Split(string(text), "\n") {
		var n int
		var name string
		if _, err := fmt.Sscanf(row, "%d %s", &n, &name); err != nil || n < 0 || n >= MaxKeywords {
			continue
		}
		for len(w.names) <= n {
			w.names = append(w.names, "")
		}
		if w.names[n] == "" {
			w.names[n] = name
		}
	}
}

// keyword is the number of a name.
func (a *Account) keyword(name string, create bool) (int, error) {
	w := a.words
	w.mu.Lock()
	defer w.mu.Unlock()
	w.load()
	free := -1
	for n, have := range w.names {
		if strings.EqualFold(have, name) {
			return n, nil
		}
		if have == "" && free < 0 {
			free = n
		}
	}
	if !create {
		return -1, nil
	}
	if free < 0 {
		free = len(w.names)
	}
	if free >= MaxKeywords {
		return -1, ErrKeywords
	}
	file, err := a.disk.Append(keywordsName, 0o600)
	if err != nil {
		return -1, err
	}
	defer file.Close()
	row := fmt.Sprintf("%d %s\n", free, name)
	if _, err := file.Write([]byte(row)); err != nil {
		return -1, err
	}
	if err := durable.Sync(file); err != nil {
		return -1, err
	}
	w.load()
	if free < len(w.names) && strings.EqualFold(w.names[free], name) {
		return free, nil
	}
	for n, have := range w.names { // another process was faster with this number
		if strings.EqualFold(have, name) {
			return n, nil
		}
	}
	return -1, ErrKeywords
}

// Keywords are the names of the folder's keywords by number; "" where a letter has no name.
func (f *Folder) Keywords() []string {
	w := f.account.words
	w.mu.Lock()
	defer w.mu.Unlock()
	w.load()
	return append([]string(nil), w.names...)
}

// KeywordNumber is the number of a keyword, -1 when it has none and create is not set.
func (f *Folder) KeywordNumber(name string, create bool) (int, error) {
	return f.account.keyword(name, create)
}

// splitWords yields the words of a line.
func splitWords(s string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, w := range strings.Fields(s) {
			if !yield(w) {
				return
			}
		}
	}
}

package mailbox

import "strings"

// letterMap says what the letters a–z of file names in one folder stand for. Nearly every folder has none: its letter number n is the
// account's keyword number n. A folder taken over from a server that numbered keywords folder by folder keeps its letters, as
// the K lines of its mb-uids say, and every name we write in it uses them.
type letterMap struct {
	number [26]int8          // of a letter: the account's keyword, -1 for one that has no meaning
	letter [MaxKeywords]int8 // of a keyword: the letter, -1 for one that has none here
}

// isForwarded is the number of a letter that means $Forwarded.
const isForwarded = -2

// newLetterMap makes the map of a folder's K lines, nil when it is what it would be without.
func newLetterMap(k map[byte]string, number func(name string) (int, error)) (*letterMap, error) {
	if len(k) == 0 {
		return nil, nil
	}
	m := &letterMap{}
	for i := range m.number {
		m.number[i] = -1
	}
	for i := range m.letter {
		m.letter[i] = -1
	}
	same := true
	for c, name := range k {
		if strings.EqualFold(name, "$Forwarded") { // a keyword elsewhere, a flag with the letter P here
			m.number[c-'a'], same = isForwarded, false
			continue
		}
		n, err := number(name)
		if err != nil {
			return nil, err
		}
		m.number[c-'a'], m.letter[n] = int8(n), int8(c-'a')
		same = same && n == int(c-'a')
	}
	if same {
		return nil, nil
	}
	return m, nil
}

// flag is what letter number i stands for.
func (m *letterMap) flag(i int) Flags {
	if m == nil {
		return Keyword(i)
	}
	switch {
	case m.number[i] == isForwarded:
		return Forwarded
	case m.number[i] < 0:
		return 0
	}
	return Keyword(int(m.number[i]))
}

// of is the letter number of keyword n, -1 when no name can say it.
func (m *letterMap) of(n int) int {
	switch {
	case m != nil:
		return int(m.letter[n])
	case n < 26:
		return n
	}
	return -1
}

// mask is the flags a file name can say.
func (m *letterMap) mask() Flags {
	if m == nil {
		return letterMask
	}
	f := keywords - 1
	for n, l := range m.letter {
		if l >= 0 {
			f |= Keyword(n)
		}
	}
	return f
}

// text writes the K lines as snapshot heads keep them.
func lettersText(k map[byte]string) string {
	var b strings.Builder
	for c := byte('a'); c <= 'z'; c++ {
		if name, ok := k[c]; ok {
			b.WriteByte(c)
			b.WriteString(name)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func parseLetters(text string) map[byte]string {
	k := map[byte]string{}
	for row := range strings.SplitSeq(text, "\n") {
		if len(row) > 1 && row[0] >= 'a' && row[0] <= 'z' {
			k[row[0]] = row[1:]
		}
	}
	return k
}

package config

import (
	"os"
	"reflect"
	"regexp"
	"sort"
	"strings"
	"testing"
)

// known is every key as SECTION.KEY; those of the families as well.
func known() (list []string) {
	c := Default()
	for _, s := range sections {
		for _, k := range s.keys(c) {
			list = append(list, strings.TrimPrefix(s.name+"."+k.name, "."))
		}
	}
	for _, f := range families {
		keys, _ := f.entry(c, "x")
		for _, k := range keys {
			if f.name != "sender" { // has the keys of route
				list = append(list, f.name+"."+k.name)
			}
		}
	}
	sort.Strings(list)
	return list
}

var commented = regexp.MustCompile(`(?m)^#([a-z0-9_]+ = |\[)`)

// etc/mail.toml shows every key at its default: with all of them uncommented it says what an empty file says.
func TestEtcMailToml(t *testing.T) {
	b, err := os.ReadFile("../../etc/mail.toml")
	if err != nil {
		t.Fatal(err)
	}
	empty, err := parse("/etc/pennypost/mail.toml", "", Sections()...)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parse(empty.File, string(b), Sections()...); err != nil || !reflect.DeepEqual(got, empty) {
		t.Errorf("as it is, it is not empty: %v", err)
	}
	text := commented.ReplaceAllString(string(b), "$1")
	got, err := parse(empty.File, text, Sections()...)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Routes) != 1 || len(got.Senders) != 1 || len(got.Transport) != 1 || len(got.Sites) != 1 {
		t.Error("an example of a family is missing")
	}
	got.Routes, got.Senders, got.Transport, got.Sites = nil, nil, nil, nil
	if !reflect.DeepEqual(got, empty) {
		t.Errorf("uncommented it says\n%+v\nand the defaults are\n%+v", got, empty)
	}
	if in := keysOf(text); strings.Join(in, "\n") != strings.Join(known(), "\n") {
		t.Errorf("etc/mail.toml: %s", difference(in, known()))
	}
}

// keysOf lists the keys of a TOML text of ours by line.
func keysOf(text string) (list []string) {
	section := ""
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "["); ok {
			section, _, _ = strings.Cut(name, "]")
			section += "."
			for _, f := range families {
				if strings.HasPrefix(section, f.name+".") {
					section = f.name + "."
				}
			}
		} else if key, _, ok := strings.Cut(line, " = "); ok && line[0] != '#' && section != "sender." {
			list = append(list, section+key)
		}
	}
	sort.Strings(list)
	return list
}

// mail.toml(5) has every key, and no other, with the default that it has.
func TestManMailToml(t *testing.T) {
	b, err := os.ReadFile("../../man/mail.toml.5")
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ := strings.Cut(string(b), ".Ss top")
	page, _, _ = strings.Cut(".Ss top"+page, ".Sh FILES")
	etc, err := os.ReadFile("../../etc/mail.toml")
	if err != nil {
		t.Fatal(err)
	}
	var in []string
	section := ""
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, ".Ss "); ok {
			section = strings.TrimPrefix(name+".", "top.")
			continue
		}
		item, ok := strings.CutPrefix(line, ".It Cm ")
		if !ok {
			continue
		}
		key, rest, _ := strings.Cut(item, " ")
		in = append(in, section+key)
		if _, value, ok := strings.Cut(rest, "default Li "); ok {
			want := "#" + key + " = " + strings.ReplaceAll(value, `\(dq`, `"`)
			if !strings.Contains(string(etc), want+"  #") && !strings.Contains(string(etc), want+"\n") {
				t.Errorf("mail.toml(5) gives %s%s the default %s, and etc/mail.toml another", section, key, value)
			}
		}
	}
	sort.Strings(in)
	if strings.Join(in, "\n") != strings.Join(known(), "\n") {
		t.Errorf("mail.toml(5): %s", difference(in, known()))
	}
}

func difference(have, want []string) string {
	var said []string
	for _, w := range want {
		if i := sort.SearchStrings(have, w); i == len(have) || have[i] != w {
			said = append(said, "lacks "+w)
		}
	}
	for _, h := range have {
		if i := sort.SearchStrings(want, h); i == len(want) || want[i] != h {
			said = append(said, "has "+h+" too many")
		}
	}
	return strings.Join(said, ", ")
}

package mailbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"pennypost/internal/sequence"
)

// A Maildir that Dovecot served yesterday: UIDVALIDITY, UIDs, the next UID of its index, keywords by its letters, POP3's ids.
func TestTakeOverFromDovecot(t *testing.T) {
	root, a, _ := box(t)
	if n, err := a.keyword("$Other", true); n != 0 || err != nil { // the account's letter a is taken by another name
		t.Fatal(n, err)
	}
	write(t, root, "cur/1276528487.M364837P9451.kurkku,S=1355,W=1394:2,Sa", strings.Repeat("x", 1355))
	write(t, root, "cur/1276533073.M242911P3632.kurkku:2,Fb", "x\n")
	write(t, root, "new/1276533099.M1P1.kurkku", "x\n")
	write(t, root, "dovecot-uidlist", "3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n"+
		"25006 W5000 P0000aaaa :1276528487.M364837P9451.kurkku,S=1355,W=1394:2,\n25017 W2481 :1276533073.M242911P3632.kurkku:2,F\n")
	write(t, root, "dovecot-keywords", "0 $Label1\n1 Work\n")
	index := make([]byte, 120)
	index[0] = 7
	binary.LittleEndian.PutUint32(index[24:], 1275660208)
	binary.LittleEndian.PutUint32(index[28:], 25030)
	os.WriteFile(root+"/dovecot.index", index, 0o600)
	_, f := process(t, root)
	v := look(t, f)
	if v.Counts().UIDValidity != 1275660208 || v.Counts().UIDNext != 25031 {
		t.Errorf("%+v", v.Counts())
	}
	out := ""
	names := f.Keywords()
	for i := range v.Len() {
		out += fmt.Sprint(v.UID(i), v.UIDL(i))
		for n, name := range names {
			if v.Flags(i)&Keyword(n) != 0 {
				out += " " + name
			}
		}
		out += "\n"
	}
	if want := "250060000aaaa $Label1\n250171276533073.M242911P3632.kurkku Work\n250301276533099.M1P1.kurkku\n"; out != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
	work, _ := f.KeywordNumber("Work", false)
	if _, err := f.Store(ctx, sequence.Set{{Lo: 25006, Hi: 25006}}, Add, Keyword(work), Unconditional); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(root + "/cur/1276528487.M364837P9451.kurkku,S=1355,W=1394:2,Sab"); err != nil {
		t.Error("the folder's own letters are kept:", err)
	}
	_, again := process(t, root)
	w := look(t, again)
	if w.Flags(0)&Keyword(work) == 0 || w.Counts().UIDValidity != 1275660208 {
		t.Error("another process sees other keywords")
	}
	other, _ := f.KeywordNumber("$Other", false)
	if _, err := f.Store(ctx, sequence.Set{{Lo: 25006, Hi: 25006}}, Add, Keyword(other), Unconditional); err != nil {
		t.Fatal(err)
	}
	os.Remove(root + "/mb-index") // the keyword without a letter is in mb-uids alone
	_, third := process(t, root)
	if look(t, third).Flags(0)&Keyword(other) == 0 {
		t.Error("a keyword that no letter says was lost with the index")
	}
}

// Dovecot goes on numbering: nobody is served two numberings of one mailbox.
func TestDovecotGoesOn(t *testing.T) {
	root, _, _ := box(t)
	write(t, root, "cur/1.m:2,S", "x\n")
	list := "3 V1275660208 N8 G3085f01b7f11094c501100008c4a11c1\n7 :1.m\n"
	write(t, root, "dovecot-uidlist", list)
	_, f := process(t, root)
	look(t, f)
	_, again := process(t, root)
	look(t, again)
	write(t, root, "dovecot-uidlist", list+"8 :2.m\n")
	for _, cache := range []string{"", "mb-index"} {
		if cache != "" {
			os.Remove(root + "/" + cache)
		}
		_, g := process(t, root)
		if _, err := g.Look(ctx); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "Dovecot") {
			t.Errorf("without %q: %v", cache, err)
		}
	}
	os.Remove(root + "/dovecot-uidlist")
	_, h := process(t, root)
	if v := look(t, h); v.Len() != 1 || v.UID(0) != 7 {
		t.Error(shown(v))
	}
}

// The same from Courier.
func TestTakeOverFromCourier(t *testing.T) {
	root, _, _ := box(t)
	write(t, root, "cur/1.c:2,S", "x\n")
	write(t, root, "courierimapuiddb", "1 1100000000 17\n12 1.c\n")
	_, f := process(t, root)
	v := look(t, f)
	if v.Counts().UIDValidity != 1100000000 || v.UID(0) != 12 || v.Counts().UIDNext != 17 {
		t.Errorf("%+v, UID %d", v.Counts(), v.UID(0))
	}
}

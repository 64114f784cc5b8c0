package mailbox

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestFirst: a folder of which nothing is known gets the same UIDs and flags from its first listing, whether that is large or comes in pieces.
func TestFirst(t *testing.T) {
	for _, doubled := range []bool{false, true} {
		t.Run(fmt.Sprint(doubled), func(t *testing.T) {
			root, _, small := box(t)
			bigRoot, _, big := box(t)
			const n = 5 * chunkLen
			names := make([]string, 0, n)
			for i := range n {
				name := fmt.Sprintf("%d.M%dP1Q%d.host", 1700000000+i/7, i%3, i%5)
				switch i % 4 {
				case 0:
					name = "new/" + name + fmt.Sprintf("R%d", i)
				case 1:
					name = "cur/" + name + fmt.Sprintf("R%d,S=3,W=4:2,FS", i)
				case 2:
					name = "cur/" + name + fmt.Sprintf("R%d:2,SF", i) // not sorted
				default:
					name = "cur/" + name + fmt.Sprintf("R%d", i)
				}
				names = append(names, name)
			}
			if doubled {
				names = append(names, "cur/1700000000.M0P1Q0.hostR0:2,S")
			}
			for i, name := range names {
				for _, root := range []string{root, bigRoot} {
					if err := os.WriteFile(filepath.Join(root, name), []byte("x\n"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if i == 10 { // the small one is not empty any more
					look(t, small)
				}
			}
			a, b := look(t, small), look(t, big)
			if a.Len() != len(names) || b.Len() != a.Len() || !doubled && a.Counts().Recent != b.Counts().Recent || a.Counts().Unseen != b.Counts().Unseen || a.Counts().Size != b.Counts().Size || a.Counts().UIDNext != b.Counts().UIDNext {
				t.Fatalf("%+v\n%+v", a.Counts(), b.Counts())
			}
			byKey := map[string]entry{}
			for i := range a.Len() {
				c, j := a.at(i)
				byKey[string(c.key(j))] = c.entry(j)
			}
			_, again := process(t, bigRoot)
			for _, v := range []*View{b, look(t, again)} {
				last := ""
				for i := range v.Len() {
					c, j := v.at(i)
					e := c.entry(j)
					x, ok := byKey[e.key]
					if !doubled && (!ok || x.flags != e.flags || x.state != e.state || x.info != e.info || x.wire != e.wire) {
						t.Fatalf("%+v, want %+v", e, x)
					}
					if e.uid != uint32(i+1) {
						t.Fatalf("UID %d at %d", e.uid, i)
					}
					sec, _, _ := stampOf(e.key)
					if s := fmt.Sprintf("%012d", sec); s < last && !doubled {
						t.Fatalf("%s after %s", e.key, last)
					} else {
						last = s
					}
				}
			}
		})
	}
}

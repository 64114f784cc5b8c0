package mailbox

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pennypost/internal/sequence"
)

// filled is a Maildir of n small messages in cur/.
func filled(b *testing.B, n int) string {
	b.Helper()
	root := filepath.Join(b.TempDir(), "Maildir")
	for _, dir := range []string{"new", "cur", "tmp"} {
		os.MkdirAll(filepath.Join(root, dir), 0o700)
	}
	for i := range n {
		text := fmt.Sprintf("Subject: message %d\nDate: Tue, 1 Jan 2030 00:00:00 +0000\n\nhello\n", i)
		if err := os.WriteFile(fmt.Sprintf("%s/cur/%d.M%dP1.host,S=%d,W=%d:2,S", root, 1700000000+i, i, len(text), len(text)+4), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return root
}

func opened(b *testing.B, root string) *Folder {
	a, err := OpenAccount(root, Options{ExpungedDays: 14, Host: "test"})
	if err != nil {
		b.Fatal(err)
	}
	f, err := a.Folder("INBOX")
	if err != nil {
		b.Fatal(err)
	}
	return f
}

const benchSize = 100000

func BenchmarkFirstLook(b *testing.B) {
	root := filled(b, benchSize)
	for b.Loop() {
		for _, pattern := range []string{"mb-*"} {
			files, _ := filepath.Glob(filepath.Join(root, pattern))
			for _, file := range files {
				os.Remove(file)
			}
		}
		f := opened(b, root)
		if _, err := f.Look(ctx); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

func BenchmarkOpenUnchanged(b *testing.B) {
	root := filled(b, benchSize)
	f := opened(b, root)
	f.Look(ctx)
	f.Close()
	for b.Loop() {
		f := opened(b, root)
		if n, err := f.Counts(ctx); err != nil || n.Messages != benchSize {
			b.Fatal(n, err)
		}
		f.Close()
	}
}

// BenchmarkSelectUnchanged is SELECT of a folder that nobody has open, with a log that touches every chunk.
func BenchmarkSelectUnchanged(b *testing.B) {
	root := filled(b, benchSize)
	f := opened(b, root)
	f.Look(ctx)
	var uids sequence.Set
	for uid := uint32(50); uid < benchSize; uid += 100 {
		uids.Add(uid)
	}
	f.Store(ctx, uids, Add, Flagged, Unconditional)
	f.Close()
	for b.Loop() {
		f := opened(b, root)
		v, err := f.Look(ctx)
		if err != nil || v.Len() != benchSize || v.FirstUnseen() != benchSize {
			b.Fatal(err)
		}
		f.Close()
	}
}

func BenchmarkLookUnchanged(b *testing.B) {
	f := opened(b, filled(b, benchSize))
	f.Look(ctx)
	for b.Loop() {
		f.Look(ctx)
	}
}

func BenchmarkLookAfterForeignChange(b *testing.B) {
	root := filled(b, benchSize)
	f := opened(b, root)
	v, _ := f.Look(ctx)
	c, j := v.at(7)
	name := root + "/cur/" + string(c.key(j)) + ":2,"
	letters := []string{"S", "FS"}
	for i := 0; b.Loop(); i++ {
		os.Rename(name+letters[i%2], name+letters[(i+1)%2])
		f.Look(ctx)
	}
}

func BenchmarkStoreOne(b *testing.B) {
	f := opened(b, filled(b, benchSize))
	f.Look(ctx)
	for i := 0; b.Loop(); i++ {
		f.Store(ctx, sequence.Set{{Lo: 500, Hi: 500}}, Mode(1+i%2), Flagged, Unconditional)
	}
}

// Until the answer, and until the files have their names.
func BenchmarkStoreAll(b *testing.B) {
	f := opened(b, filled(b, 10000))
	f.Look(ctx)
	for _, way := range []struct {
		name string
		wait bool
	}{{"answered", false}, {"renamed", true}} {
		b.Run(way.name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				f.Store(ctx, sequence.Set{{Lo: 1, Hi: 10000}}, Mode(1+i%2), Flagged, Unconditional)
				if !way.wait {
					b.StopTimer()
				}
				f.settle()
				b.StartTimer()
			}
		})
	}
}

func BenchmarkDelivery(b *testing.B) {
	root := filled(b, benchSize)
	f := opened(b, root)
	f.Look(ctx)
	for i := 0; b.Loop(); i++ {
		os.WriteFile(fmt.Sprintf("%s/new/%d.x", root, i), []byte("x\n"), 0o600)
		f.Look(ctx)
	}
}

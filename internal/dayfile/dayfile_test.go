package dayfile

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// Several writers never mix their lines, and each line is whole.
func TestSeveralWriters(t *testing.T) {
	dir := t.TempDir()
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for range 50 {
				if err := Append(dir, noon, Add(nil, "n", strings.Repeat(fmt.Sprint(i), 1000))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	days, err := Days(dir)
	if err != nil || len(days) != 1 || days[0].Full || !days[0].Date.Equal(noon.Truncate(24*time.Hour)) {
		t.Fatalf("%+v %v", days, err)
	}
	count := map[string]int{}
	if err := days[0].Lines(func(words string) { count[words]++ }); err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		if n := count["n="+strings.Repeat(fmt.Sprint(i), 1000)]; n != 50 {
			t.Errorf("%d lines of writer %d", n, i)
		}
	}
}

// What strangers wrote comes back as they wrote it, and makes neither a word nor a line of its own.
func TestWords(t *testing.T) {
	dir := t.TempDir()
	want := []string{"a=b c\nd=e", "-", "%41", "\x1b[2J\x00", "übel", strings.Repeat("=", 300)}
	var line []byte
	for _, v := range want {
		line = Add(line, "v", v)
	}
	if err := Append(dir, noon, Add(line, "none", "")); err != nil {
		t.Fatal(err)
	}
	var got []string
	days, _ := Days(dir)
	days[0].Lines(func(words string) {
		for name, value := range Words(words) {
			if name != "v" {
				t.Errorf("%s=%q", name, value)
			}
			got = append(got, value)
		}
	})
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// A stranger cannot fill the disk: a day that is full takes no more, and says so.
func TestS092FullDay(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "2026-11-25")
	if err := os.WriteFile(file, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, MaxFile-10); err != nil {
		t.Fatal(err)
	}
	if err := Append(dir, noon, Add(nil, "n", "value")); err != nil {
		t.Error(err)
	}
	if info, _ := os.Stat(file); info.Size() != MaxFile-10 {
		t.Errorf("%d octets", info.Size())
	}
	if days, _ := Days(dir); !days[0].Full {
		t.Error("not said to be full")
	}
	if err := Append(dir, noon, Add(nil, "n", strings.Repeat("x", MaxLine))); err == nil {
		t.Error("a line of more than 4 KiB was written")
	}
}

// A torn line, one that is too long and other files are passed over.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	text := "1764072000 a=1\n17640\nhello world\n" + strings.Repeat("y", 5*MaxLine) + "\n1764072000 a=2\n1764072000 a="
	os.WriteFile(filepath.Join(dir, "2026-11-25"), []byte(text), 0o640)
	os.WriteFile(filepath.Join(dir, "notes"), nil, 0o640)
	os.Symlink("/etc/passwd", filepath.Join(dir, "2026-11-24"))
	days, err := Days(dir)
	if err != nil || len(days) != 1 {
		t.Fatalf("%+v %v", days, err)
	}
	var got []string
	if err := days[0].Lines(func(words string) { got = append(got, words) }); err != nil || !slices.Equal(got, []string{"a=1", "a=2"}) {
		t.Errorf("%q %v", got, err)
	}
}

// Where there is no directory nothing is counted; a link or a FIFO in the place of the file is an error, and nobody waits.
func TestNoDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := Append(filepath.Join(dir, "none"), noon, nil); err != nil {
		t.Error(err)
	}
	if days, err := Days(filepath.Join(dir, "none")); err != nil || days != nil {
		t.Error(days, err)
	}
	os.Symlink(filepath.Join(dir, "elsewhere"), filepath.Join(dir, "2026-11-25"))
	if err := Append(dir, noon, nil); err == nil {
		t.Error("a link was followed")
	}
}

package drop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pennypost/internal/durable/faultdisk"
	"pennypost/internal/maillog"
	"pennypost/queue"
)

const letter = "pennypost: 1\nfrom: alice@example.net\nrcpt: 1 bob@example.org NOTIFY=NEVER\n\nSubject: hi\nBcc: secret@example.org\n\nhello\n"

// onDisk is a spool in a directory everybody may enter, and what would adopt its drop/.
func onDisk(t testing.TB) (*Pickup, string, *bytes.Buffer) {
	t.Helper()
	root, err := os.MkdirTemp("", "drop")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	os.Chmod(root, 0o755)
	dir := filepath.Join(root, "spool")
	if err := queue.Make(dir, "a"); err != nil {
		t.Fatal(err)
	}
	s, err := queue.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	p, log := pickup(s)
	return p, dir, log
}

func pickup(s *queue.Spool) (*Pickup, *bytes.Buffer) {
	log := new(bytes.Buffer)
	return &Pickup{Spool: s, Hostname: "mx.example.org", Origin: "example.org", MaxSize: 1 << 20, Log: &maillog.Log{Program: "queue-pickup", Out: log}}, log
}

// adopted are the messages in in/pickup/new.
func adopted(t testing.TB, s *queue.Spool) (list []*queue.Message, texts []string) {
	t.Helper()
	err := s.Scan(func(f queue.Found) error {
		m, err := s.Load(f.Name, true)
		if errors.Is(err, queue.ErrBad) { // torn by a power cut, as the runner does
			return s.Bad(f.Name, err.Error())
		}
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.NewSectionReader(m.File, m.Header, m.Size))
		m.Close()
		list, texts = append(list, m), append(texts, string(text))
		return err
	}, "in/pickup/new")
	if err != nil {
		t.Error(err)
	}
	return list, texts
}

func TestAdopt(t *testing.T) {
	p, dir, log := onDisk(t)
	os.WriteFile(filepath.Join(dir, "drop/new/s.1"), []byte(letter), 0o640)
	if left, err := p.Once(); left != 0 || err != nil {
		t.Fatal(left, err)
	}
	list, texts := adopted(t, p.Spool)
	if len(list) != 1 {
		t.Fatalf("%d adopted: %s", len(list), log)
	}
	m, text := list[0], texts[0]
	if !strings.HasPrefix(m.Env.Via, fmt.Sprintf("pickup uid=%d user=", os.Getuid())) || m.Env.Rcpts[0].Params != "NOTIFY=NEVER" || m.Env.Drop == "" {
		t.Errorf("envelope %+v", m.Env)
	}
	for _, want := range []string{"Received: by mx.example.org (Pennypost, uid=", "From: alice@example.net\n", "Date: ", "Message-ID: <" + m.ID + "@mx.example.org>\n", "Subject: hi\n", "\n\nhello\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "secret") {
		t.Error("Bcc is left")
	}
	if names, _ := p.Spool.Disk.ReadDir("drop/new"); len(names) > 0 {
		t.Errorf("left: %q", names)
	}
	if !strings.Contains(log.String(), "id="+m.ID) {
		t.Errorf("log: %s", log)
	}
}

// TestRefused is what no user may hand in. Every file ends in bad/, says why, and stops nothing.
func TestRefused(t *testing.T) {
	tests := []struct{ name, text, why string }{
		{"empty", "", "does not end"},
		{"nothing", "From: a\n\nhello\n", "does not begin"},
		{"torn", letter[:60], "does not end"},
		{"nobody", "pennypost: 1\nfrom: a@b.example\n\nhi\n", "no recipient"},
		{"nosender", "pennypost: 1\nrcpt: 1 a@b.example\n\nhi\n", "no from:"},
		{"version", "pennypost: 2\nfrom: a@b.example\n\nhi\n", "version"},
		{"critical", "pennypost: 1\n!burn: after\nfrom: a@b.example\nrcpt: 1 a@b.example\n\nhi\n", "critical"},
		{"length", "pennypost: 1\nfrom: a@b.example\nrcpt: 1 a@b.example\nbody: 000000000099 lf 00000000000000000000000000000000\n\nhi\n", "body:"},
		{"list", "pennypost: 1\nfrom: a@b.example\nrcpt-file: 9 9 00000000000000000000000000000000\n\nhi\n", "rcpt-file"},
		{"large", "pennypost: 1\nfrom: a@b.example\nrcpt: 1 a@b.example\n\n" + strings.Repeat("x", 1<<20), "max_size"},
		{"-rf", letter, "file name"},
		{"a b", letter, "file name"},
	}
	p, dir, log := onDisk(t)
	for _, tt := range tests {
		if err := os.WriteFile(filepath.Join(dir, "drop/new", tt.name), []byte(tt.text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink("/etc/passwd", filepath.Join(dir, "drop/new/symlink"))
	syscall.Mkfifo(filepath.Join(dir, "drop/new/fifo"), 0o666)
	os.Mkdir(filepath.Join(dir, "drop/new/directory"), 0o777)
	os.WriteFile(filepath.Join(dir, "linked"), []byte(letter), 0o640)
	os.Link(filepath.Join(dir, "linked"), filepath.Join(dir, "drop/new/link"))
	for _, name := range []string{"symlink", "fifo", "directory"} {
		tests = append(tests, struct{ name, text, why string }{name, "", "not a regular file"})
	}
	tests = append(tests, struct{ name, text, why string }{"link", "", "2 names"})
	os.WriteFile(filepath.Join(dir, "drop/new/good"), []byte(letter), 0o640)
	if left, err := p.Once(); left != 0 || err != nil {
		t.Errorf("%d left, %v", left, err)
	}
	if list, _ := adopted(t, p.Spool); len(list) != 1 {
		t.Errorf("%d adopted", len(list))
	}
	for _, tt := range tests {
		why, err := os.ReadFile(filepath.Join(dir, "bad", tt.name+".why"))
		if err != nil || !strings.Contains(string(why), tt.why) {
			t.Errorf("%s: %q, %v, want %q", tt.name, why, err, tt.why)
		}
	}
	if names, _ := p.Spool.Disk.ReadDir("drop/new"); len(names) > 0 {
		t.Errorf("left: %q\n%s", names, log)
	}
}

// recipe is spool(5)'s way in for a shell script.
const recipe = `umask 027; d=$SPOOL/drop
f=$(mktemp "$d/tmp/s.XXXXXXXXXX") && chmod 640 "$f" || exit 75
{ printf 'pennypost: 1\nfrom: %s\nrcpt: 1 %s\n\n' "$sender" "$rcpt"; cat; } >"$f" &&
exec 9<"$f" && mv "$f" "$d/new/" && sync /dev/fd/9 || exit 75
echo | dd of="$d/trigger" oflag=nonblock status=none 2>/dev/null || :
`

// TestShellRecipe runs the recipe as an ordinary user where we are root. That user can neither list nor
// read what others put there.
func TestShellRecipe(t *testing.T) {
	p, dir, log := onDisk(t)
	uid := os.Getuid()
	shell := func(script string) (string, error) {
		cmd := exec.Command("/bin/sh", "-c", script)
		cmd.Env = []string{"PATH=/usr/bin:/bin", "SPOOL=" + dir, "sender=alice@example.net", "rcpt=bob@example.org"}
		cmd.Stdin = strings.NewReader("Subject: from a script\n\nhello\n")
		cmd.Dir = "/"
		if os.Getuid() == 0 {
			uid = 65534
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	if out, err := shell(recipe); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for range 500 {
		if list, _ := adopted(t, p.Spool); len(list) > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	list, texts := adopted(t, p.Spool)
	if len(list) != 1 || !strings.Contains(list[0].Env.Via, fmt.Sprintf("uid=%d ", uid)) || !strings.Contains(texts[0], "from a script") {
		t.Fatalf("adopted %v %q\n%s", list, texts, log)
	}
	if uid == os.Getuid() {
		t.Skip("not root: that others can neither list nor read was not tried")
	}
	os.WriteFile(filepath.Join(dir, "drop/new/s.other"), []byte(letter), 0o640)
	for _, script := range []string{"ls $SPOOL/drop/new", "ls $SPOOL/drop/tmp", "cat $SPOOL/drop/new/s.other", "rm -f $SPOOL/drop/new/s.other", "mv $SPOOL/drop/new/s.other $SPOOL/drop/tmp/mine"} {
		if out, err := shell(script); err == nil {
			t.Errorf("%s: allowed: %s", script, out)
		}
	}
}

func TestInjectAndWait(t *testing.T) {
	p, _, _ := onDisk(t)
	env, err := Envelope("<>", []string{"<bob@example.org>", "carol@example.org"}, "2030-01-01T00:00:00Z")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []*queue.Envelope{nil, env} {
		in := letter
		if e != nil {
			in = "Subject: x\r\n\r\ncr\rlf\r\nnul\x00"
		}
		f, err := Inject(p.Spool, strings.NewReader(in), e, 1000)
		if err != nil {
			t.Fatal(err)
		}
		waited := make(chan error)
		go func() { waited <- f.Wait(10 * time.Second) }()
		p.Once()
		if err := <-waited; err != nil {
			t.Error(err)
		}
	}
	list, texts := adopted(t, p.Spool)
	if len(list) == 2 && !list[0].Env.HoldUntil.IsZero() { // two ids of one tick of the file system's clock
		list[0], list[1], texts[0], texts[1] = list[1], list[0], texts[1], texts[0]
	}
	if len(list) != 2 || list[1].Env.HoldUntil.Year() != 2030 || !strings.HasSuffix(texts[1], "\n\ncr\nlf\nnul\n") || len(list[1].Env.Rcpts) != 2 {
		t.Errorf("adopted %q", texts)
	}
	if _, err := Inject(p.Spool, strings.NewReader(strings.Repeat("x", 1001)), env, 1000); !Refused(err) {
		t.Error("too large, and taken")
	}
	f, _ := Inject(p.Spool, strings.NewReader("x"), env, 0)
	if err := f.Wait(0); err != ErrWaited {
		t.Errorf("nobody came: %v", err)
	}
	if names, _ := p.Spool.Disk.ReadDir("drop/new"); len(names) > 0 {
		t.Errorf("not taken back: %q", names)
	}
	f, _ = Inject(p.Spool, strings.NewReader("x"), &queue.Envelope{From: env.From}, 0) // for nobody
	p.Once()
	if err := f.Wait(time.Second); err != ErrRefused {
		t.Errorf("refused: %v", err)
	}
}

func TestRate(t *testing.T) {
	p, dir, log := onDisk(t)
	p.Rate = 2
	for i := range 4 {
		os.WriteFile(filepath.Join(dir, "drop/new", fmt.Sprint(i)), []byte(letter), 0o640)
	}
	if left, err := p.Once(); left != 2 || err != nil {
		t.Errorf("%d left, %v", left, err)
	}
	p.Once()
	if n := strings.Count(log.String(), "rate"); n != 2 {
		t.Errorf("%d complaints:\n%s", n, log)
	}
}

// faulty is a spool in memory with one message handed in.
func faulty(t *testing.T, disk *faultdisk.Disk) *Pickup {
	t.Helper()
	if err := queue.MakeOn(disk, "a"); err != nil {
		t.Fatal(err)
	}
	disk = disk.Dirs("drop/new", "drop/tmp", "in/pickup/tmp", "in/pickup/new")
	for _, dir := range []string{".", "in", "drop", "in/pickup", "archive"} {
		disk.SyncDir(dir)
	}
	disk.Put("drop/new/s.1", letter)
	s, err := queue.OpenOn(disk)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := pickup(s)
	return p
}

// TestS138PickupCut: at every cut, and after the next pickup, there is one message and not two.
func TestS138PickupCut(t *testing.T) {
	for luck := range 8 {
		for n := 1; ; n++ {
			disk := faultdisk.New().Luck(luck)
			p := faulty(t, disk)
			disk.CrashAt(n)
			p.Once()
			crashed := disk.Crashed()
			s, err := queue.OpenOn(disk.Restart())
			if err != nil {
				t.Fatal(err)
			}
			adopted(t, s) // what is torn goes to bad/
			again, log := pickup(s)
			again.Once()
			if list, _ := adopted(t, s); len(list) != 1 {
				t.Fatalf("cut at step %d (%s), luck %d: %d messages\n%s", n, disk.LastStep(), luck, len(list), log)
			}
			if !crashed {
				break
			}
		}
	}
}

// TestS135PickupFull: whatever step fails, the message is in drop/ or adopted, and adopted once in the end.
func TestS135PickupFull(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS} {
		for n := 1; ; n++ {
			disk := faultdisk.New()
			p := faulty(t, disk)
			disk.FailAt(n, cause)
			p.Once()
			failed := disk.Failed()
			disk.FailAt(0, nil)
			p.Once()
			list, _ := adopted(t, p.Spool)
			files := disk.Files()
			for name := range files {
				if strings.HasPrefix(name, "drop/") || strings.Contains(name, "/tmp/") {
					t.Errorf("%v at step %d (%s): left %s", cause, n, disk.LastStep(), name)
				}
			}
			if len(list) != 1 {
				t.Errorf("%v at step %d (%s): %d messages, %v", cause, n, disk.LastStep(), len(list), files)
			}
			if !failed {
				break
			}
		}
	}
}

// TestS135DropFull: a user's program is told, and leaves nothing behind.
func TestS135DropFull(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO} {
		for n := 1; ; n++ {
			disk := faultdisk.New()
			p := faulty(t, disk)
			before := len(disk.Files())
			disk.FailAt(n, cause)
			_, err := Inject(p.Spool, strings.NewReader(letter), nil, 0)
			if disk.Failed() && !errors.Is(err, cause) {
				t.Errorf("%v at step %d (%s): %v", cause, n, disk.LastStep(), err)
			}
			if len(disk.Files()) != before && err != nil {
				t.Errorf("%v at step %d (%s): litter %v", cause, n, disk.LastStep(), disk.Files())
			}
			if !disk.Failed() {
				break
			}
		}
	}
}

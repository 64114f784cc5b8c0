package sendmail

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pennypost/queue"
)

// command is sendmail on a spool of its own; dropped gives the files it handed in.
func command(t testing.TB, in string) (c *Command, out *bytes.Buffer, dropped func() []string) {
	t.Helper()
	dir := t.TempDir()
	if err := queue.Make(dir, "a"); err != nil {
		t.Fatal(err)
	}
	s, err := queue.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	out = new(bytes.Buffer)
	c = &Command{Spool: s, Hostname: "mx.example.org", Origin: "example.org", MaxSize: 10000, In: strings.NewReader(in), Out: out}
	return c, out, func() (texts []string) {
		for _, d := range []string{"drop/new", "drop/tmp"} {
			names, err := s.Disk.ReadDir(d)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				text, err := os.ReadFile(filepath.Join(dir, d, name))
				if err != nil || d == "drop/tmp" {
					t.Errorf("%s/%s left, %v", d, name, err)
				}
				texts = append(texts, string(text))
			}
		}
		return texts
	}
}

// TestCallers is how programs call sendmail, and what they get.
func TestCallers(t *testing.T) {
	const plain = "Subject: hi\n\nhello\n"
	tests := []struct {
		who, args, in string
		code          int
		want, not     string // lines of the drop file
	}{
		{"cron", "-i -FCronDaemon -B8BITMIME -oem root", "From: root (Cron Daemon)\nTo: root\n\nout\n", 0, "mail: BODY=8BITMIME|rcpt: 1 root@example.org|out", "CronDaemon"},
		{"cron, Debian", "-FCronDaemon -i -B8BITMIME -oem alice", plain, 0, `From: "CronDaemon" <|rcpt: 1 alice@example.org`, ""},
		{"PHP", "-t -i", "To: Bob <bob@example.net>, root\r\nCc: \"A, B\" <\"a b\"@example.net> (see, this)\r\nBcc: c@example.net;\r\nSubject: php\r\n\r\nx\r\n", 0, `rcpt: 1 bob@example.net|rcpt: 2 root@example.org|rcpt: 3 "a b"@example.net|rcpt: 4 c@example.net|Subject: php`, "\r"},
		{"mutt", "-oem -oi -f alice@example.net -N failure,delay -R hdrs -- bob@example.net carol@example.net", plain, 0, "from: alice@example.net|mail: RET=HDRS|rcpt: 2 carol@example.net NOTIFY=FAILURE,DELAY", ""},
		{"git send-email", "-i -f alice@example.net bob@example.net", plain, 0, "rcpt: 1 bob@example.net", ""},
		{"logwatch", "-t", "To: root\nFrom: LogWatch\n\nlines\n", 0, "rcpt: 1 root@example.org|From: LogWatch", ""},
		{"vacation", "-f <> bob@example.net", plain, 0, "from:\n|rcpt: 1 bob@example.net", ""},
		{"an old script", "-om -O DeliveryMode=b -ODontBlame -bm -r alice@example.net bob@example.net", plain, 0, "from: alice@example.net", ""},
		{"words joined", "-tiv -falice@example.net", "To: bob@example.net\n\nx\n", 0, "from: alice@example.net|rcpt: 1 bob@example.net", ""},
		{"envelope id", "-V a+b=c bob@example.net", plain, 0, "mail: ENVID=a+2Bb+3Dc", ""},
		{"UTF-8", "-f ålice@example.net bob@example.net", plain, 0, "mail: SMTPUTF8", ""},
		{"a dot ends", "bob@example.net", "Subject: x\n\none\n.\ntwo\n", 0, "one", "two"},
		{"a dot does not", "-i bob@example.net", "Subject: x\n\none\n.\ntwo\n", 0, "two", ""},
		{"bare CR", "-i bob@example.net", "Subject: x\r\rone\rtwo", 0, "one\ntwo\n", "\r"},
		{"resent", "-t", "Resent-To: new@example.net\nResent-From: me@example.net\nReceived: x\nResent-To: older@example.net\nTo: old@example.net\n\nx\n", 0, "rcpt: 1 new@example.net", "rcpt: 2"},
		{"group", "-t", "To: friends: a@example.net, b@example.net;, c@example.net\n\nx\n", 0, "rcpt: 3 c@example.net", ""},
		{"twice", "-t bob@example.net", "To: bob@example.net\n\nx\n", 0, "rcpt: 1 bob@example.net", "rcpt: 2"},
		{"no header", "bob@example.net", "just text\nmore\n", 0, "just text", ""},
		{"nobody", "", plain, exUsage, "", ""},
		{"nobody in the header", "-t", plain, exUsage, "", ""},
		{"bad address", "bob@@example.net", plain, exUsage, "", ""},
		{"bad header", "-t", "To: <bob@example.net\n\nx\n", exData, "", ""},
		{"too large", "bob@example.net", "Subject: x\n\n" + strings.Repeat("0123456789\n", 1000), exData, "", ""},
		{"a daemon", "-bd -q30m", "", exUsage, "", ""},
		{"unknown", "-Z", "", exUsage, "", ""},
		{"newaliases", "-bi", "", 0, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.who, func(t *testing.T) {
			c, _, dropped := command(t, tt.in)
			args := strings.Fields(tt.args)
			f, err := Parse("/usr/sbin/sendmail", args)
			if err == nil {
				err = c.Run(f)
			}
			if Code(err) != tt.code {
				t.Errorf("exit %d, want %d: %v", Code(err), tt.code, err)
			}
			texts := dropped()
			if tt.want == "" {
				if len(texts) > 0 {
					t.Errorf("left %q", texts)
				}
				return
			}
			if len(texts) != 1 {
				t.Fatalf("%d messages", len(texts))
			}
			for want := range strings.SplitSeq(tt.want, "|") {
				if !strings.Contains(texts[0], want) {
					t.Errorf("no %q in\n%s", want, texts[0])
				}
			}
			if tt.not != "" && strings.Contains(texts[0], tt.not) {
				t.Errorf("%q in\n%s", tt.not, texts[0])
			}
			if _, _, more, err := queue.Parse([]byte(texts[0])); more || err != nil {
				t.Errorf("envelope: %v", err)
			}
		})
	}
}

// TestS024Injection: no argument and no header makes a line of the envelope.
func TestS024Injection(t *testing.T) {
	for _, args := range [][]string{
		{"-f", "alice@example.net\nrcpt: 2 evil@example.net", "bob@example.net"},
		{"bob@example.net\nrcpt: 2 evil@example.net"},
		{"bob@example.net\r"},
		{"-F", "Al\x00ice", "bob@example.net"},
		{"-V", "x\n", "bob@example.net"},
	} {
		c, _, dropped := command(t, "Subject: x\n\nx\n")
		f, err := Parse("sendmail", args)
		if err == nil {
			err = c.Run(f)
		}
		if !errors.Is(err, ErrUsage) || len(dropped()) > 0 {
			t.Errorf("%q: %v", args, err)
		}
	}
	for _, in := range []string{
		"To: \"a\n b\"@example.net\n\nx\n", // folding inside a quote is white space, not a line
		"To: bob@example.net\x0bevil\n\nx\n",
		"To: bob@example.net\x00\nSubject: x\n\nx\n",
		"To: bob@example.net\rrcpt: 2 evil@example.net\n\nx\n",
	} {
		c, _, dropped := command(t, in)
		err := c.Run(&Flags{Mode: 'm', Header: true})
		for _, text := range dropped() {
			env, _, _, perr := queue.Parse([]byte(text))
			if perr != nil || len(env.Rcpts) != 1 || strings.Contains(env.Rcpts[0].To.String(), "evil") {
				t.Errorf("%q: %v, %v\n%s", in, err, perr, text)
			}
		}
	}
	c, out, dropped := command(t, "HELO x\r\nMAIL FROM:<a@example.net\x00>\r\nMAIL FROM:<a@example.net>\rRCPT TO:<b@example.net>\r\n"+strings.Repeat("x", 1<<20)+"\r\nQUIT\r\n")
	if err := c.Run(&Flags{Mode: 's'}); err != nil || len(dropped()) > 0 {
		t.Error(err)
	}
	want := []string{"220", "250-", "250 ", "501", "501", "500", "221"}
	for line := range strings.Lines(out.String()) {
		if len(want) > 0 && strings.HasPrefix(line, want[0]) {
			want = want[1:]
		}
	}
	if len(want) > 0 {
		t.Errorf("want %q in\n%s", want, out)
	}
}

// TestSessions runs the transcripts of testdata/session: C: is said, S: is heard, > is in the drop file.
func TestSessions(t *testing.T) {
	files, err := filepath.Glob("testdata/session/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var say, hear strings.Builder
			var find []string
			for line := range strings.Lines(string(text)) {
				line = strings.TrimSuffix(line, "\n")
				switch {
				case strings.HasPrefix(line, "C: "):
					say.WriteString(line[3:] + "\r\n")
				case strings.HasPrefix(line, "S: "):
					hear.WriteString(line[3:] + "\r\n")
				case strings.HasPrefix(line, "> "):
					find = append(find, line[2:])
				}
			}
			for _, in := range []string{say.String(), strings.ReplaceAll(say.String(), "\r", "")} {
				c, out, dropped := command(t, in)
				if err := c.Run(&Flags{Mode: 's'}); err != nil {
					t.Error(err)
				}
				if out.String() != hear.String() {
					t.Errorf("heard\n%swant\n%s", out, hear.String())
				}
				lines := strings.Split(strings.Join(dropped(), ""), "\n")
				for _, want := range find {
					if !slices.Contains(lines, want) {
						t.Errorf("no line %q in %q", want, lines)
					}
				}
			}
		})
	}
}

// A session that ends inside DATA sends nothing.
func TestHalfMessage(t *testing.T) {
	c, _, dropped := command(t, "MAIL FROM:<a@example.net>\nRCPT TO:<b@example.net>\nDATA\nSubject: x\n\nhalf")
	if err := c.Run(&Flags{Mode: 's'}); err != nil {
		t.Error(err)
	}
	if texts := dropped(); len(texts) > 0 {
		t.Errorf("sent %q", texts)
	}
	c, _, dropped = command(t, "")
	c.In = io.MultiReader(strings.NewReader("Subject: x\n\nhalf"), broken{})
	if err := c.Run(&Flags{Mode: 'm', Rcpts: []string{"b@example.net"}}); Code(err) != exTemp {
		t.Error(err)
	}
	if texts := dropped(); len(texts) > 0 {
		t.Errorf("sent %q", texts)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestKick(t *testing.T) {
	c, _, _ := command(t, "")
	id := c.Spool.NewID()
	for _, args := range [][]string{{"-q"}, {"-q30m"}, {"-qI" + id}} {
		f, err := Parse("sendmail", args)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Run(f); err != nil {
			t.Error(err)
		}
	}
	if names, _ := c.Spool.Disk.ReadDir("kick"); len(names) != 2 {
		t.Errorf("kicks: %q", names)
	}
}

func TestNames(t *testing.T) {
	for name, mode := range map[string]byte{"/usr/bin/mailq": 'p', "newaliases": 'i', "/usr/lib/sendmail": 'm'} {
		if f, err := Parse(name, nil); err != nil || f.Mode != mode {
			t.Errorf("%s: %c, %v", name, f.Mode, err)
		}
	}
}

func FuzzHeader(f *testing.F) {
	f.Add("To: Bob <bob@example.net>, \"a, b\"@example.net (x (y)), g: c, d;\n")
	f.Add("To: <\"a>b\"@example.net>\nResent-Bcc: x\nReceived: y\n")
	f.Add("From x\n\tfold\n:\n\n")
	f.Fuzz(func(t *testing.T, in string) {
		c := &Command{Origin: "example.org", In: strings.NewReader(in)}
		h, err := readHead(bufio.NewReaderSize(c.input(&Flags{}), 64))
		if err != nil {
			return
		}
		list, err := h.recipients()
		if err != nil {
			return
		}
		env := &queue.Envelope{Body: queue.Body{Length: -1}}
		if env.Rcpts, err = c.rcpts(nil, list, &Flags{}); err != nil || len(env.Rcpts) == 0 {
			return
		}
		text := env.Append(nil)
		again, _, more, err := queue.Parse(text)
		if more || err != nil || !slices.Equal(again.Rcpts, env.Rcpts) {
			t.Errorf("%q: %v\n%s", in, err, text)
		}
	})
}

/*
Package mailq shows the queue and steers it, with queue-run running or not. It only reads and
makes files, and whatever it does can be done with ls, cat, touch and mv as well:

	list        q/DAY/MINUTE/ID, in/X/new/ID, hold/ID   envelope of each, and its ID.s
	show, why   the same for one message; results/ where the message is gone
	shape       the same, counted by site and age
	hold …      kick/hold:ID where queue-run runs, else the move to hold/ itself
	pause …     pause/site:NAME; outbound/held:USER for an account
	accounts    outbound/count:USER
	sources     RUN/sources/PROGRAM/SERVICE, not in the spool

Everything that came from outside is escaped before it reaches a terminal (package escape), in JSON too.
*/
package mailq

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"pennypost/internal/config"
	"pennypost/internal/escape"
	"pennypost/queue"
)

// Tool is one call of mailq.
type Tool struct {
	Spool  *queue.Spool
	Conf   *config.Config // nil where a spool was named
	Out    io.Writer
	Notes  io.Writer // what is not asked for but should be known; stderr
	JSON   bool      // one object a line
	Width  int       // columns of the terminal, 0 no limit
	Now    func() time.Time
	Reason string // of hold, pause, bounce
	Until  string // of pause, limit: a time or a span
}

// Command is one word mailq knows.
type Command struct {
	Name, Args, About string
	Run               func(t *Tool, args []string) error
}

// Commands are all words; list is what mailq does without one.
var Commands = []Command{
	{"list", "[ID | from:ADDRESS | to:ADDRESS | auth:USER | site:NAME | held | bad]…", "list messages", (*Tool).list},
	{"show", "ID…", "show envelope, state and header", (*Tool).show},
	{"why", "ID…", "say why a message is still here, or what became of it", (*Tool).why},
	{"shape", "", "count recipients by site and age", (*Tool).shape},
	{"accounts", "[USER…]", "show how much accounts send, and which are held for it", (*Tool).accounts},
	{"sources", "[SERVICE…]", "show who is connected to our services", (*Tool).sources},
	{"hold", "MESSAGES", "put messages aside", (*Tool).hold},
	{"release", "MESSAGES", "take messages back from hold", (*Tool).release},
	{"retry", "MESSAGES | site:NAME | all", "try now", (*Tool).retry},
	{"bounce", "MESSAGES", "give messages up, and tell their senders", (*Tool).bounce},
	{"remove", "MESSAGES", "remove messages, and tell nobody", (*Tool).remove},
	{"cancel", "ID…", "remove scheduled messages that are not due yet", (*Tool).cancel},
	{"pause", "[site:NAME | from:ADDRESS | auth:USER | list:NAME | all [REASON]]", "keep messages from being tried; without arguments list what is paused", (*Tool).pause},
	{"resume", "site:NAME | from:ADDRESS | auth:USER | list:NAME | all", "end a pause", (*Tool).resume},
	{"limit", "site:NAME [conns=N] [rate=N/m]", "limit a site; without numbers end its limit", (*Tool).limit},
}

// Exit codes of sysexits.h.
const (
	exUsage   = 64
	exNoInput = 66
	exIO      = 74
	exNoPerm  = 77
	exConfig  = 78
)

// exit is an error with the exit status it means.
type exit struct {
	code int
	text string
}

func (e *exit) Error() string { return e.text }

func usage(format string, args ...any) error {
	return &exit{exUsage, fmt.Sprintf(format, args...)}
}

func noMessage(id string) error {
	return &exit{exNoInput, "no message " + escape.Terminal(id) + " in the queue"}
}

// ExitCode is the exit status for an error of a command.
func ExitCode(err error) int {
	var e *exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.code
	case errors.Is(err, fs.ErrPermission):
		return exNoPerm
	}
	return exIO
}

// Open opens the spool, or that of a configuration where none is named.
func (t *Tool) Open(file, spool string) (err error) {
	if spool == "" {
		conf, err := config.Load(file)
		if err != nil {
			return &exit{exConfig, err.Error()}
		}
		spool, t.Conf = conf.Spool, conf
	}
	t.Spool, err = queue.Open(spool)
	return err
}

func (t *Tool) now() time.Time {
	if t.Now != nil {
		return t.Now()
	}
	return time.Now()
}

// note says something on stderr.
func (t *Tool) note(format string, args ...any) {
	if t.Notes != nil {
		fmt.Fprintln(t.Notes, "mailq: "+escape.Terminal(fmt.Sprintf(format, args...)))
	}
}

// printf writes one line of text, cut to the terminal's width. Arguments that are strings are escaped.
func (t *Tool) printf(format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = escape.Terminal(s)
		}
	}
	line := strings.TrimRight(fmt.Sprintf(format, args...), " ")
	io.WriteString(t.Out, cut(line, t.Width)+"\n")
}

// object writes one line of JSON. What encoding/json leaves as it is and a terminal might obey
// (DEL, C1, bidirectional controls) becomes \uXXXX.
func (t *Tool) object(v any) error {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(t.Out, harmless(strings.TrimSuffix(b.String(), "\n"))+"\n")
	return err
}

func harmless(s string) string {
	clean := true
	for _, r := range s {
		clean = clean && r != 0x7f && (r < utf8.RuneSelf || unicode.IsPrint(r))
	}
	if clean {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < 0x7f || r >= utf8.RuneSelf && unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

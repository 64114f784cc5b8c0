/*
Package sendmail is the command every Unix program knows: a message on standard input, its
recipients in the arguments or in its header. It ends in the drop directory (package drop) and needs no
privilege.

	flags.go    the flags of thirty years, read as getopt(3) does
	header.go   -t: recipients from the header
	send.go     one message from standard input
	session.go  -bs: SMTP on standard input
*/
package sendmail

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Flags is a command line.
type Flags struct {
	Mode     byte   // of -b: 'm' deliver, 's' SMTP on stdin, 'p' list the queue, 'i' newaliases, 'q' run the queue
	Config   string // -C
	Check    bool   // --check
	From     string // -f, -r
	FromSet  bool
	Name     string // -F
	Header   bool   // -t
	Dots     bool   // -i: a line of one dot is a line of one dot
	Notify   string // -N as NOTIFY= wants it
	Return   string // -R: FULL or HDRS
	Envid    string // -V
	Body     string // -B
	Queue    string // what follows -q: an id with I
	Rcpts    []string
	Verbose  bool
	LogTimes bool
}

// ErrUsage wraps what is wrong with a command line.
var ErrUsage = errors.New("usage")

func usage(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrUsage}, args...)...)
}

// Of sendmail's flags these want a value, in the same word or the next.
const withValue = "ABbCDdeFfhLNOoprRVX"

// Flags whose value, if any, is in the same word.
const sameWord = "bdeoqAD"

// Parse reads a command line without its first word. The name the program was called by chooses the
// mode, as mailq and newaliases are names of sendmail.
func Parse(name string, args []string) (*Flags, error) {
	f := &Flags{Mode: 'm'}
	switch name[strings.LastIndexByte(name, '/')+1:] {
	case "mailq":
		f.Mode = 'p'
	case "newaliases":
		f.Mode = 'i'
	}
	for _, a := range args {
		// S024: a line end in an argument would be one in the envelope.
		if strings.ContainsAny(a, "\r\n\x00") {
			return nil, usage("a line end in an argument")
		}
	}
	for len(args) > 0 {
		a := args[0]
		if a == "--" {
			args = args[1:]
			break
		}
		if len(a) < 2 || a[0] != '-' {
			break
		}
		args = args[1:]
		if strings.HasPrefix(a, "--") {
			rest, err := f.long(a, args)
			if err != nil {
				return nil, err
			}
			args = rest
			continue
		}
		rest, err := f.short(a[1:], args)
		if err != nil {
			return nil, err
		}
		args = rest
	}
	f.Rcpts = args
	return f, nil
}

// long reads the flags that are ours.
func (f *Flags) long(a string, rest []string) ([]string, error) {
	name, value, has := strings.Cut(a, "=")
	switch name {
	case "--check":
		f.Check = true
	case "--log-time":
		f.LogTimes = true
	case "--config":
		if !has {
			if len(rest) == 0 {
				return nil, usage("--config wants a file")
			}
			value, rest = rest[0], rest[1:]
		}
		f.Config = value
	case "--read-recipients", "--read-envelope-from": // msmtp's words for -t
		f.Header = true
	default:
		return nil, usage("unknown flag %.40q, see sendmail(8)", a)
	}
	return rest, nil
}

// short reads one word of flags, "i" or "tioem" or "fbob".
func (f *Flags) short(word string, rest []string) ([]string, error) {
	for i := 0; i < len(word); i++ {
		c, value := word[i], word[i+1:]
		if c == 'c' && value == "" && len(rest) > 0 && strings.Contains(rest[0], "/") {
			// Our other programs' -c FILE; sendmail's own -c stands alone and means nothing any more.
			c = 'C'
		}
		if !strings.ContainsRune(withValue+"q", rune(c)) {
			if err := f.set(c, ""); err != nil {
				return nil, err
			}
			continue
		}
		if value == "" && !strings.ContainsRune(sameWord, rune(c)) {
			if len(rest) == 0 {
				return nil, usage("-%c wants a value", c)
			}
			value, rest = rest[0], rest[1:]
		}
		return rest, f.set(c, value)
	}
	return rest, nil
}

// set takes one flag.
func (f *Flags) set(c byte, value string) error {
	switch c {
	case 'b':
		if value == "" || !strings.Contains("mspi", value[:1]) {
			return usage("-b%s is not for this program: smtpd(8) listens, queue-run(8) delivers", value)
		}
		f.Mode = value[0]
	case 'f', 'r':
		f.From, f.FromSet = value, true
	case 'F':
		f.Name = value
	case 't':
		f.Header = true
	case 'i':
		f.Dots = true
	case 'o':
		if value == "i" {
			f.Dots = true
		}
	case 'O':
		name, v, _ := strings.Cut(value, "=")
		if strings.EqualFold(name, "IgnoreDots") && v != "False" && v != "false" {
			f.Dots = true
		}
	case 'N':
		return f.notify(value)
	case 'R':
		switch strings.ToLower(value) {
		case "full":
			f.Return = "FULL"
		case "hdrs":
			f.Return = "HDRS"
		default:
			return usage("-R %.20q: want full or hdrs", value)
		}
	case 'V':
		if value == "" || len(value) > 100 {
			return usage("-V wants 1 to 100 letters")
		}
		f.Envid = xtext(value)
	case 'B':
		switch v := strings.ToUpper(value); v {
		case "7BIT", "8BITMIME":
			f.Body = v
		default:
			return usage("-B %.20q: want 7bit or 8bitmime", value)
		}
	case 'C':
		f.Config = value
	case 'q':
		f.Mode, f.Queue = 'q', value
	case 'v':
		f.Verbose = true
	case 'A', 'D', 'd', 'e', 'h', 'L', 'p', 'X', 'n', 'c', 'G', 'I', 'm', 's', 'U', 'x', 'w', 'E', 'J', 'K', 'M', 'P', 'Q', 'T':
		// What they asked for is always so, or has no meaning here.
	default:
		return usage("unknown flag -%c, see sendmail(8)", c)
	}
	return nil
}

// notify reads -N's words (RFC 3461 section 4.1).
func (f *Flags) notify(value string) error {
	words := strings.Split(strings.ToUpper(value), ",")
	for i, w := range words {
		if !slices.Contains([]string{"NEVER", "SUCCESS", "FAILURE", "DELAY"}, w) || slices.Contains(words[:i], w) || w == "NEVER" && len(words) > 1 {
			return usage("-N %.40q: want never, or some of success,failure,delay", value)
		}
	}
	f.Notify = strings.Join(words, ",")
	return nil
}

// xtext encodes a value of an ESMTP parameter (RFC 3461 section 4).
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c > ' ' && c < 0x7f && c != '+' && c != '=' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "+%02X", c)
		}
	}
	return b.String()
}

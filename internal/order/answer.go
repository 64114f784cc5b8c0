package order

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/escape"
	"pennypost/internal/status"
	"pennypost/queue"
)

// Append writes a as one line without LF.
func (a *Answer) Append(b []byte) []byte {
	if a.Kind == 'R' {
		b = append(b, "site "...)
	} else {
		b = append(b, a.Kind, ' ')
	}
	b = strconv.AppendUint(b, a.Seq, 10)
	switch a.Kind {
	case 'K', 'Z', 'D':
		b = append(b, ' ')
		b = appendNum(b, a.Num)
		b = append(b, ' ')
		b = escape.Append(b, a.Result.Enhanced)
		b = append(b, ' ')
		b = strconv.AppendInt(b, int64(a.Result.Code), 10)
		if a.Host != "" {
			b = append(b, " host="...)
			b = escape.Append(b, a.Host)
		}
		if a.TLS != "" {
			b = append(b, " tls="...)
			b = escape.Append(b, a.TLS)
		}
		if a.DSN {
			b = append(b, " dsn=1"...)
		}
		if a.Kept {
			b = append(b, " kept=1"...)
		}
		b = append(b, ' ')
		b = escape.Append(b, clip(a.Result.Text))
	case 'S':
		b = append(b, ' ')
		b = escape.Append(b, clip(a.Result.Text))
	case 'F':
		b = append(b, ' ')
		b = appendNum(b, a.Num)
		b = append(b, ' ')
		b = escape.Append(b, a.Target.String())
	case 'R':
		b = append(b, ' ')
		b = escape.Append(b, a.Site)
		b = append(b, " ttl="...)
		b = strconv.AppendInt(b, int64(a.TTL/time.Second), 10)
	}
	return b
}

func clip(s string) string {
	if len(s) <= MaxText {
		return s
	}
	return strings.ToValidUTF8(s[:MaxText], "")
}

// ParseAnswer reads one line of a packet.
func ParseAnswer(line []byte) (Answer, error) {
	a, err := parseAnswer(string(line))
	if err != nil {
		return Answer{}, fmt.Errorf("%w: %v", ErrProtocol, err)
	}
	return a, nil
}

func parseAnswer(line string) (a Answer, err error) {
	if strings.ContainsAny(line, "\n\x00") {
		return a, errors.New("more than one line")
	}
	kind, line := cut(line)
	if kind == "site" {
		kind = "R"
	}
	if len(kind) != 1 || !strings.Contains("KZDSEFR", kind) {
		return a, errors.New("unknown answer")
	}
	a.Kind = kind[0]
	word, line := cut(line)
	if a.Seq, err = strconv.ParseUint(word, 10, 64); err != nil {
		return a, errors.New("no sequence number")
	}
	switch a.Kind {
	case 'K', 'Z', 'D':
		err = a.result(line)
	case 'S':
		a.Result.Text, err = escape.Parse(line)
	case 'F':
		num, target := cut(line)
		if a.Num, err = queue.ParseNum(num); err == nil {
			a.Target, err = path(target)
		}
	case 'R':
		key, ttl := cut(line)
		if a.Site, err = escape.Parse(key); err == nil {
			a.TTL, err = parseTTL(ttl)
		}
		if err == nil && a.Site == "" {
			err = errors.New("no site")
		}
	}
	return a, err
}

// result reads "NUM status code [host=HOST] [tls=WORD] [dsn=1] [kept=1] text". NUM 0 stands for the whole order.
func (a *Answer) result(line string) (err error) {
	switch a.Kind {
	case 'Z':
		a.Result.Outcome = status.Deferred
	case 'D':
		a.Result.Outcome = status.Failed
	}
	num, line := cut(line)
	if num != "0" {
		if a.Num, err = queue.ParseNum(num); err != nil {
			return err
		}
	}
	enhanced, line := cut(line)
	if a.Result.Enhanced, err = escape.Parse(enhanced); err != nil {
		return err
	}
	code, line := cut(line)
	if a.Result.Code, err = strconv.Atoi(code); err != nil || a.Result.Code < 0 || a.Result.Code > 999 {
		return errors.New("no reply code")
	}
	for { // an escaped text has no '='
		word, rest, more := strings.Cut(line, " ")
		key, value, ok := strings.Cut(word, "=")
		if !more || !ok {
			a.Result.Text, err = escape.Parse(line)
			return err
		}
		switch key {
		case "host":
			if a.Host, err = escape.Parse(value); err != nil {
				return err
			}
		case "tls":
			if a.TLS, err = escape.Parse(value); err != nil {
				return err
			}
		case "dsn":
			a.DSN = value == "1"
		case "kept":
			a.Kept = value == "1"
		}
		line = rest
	}
}

func parseTTL(word string) (time.Duration, error) {
	s, ok := strings.CutPrefix(word, "ttl=")
	n, err := strconv.ParseInt(s, 10, 32)
	if !ok || err != nil || n < 0 {
		return 0, errors.New("no ttl")
	}
	return time.Duration(n) * time.Second, nil
}

package site

import (
	"strconv"
	"strings"
	"time"

	"pennypost/internal/status"
)

// Cause is why a recipient was deferred, in one word: why= of the journal.
type Cause string

const (
	Greylist Cause = "greylist"
	Quota    Cause = "quota"
	DNSFail  Cause = "dns"
	TLSFail  Cause = "tls"
	Reach    Cause = "site"
	Policy   Cause = "policy"
	Local    Cause = "local"
	Other    Cause = "other"
)

// schedule is when a recipient is tried again, by cause and number of attempts so far; the last value repeats.
var schedule = map[Cause][]time.Duration{
	Greylist: minutes(5, 5, 10, 15, 30),
	Quota:    minutes(30, 120, 360, 720),
	DNSFail:  minutes(5, 10, 30, 60),
	TLSFail:  minutes(15, 60, 180),
	Local:    minutes(2, 5, 10, 30),
	Policy:   minutes(5, 10, 20, 40, 60, 120, 180),
	Other:    minutes(5, 10, 20, 40, 60, 120, 180),
	Reach:    minutes(5, 10, 20, 40, 60, 120, 180),
}

func minutes(n ...int) []time.Duration {
	d := make([]time.Duration, len(n))
	for i := range n {
		d[i] = time.Duration(n[i]) * time.Minute
	}
	return d
}

// After is how long to wait after the attempt, with the caller's chance 0 ≤ chance < 1 for the jitter.
func After(c Cause, attempt int, r status.Result, chance float64) time.Duration {
	if c == Greylist {
		if d, ok := named(r.Text); ok {
			return d + 5*time.Second
		}
	}
	list := schedule[c]
	if list == nil {
		list = schedule[Other]
	}
	d := list[max(0, min(attempt-1, len(list)-1))]
	return time.Duration(float64(d) * (0.88 + 0.24*chance))
}

// Classify finds the cause of a deferral in what was said.
func Classify(r status.Result, local bool, attempt int) Cause {
	text := strings.ToLower(r.Text)
	switch e := r.Enhanced; {
	case e == "4.2.2" || e == "5.2.2" || r.Code == 452 && e == "" && !has(text, "too many"): // RFC 5321 section 4.5.3.1.10
		return Quota
	case local:
		return Local
	case e == "4.4.3" || e == "4.4.0":
		return DNSFail
	case e == "4.7.5" || e == "4.7.10" || e == "4.7.4":
		return TLSFail
	case has(text, "greylist", "graylist", "grey list", "greylisted", "try again in", "come back"):
		return Greylist
	case attempt <= 2 && (e == "4.7.1" || e == "4.2.0" || e == "4.3.0" && r.Code == 450) && (r.Code == 450 || r.Code == 451):
		return Greylist
	case strings.HasPrefix(e, "4.7."):
		return Policy
	case strings.HasPrefix(e, "4.4."):
		return Reach
	}
	return Other
}

// Overload reports whether a temporary refusal means that the site wants fewer of us.
func Overload(r status.Result) bool {
	if r.Outcome != status.Deferred {
		return false
	}
	text := strings.ToLower(r.Text)
	switch e := r.Enhanced; {
	case r.Code == 421, e == "4.3.2", e == "4.4.5", e == "4.7.28":
		return true
	case strings.HasPrefix(e, "4.7.") && has(text, "too many", "rate limit", "throttl"):
		return true
	}
	return false
}

func has(text string, words ...string) bool {
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// named finds the waiting time a greylisting server names: "try again in 300 seconds", "00:04:31", "5 minutes".
func named(text string) (time.Duration, bool) {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return r == ' ' || r == '(' || r == ')' || r == ',' || r == ';' || r == '.' })
	for i, w := range words {
		if parts := strings.Split(w, ":"); len(parts) == 3 {
			h, e1 := strconv.Atoi(parts[0])
			m, e2 := strconv.Atoi(parts[1])
			s, e3 := strconv.Atoi(parts[2])
			if e1 == nil && e2 == nil && e3 == nil && h >= 0 && m >= 0 && s >= 0 {
				return bounded(time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second)
			}
		}
		digits := strings.TrimRight(w, "abcdefghijklmnopqrstuvwxyz")
		n, err := strconv.Atoi(digits)
		if err != nil || n <= 0 || n > 1e6 {
			continue
		}
		unit := w[len(digits):]
		if unit == "" && i+1 < len(words) {
			unit = words[i+1]
		}
		switch {
		case strings.HasPrefix(unit, "sec") || unit == "s":
			return bounded(time.Duration(n) * time.Second)
		case strings.HasPrefix(unit, "min"):
			return bounded(time.Duration(n) * time.Minute)
		case strings.HasPrefix(unit, "hour"):
			return bounded(time.Duration(n) * time.Hour)
		}
	}
	return 0, false
}

// bounded refuses what no greylisting server means.
func bounded(d time.Duration) (time.Duration, bool) { return d, d >= time.Second && d <= 6*time.Hour }

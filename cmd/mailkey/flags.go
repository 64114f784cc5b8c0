package main

import (
	"slices"
	"strings"
)

// noValue are the flags that stand alone.
var noValue = []string{"json", "j", "lines", "zone", "now", "check", "n", "help", "h"}

// flagsFirst puts the flags of a verb in front of its names, for people write them behind, too; what follows -- is left alone. What
// stands before the verb is for all verbs.
func flagsFirst(args []string) []string {
	front, rest := args[:1:1], args[1:]
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
		n := 1
		if takesValue(rest[0]) && len(rest) > 1 {
			n = 2
		}
		front, rest = append(front, rest[:n]...), rest[n:]
	}
	if len(rest) == 0 {
		return front
	}
	verb, rest := rest[0], rest[1:]
	var flags, names []string
	for i := 0; i < len(rest); i++ {
		switch a := rest[i]; {
		case a == "--":
			names, i = append(names, rest[i+1:]...), len(rest)
		case len(a) > 1 && a[0] == '-':
			to := &flags
			if word := strings.TrimLeft(strings.SplitN(a, "=", 2)[0], "-"); slices.Contains([]string{"config", "c", "domains"}, word) {
				to = &front
			}
			*to = append(*to, a)
			if takesValue(a) && i+1 < len(rest) {
				i++
				*to = append(*to, rest[i])
			}
		default:
			names = append(names, a)
		}
	}
	return slices.Concat(front, []string{verb}, flags, []string{"--"}, names)
}

func takesValue(flag string) bool {
	return !strings.Contains(flag, "=") && !slices.Contains(noValue, strings.TrimLeft(flag, "-"))
}

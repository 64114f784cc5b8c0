package main

import (
	"slices"
	"strings"
)

// noValue are the flags that stand alone, ofApp those that belong in front of the verb.
var (
	noValue = []string{"json", "j", "now", "agree", "check", "n", "help", "h"}
	ofApp   = []string{"config", "c", "certificate", "key", "check", "n"}
)

// flagsFirst puts flags where the parser wants them: those for all verbs in front, those of the verb in front of its names, for
// people write them behind, too. What follows -- is left alone.
func flagsFirst(args []string) []string {
	front := args[:1:1]
	var flags, names, verb []string
	for i := 1; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			names, i = append(names, args[i:]...), len(args)
			continue
		}
		if len(a) < 2 || a[0] != '-' {
			if verb == nil {
				verb = []string{a}
			} else {
				names = append(names, a)
			}
			continue
		}
		word, _, whole := strings.Cut(strings.TrimLeft(a, "-"), "=")
		to := &flags
		if slices.Contains(ofApp, word) {
			to = &front
		}
		if *to = append(*to, a); !whole && !slices.Contains(noValue, word) && i+1 < len(args) {
			i++
			*to = append(*to, args[i])
		}
	}
	return slices.Concat(front, verb, flags, names)
}

package main

import (
	"slices"
	"strings"
)

// flagsFirst puts flags in front, for people write them behind, too; what follows -- is left alone.
func flagsFirst(args []string) []string {
	var flags, names []string
	for i := 1; i < len(args); i++ {
		switch a := args[i]; {
		case a == "--":
			names, i = append(names, args[i+1:]...), len(args)
		case len(a) > 1 && a[0] == '-':
			flags = append(flags, a)
			word := strings.TrimLeft(a, "-")
			if !strings.Contains(a, "=") && !slices.Contains([]string{"json", "j", "help", "h"}, word) && i+1 < len(args) {
				i++
				flags = append(flags, args[i])
			}
		default:
			names = append(names, a)
		}
	}
	return slices.Concat(args[:1], flags, []string{"--"}, names)
}

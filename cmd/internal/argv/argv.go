// Package argv lets people write flags where they like: behind the names, too.
package argv

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Sort puts the words of a command line where the parser of app wants them: flags of the app, the verb, flags of the verb, names. What
// stands behind -- is left alone, and is a name. A flag that nobody knows goes behind the verb, where the parser says so.
func Sort(app *cli.App, args []string) []string {
	values := map[string]bool{} // which flags take a value
	learn(values, app.Flags, app.Commands)
	var words, rest []string
	var flags [][]string
	for i := 1; i < len(args); i++ {
		switch a := args[i]; {
		case a == "--":
			rest, i = args[i+1:], len(args)
		case len(a) < 2 || a[0] != '-':
			words = append(words, a)
		case values[a] && i+1 < len(args):
			flags = append(flags, args[i:i+2])
			i++
		default:
			flags = append(flags, args[i:i+1])
		}
	}
	var verb *cli.Command
	n, verbs := 0, app.Commands
	for ; n < len(words); n++ {
		at := slices.IndexFunc(verbs, func(c *cli.Command) bool { return c.HasName(words[n]) })
		if at < 0 {
			break
		}
		verb, verbs = verbs[at], verbs[at].Subcommands
	}
	var front, behind []string
	for _, f := range flags {
		if verb == nil || !has(verb.Flags, f[0]) && has(app.Flags, f[0]) {
			front = append(front, f...)
		} else {
			behind = append(behind, f...)
		}
	}
	sorted := slices.Concat(args[:1], front, words[:n], behind)
	if names := append(words[n:], rest...); len(names) > 0 {
		sorted = append(append(sorted, "--"), names...)
	}
	return sorted
}

// learn notes which flags take a value, written as --name or -n.
func learn(values map[string]bool, flags []cli.Flag, verbs []*cli.Command) {
	for _, f := range flags {
		d, ok := f.(cli.DocGenerationFlag)
		for _, name := range f.Names() {
			values["--"+name] = ok && d.TakesValue()
			values["-"+name] = ok && d.TakesValue()
		}
	}
	for _, v := range verbs {
		learn(values, v.Flags, v.Subcommands)
	}
}

func has(flags []cli.Flag, said string) bool {
	name, _, _ := strings.Cut(strings.TrimLeft(said, "-"), "=")
	return slices.ContainsFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
}

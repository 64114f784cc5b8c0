package argv

import (
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestSort(t *testing.T) {
	app := &cli.App{
		Flags: []cli.Flag{&cli.PathFlag{Name: "config", Aliases: []string{"c"}}, &cli.BoolFlag{Name: "check", Aliases: []string{"n"}}},
		Commands: []*cli.Command{
			{Name: "dns", Flags: []cli.Flag{&cli.BoolFlag{Name: "lines"}, &cli.BoolFlag{Name: "json", Aliases: []string{"j"}}, &cli.StringFlag{Name: "address"}}},
			{Name: "user", Subcommands: []*cli.Command{{Name: "add", Flags: []cli.Flag{&cli.StringFlag{Name: "quota"}, &cli.BoolFlag{Name: "stdin"}}}}},
		},
	}
	plain := &cli.App{Flags: []cli.Flag{&cli.BoolFlag{Name: "json"}, &cli.StringFlag{Name: "dns"}}}
	for _, c := range []struct {
		app        *cli.App
		said, want string
	}{
		{app, "p", "p"},
		{app, "p -n", "p -n"},
		{app, "p dns example.org --lines", "p dns --lines -- example.org"},
		{app, "p dns example.org --address 192.0.2.1 -j", "p dns --address 192.0.2.1 -j -- example.org"},
		{app, "p --json dns --address=192.0.2.1 a b", "p dns --json --address=192.0.2.1 -- a b"},
		{app, "p dns a -c x", "p -c x dns -- a"},
		{app, "p -c dns dns a", "p -c dns dns -- a"},
		{app, "p user add a@b --quota 1GiB --stdin", "p user add --quota 1GiB --stdin -- a@b"},
		{app, "p user add --stdin a -- --odd", "p user add --stdin -- a --odd"},
		{app, "p dns a --what b", "p dns --what -- a b"},
		{app, "p nothing -n", "p -n -- nothing"},
		{app, "p dns --address", "p dns --address"},
		{app, "p dns - --json", "p dns --json -- -"},
		{plain, "p spf 192.0.2.1 h a@b --json", "p --json -- spf 192.0.2.1 h a@b"},
		{plain, "p --dns=127.0.0.1:5 all -- -x@b", "p --dns=127.0.0.1:5 -- all -x@b"},
	} {
		if got := strings.Join(Sort(c.app, strings.Fields(c.said)), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.said, got, c.want)
		}
	}
}

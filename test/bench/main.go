/*
Bench compares Pennypost with Postfix on one disk, in turns, and measures Pennypost alone where there is nothing to compare with.

	go run ./test/bench peers    the table of BENCHMARKS.md
	go run ./test/bench milters  judged mail, beside Postfix with OpenDKIM and OpenDMARC
	go run ./test/bench boxes    the same for reading: IMAP and POP3 beside Dovecot
	go run ./test/bench front    what login apart from mail costs: imapd alone, and behind maillogin and mailauthd
	go run ./test/bench unix     delivery as Unix users beside Postfix local(8); as root
	go run ./test/bench cold     cold start with a million messages queued for dead sites
	go run ./test/bench holes    live mail while 30 % of destinations are black holes
	go run ./test/bench soak     restarts and kill -9 for a while: nothing lost, nothing left behind

Every figure is the time from the first octet a client sends until the last file is in new/, or the last message is in the
sink, or of a command until the last octet of its answer; the CPU is that of all processes of the server, from their cgroup. Only figures of one run, side by side, say anything.
*/
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"pennypost/test/lab"
	"pennypost/test/sink"
)

// options are the flags.
type options struct {
	bin, dir, only, out string
	reps, base          int
	loop, noLoop, quick bool
	million, minutes    int
	sizes               string
	idle                int
	clear, sized        bool
	courier             bool
	keys                []string
	settle              time.Duration
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: bench peers|milters|boxes|cold|holes|soak [flags]")
		os.Exit(2)
	}
	var o options
	f := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	f.StringVar(&o.bin, "bin", "bin", "the programs")
	f.StringVar(&o.dir, "dir", os.TempDir(), "both servers work below it")
	f.StringVar(&o.only, "only", "", "rows that match this `regexp`")
	f.StringVar(&o.out, "out", "", "append the table to this `file` too")
	f.IntVar(&o.reps, "reps", 3, "rounds")
	f.IntVar(&o.base, "base", lab.FreeBase(), "added to port numbers")
	f.BoolVar(&o.loop, "loop", false, "on a journalled ext4 image, even if the disk has a journal")
	f.BoolVar(&o.noLoop, "no-loop", false, "on the disk as it is, even if it has no journal")
	f.BoolVar(&o.quick, "quick", false, "a tenth of the messages: shows that it works, measures nothing")
	f.IntVar(&o.million, "messages", 1000000, "queued messages of cold")
	f.DurationVar(&o.settle, "settle", time.Minute, "between the two looks of cold")
	f.IntVar(&o.minutes, "minutes", 5, "how long soak runs")
	f.StringVar(&o.sizes, "sizes", "1000,10000", "messages of the mailboxes of boxes")
	f.IntVar(&o.idle, "idle", 10000, "idle connections of boxes")
	f.BoolVar(&o.clear, "clear", false, "boxes without TLS")
	f.BoolVar(&o.sized, "sized", false, "the file names of boxes tell sizes, as those of most delivery agents do")
	f.BoolVar(&o.courier, "courier", false, "boxes beside Courier, too, with --clear")
	f.Func("key", "for our mail.toml in boxes: `SECTION.KEY=VALUE`", func(s string) error { o.keys = append(o.keys, s); return nil })
	f.Parse(os.Args[2:])
	if os.Args[1] == "unix-host" { // what startPennypostUnix needs
		err := serveUnix(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if os.Args[1] == "imap-clear" { // a server of boxes --clear
		err := serveClear(os.Args[2], os.Args[3])
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	var err error
	if o.bin, err = filepath.Abs(o.bin); err == nil {
		switch os.Args[1] {
		case "peers":
			err = comparePeers(o)
		case "unix":
			err = compareUnix(o)
		case "milters":
			err = compareJudges(o)
		case "boxes":
			err = compareReaders(o)
		case "front":
			err = compareFronts(o)
		case "cold":
			err = cold(o)
		case "holes":
			err = holes(o)
		case "soak":
			err = soak(o)
		default:
			err = fmt.Errorf("no measurement %q", os.Args[1])
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// disk decides where: without a journal an fsync is another thing, so the default is an image with one.
func (o options) disk() (*disk, error) {
	loop := o.loop || !o.noLoop && os.Getuid() == 0 && describe(o.dir) == "ext4 without a journal"
	return openDisk(o.dir, loop, 12)
}

func jobs(quick bool) []job {
	scale := func(n int) int {
		if quick {
			return n / 10
		}
		return n
	}
	return []job{
		deliver("4 KiB, 1 client", scale(500), 1, 4096, 0),
		deliver("4 KiB, 10 clients", scale(3000), 10, 4096, 0),
		deliver("4 KiB, 50 clients", scale(5000), 50, 4096, 0),
		deliver("100 KiB, 10 clients", scale(800), 10, 100<<10, 0),
		deliver("4 KiB, 10 clients, a connection each", scale(2000), 10, 4096, 1),
		relay("relay through to a sink, 20 clients", scale(3000), 20),
		drain("drain of 20,000 queued", scale(20000)),
	}
}

func comparePeers(o options) error {
	want, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	d, err := o.disk()
	if err != nil {
		return err
	}
	defer d.remove()
	out := &sink.Server{}
	if err := out.Start(fmt.Sprintf("127.0.0.8:%d", o.base+26)); err != nil {
		return err
	}
	defer out.Close()
	ours, _, err := startPennypost(d, o.bin, o.base, out.Addr(), nil)
	if err != nil {
		return err
	}
	defer ours.stop()
	servers := []*server{ours}
	if theirs, err := startPostfix(d, o.base, out.Addr()); err != nil {
		fmt.Fprintf(os.Stderr, "Postfix is left out: %v\n", err)
	} else {
		defer theirs.stop()
		servers = append(servers, theirs)
	}
	for _, s := range servers {
		if err := s.warm(); err != nil {
			return err
		}
	}
	var figures []figure
	for rep := range o.reps {
		for _, j := range jobs(o.quick) {
			if !want.MatchString(j.row) {
				continue
			}
			for i := range servers { // who is first changes with every round
				f := measure(servers[(i+rep)%len(servers)], j, out)
				fmt.Fprintf(os.Stderr, "round %d  %-40s %-10s %s\n", rep+1, f.row, f.server, f.line())
				figures = append(figures, f)
			}
		}
	}
	caption := fmt.Sprintf("%s, %d CPUs, %s, %d rounds in turns, median (least–most).", time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), d.what, o.reps)
	var b strings.Builder
	report(&b, figures, caption)
	return o.print(b.String())
}

func (f figure) line() string {
	if f.err != nil {
		return f.err.Error()
	}
	return fmt.Sprintf("%7.0f msg/s  %.3f ms CPU", f.rate, f.cpu.Seconds()*1000)
}

// print writes a result for reading, and into the file of --out.
func (o options) print(text string) error {
	fmt.Println(text)
	if o.out == "" {
		return nil
	}
	f, err := os.OpenFile(o.out, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString("\n" + text)
	return err
}

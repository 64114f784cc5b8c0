package run

import (
	"fmt"
	"io"
	"path/filepath"

	"pennypost/become/ask"
	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/internal/maillog"
	"pennypost/internal/srs"
	"pennypost/queue"
	"pennypost/queue/route"
)

// Sections are the sections of mail.toml that queue-run reads.
var Sections = []string{"mail", "log", "queue", "outbound", "archive", "srs", "route", "sender", "transport", "site"}

// Options are what the command line says.
type Options struct {
	Config string // file, handed on to the workers
	Once   bool
	DryRun io.Writer // nil: do it
	Times  bool
}

// FromConfig is the runner mail.toml describes.
func FromConfig(conf *config.Config, opt Options, log *maillog.Log) (*Runner, error) {
	spool, err := queue.Open(conf.Spool)
	if err != nil {
		return nil, err
	}
	spool.SyncEvery = conf.Queue.SyncEvery
	r := &Runner{Spool: spool, Lock: filepath.Join(conf.Spool, "run", "runner.lock"), Host: conf.Hostname, Conf: conf.Queue,
		Transport: conf.Transport, Sites: conf.Sites, Archive: conf.Archive, Outbound: conf.Outbound, Log: log, Once: opt.Once || opt.DryRun != nil, DryRun: opt.DryRun}
	rewriter, err := srs.Open(conf.SRS.Domain, conf.SRS.Secrets)
	if err != nil {
		return nil, err
	}
	r.Routes = &route.Table{Domains: domains.FromConfigQuick(conf), Origin: conf.Origin, Routes: next(conf.Routes), Senders: next(conf.Senders),
		SRS: rewriter, MaxExpansion: conf.Queue.MaxExpansion}
	for _, list := range []map[string]config.Route{conf.Routes, conf.Senders} {
		for domain, route := range list {
			for _, n := range route.Next {
				if err := r.knows(domain, n); err != nil {
					return nil, fmt.Errorf("%s: %w", conf.File, err)
				}
			}
		}
	}
	args := []string{"-c", conf.File}
	if opt.Times {
		args = append(args, "--log-time")
	}
	r.Become, r.Processes = ask.Socket(conf.Run), conf.Unix.Processes
	r.Local = Worker{Program: conf.Queue.Workers.Local, Args: args, UID: -1}
	r.Remote = Worker{Program: conf.Queue.Workers.Remote, Args: args, UID: -1}
	return r, nil
}

// knows refuses a route to a transport that does not exist.
func (r *Runner) knows(domain, next string) error {
	const command = "command:"
	if len(next) > len(command) && next[:len(command)] == command {
		if _, ok := r.Transport[next[len(command):]]; !ok {
			return fmt.Errorf("[route.%q]: %s: no [transport.%s]", domain, next, next[len(command):])
		}
	}
	return nil
}

func next(routes map[string]config.Route) map[string][]string {
	m := make(map[string][]string, len(routes))
	for domain, r := range routes {
		m[domain] = r.Next
	}
	return m
}

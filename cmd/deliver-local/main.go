// Command deliver-local puts messages into the Maildirs of virtual users; deliver-local(8).
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"pennypost/deliver/local"
	"pennypost/internal/config"
	"pennypost/internal/confine"
	"pennypost/internal/durable"
	"pennypost/internal/maillog"
)

func main() {
	durable.ClearUmask()
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1) // it waits for the disk; a second processor only adds wake-ups
	}
	var err error
	if a := os.Args; len(a) == 4 && a[1] == "--worker" && a[2] == "--config" { // as become starts us for one message: to read flags takes as long as to deliver
		err = obey(a[3], "", false)
	} else {
		err = newApp().Run(a) // it leaves with an exit status by itself
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "deliver-local:", err)
		os.Exit(78) // EX_CONFIG
	}
}

// obey obeys queue-run, at a socket or on descriptor 0.
func obey(file, path string, times bool) error {
	conf, err := config.Load(file, local.Sections...)
	if err != nil {
		return err
	}
	log := &maillog.Log{Program: "deliver-local", Times: times || conf.Log.Times, Gather: true}
	agent := local.FromConfig(conf, log)
	if agent.Unix != nil && path == "" { // a user's commands may do what that user may; and what SIGTERM cuts off is tried again
		return agent.WorkFd(context.Background(), 0)
	}
	if err := confine.Program("deliver-local", conf, log, path); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if path != "" {
		return agent.Listen(ctx, path)
	}
	return agent.WorkFd(ctx, 0)
}

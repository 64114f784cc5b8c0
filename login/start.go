package login

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"pennypost/internal/config"
	"pennypost/internal/domains"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/internal/uids"
)

// ServiceSections are the sections of mail.toml that mailauthd reads.
var ServiceSections = append(Sections, "log", "imapd", "pop3d")

// clients are the users that ask by default, and about which services.
var clients = map[string][]string{"mailin": {"smtp"}, "maillogin": {"imap", "pop3"}, "vmail": {"imap", "pop3"}}

// NewService is the mailauthd that mail.toml describes.
func NewService(conf *config.Config, log *maillog.Log) (*Service, error) {
	s := &Service{Checker: NewChecker(conf, domains.FromConfig(conf), log.Warn), Allowed: map[uint32][]string{}, Serve: newHandover(conf).serve, Log: log}
	for _, entry := range conf.Login.Clients {
		name, services, limited := strings.Cut(entry, ":")
		uid, err := uids.Lookup(name)
		if err != nil {
			return nil, fmt.Errorf("%s: login.clients: %w", conf.File, err)
		}
		if s.Allowed[uid] = clients[name]; limited {
			s.Allowed[uid] = strings.Split(services, ",")
		}
	}
	if len(conf.Login.Clients) == 0 {
		for name, services := range clients { // those of them that are there
			if uid, err := uids.Lookup(name); err == nil {
				s.Allowed[uid] = services
			}
		}
	}
	return s, nil
}

// Listen serves the sockets handed to us, else those of the flags, else the one of mail.toml.
func (s *Service) Listen(ctx context.Context, conf *config.Config, flags []string) error {
	if len(flags) == 0 && conf.Login.Socket != "" {
		flags = []string{"unix:" + conf.Login.Socket}
	}
	for _, f := range flags {
		if !strings.HasPrefix(f, "unix:") {
			return errors.New("--listen wants unix:PATH")
		}
	}
	on, err := listen.Handed(flags)
	if err != nil {
		return err
	}
	if len(on) == 0 {
		return errors.New("nothing to listen on: see login.socket in mail.toml(5), or --listen")
	}
	for _, l := range on {
		s.Log.Start("login", l.Addr().String())
	}
	return s.ServeAll(ctx, on)
}

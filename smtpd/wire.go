package smtpd

import (
	"path/filepath"

	"pennypost/internal/certs"
	"pennypost/internal/config"
	"pennypost/internal/dns"
	"pennypost/internal/domains"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
	"pennypost/internal/srs"
	"pennypost/login"
	"pennypost/msgauth"
	"pennypost/msgauth/aggregate"
	"pennypost/queue"
)

// Sections are those of mail.toml(5) that smtpd uses.
var Sections = []string{"mail", "login", "tls", "log", "smtpd", "archive", "srs", "dns"}

// FromConfig makes the server mail.toml describes, and the store its certificates are in (nil without any).
func FromConfig(conf *config.Config, log *maillog.Log) (*Server, *certs.Store, error) {
	spool, err := queue.Open(conf.Spool)
	if err != nil {
		return nil, nil, err
	}
	where := domains.FromConfig(conf)
	srv := &Server{
		Hostname: conf.Hostname,
		Origin:   conf.Origin,
		Settings: &conf.SMTPD,
		Ready:    conf.Mail.Link && !conf.Archive.Enabled,
		Over:     filepath.Join(conf.State, "over"),
		Spool:    OnDisk(spool),
		Domains:  where,
		Sources:  &listen.Tables{Dir: filepath.Join(conf.Run, "sources", "smtpd"), Warn: log.Warn},
		Login:    login.FromConfig(conf, where, log.Warn),
		Log:      log,
		Trust:    &Trust{Dir: conf.SMTPD.Trust, Warn: func(err error) { log.Warn("trust", err) }},
		Reports:  filepath.Join(conf.State, aggregate.Dir),
	}
	srv.Checker = &msgauth.Checker{
		DNS:     &dns.Resolver{Servers: conf.DNS.Servers, TrustAD: conf.DNS.TrustAD, Timeout: conf.DNS.Timeout},
		Name:    conf.Hostname,
		Sealers: srv.Trust.Sealer,
	}
	if srv.SRS, err = srs.Open(conf.SRS.Domain, conf.SRS.Secrets); err != nil {
		return nil, nil, err
	}
	store, err := certs.FromFiles(conf.TLS.Certificates, conf.TLS.Keys, func(err error) { log.Warn("certificate", err) })
	if store == nil || err != nil {
		return srv, nil, err
	}
	srv.TLS = login.ClientTLS(store.Config("smtp"), conf.Login.Certificates)
	return srv, store, nil
}

package mailwebd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"pennypost/internal/certs"
	"pennypost/internal/config"
	"pennypost/internal/listen"
	"pennypost/internal/maillog"
)

// Sections are the sections of mail.toml that mailwebd reads.
var Sections = []string{"tls", "log", "smtpd", "imapd", "pop3d"}

// Services that are listened on: https, and http for a web server in front that does TLS.
var configured = map[string][]string{"https": {":443"}, "http": nil}

// Limits of a connection and a request.
const (
	headerTime = 5 * time.Second
	idleTime   = 15 * time.Second
	maxHeader  = 8 << 10
)

// Server answers requests.
type Server struct {
	Site   *Site
	TLS    *tls.Config
	Limits listen.Limits
	Log    *maillog.Log
}

// New is the server mail.toml describes, and its certificates.
func New(conf *config.Config, log *maillog.Log) (*Server, *certs.Store, error) {
	site, err := FromConfig(conf, log.Warn)
	if err != nil {
		return nil, nil, err
	}
	srv := &Server{Site: site, Log: log, Limits: listen.Limits{Total: 500, PerIPv4: 10, PerIPv6: 10}}
	store, err := certs.FromFiles(conf.TLS.Certificates, conf.TLS.Keys, func(err error) { log.Warn("certificate", err) })
	if store == nil || err != nil {
		return srv, nil, err
	}
	srv.TLS = store.Config("http/1.1")
	return srv, store, nil
}

// Listen serves the sockets handed to us, else those of the flags ("https=:443"), else port 443.
func (srv *Server) Listen(ctx context.Context, flags []string) error {
	on := map[string][]string{}
	for name, addresses := range configured {
		on[name] = addresses
	}
	listeners, err := listen.Services(on, flags, "--listen")
	if err != nil {
		return err
	}
	return srv.Serve(ctx, listeners)
}

// ReloadOn reads the certificates and makes the pages anew when the signal comes; it never returns.
func (srv *Server) ReloadOn(store *certs.Store, sig os.Signal) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, sig)
	for range c {
		if store != nil {
			store.Reload()
		}
		srv.Site.Reload()
	}
}

// Serve answers connections of the listeners, named by service, until ctx ends.
func (srv *Server) Serve(ctx context.Context, listeners map[string][]net.Listener) error {
	if srv.TLS == nil && len(listeners["https"]) > 0 {
		return errors.New("https needs a certificate, see tls.certificates in mail.toml(5), and mailcert self")
	}
	srv.lookAtNames()
	for name, on := range listeners {
		for _, l := range on {
			srv.Log.Start(name, l.Addr().String())
		}
	}
	conns := &handed{conns: make(chan net.Conn), over: make(chan struct{})}
	web := &http.Server{Handler: srv, ReadTimeout: headerTime, ReadHeaderTimeout: headerTime, WriteTimeout: headerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader, ErrorLog: log.New(io.Discard, "", 0), Protocols: new(http.Protocols), DisableGeneralOptionsHandler: true}
	web.Protocols.SetHTTP1(true)
	go web.Serve(conns)
	go func() {
		<-ctx.Done()
		late, cancel := context.WithTimeout(context.Background(), headerTime)
		defer cancel()
		web.Shutdown(late)
		web.Close()
	}()
	return listen.ServeAll(ctx, listeners, srv.Limits, func(service string, c net.Conn) { srv.handle(service, c, conns) },
		func(service string, c net.Conn) {
			if service == "http" {
				c.SetDeadline(time.Now().Add(time.Second))
				io.WriteString(c, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			}
		})
}

// lookAtNames warns of hosts that the certificate is not for: their pages cannot be fetched.
func (srv *Server) lookAtNames() {
	if srv.TLS == nil {
		return
	}
	names, err := srv.Site.Names()
	if err != nil {
		srv.Log.Warn("domains", err)
	}
	for _, name := range names {
		c, err := srv.TLS.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
		if err == nil {
			err = c.Leaf.VerifyHostname(name)
		}
		if err != nil {
			srv.Log.Warn("certificate", err)
		}
	}
}

// handle hands a connection to the HTTP server, and waits until that has closed it, so that it is counted as long.
func (srv *Server) handle(service string, c net.Conn, to *handed) {
	counted := &counted{Conn: c, closed: make(chan struct{})}
	var conn net.Conn = counted
	if service == "https" {
		conn = tls.Server(counted, srv.TLS)
	}
	select {
	case to.conns <- conn:
		<-counted.closed
	case <-to.over:
		c.Close()
	}
}

// handed is a listener of connections that were accepted elsewhere.
type handed struct {
	conns chan net.Conn
	over  chan struct{}
	once  sync.Once
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.over:
		return nil, net.ErrClosed
	}
}

func (h *handed) Close() error {
	h.once.Do(func() { close(h.over) })
	return nil
}

func (h *handed) Addr() net.Addr { return &net.TCPAddr{} }

// counted is a connection that tells when it is closed.
type counted struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *counted) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}

// ServeHTTP answers a request: a page, or no.
func (srv *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := hostOf(r.Host)
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if r.ContentLength != 0 { // nobody sends us anything
		h.Set("Connection", "close")
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed)
		return
	}
	if r.TLS != nil && r.TLS.ServerName != "" && hostOf(r.TLS.ServerName) != host {
		refuse(w, http.StatusMisdirectedRequest) // RFC 9110 section 15.5.20
		return
	}
	page, ok := srv.Site.find(host, r.URL.EscapedPath())
	if !ok {
		refuse(w, http.StatusNotFound)
		return
	}
	h.Set("Content-Type", page.Type)
	h.Set("Content-Length", fmt.Sprint(len(page.Text)))
	h.Set("Cache-Control", "max-age=300")
	if r.Method == http.MethodGet {
		io.WriteString(w, page.Text)
	}
}

// refuse says no in three words: nothing of the request is said back.
func refuse(w http.ResponseWriter, code int) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	io.WriteString(w, http.StatusText(code)+"\n")
}

// hostOf is a host without its port, in small letters.
func hostOf(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	return strings.ToLower(strings.TrimSuffix(s, "."))
}

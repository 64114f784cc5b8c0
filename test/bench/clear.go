package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	_ "net/http/pprof" // go tool pprof http://ADDRESS+1/debug/pprof/profile
	"os"
	"strings"

	"pennypost/imapd"
	"pennypost/internal/config"
	"pennypost/internal/maillog"
	"pennypost/login"
)

// serveClear is our IMAP server for measurements without TLS: the first line of a connection is a name and a password, and
// the session is then one whose user is known. Profiles are at the next port.
func serveClear(file, addr string) error {
	conf, err := config.Load(file, imapd.Sections...)
	if err != nil {
		return err
	}
	srv, _, err := imapd.FromConfig(conf, &maillog.Log{Program: "imapd"})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	go func() {
		io.Copy(io.Discard, os.Stdin) // whoever started us has ended
		os.Exit(0)
	}()
	at := l.Addr().(*net.TCPAddr)
	go http.ListenAndServe(fmt.Sprintf("%s:%d", at.IP, at.Port+1), nil) // taken: there are no profiles
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go greetKnown(srv, conn)
	}
}

func greetKnown(srv *imapd.Server, conn net.Conn) {
	line, err := bufio.NewReaderSize(oneByOne{conn}, 16).ReadString('\n')
	user, password, _ := strings.Cut(strings.TrimSpace(line), " ")
	if err != nil {
		conn.Close()
		return
	}
	id, err := srv.Checker.Check(context.Background(), login.Request{Service: "imap", Authcid: user, Password: password})
	if err != nil {
		io.WriteString(conn, "* BYE "+err.Error()+"\r\n")
		conn.Close()
		return
	}
	srv.Preauth(context.Background(), conn, id) // an error has been said to the client
}

// oneByOne gives an octet at a time: what follows the line is not ours to read.
type oneByOne struct{ io.Reader }

func (r oneByOne) Read(b []byte) (int, error) { return r.Reader.Read(b[:min(1, len(b))]) }

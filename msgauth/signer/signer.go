/*
Package signer is the pipe between who sends mail and the process that has the keys (mailkey sign). The process that parses the replies of
strangers never sees a key, and the one with the keys sees no network, no spool and no body: only headers and a hash.

	sign DOMAIN LIFETIME OCTETS BODYHASH LF header     DKIM-Signature fields for DOMAIN; - is the domain in From
	seal DOMAIN HOST     OCTETS BODYHASH LF header     the next ARC set, of what HOST found
	keys DOMAIN LF                                     ok 0 if it has keys, none if not: asked before a message is hashed in vain

	ok OCTETS LF fields         to stand on top of the message, lines ending in LF
	none WHY LF                 there is no key for the domain, or nothing to sign
	error WHY LF                try later

The pipe may be a socket: mailkey sign --listen runs under a uid of its own, which alone reads the keys.

LIFETIME is seconds, 0 for ever. BODYHASH is SHA-256 of the body in relaxed form, as base64. Answers come in the order of the requests; who asks
need not wait for one before the next.
*/
package signer

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"pennypost/internal/header"
	"pennypost/msgauth"
)

// ErrNone is that there is nothing to sign with, or nothing to sign: the message goes as it is.
var ErrNone = errors.New("not signed")

// Request is one question.
type Request struct {
	Seal     bool
	Keys     bool   // only whether Domain has keys
	Domain   string // an A-label; "" is the one in From, for Sign alone
	Host     string // Seal: whose Authentication-Results to seal
	Lifetime time.Duration
	Digest   msgauth.Digest
}

// maxLine is how long the line before a header may be.
const maxLine = 1024

// valid reports what cannot be written down.
func (r Request) valid() error {
	if strings.ContainsAny(r.Domain+r.Host, " \n") || r.Seal && (r.Host == "" || r.Domain == "") || r.Keys && r.Domain == "" || len(r.Domain)+len(r.Host) > maxLine/2 {
		return errors.New("no name: " + strconv.Quote(r.Domain+" "+r.Host))
	}
	return nil
}

// writeTo writes the request.
func (r Request) writeTo(w *bufio.Writer) error {
	if r.Keys {
		fmt.Fprintf(w, "keys %s\n", r.Domain)
		return w.Flush()
	}
	verb, domain, how := "sign", r.Domain, strconv.FormatInt(int64(r.Lifetime/time.Second), 10)
	if r.Seal {
		verb, how = "seal", r.Host
	}
	if domain == "" {
		domain = "-"
	}
	fmt.Fprintf(w, "%s %s %s %d %s\n", verb, domain, how, len(r.Digest.Header), base64.StdEncoding.EncodeToString(r.Digest.Body))
	w.Write(r.Digest.Header)
	return w.Flush()
}

// readRequest reads the next request; io.EOF is the end between two.
func readRequest(b *bufio.Reader) (r Request, err error) {
	line, err := readLine(b)
	if err != nil {
		return r, err
	}
	words := strings.Split(line, " ")
	if len(words) == 2 && words[0] == "keys" {
		return Request{Keys: true, Domain: words[1]}, nil
	}
	if len(words) != 5 || words[0] != "sign" && words[0] != "seal" {
		return r, errors.New("not a request: " + strconv.Quote(line))
	}
	r.Seal = words[0] == "seal"
	if r.Domain = words[1]; r.Domain == "-" {
		r.Domain = ""
	}
	if r.Seal {
		r.Host = words[2]
	} else {
		seconds, err := strconv.ParseUint(words[2], 10, 31)
		if err != nil {
			return r, errors.New("no lifetime: " + strconv.Quote(words[2]))
		}
		r.Lifetime = time.Duration(seconds) * time.Second
	}
	size, err := strconv.ParseUint(words[3], 10, 31)
	if err != nil || size > header.MaxHeader+header.MaxField {
		return r, errors.New("no size of a header: " + strconv.Quote(words[3]))
	}
	if r.Digest.Body, err = base64.StdEncoding.DecodeString(words[4]); err != nil || len(r.Digest.Body) != 32 {
		return r, errors.New("no hash: " + strconv.Quote(words[4]))
	}
	r.Digest.Header = make([]byte, size)
	if _, err = io.ReadFull(b, r.Digest.Header); err != nil {
		return r, io.ErrUnexpectedEOF
	}
	return r, nil
}

func readLine(b *bufio.Reader) (string, error) {
	line, err := b.ReadSlice('\n')
	switch {
	case err == io.EOF && len(line) == 0:
		return "", io.EOF
	case err == bufio.ErrBufferFull || len(line) > maxLine:
		return "", errors.New("a line of more than 1024 octets")
	case err != nil:
		return "", io.ErrUnexpectedEOF
	}
	return string(line[:len(line)-1]), nil
}

// answer is what came back.
type answer struct {
	fields []byte
	err    error
}

func (a answer) writeTo(w *bufio.Writer) error {
	switch {
	case errors.Is(a.err, ErrNone):
		fmt.Fprintf(w, "none %s\n", oneLine(a.err))
	case a.err != nil:
		fmt.Fprintf(w, "error %s\n", oneLine(a.err))
	default:
		fmt.Fprintf(w, "ok %d\n", len(a.fields))
		w.Write(a.fields)
	}
	return w.Flush()
}

func oneLine(err error) string {
	s := strings.Join(strings.Fields(err.Error()), " ")
	return strings.ToValidUTF8(s[:min(len(s), maxLine-16)], "?")
}

func readAnswer(b *bufio.Reader) (answer, error) {
	line, err := readLine(b)
	if err != nil {
		return answer{}, err
	}
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "none":
		return answer{err: fmt.Errorf("%w: %s", ErrNone, strings.TrimPrefix(rest, ErrNone.Error()+": "))}, nil
	case "error":
		return answer{err: errors.New(rest)}, nil
	}
	size, err := strconv.ParseUint(rest, 10, 31)
	if verb != "ok" || err != nil || size > 1<<20 {
		return answer{}, errors.New("not an answer: " + strconv.Quote(line))
	}
	a := answer{fields: make([]byte, size)}
	if _, err := io.ReadFull(b, a.fields); err != nil {
		return answer{}, io.ErrUnexpectedEOF
	}
	return a, nil
}

// Serve answers requests from r until it ends, several at a time and in order. A request that is none ends it: what follows
// cannot be told from a header.
func Serve(r io.Reader, w io.Writer, answerTo func(Request) ([]byte, error)) error {
	queue := make(chan chan answer, 16)
	wrote := make(chan error, 1)
	go func() {
		out := bufio.NewWriter(w)
		var err error
		for c := range queue {
			a := <-c
			if err == nil {
				err = a.writeTo(out)
			}
		}
		wrote <- err
	}()
	in := bufio.NewReaderSize(r, 64<<10)
	var err error
	for {
		var q Request
		if q, err = readRequest(in); err != nil {
			break
		}
		c := make(chan answer, 1)
		queue <- c
		go func() {
			fields, err := answerTo(q)
			c <- answer{fields, err}
		}()
	}
	close(queue)
	if err == io.EOF {
		err = nil
	}
	return errors.Join(err, <-wrote)
}

package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// udpSize is what we take over UDP: no fragments anywhere (the figure of DNS flag day 2020).
const udpSize = 1232

// maxStray is how many packets that are no answer to us are read past on one socket.
const maxStray = 32

var (
	errMalformed = errors.New("malformed answer")
	errStray     = errors.New("answers that do not fit the question")
	errCase      = errors.New("answer with other letters than the question") // may be a forgery, may be an old server: ask over TCP
)

// rcodeError is an answer that is no answer.
type rcodeError dnsmessage.RCode

func (e rcodeError) Error() string {
	switch dnsmessage.RCode(e) {
	case dnsmessage.RCodeFormatError:
		return "FORMERR"
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case dnsmessage.RCodeNotImplemented:
		return "NOTIMP"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	}
	return "code " + dnsmessage.RCode(e).String()
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// describe is the error as a log wants it: the cause alone.
func describe(err error) error {
	if isTimeout(err) || errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// exchange asks s once over UDP, and over TCP if the answer did not fit or did not convince.
func (s server) exchange(ctx context.Context, q question, limit time.Duration) (answer, error) {
	deadline := time.Now().Add(limit)
	got, err := s.udp(ctx, q, deadline)
	var code rcodeError
	if errors.As(err, &code) && !s.plain.Load() &&
		(dnsmessage.RCode(code) == dnsmessage.RCodeFormatError || dnsmessage.RCode(code) == dnsmessage.RCodeNotImplemented) {
		s.plain.Store(true) // RFC 6891 section 7: such a server is asked without EDNS
		got, err = s.udp(ctx, q, deadline)
	}
	if errors.Is(err, errCase) || err == nil && got.truncated {
		return s.tcp(ctx, q, deadline)
	}
	return got, err
}

func (s server) udp(ctx context.Context, q question, deadline time.Time) (answer, error) {
	conn, err := (&net.Dialer{Deadline: deadline}).DialContext(ctx, "udp", s.addr) // connected: packets of others do not arrive
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	conn.SetDeadline(deadline)
	id, asked := uint16(rand.Uint32()), mixCase(q.name)
	packet, err := pack(id, asked, q.typ, !s.plain.Load())
	if err != nil {
		return answer{}, err
	}
	if _, err := conn.Write(packet); err != nil {
		return answer{}, err
	}
	var buf [4096]byte
	for range maxStray {
		n, err := conn.Read(buf[:])
		if err != nil {
			return answer{}, err
		}
		got, err := parse(buf[:n], id, asked, q, s.trust)
		if !errors.Is(err, errStray) {
			return got, err
		}
	}
	return answer{}, errStray
}

func (s server) tcp(ctx context.Context, q question, deadline time.Time) (answer, error) {
	conn, err := (&net.Dialer{Deadline: deadline}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	conn.SetDeadline(deadline)
	id := uint16(rand.Uint32())
	packet, err := pack(id, q.name, q.typ, !s.plain.Load())
	if err != nil {
		return answer{}, err
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)); err != nil {
		return answer{}, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return answer{}, err
	}
	packet = make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, packet); err != nil {
		return answer{}, err
	}
	got, err := parse(packet, id, q.name, q, s.trust)
	if err == nil && got.truncated || errors.Is(err, errCase) {
		err = errMalformed
	}
	return got, err
}

// pack makes the question: recursion desired, and AD set to say that we want to know (RFC 6840 section 5.7).
func pack(id uint16, name string, typ dnsmessage.Type, edns bool) ([]byte, error) {
	wire, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return nil, err
	}
	b := dnsmessage.NewBuilder(make([]byte, 0, 512), dnsmessage.Header{ID: id, RecursionDesired: true, AuthenticData: true})
	b.StartQuestions()
	if err := b.Question(dnsmessage.Question{Name: wire, Type: typ, Class: dnsmessage.ClassINET}); err != nil {
		return nil, err
	}
	if edns {
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(udpSize, dnsmessage.RCodeSuccess, false); err != nil {
			return nil, err
		}
		b.StartAdditionals()
		if err := b.OPTResource(h, dnsmessage.OPTResource{}); err != nil {
			return nil, err
		}
	}
	return b.Finish()
}

// mixCase gives each letter a case by chance; the answer must repeat them.
func mixCase(name string) string {
	var bits uint64
	return strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' {
			if bits < 2 {
				bits = rand.Uint64() | 1<<63
			}
			if bits&1 != 0 {
				c -= 'a' - 'A'
			}
			bits >>= 1
		}
		return c
	}, name)
}

package smtpd

import (
	"errors"
	"io"
	"mime"
	netmail "net/mail"
	"strings"

	"pennypost/internal/address"
	"pennypost/internal/header"
)

// missing are the fields a user's message lacks (RFC 6409 section 8), to be added at the end of its header.
func (s *session) missing(has *header.Facts) []byte {
	b := s.text[:0]
	if has.Date == 0 {
		b = append(append(append(b, "Date: "...), s.srv.date()...), '\n')
	}
	if has.MessageID == 0 {
		b = append(append(append(b, "Message-ID: <"...), s.tx.id...), '@')
		b = append(append(b, s.srv.Hostname...), ">\n"...)
	}
	if has.From == 0 && !s.tx.from.IsNull() {
		b = append(b, "From: "...)
		b = append(s.tx.from.Append(b), '\n')
	}
	s.text = b
	return b
}

// fromOwned checks the From field of a user's message, and Sender if there is one: it can be read, and every address
// in it is his.
func (s *session) fromOwned() reply {
	if s.user == nil || !s.set.CheckSender {
		return reply{}
	}
	f := &s.filter.Facts
	for _, field := range []struct {
		name string
		n    int
		text []byte
	}{{"From", f.From, f.FromText}, {"Sender", f.Sender, f.SenderText}} {
		if field.n == 0 {
			continue
		}
		if field.n > 1 {
			return reply{550, "5.6.0", "more than one " + field.name + " field"}
		}
		found, err := addresses(string(field.text))
		if err != nil || len(found) == 0 {
			return reply{550, "5.6.0", "the " + field.name + " field cannot be read"}
		}
		for _, a := range found {
			if r := s.owns(a); r.code == 553 {
				return reply{550, "5.7.1", "the address in " + field.name + " is not yours"}
			} else if r.code != 0 {
				return r
			}
		}
	}
	return reply{}
}

// lists reads address lists. Encoded words are left alone whatever their charset: only addresses count.
var lists = netmail.AddressParser{WordDecoder: &mime.WordDecoder{
	CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil },
}}

func addresses(field string) ([]address.Path, error) {
	found, err := lists.ParseList(field)
	if err != nil {
		return nil, err
	}
	var all []address.Path
	for _, f := range found {
		at := strings.LastIndexByte(f.Address, '@')
		if at < 0 {
			return nil, errors.New("no address")
		}
		p, err := address.Make(f.Address[:at], f.Address[at+1:])
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

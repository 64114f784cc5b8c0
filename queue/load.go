package queue

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"

	"pennypost/internal/address"
	"pennypost/internal/durable"
)

// Message is a spool file opened for reading.
type Message struct {
	ID     string
	Name   string // below the spool: "in/mx/new/0fk…-a", "q/20261122/0430/0fk…-a"
	Ready  bool   // link-ready: Env then holds what Return-Path, Delivered-To and X-Pennypost-Checks say
	Env    *Envelope
	Header int64 // offset of the first octet of the message
	Bare   int64 // link-ready: offset of what follows the fields that are its envelope, else Header
	Size   int64 // octets of the message, without envelope
	Wire   int64 // with CRLF line ends; 0 when not known
	File   durable.File
}

// heads is room for the beginning of a file.
var heads = sync.Pool{New: func() any { b := make([]byte, 8<<10); return &b }}

// Load opens the message in the file name. With check it also compares length and hash and syncs
// the file: what a file needs that was found by a scan and not by a hint. Errors wrap ErrBad or ErrCritical
// when the file is at fault, else they are the disk's.
func (s *Spool) Load(name string, check bool) (*Message, error) {
	dir, base := split(name)
	id, ready, size, wire, hash, ok := ParseName(base)
	if !ok {
		return nil, bad("%.100q is not the name of a message", base)
	}
	f, err := s.Disk.Open(name)
	if errors.Is(err, durable.ErrNotRegular) {
		return nil, bad("%v", durable.ErrNotRegular)
	}
	if err != nil {
		return nil, err
	}
	m := &Message{ID: id, Name: name, Ready: ready, File: f}
	buf := heads.Get().(*[]byte)
	if ready {
		err = m.loadReady(*buf, size, wire, hash)
	} else {
		err = m.load(*buf)
	}
	heads.Put(buf)
	if err == nil {
		err = m.judge()
	}
	if err == nil && check {
		if err = m.Check(); err == nil {
			err = s.CheckRecipients(m)
		}
		if err == nil {
			err = s.settle(f, dir)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return m, nil
}

// load reads the envelope, into buf as far as it goes.
func (m *Message) load(buf []byte) error {
	st, err := m.File.Stat()
	if err != nil {
		return err
	}
	n := 0
	for {
		k, err := m.File.ReadAt(buf[n:min(int64(len(buf)), max(st.Size, int64(n)))], int64(n))
		n += k
		if err != nil && err != io.EOF {
			return err
		}
		env, header, more, perr := Parse(buf[:n])
		if perr != nil {
			return perr
		}
		if !more {
			m.Env, m.Header = env, int64(header)
			break
		}
		if int64(n) >= st.Size || err == io.EOF {
			return bad("the envelope does not end")
		}
		if n == len(buf) {
			grown := make([]byte, min(8*len(buf), MaxEnvelope+1))
			copy(grown, buf)
			buf = grown
		}
	}
	m.Bare = m.Header
	m.Size = st.Size - m.Header
	if m.Env.Body.Length >= 0 && m.Env.Body.Length != m.Size {
		return bad("message of %d octets, body: says %d", m.Size, m.Env.Body.Length)
	}
	m.Wire = m.Env.Body.Wire
	return nil
}

// loadReady makes an envelope of the first header fields.
func (m *Message) loadReady(buf []byte, size, wire int64, hash string) error {
	st, err := m.File.Stat()
	if err != nil {
		return err
	}
	if st.Size != size {
		return bad("file of %d octets, its name says %d", st.Size, size)
	}
	n, err := m.File.ReadAt(buf[:min(int64(len(buf)), size)], 0)
	if err != nil && err != io.EOF {
		return err
	}
	from, to, checks, bare, err := parseReady(buf[:n])
	if err != nil {
		return err
	}
	m.Size, m.Wire, m.Bare = size, wire, int64(bare)
	m.Env = &Envelope{
		ID: m.ID, Time: TimeOf(m.ID), Via: producerOr(m.Name, "mx"), Checks: checks, From: from,
		Rcpts: []Rcpt{{N: 1, To: to}},
		Body:  Body{Length: size, Hash: hash, Wire: wire},
	}
	return nil
}

// ChecksField is the header field that is checks: of a link-ready message, below Return-Path and Delivered-To. deliver-local writes it
// into others.
const ChecksField = "X-Pennypost-Checks: "

// parseReady reads the two lines every link-ready message begins with, and the third that one has which was judged.
func parseReady(b []byte) (from, to address.Path, checks string, bare int, err error) {
	word := func(key string) (address.Path, error) {
		rest, ok := bytes.CutPrefix(b[bare:], []byte(key))
		n := bytes.IndexByte(rest, '\n')
		if !ok || n < 0 {
			return address.Path{}, bad("no %s where the link-ready form has it", strings.TrimSuffix(key, ": "))
		}
		bare += len(key) + n + 1
		v := string(rest[:n])
		if len(v) >= 2 && v[0] == '<' && v[len(v)-1] == '>' {
			v = v[1 : len(v)-1]
		}
		p, err := address.Parse(v)
		if err != nil {
			return p, bad("%s: %v", strings.TrimSuffix(key, ": "), err)
		}
		return p, nil
	}
	if from, err = word("Return-Path: "); err == nil {
		if to, err = word("Delivered-To: "); err == nil && to.IsNull() {
			err = bad("Delivered-To: nobody")
		}
	}
	if rest, ok := bytes.CutPrefix(b[bare:], []byte(ChecksField)); ok && err == nil {
		if n := bytes.IndexByte(rest, '\n'); n >= 0 {
			checks = string(bytes.TrimRight(rest[:n], " "))
			bare += len(ChecksField) + n + 1
		}
	}
	return from, to, checks, bare, err
}

// producerOr is the producer whose new/ the name is in, or another word.
func producerOr(name, other string) string {
	if p := from(name); p != "" {
		return p
	}
	return other
}

// judge compares what the file says with where it is: provenance is where a file came from, and
// not what it says.
func (m *Message) judge() error {
	p := from(m.Name)
	if m.Ready && p != "" && p != "mx" && p != "submit" && p != "adopt" {
		return bad("a link-ready message from %s", p)
	}
	if m.Env.ID != m.ID {
		return bad("id: %.60q in the file of %s", m.Env.ID, m.ID)
	}
	if p == "" || p == "adopt" || m.Ready {
		return nil
	}
	if via, _, _ := strings.Cut(m.Env.Via, " "); via != p {
		return bad("via: %.60q in a file from %s", via, p)
	}
	return nil
}

// Check reads the whole message and compares its hash with what envelope or name says.
func (m *Message) Check() error {
	if m.Env.Body.Length < 0 {
		return nil // a script's; nothing to compare
	}
	got, err := sumFile(m.File, m.Header)
	if err != nil {
		return err
	}
	if got != m.Env.Body.Hash {
		return bad("hash %s, should be %s", got, m.Env.Body.Hash)
	}
	return nil
}

// sumFile is the hash of a file from an offset on.
func sumFile(f durable.File, off int64) (string, error) {
	sum := sha256.New()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	b := (*buf)[:cap(*buf)]
	for {
		n, err := f.ReadAt(b, off)
		sum.Write(b[:n])
		off += int64(n)
		if err == io.EOF {
			return hex.EncodeToString(sum.Sum(nil)[:16]), nil
		}
		if err != nil {
			return "", err
		}
	}
}

// Close closes the file.
func (m *Message) Close() error { return m.File.Close() }

// gone reports whether err says that the file is not there: removed, held or taken by somebody.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }

package login

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/xdg-go/scram"
)

// hashOf is what the mechanisms of one hash differ in.
type hashOf struct {
	mechanism string
	generate  scram.HashGeneratorFcn
	verifier  func(Credential) string
}

var scrams = []*hashOf{
	{"SCRAM-SHA-256", scram.SHA256, func(k Credential) string { return k.SCRAM }},
	{"SCRAM-SHA-1", scram.SHA1, func(k Credential) string { return k.SCRAM1 }},
}

func scramOf(mechanism string) *hashOf {
	for _, h := range scrams {
		if h.mechanism == mechanism {
			return h
		}
	}
	return nil
}

// scramExchange is RFC 5802: the client proves that it knows the password, and we that we know its verifier.
//
//	C: n,,n=alice,r=…            who, and half a nonce; p=tls-exporter,, binds it to the TLS connection
//	S: r=…,s=SALT,i=10000        the whole nonce, and what to salt the password with
//	C: c=…,r=…,p=PROOF
//	S: v=SIGNATURE               an empty response ends it
//
// An account has several passwords and the client says a name only. Its credentials therefore have one salt (see Salt), and the proof is
// tried on each of them. A name without any gets a salt that is always the same for it, and no proof fits (S111).
type scramExchange struct {
	c    *Checker
	peer Peer
	hash *hashOf
	plus bool

	step  int
	r     Request
	who   finding
	list  []Credential // one for each talk
	talks []*scram.ServerConversation
}

const (
	maxSCRAM      = 4096 // octets of a message
	maxCandidates = 32   // credentials that one proof is tried on
)

var (
	errSCRAMForm   = errors.New("that is no message of SCRAM")
	errBinding     = errors.New("the channel binding is not as the mechanism says")
	errNotOurs     = errors.New("we have no such channel binding")
	errNotOffered  = errors.New("the client saw no -PLUS, and we offered it: somebody is in between")
	errNotFinished = errors.New("nothing may follow")
)

func (x *scramExchange) Next(response []byte) (challenge []byte, done bool, r Request, err error) {
	start := time.Now()
	defer func() { time.Sleep(x.c.pad - time.Since(start)%x.c.pad) }() // reading an account's files takes time, a name without any does not (S111)
	switch {
	case response == nil && x.step == 0:
		return askForAnyone, false, Request{}, nil
	case len(response) > maxSCRAM:
		x.step = 3
		return nil, false, Request{}, errTooLong
	}
	x.step++
	switch x.step {
	case 1:
		challenge, err = x.first(string(response))
	case 2:
		challenge, done, err = x.final(string(response))
	case 3:
		done = true
		if len(response) > 0 {
			done, err = false, errNotFinished
		}
	default:
		err = errFinished
	}
	if err != nil {
		x.step = 3
		return nil, false, Request{}, err
	}
	return challenge, done, x.r, nil
}

// first answers the client's first message with a salt, whoever it is.
func (x *scramExchange) first(said string) ([]byte, error) {
	binding, err := x.binding(said)
	if err != nil {
		return nil, err
	}
	nonce := rand.Text()
	said1 := ""
	talk := func(look func(string) scram.StoredCredentials) error {
		server, err := x.hash.generate.NewServer(func(name string) (scram.StoredCredentials, error) { return look(name), nil })
		if err != nil {
			return err
		}
		t := server.WithNonceGenerator(func() string { return nonce }).NewConversationWithChannelBinding(binding)
		if said1, err = t.Step(said); err != nil {
			return errSCRAMForm
		}
		x.talks = append(x.talks, t)
		x.r = Request{Service: x.peer.Service, Remote: x.peer.Remote, Authcid: t.Username(), Authzid: t.AuthzID(), mechanism: x.hash.mechanism}
		return nil
	}
	var keys []scram.StoredCredentials
	err = talk(func(name string) scram.StoredCredentials {
		keys = x.look(Request{Service: x.peer.Service, Remote: x.peer.Remote, Authcid: name, Authzid: authzidOf(said)})
		return keys[0]
	})
	if err != nil {
		return nil, err
	}
	for _, k := range keys[1:] {
		if err := talk(func(string) scram.StoredCredentials { return k }); err != nil {
			return nil, err
		}
	}
	return []byte(said1), nil
}

// binding reads the GS2 header (RFC 5802 section 7) and finds what the client's proof must be bound to.
func (x *scramExchange) binding(said string) (scram.ChannelBinding, error) {
	flag, _, _ := strings.Cut(said, ",")
	name, asked := strings.CutPrefix(flag, "p=")
	switch {
	case flag == "n" && !x.plus: // the client knows nothing of bindings
		return scram.ChannelBinding{}, nil
	case flag == "y" && !x.plus:
		// The client knows them and believes that we do not (S035).
		if len(x.peer.Bindings) > 0 {
			return scram.ChannelBinding{}, errNotOffered
		}
		return scram.ChannelBinding{}, nil
	case !asked || !x.plus:
		return scram.ChannelBinding{}, errBinding
	}
	data := x.peer.Bindings[name] // certificates are not among them
	if len(data) == 0 {
		return scram.ChannelBinding{}, errNotOurs
	}
	return scram.ChannelBinding{Type: scram.ChannelBindingType(name), Data: data}, nil
}

// authzidOf is the second part of the GS2 header as the library decodes it; what it refuses never gets here.
func authzidOf(said string) string {
	_, rest, _ := strings.Cut(said, ",")
	name, _, _ := strings.Cut(rest, ",")
	name, _ = strings.CutPrefix(name, "a=")
	return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(name)
}

// look finds the verifiers of a name; where there are none, one that fits nothing.
func (x *scramExchange) look(r Request) (keys []scram.StoredCredentials) {
	x.who = x.c.find(r)
	salt, iterations := x.c.salt(x.hash, x.who.credentials)
	for _, k := range x.who.credentials {
		s, err := parseSCRAM(x.hash.mechanism, x.hash.verifier(k))
		if err != nil || k.TOTP != "" || s.Iterations != iterations || !bytes.Equal(s.Salt, salt) {
			continue // with TOTP a code is appended to the password, which no verifier knows of
		}
		x.list = append(x.list, k)
		keys = append(keys, scram.StoredCredentials{
			KeyFactors: scram.KeyFactors{Salt: string(s.Salt), Iters: s.Iterations}, StoredKey: s.StoredKey, ServerKey: s.ServerKey,
		})
		if len(keys) == maxCandidates {
			break
		}
	}
	if len(keys) > 0 {
		return keys
	}
	return []scram.StoredCredentials{{
		KeyFactors: scram.KeyFactors{Salt: string(x.c.fakeSalt(x.hash.mechanism, r.Authcid)), Iters: max(x.c.Params.Iterations, minIterations)},
		StoredKey:  random(x.hash.generate().Size()), ServerKey: random(x.hash.generate().Size()),
	}}
}

// final checks the proof against each credential.
func (x *scramExchange) final(said string) (challenge []byte, done bool, err error) {
	malformed := false
	id, err := x.c.attempt(context.Background(), x.r, x.who, func(finding) (fits Credential, err error) {
		for i, t := range x.talks {
			answer, err := t.Step(said)
			if answer == "" && err != nil {
				malformed = true
			}
			if t.Valid() && len(x.list) > i && challenge == nil {
				fits, challenge = x.list[i], []byte(answer)
			}
		}
		if challenge == nil {
			return fits, ErrCredentials
		}
		return fits, nil
	})
	x.r.outcome = &outcome{id, err}
	switch {
	case malformed:
		return nil, false, errSCRAMForm
	case err != nil:
		return nil, true, nil
	}
	return challenge, false, nil
}

// salt is the salt and the iterations that most credentials have, and with as many those of the first: "main" goes before others.
func (c *Checker) salt(h *hashOf, list []Credential) (salt []byte, iterations int) {
	type kind struct {
		salt       []byte
		iterations int
		count      int
	}
	var kinds []kind
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b Credential) int {
		switch {
		case a.Name == b.Name:
			return 0
		case a.Name == "main":
			return -1
		case b.Name == "main":
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	for _, k := range sorted {
		s, err := parseSCRAM(h.mechanism, h.verifier(k))
		if err != nil || k.TOTP != "" {
			continue
		}
		i := slices.IndexFunc(kinds, func(o kind) bool { return o.iterations == s.Iterations && bytes.Equal(o.salt, s.Salt) })
		if i < 0 {
			i, kinds = len(kinds), append(kinds, kind{s.Salt, s.Iterations, 0})
		}
		kinds[i].count++
	}
	most := 0
	for _, k := range kinds {
		if k.count > most {
			salt, iterations, most = k.salt, k.iterations, k.count
		}
	}
	return salt, iterations
}

// fakeSalt is always the same for a name, in all processes that share the secret.
func (c *Checker) fakeSalt(mechanism, name string) []byte {
	mac := hmac.New(sha256.New, c.secret[:])
	mac.Write([]byte("salt\x00" + strings.TrimSuffix(mechanism, plus) + "\x00" + c.nameOf(name)))
	return mac.Sum(nil)[:16]
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

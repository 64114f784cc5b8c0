package login

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"pennypost/internal/domains"
	"pennypost/internal/escape"
)

// fingerprint tells one set of verifiers from another: 128 bits of a hash.
func (k Credential) fingerprint() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{k.Argon2id, k.SCRAM, k.SCRAM1, k.Imported, k.TOTP, k.Certificate}, "\n")))
	return hex.EncodeToString(sum[:16])
}

// rehashed gives a credential the verifiers it was given at an earlier login, unless the file has changed since.
func (s *State) rehashed(a *domains.Account, k Credential) (with Credential, ok bool) {
	if s == nil {
		return k, false
	}
	if k.TOTP != "" && k.Imported == "" {
		return k, false
	}
	text, err := s.read(home(a) + "/rehash/" + escape.File(k.Name))
	of, rest, _ := strings.Cut(text, "\n")
	if err != nil || of != "of: "+k.of {
		return k, false
	}
	ours, err := ParseCredential(k.Name, rest)
	if err != nil || ours.Argon2id == "" {
		return k, false
	}
	k.Argon2id, k.SCRAM, k.SCRAM1, k.Imported = ours.Argon2id, ours.SCRAM, ours.SCRAM1, ""
	return k, true
}

// Rehashed reports whether an imported credential has verifiers of ours.
func (s *State) Rehashed(a *domains.Account, k Credential) bool {
	_, ok := s.rehashed(a, k)
	return ok
}

// wantsRehash reports whether a password that fits should be given new verifiers: its hash is another program's, or SCRAM cannot find it,
// because it has no verifiers or not the salt of the account's others.
func (c *Checker) wantsRehash(who finding, k Credential) bool {
	if k.Imported != "" {
		return true
	}
	if k.TOTP != "" || c.State == nil {
		return false
	}
	for _, h := range scrams {
		salt, iterations := c.salt(h, who.credentials)
		s, err := parseSCRAM(h.mechanism, h.verifier(k))
		if err != nil || s.Iterations != iterations || !bytes.Equal(s.Salt, salt) {
			return true
		}
	}
	return false
}

// rehash makes verifiers of ours for a credential whose password we have just seen.
func (c *Checker) rehash(ctx context.Context, who finding, k Credential, password string) {
	if c.State == nil || checkPassword(password) != nil {
		return
	}
	release, err := c.slot(ctx)
	if err != nil {
		return // when there is less to do
	}
	defer release()
	ours, err := NewBeside(who.credentials, k.Name, password, c.Params)
	if err == nil {
		err = c.State.write(home(who.owner)+"/rehash/"+escape.File(k.Name), "of: "+k.of+"\n"+ours.String(), true)
	}
	if err != nil {
		c.Warn("rehash of a password", err)
	}
}

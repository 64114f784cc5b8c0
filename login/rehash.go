package login

import (
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

// rehashed gives an imported credential the verifiers it was given at an earlier login, unless the file has changed since.
func (s *State) rehashed(a *domains.Account, k Credential) (with Credential, ok bool) {
	if s == nil {
		return k, false
	}
	text, err := s.read(home(a) + "/rehash/" + escape.File(k.Name))
	of, rest, _ := strings.Cut(text, "\n")
	if err != nil || of != "of: "+k.fingerprint() {
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

// rehash makes verifiers of ours for an imported credential whose password we have just seen.
func (c *Checker) rehash(who finding, k Credential, password string) {
	if c.State == nil || checkPassword(password) != nil {
		return
	}
	ours, err := NewBeside(who.credentials, k.Name, password, c.Params)
	if err == nil {
		err = c.State.write(home(who.owner)+"/rehash/"+escape.File(k.Name), "of: "+k.fingerprint()+"\n"+ours.String(), true)
	}
	if err != nil {
		c.Warn("rehash of an imported password", err)
	}
}

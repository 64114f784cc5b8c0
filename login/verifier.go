package login

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/stringprep"
	"golang.org/x/crypto/argon2"
)

// MaxPassword is the longest password, in octets.
const MaxPassword = 1024

// Params are the costs of argon2id (RFC 9106 section 3.1) and of the SCRAM verifier.
type Params struct {
	Memory     uint32 // KiB
	Passes     uint32
	Lanes      uint8
	Iterations int // of SCRAM, which the client pays too
}

// DefaultParams are for new credentials.
var DefaultParams = Params{Memory: 64 << 10, Passes: 2, Lanes: 1, Iterations: 10_000}

// The most we run for a credential file, and the least we believe in.
const (
	maxMemory     = 256 << 10 // KiB
	maxPasses     = 16
	maxLanes      = 8
	maxIterations = 1_000_000
	minIterations = 1
)

var b64 = base64.RawStdEncoding.Strict()

// prepare is the form of a password that is hashed: SASLprep (RFC 4013), as SCRAM wants it, or as it is where that is impossible.
func prepare(password string) string {
	if p, err := stringprep.SASLprep.Prepare(password); err == nil {
		return p
	}
	return password
}

// newArgon2id makes a PHC string: $argon2id$v=19$m=65536,t=2,p=1$SALT$HASH.
func newArgon2id(password string, p Params) string {
	salt := make([]byte, 16)
	rand.Read(salt)
	hash := argon2.IDKey([]byte(prepare(password)), salt, p.Passes, p.Memory, p.Lanes, 32)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.Memory, p.Passes, p.Lanes, b64.EncodeToString(salt), b64.EncodeToString(hash))
}

var errArgon2id = errors.New("argon2id: not $argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$HASH")

// parseArgon2id reads a PHC string and refuses costs that would be an attack on us.
func parseArgon2id(phc string) (p Params, salt, hash []byte, err error) {
	part := strings.Split(phc, "$")
	if len(part) != 6 || part[0] != "" || part[1] != "argon2id" || part[2] != "v=19" {
		return p, nil, nil, errArgon2id
	}
	costs := strings.Split(part[3], ",")
	if len(costs) != 3 {
		return p, nil, nil, errArgon2id
	}
	var n [3]uint64
	for i, key := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(costs[i], key)
		if n[i], err = strconv.ParseUint(digits, 10, 32); !ok || err != nil {
			return p, nil, nil, errArgon2id
		}
	}
	if n[0] > maxMemory || n[1] > maxPasses || n[2] > maxLanes || n[1] < 1 || n[2] < 1 || n[0] < 8*n[2] {
		return p, nil, nil, fmt.Errorf("argon2id: costs out of range: m up to %d, t up to %d, p up to %d", maxMemory, maxPasses, maxLanes)
	}
	if salt, err = b64.DecodeString(part[4]); err != nil || len(salt) < 8 || len(salt) > 64 {
		return p, nil, nil, errArgon2id
	}
	if hash, err = b64.DecodeString(part[5]); err != nil || len(hash) < 16 || len(hash) > 64 {
		return p, nil, nil, errArgon2id
	}
	return Params{Memory: uint32(n[0]), Passes: uint32(n[1]), Lanes: uint8(n[2])}, salt, hash, nil
}

func verifyArgon2id(phc, password string) bool {
	p, salt, hash, err := parseArgon2id(phc)
	if err != nil {
		return false
	}
	got := argon2.IDKey([]byte(prepare(password)), salt, p.Passes, p.Memory, p.Lanes, uint32(len(hash)))
	return subtle.ConstantTimeCompare(got, hash) == 1
}

// verifySlow compares with the verifier that costs much, ours or another's.
func verifySlow(verifier, password string) bool {
	if strings.HasPrefix(verifier, "$argon2id$") {
		return verifyArgon2id(verifier, password)
	}
	return verifyImported(verifier, password)
}

// newSCRAM makes a verifier in the manner of RFC 5803: SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY.
func newSCRAM(mechanism, password string, salt []byte, p Params) string {
	stored, server := scramKeys(mechanism, password, salt, p.Iterations)
	e := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s$%d:%s$%s:%s", mechanism, p.Iterations, e(salt), e(stored), e(server))
}

// scramKeys are StoredKey and ServerKey of RFC 5802 section 3.
func scramKeys(mechanism, password string, salt []byte, iterations int) (stored, server []byte) {
	of := scramOf(mechanism).generate
	salted, err := pbkdf2.Key(of, prepare(password), salt, iterations, of().Size())
	if err != nil { // only a FIPS mode says so
		return make([]byte, 1), nil
	}
	sign := func(text string) []byte {
		h := hmac.New(of, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	key := of()
	key.Write(sign("Client Key"))
	return key.Sum(nil), sign("Server Key")
}

// SCRAM is a parsed verifier.
type SCRAM struct {
	Iterations                 int
	Salt, StoredKey, ServerKey []byte
}

// parseSCRAM reads a verifier of the mechanism.
func parseSCRAM(mechanism, text string) (s SCRAM, err error) {
	wrong := fmt.Errorf("%s: not %s$ITERATIONS:SALT$STOREDKEY:SERVERKEY", strings.ToLower(mechanism), mechanism)
	part := strings.Split(text, "$")
	if len(part) != 3 || part[0] != mechanism {
		return s, wrong
	}
	count, salt, ok1 := strings.Cut(part[1], ":")
	stored, server, ok2 := strings.Cut(part[2], ":")
	if s.Iterations, err = strconv.Atoi(count); err != nil || !ok1 || !ok2 {
		return s, wrong
	}
	if s.Iterations < minIterations || s.Iterations > maxIterations {
		return s, fmt.Errorf("%s: iterations may be up to %d", strings.ToLower(mechanism), maxIterations)
	}
	d := base64.StdEncoding.Strict().DecodeString
	var err1, err2, err3 error
	s.Salt, err1 = d(salt)
	s.StoredKey, err2 = d(stored)
	s.ServerKey, err3 = d(server)
	size := scramOf(mechanism).generate().Size()
	if errors.Join(err1, err2, err3) != nil || len(s.Salt) < 8 || len(s.StoredKey) != size || len(s.ServerKey) != size {
		return s, wrong
	}
	return s, nil
}

// verifySCRAM compares a password with the verifier of a credential; the cheaper way to find out whether it is the one.
func verifySCRAM(text, password string) bool {
	mechanism, _, _ := strings.Cut(text, "$")
	if scramOf(mechanism) == nil {
		return false
	}
	s, err := parseSCRAM(mechanism, text)
	if err != nil {
		return false
	}
	stored, _ := scramKeys(mechanism, password, s.Salt, s.Iterations)
	return subtle.ConstantTimeCompare(stored, s.StoredKey) == 1
}

// decoy is a credential that no password fits and that costs what a real one costs.
func decoy(p Params) Credential {
	e := base64.StdEncoding.EncodeToString
	return Credential{
		Argon2id: fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.Memory, p.Passes, p.Lanes, b64.EncodeToString(random(16)), b64.EncodeToString(random(32))),
		SCRAM:    fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", max(p.Iterations, minIterations), e(random(16)), e(random(32)), e(random(32))),
	}
}

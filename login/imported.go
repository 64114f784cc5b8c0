package login

import (
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/scrypt"
)

/*
Hashes that others have made, with the scheme before them as Dovecot's passwd-file has it: {BLF-CRYPT}$2y$05$…

They are compared and never made. At the first login that fits, verifiers of our own are written into state/auth, and the hash is not
looked at again until it changes:

	alice@example.org/rehash/main    a credential, and in a line "of" the hash it stands for
*/

// A scheme is one way to hash.
type scheme struct {
	name   string
	weak   string // why it should not be there, "" if it may
	binary string // how octets are written: b64, hex; "" where the text is its own format
	size   int    // of the hash, what follows is the salt
	fits   func(text, password string) (bool, error)
}

// schemes are a function, so that who only asks mailauthd links none of them.
func schemes() []scheme {
	return []scheme{
		{name: "BLF-CRYPT", fits: bcryptFits},
		{name: "SHA512-CRYPT", fits: shaCryptFits},
		{name: "SHA256-CRYPT", fits: shaCryptFits},
		{name: "SCRYPT", fits: scryptFits},
		{name: "PBKDF2", fits: pbkdf2Fits},
		{name: "MD5-CRYPT", weak: "MD5", fits: md5CryptFits},
		{name: "SSHA512", weak: "one round of SHA-512", binary: "b64", size: 64, fits: digest(sha512.New)},
		{name: "SSHA256", weak: "one round of SHA-256", binary: "b64", size: 32, fits: digest(sha256.New)},
		{name: "SSHA", weak: "one round of SHA-1", binary: "b64", size: 20, fits: digest(sha1.New)},
		{name: "SMD5", weak: "one round of MD5", binary: "b64", size: 16, fits: digest(md5.New)},
		{name: "SHA512", weak: "SHA-512 without salt", binary: "b64", size: 64, fits: digest(sha512.New)},
		{name: "SHA256", weak: "SHA-256 without salt", binary: "b64", size: 32, fits: digest(sha256.New)},
		{name: "SHA", weak: "SHA-1 without salt", binary: "b64", size: 20, fits: digest(sha1.New)},
		{name: "SHA1", weak: "SHA-1 without salt", binary: "b64", size: 20, fits: digest(sha1.New)},
		{name: "LDAP-MD5", weak: "MD5 without salt", binary: "b64", size: 16, fits: digest(md5.New)},
		{name: "PLAIN-MD5", weak: "MD5 without salt", binary: "hex", size: 16, fits: digest(md5.New)},
	}
}

// prefixes are the schemes of crypt(3), which {CRYPT} and no scheme at all stand for.
var cryptPrefixes = []struct{ prefix, scheme string }{
	{"$2a$", "BLF-CRYPT"}, {"$2b$", "BLF-CRYPT"}, {"$2y$", "BLF-CRYPT"}, {"$5$", "SHA256-CRYPT"}, {"$6$", "SHA512-CRYPT"},
	{"$7$", "SCRYPT"}, {"$scrypt$", "SCRYPT"}, {"$1$", "MD5-CRYPT"},
}

var errImported = errors.New("imported: not {SCHEME} and a hash of it")

// An imported hash.
type imported struct {
	scheme
	text string // in its own format, or hash and salt as octets
}

func parseImported(text string) (h imported, err error) {
	name, rest := "CRYPT", text
	if strings.HasPrefix(text, "{") {
		var ok bool
		if name, rest, ok = strings.Cut(text[1:], "}"); !ok {
			return h, errImported
		}
	}
	name, encoding, _ := strings.Cut(strings.ToUpper(name), ".")
	if name == "CRYPT" {
		for _, c := range cryptPrefixes {
			if strings.HasPrefix(rest, c.prefix) {
				name = c.scheme
			}
		}
	}
	all := schemes()
	i := slices.IndexFunc(all, func(s scheme) bool { return s.name == name })
	if i < 0 {
		var names []string
		for _, s := range all {
			names = append(names, s.name)
		}
		return h, fmt.Errorf("imported: a scheme we do not compare; we have CRYPT %s", strings.Join(names, " "))
	}
	h = imported{all[i], rest}
	if h.binary == "" {
		_, err = h.fits(rest, "")
		return h, err
	}
	if encoding == "" {
		encoding = strings.ToUpper(h.binary)
	}
	var b []byte
	switch encoding {
	case "B64", "BASE64":
		b, err = base64.StdEncoding.DecodeString(rest)
	case "HEX":
		b, err = hex.DecodeString(rest)
	default:
		return h, errImported
	}
	salted := h.name[0] == 'S' && (h.name[1] == 'S' || h.name[1] == 'M')
	if err != nil || len(b) < h.size || len(b) > h.size+64 || !salted && len(b) != h.size {
		return h, errImported
	}
	h.text = string(b)
	return h, nil
}

// verifyImported compares; what it costs is bounded when the file is read.
func verifyImported(text, password string) bool {
	h, err := parseImported(text)
	if err != nil {
		return false
	}
	ok, err := h.fits(h.text, password)
	return ok && err == nil
}

// Weak is what is wrong with the hash of a credential, "" if nothing is.
func (k Credential) Weak() string {
	h, err := parseImported(k.Imported)
	if k.Imported == "" || err != nil {
		return ""
	}
	return h.weak
}

func same(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

func digest(of func() hash.Hash) func(text, password string) (bool, error) {
	return func(text, password string) (bool, error) {
		h := of()
		h.Write([]byte(password + text[h.Size():]))
		return same(h.Sum(nil), []byte(text[:h.Size()])), nil
	}
}

// bcryptFits compares with $2y$COST$…; a password counts to its 72nd octet.
func bcryptFits(text, password string) (bool, error) {
	cost, err := bcrypt.Cost([]byte(text))
	if err != nil || cost > 14 {
		return false, errors.New("imported: no bcrypt, or one of a cost above 14")
	}
	if password == "" { // only to be read
		return false, nil
	}
	if len(password) > 72 {
		password = password[:72]
	}
	return bcrypt.CompareHashAndPassword([]byte(text), []byte(password)) == nil, nil
}

// pbkdf2Fits compares with $1$SALT$ROUNDS$HEX, which Dovecot makes with SHA-1.
func pbkdf2Fits(text, password string) (bool, error) {
	part := strings.Split(text, "$")
	if len(part) != 5 || part[0] != "" || part[1] != "1" {
		return false, errors.New("imported: not $1$SALT$ROUNDS$HASH of PBKDF2")
	}
	rounds, err := strconv.Atoi(part[3])
	want, err2 := hex.DecodeString(part[4])
	if err != nil || err2 != nil || rounds < 1 || rounds > maxIterations || len(want) < 16 || len(want) > 64 {
		return false, fmt.Errorf("imported: PBKDF2 with up to %d rounds", maxIterations)
	}
	if password == "" {
		return false, nil
	}
	got, err := pbkdf2.Key(sha1.New, password, []byte(part[2]), rounds, len(want))
	return err == nil && same(got, want), nil
}

// scryptFits compares with $7$ of crypt(3), or with $scrypt$ln=16,r=8,p=1$SALT$HASH of passlib.
func scryptFits(text, password string) (bool, error) {
	var n, r, p int
	var salt, want []byte
	part := strings.Split(text, "$")
	switch {
	case len(part) == 5 && part[1] == "scrypt":
		if _, err := fmt.Sscanf(part[2], "ln=%d,r=%d,p=%d", &n, &r, &p); err != nil {
			return false, errImported
		}
		var err1, err2 error
		salt, err1 = b64.DecodeString(part[3])
		want, err2 = b64.DecodeString(part[4])
		if err1 != nil || err2 != nil {
			return false, errImported
		}
	case len(part) == 4 && part[1] == "7" && len(part[2]) > 11:
		n, r, p = strings.IndexByte(itoa64, part[2][0]), number64(part[2][1:6]), number64(part[2][6:11])
		salt, want = []byte(part[2][11:]), octets64(part[3])
	default:
		return false, errImported
	}
	if n < 1 || n > 24 || r < 1 || r > 64 || p < 1 || p > 16 || 128*r<<n > maxMemory<<10 || len(want) < 16 || len(want) > 64 {
		return false, fmt.Errorf("imported: scrypt with up to %d MiB", maxMemory>>10)
	}
	if password == "" {
		return false, nil
	}
	got, err := scrypt.Key([]byte(password), salt, 1<<n, r, p, len(want))
	return err == nil && same(got, want), nil
}

// itoa64 are the digits of crypt(3), least first.
const itoa64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func number64(digits string) (n int) {
	for i := range len(digits) {
		d := strings.IndexByte(itoa64, digits[i])
		if d < 0 {
			return -1
		}
		n |= d << (6 * i)
	}
	return n
}

// octets64 reads groups of four digits as three octets, least first.
func octets64(text string) (b []byte) {
	for len(text) > 0 {
		group := text[:min(4, len(text))]
		text = text[len(group):]
		n := number64(group)
		if n < 0 {
			return nil
		}
		for range len(group) * 6 / 8 {
			b = append(b, byte(n))
			n >>= 8
		}
	}
	return b
}

// digits64 writes octets, most significant first in each group, as the digits of crypt(3).
func digits64(b *strings.Builder, count int, octets ...byte) {
	n := 0
	for _, o := range octets {
		n = n<<8 | int(o)
	}
	for range count {
		b.WriteByte(itoa64[n&63])
		n >>= 6
	}
}

// Import makes a credential of a hash that another program has made. Those that we make too become verifiers of ours.
func Import(name, text string) (k Credential, err error) {
	k.Name = name
	scheme, rest, _ := strings.Cut(strings.TrimPrefix(text, "{"), "}")
	switch scheme = strings.ToUpper(scheme); {
	case scheme == "ARGON2ID", strings.HasPrefix(text, "$argon2id$"):
		if scheme != "ARGON2ID" {
			rest = text
		}
		return k, k.set("argon2id", rest)
	case scheme == "SCRAM-SHA-256", scheme == "SCRAM-SHA-1": // ITERATIONS,SALT,STOREDKEY,SERVERKEY
		part := strings.Split(rest, ",")
		if len(part) != 4 {
			return k, errImported
		}
		return k, k.set(strings.ToLower(scheme), scheme+"$"+part[0]+":"+part[1]+"$"+part[2]+":"+part[3])
	}
	return k, k.set("imported", text)
}

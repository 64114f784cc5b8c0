package login

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pennypost/internal/domains"
	"pennypost/internal/escape"
)

/*
A credential with a totp: line is right only with a code behind the password: six digits of RFC 6238, new every 30 seconds. The last
code that was used is in state/auth, synced before the login counts, and no code up to it is taken again, also after a restart (S117):

	alice@example.org/totp/main    the number of its half minute since 1970

If this file is lost, a code that was seen can be used once more while its minute lasts.
*/

const (
	totpStep   = 30 * time.Second
	totpDigits = 6
	totpKey    = 20 // octets, RFC 4226 section 4
)

var base32Key = base32.StdEncoding.WithPadding(base32.NoPadding)

func parseTOTP(text string) ([]byte, error) {
	key, err := base32Key.DecodeString(strings.ToUpper(strings.TrimRight(strings.ReplaceAll(text, " ", ""), "=")))
	if err != nil || len(key) < 10 || len(key) > 64 {
		return nil, errors.New("totp: not a key of 16 or more letters and digits in base32")
	}
	return key, nil
}

// NewTOTP makes a key.
func NewTOTP() string { return base32Key.EncodeToString(random(totpKey)) }

// TOTPURL is what programs for codes read, typed or as a picture.
func TOTPURL(account, key string) string {
	return "otpauth://totp/" + url.PathEscape("mail:"+account) + "?secret=" + key + "&issuer=mail"
}

// totp is the code of a step.
func totp(key []byte, step int64) string {
	mac := hmac.New(sha1.New, key)
	binary.Write(mac, binary.BigEndian, step)
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:])&0x7fffffff%1_000_000)
}

// cutCode takes the code off a password.
func cutCode(text string) (password, code string, ok bool) {
	at := len(text) - totpDigits
	if at <= 0 || strings.Trim(text[at:], "0123456789") != "" {
		return "", "", false
	}
	return text[:at], text[at:], true
}

var errNoTOTP = errors.New("codes cannot be checked without the state directory: one could be used twice")

// code checks a code, once. One step to each side is for clocks and for people who type slowly.
func (c *Checker) code(a *domains.Account, k Credential, code string) error {
	if c.State == nil {
		return errNoTOTP
	}
	key, err := parseTOTP(k.TOTP)
	if err != nil {
		return err
	}
	unlock, err := c.State.lock(a)
	if err != nil {
		return err
	}
	defer unlock()
	file := home(a) + "/totp/" + escape.File(k.Name)
	text, err := c.State.read(file)
	if err != nil {
		return err
	}
	last := int64(-1)
	if text != "" {
		if last, err = strconv.ParseInt(strings.TrimSpace(text), 10, 64); err != nil {
			return fmt.Errorf("%s/%s: not a number; remove it when its codes are over", c.State.dir, file)
		}
	}
	now, found := c.now().Unix()/int64(totpStep/time.Second), int64(-1)
	for step := now - 1; step <= now+1; step++ {
		if subtle.ConstantTimeCompare([]byte(totp(key, step)), []byte(code)) == 1 && step > last {
			found = step
		}
	}
	if found < 0 {
		return ErrCredentials
	}
	return c.State.write(file, fmt.Sprintln(found), true)
}

// lock keeps others from an account's files.
func (s *State) lock(a *domains.Account) (unlock func(), err error) {
	disk, err := s.make()
	if err != nil {
		return nil, err
	}
	if err := mkdir(disk, home(a)); err != nil {
		return nil, s.wrap(err)
	}
	f, err := os.OpenFile(s.dir+"/"+home(a)+"/lock", os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o660)
	if err != nil {
		return nil, err
	}
	if err := flock(f, syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

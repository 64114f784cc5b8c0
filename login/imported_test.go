package login

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"pennypost/internal/domains"
)

// Hashes that crypt(3), Python and the specifications have made.
var hashes = []struct{ text, password, weak string }{
	{"$7$C6..../....SodiumChloride$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D", "pleaseletmein", ""},
	{"{SHA512-CRYPT}$6$rounds=1000$saltstring$JnP.5CpjHyOb3MZlgSdxSS8QLMJqDUPOwt1VtO2ocUeIwc4T/p4qlJzWZwRxoGqcZowugIQeRV32oS5b9oiNF.", "wonderland", ""},
	{"{CRYPT}$5$saltstring$P8WxiZdsQgEV/WrUJLFhcY321KVz2YovpJcf0/DrUQ2", "wonderland", ""},
	{"{sha256-crypt}$5$rounds=1234$anotherlongsalts$sDjlI4nhjC6Qvzx2NPm5t2VCY8FbGve8yteEFLOaCZ2", "w", ""},
	{"$6$x$kpiJfzB0GPztGyA8uAEMkGEOE5JMsYFRxy0u11s0a20aKw.12AFumsg27.onxCSxV/.jnXtd3/ZDpy43dJuQ/0", "a very long password that has more than sixty four characters in it, yes it really has", ""},
	{"{BLF-CRYPT}$2b$05$abcdefghijklmnopqrstuuA0vov2GDneHB3.8.cv9UF9g.RdvScIW", "wonderland", ""},
	{"{BLF-CRYPT}$2y$05$abcdefghijklmnopqrstuuA0vov2GDneHB3.8.cv9UF9g.RdvScIW", "wonderland", ""},
	{"{PBKDF2}$1$saltsalt$1000$9cd1523965f1d7e6d22a4347094a1447e32ccc50", "wonderland", ""},
	{"{SCRYPT}$scrypt$ln=10,r=8,p=1$MTIzNHNhbHQ$mhlpZc/isixghPZGuWKetIAmpufwgg/TnL5n2/1sp4I", "wonderland", ""},
	{"{MD5-CRYPT}$1$abcdefgh$8wLihrJEnEUsydrQ7cqmp.", "pässwörd that is longer than sixteen", "MD5"},
	{"{SSHA}HeGa2pGSxN3drOfp3n6akhR3jK4xMjM0c2FsdA==", "wonderland", "one round of SHA-1"},
	{"{SSHA512}RkJxpTm5VrNMoIZsSmpmvK8GMdyRLE2A4IEGdtspUD47v4uGtvG2RPGrpnrWmKn/JJWK0Y+36K0INDJ1JWBnOTEyMzRzYWx0", "wonderland", "one round of SHA-512"},
	{"{SHA256.hex}a71a7c7011f53a1bab3642ec2ce12593f05230ace8de1e3e7645f69efac1443d", "wonderland", "SHA-256 without salt"},
	{"{PLAIN-MD5}4cecaff2b30bbe75ce7322109164cfb5", "wonderland", "MD5 without salt"},
	{"{SMD5}6YKkICJIB4aVpZ0zcKZtPzEyMzRzYWx0", "wonderland", "one round of MD5"},
}

// S120: what others have made is compared, and the weak of it is called so.
func TestS120Imported(t *testing.T) {
	for _, h := range hashes {
		k, err := ParseCredential("main", "imported: "+h.text+"\n")
		if err != nil || k.Weak() != h.weak {
			t.Errorf("%s: %q %v", h.text, k.Weak(), err)
		}
		if !verifyImported(h.text, h.password) || verifyImported(h.text, h.password+"x") || verifyImported(h.text, "") {
			t.Errorf("%s does not fit", h.text)
		}
	}
	for _, bad := range []string{
		"", "{", "{PLAIN}secret", "{BLF-CRYPT}secret", "{CRYPT}abcdefghijklm", "{SSHA}", "{SSHA}!!!", "{SHA256.hex}a7", "{SHA256.odd}a7", "{SHA}HeGa2pGSxN3drOfp3n6akhR3jK4xMjM0c2FsdA==",
		"$2b$20$abcdefghijklmnopqrstuuA0vov2GDneHB3.8.cv9UF9g.RdvScIW", "$6$rounds=99999999$x$" + strings.Repeat("a", 86), "$6$x$short",
		"{PBKDF2}$1$salt$99999999$9cd1523965f1d7e6d22a4347094a1447e32ccc50", "{PBKDF2}$1$salt$0$9cd1523965f1d7e6d22a4347094a1447e32ccc50",
		"$scrypt$ln=30,r=8,p=1$MTIzNHNhbHQ$mhlpZc/isixghPZGuWKetIAmpufwgg/TnL5n2/1sp4I", "$scrypt$ln=10,r=8,p=0$MTIzNHNhbHQ$mhlpZc/isixghPZGuWKetIAmpufwgg/TnL5n2/1sp4I",
		"$7$z6..../....x$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D", "$7$C6", "$1$x$y",
	} {
		if _, err := parseImported(bad); err == nil {
			t.Errorf("%q is taken", bad)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error shows it", bad)
		}
	}
}

// S120: at its first login an imported password gets verifiers of ours, SCRAM's too; when the file changes they are void.
func TestS120Rehash(t *testing.T) {
	dir, state, clock := house(t), filepath.Join(t.TempDir(), "auth"), time.Now()
	path := filepath.Join(dir, "example.org/users/bob/credentials")
	must(t, os.MkdirAll(path, 0o750))
	must(t, os.WriteFile(filepath.Join(path, "main"), []byte("imported: "+hashes[10].text+"\n"), 0o640))
	p := start(t, dir, state, &clock)
	bySCRAM := func() error {
		_, err := prove(t, p.Checker, here, "SCRAM-SHA-256", "", "bob", "wonderland", scram.ChannelBinding{})
		return err
	}
	if err := bySCRAM(); err != ErrCredentials {
		t.Error("SCRAM without a verifier: ", err)
	}
	if _, err := p.try("192.0.2.9", "bob", "wrong"); err != ErrCredentials {
		t.Error(err)
	}
	k, err := ReadCredentials(filepath.Dir(path))
	must(t, err)
	bob := &domains.Account{User: "bob", Domain: "example.org"}
	if p.State.Rehashed(bob, k[0]) {
		t.Error("a wrong password was taken for it")
	}
	if _, err := p.try("192.0.2.9", "bob", "wonderland"); err != nil {
		t.Fatal(err)
	}
	if !p.State.Rehashed(bob, k[0]) {
		t.Fatal("no verifiers of ours")
	}
	text, err := os.ReadFile(filepath.Join(state, "bob@example.org/rehash/main"))
	if must(t, err); strings.Contains(string(text), "SSHA") {
		t.Error("the old hash is in it")
	}
	p = start(t, dir, state, &clock) // another process
	imported := false
	p.runs = func(verifier, password string) bool {
		imported = imported || !strings.HasPrefix(verifier, "$argon2id$")
		return verifySlow(verifier, password)
	}
	if _, err := p.try("192.0.2.9", "bob", "wonderland"); err != nil || imported {
		t.Errorf("%v, the old hash was looked at: %v", err, imported)
	}
	if err := bySCRAM(); err != nil {
		t.Error(err)
	}
	must(t, os.WriteFile(filepath.Join(path, "main"), []byte("imported: "+hashes[0].text+"\n"), 0o640))
	if _, err := p.try("192.0.2.9", "bob", "wonderland"); err != ErrCredentials {
		t.Error("the old password is good still: ", err)
	}
	if _, err := p.try("192.0.2.9", "bob", "pleaseletmein"); err != nil {
		t.Error(err)
	}
}

func FuzzImported(f *testing.F) {
	for _, h := range hashes {
		f.Add(h.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := parseImported(text); err != nil && len(text) > 12 && strings.Contains(err.Error(), text) {
			t.Errorf("the error shows %q", text)
		}
	})
}

// RFC 6238 appendix B, the last six of its eight digits.
func TestTOTP(t *testing.T) {
	key := []byte("12345678901234567890")
	for at, want := range map[int64]string{59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"} {
		if got := totp(key, at/30); got != want {
			t.Errorf("at %d: %s, want %s", at, got, want)
		}
	}
	for _, bad := range []string{"", "short", "not base32 at all!"} {
		if _, err := parseTOTP(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if key, err := parseTOTP(NewTOTP()); err != nil || len(key) != totpKey {
		t.Error(err)
	}
}

// S117: with a code behind it the main password is good, once for each code, whatever is restarted and however the clock is set; device
// passwords are good alone.
func TestS117Replay(t *testing.T) {
	dir, state, clock := house(t), filepath.Join(t.TempDir(), "auth"), time.Date(2026, 11, 25, 12, 0, 10, 0, time.UTC)
	file := filepath.Join(dir, "example.org/users/alice/credentials/main")
	k := credential(t, "main", "wonderland")
	k.TOTP = NewTOTP()
	must(t, os.WriteFile(file, []byte(k.String()), 0o640))
	key, err := parseTOTP(k.TOTP)
	must(t, err)
	code := func(ago int64) string { return totp(key, clock.Unix()/30-ago) }
	p := start(t, dir, state, &clock)
	try := func(what, password string, want error) {
		t.Helper()
		if _, err := p.try("192.0.2.9", "alice", password); err != want {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	try("no code", "wonderland", ErrCredentials)
	try("a wrong code", "wonderland000000", ErrCredentials)
	try("a code of long ago", "wonderland"+code(5), ErrCredentials)
	try("another password", "wonderlane"+code(0), ErrCredentials)
	try("the code before", "wonderland"+code(1), nil)
	try("the same again", "wonderland"+code(1), ErrCredentials)
	try("the code", "wonderland"+code(0), nil)
	p = start(t, dir, state, &clock)
	try("the same after a restart", "wonderland"+code(0), ErrCredentials)
	used := code(0)
	clock = clock.Add(-5 * time.Minute)
	try("the same with the clock set back", "wonderland"+used, ErrCredentials)
	try("an older code with the clock set back", "wonderland"+code(0), ErrCredentials)
	clock = clock.Add(6 * time.Minute)
	try("the next", "wonderland"+code(0), nil)
	try("a device", "looking glass", nil)
	if _, err := prove(t, p.Checker, here, "SCRAM-SHA-256", "", "alice", "wonderland", scram.ChannelBinding{}); err != ErrCredentials {
		t.Error("SCRAM without a code:", err)
	}
	// Five wrong codes in a row, and the sixth waits.
	var last time.Duration
	for range 8 {
		last, _ = p.try("203.0.113.5", "alice", "wonderland123456")
	}
	if last == 0 {
		t.Error("codes may be guessed without waiting")
	}
	// Two at one time with one code.
	clock = clock.Add(time.Minute)
	p.guard.sleep = func(context.Context, time.Duration) error { return nil }
	results := make(chan error, 8)
	for range cap(results) {
		go func() {
			r := request("imap", "alice", "wonderland"+code(0))
			_, err := p.Check(context.Background(), r)
			results <- err
		}()
	}
	let := 0
	for range cap(results) {
		if <-results == nil {
			let++
		}
	}
	if let != 1 {
		t.Errorf("one code let %d in", let)
	}
	must(t, os.WriteFile(filepath.Join(state, "alice@example.org/totp/main"), []byte("x\n"), 0o600))
	clock = clock.Add(time.Minute)
	if _, err := p.try("192.0.2.9", "alice", "wonderland"+code(0)); err == nil || err == ErrCredentials {
		t.Errorf("a state that is none: %v", err)
	}
}

// A9: the first login from a new network waits for somebody to approve it; the client learns nothing.
func TestApproval(t *testing.T) {
	dir, state, clock := house(t), filepath.Join(t.TempDir(), "auth"), time.Now()
	p := start(t, dir, state, &clock)
	p.Approval = true
	alice := &domains.Account{User: "alice", Domain: "example.org"}
	try := func(what, from, password string, want error) {
		t.Helper()
		if _, err := p.try(from, "alice", password); err != want {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	try("new", "192.0.2.9", "wonderland", ErrCredentials)
	try("wrong", "198.51.100.9", "guess", ErrCredentials)
	list, err := p.State.Approvals(alice, false)
	if must(t, err); len(list) != 1 || list[0].Network != "192.0.2.0/24" || list[0].Credential != "main" {
		t.Fatalf("%+v", list)
	}
	if networks, err := p.State.Approve(alice, "main", ""); err != nil || len(networks) != 1 {
		t.Error(networks, err)
	}
	try("approved", "192.0.2.77", "wonderland", nil)
	try("another network", "2001:db8::1", "wonderland", ErrCredentials)
	must(t, os.Rename(filepath.Join(state, "pending/alice@example.org,main,2001:db8::-48"), filepath.Join(state, "approved/alice@example.org,main,2001:db8::-48")))
	try("approved by mv", "2001:db8:0:ffff::2", "wonderland", nil)
	try("another credential", "192.0.2.9", "looking glass", ErrCredentials)
	file := filepath.Join(dir, "example.org/users/alice/credentials/main")
	k := credential(t, "main", "wonderland")
	must(t, os.WriteFile(file, []byte(k.String()), 0o640))
	try("a new credential of the same name", "192.0.2.9", "wonderland", ErrCredentials)
	k.Approval = "no"
	must(t, os.WriteFile(file, []byte(k.String()), 0o640))
	try("one that needs none", "192.0.2.9", "wonderland", nil)
	if _, err := p.State.Approve(alice, "tablet", ""); err == nil {
		t.Error("nothing was approved, and no error")
	}
	must(t, p.State.Forget(alice, "main"))
	if left, _ := filepath.Glob(state + "/*/alice@example.org,main,*"); len(left) > 0 {
		t.Error(left)
	}
}

// A credential that SCRAM cannot find, because its salt is not that of the account's others, can be found after a login that showed the password.
func TestRehashForSCRAM(t *testing.T) {
	dir, state, clock := house(t), filepath.Join(t.TempDir(), "auth"), time.Now()
	p := start(t, dir, state, &clock)
	bySCRAM := func(mechanism, password string) error {
		_, err := prove(t, p.Checker, here, mechanism, "", "alice", password, scram.ChannelBinding{})
		return err
	}
	if err := bySCRAM("SCRAM-SHA-256", "looking glass"); err != ErrCredentials {
		t.Error(err)
	}
	if _, err := p.try("192.0.2.9", "alice", "looking glass"); err != nil {
		t.Fatal(err)
	}
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1"} {
		for _, password := range []string{"looking glass", "wonderland"} {
			if err := bySCRAM(mechanism, password); err != nil {
				t.Errorf("%s %s: %v", mechanism, password, err)
			}
		}
	}
	must(t, os.Remove(filepath.Join(dir, "example.org/users/alice/credentials/phone")))
	if _, err := p.try("192.0.2.9", "alice", "looking glass"); err != ErrCredentials {
		t.Error("removed, and what was learnt of it is good: ", err)
	}
	if err := bySCRAM("SCRAM-SHA-256", "looking glass"); err != ErrCredentials {
		t.Error(err)
	}
}

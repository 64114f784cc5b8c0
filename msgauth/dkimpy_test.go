package msgauth

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os/exec"
	"strings"
	"testing"
)

// dkimpy asks testdata/dkimpy.py, where Python has dkimpy (Debian: python3-dkim, python3-nacl, python3-authres).
func dkimpy(t *testing.T, ask map[string]any, z zone) (got struct {
	DKIM    []any
	ARC     string
	Why     string
	Message string
}) {
	t.Helper()
	texts := map[string]string{}
	for name, types := range z {
		if len(types["TXT"]) > 0 {
			texts[name] = types["TXT"][0]
		}
	}
	ask["zone"] = texts
	in, err := json.Marshal(ask)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/bin/python3", "testdata/dkimpy.py")
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return got
}

func needDkimpy(t *testing.T) {
	if exec.Command("/usr/bin/python3", "-c", "import dkim, nacl.signing, authres").Run() != nil {
		t.Skip("Python has no dkimpy")
	}
}

func wire(text string) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
}

// What we sign and seal verifies with dkimpy.
func TestOursWithDkimpy(t *testing.T) {
	needDkimpy(t)
	z := exampleZone()
	hop := Key{"hop.example", "s", testKeys()[0].Signer}
	z.set("s._domainkey.hop.example", "TXT", keyRecord(hop))
	text := signed(t, letter, testKeys()...)
	for _, want := range []string{"none", "pass", "pass"} {
		got := dkimpy(t, map[string]any{"do": "verify", "message": wire(text)}, z)
		if len(got.DKIM) != 2 || got.DKIM[0] != true || got.DKIM[1] != true || got.ARC != want {
			t.Fatalf("%+v, want arc=%s\n%s", got, want, text)
		}
		c := &Checker{DNS: z, Name: "hop.example", Now: noonPlus(0)}
		r, err := c.Check(background, alice, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		text = addSeal(t, r.Header()+text, hop, "hop.example")
	}
}

// What dkimpy signs and seals verifies with us.
func TestDkimpyWithUs(t *testing.T) {
	needDkimpy(t)
	z := exampleZone()
	for _, k := range testKeys() {
		kind, key := "rsa-sha256", ""
		if p, ok := k.Signer.(*rsa.PrivateKey); ok {
			key = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(p)}))
		} else {
			kind, key = "ed25519-sha256", base64.StdEncoding.EncodeToString(k.Signer.(ed25519.PrivateKey).Seed())
		}
		z["dk._domainkey.example.org"] = map[string][]string{"TXT": {keyRecord(k)}}
		for _, head := range []string{"simple", "relaxed"} {
			for _, body := range []string{"simple", "relaxed"} {
				got := dkimpy(t, map[string]any{"do": "sign", "message": wire(letter + " \n\n"), "kind": kind, "key": key, "head": head, "body": body}, z)
				text, _ := base64.StdEncoding.DecodeString(got.Message)
				if r := judge(t, z, stranger, string(text)); results(r) != "pass" {
					t.Errorf("%s %s/%s: %+v\n%s", kind, head, body, r.DKIM, text)
				}
			}
		}
		if kind != "rsa-sha256" {
			continue
		}
		text := "Authentication-Results: hop.example; spf=pass smtp.mailfrom=example.org; dmarc=pass header.from=example.org\n" + letter
		got := dkimpy(t, map[string]any{"do": "seal", "message": wire(text), "key": key, "host": "hop.example"}, z)
		sealed, _ := base64.StdEncoding.DecodeString(got.Message)
		if r := judge(t, z, stranger, string(sealed)); r.ARC.Result != Pass {
			t.Errorf("seal: %+v\n%s", r.ARC, sealed)
		}
	}
}

package login

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// S116: nothing of this package compares secrets in a time that says how much of them was right: what is compared as octets is compared by
// crypto/subtle and crypto/hmac.
func TestS116ConstantTime(t *testing.T) {
	files, err := filepath.Glob("*.go")
	must(t, err)
	quick := regexp.MustCompile(`bytes\.(Equal|Compare)\([^)]*\)|(Password|Argon2id|SCRAM1?|StoredKey|ServerKey)(\.\w+)? [!=]= [^"\s]`)
	for _, file := range files {
		if matched, _ := filepath.Match("*_test.go", file); matched {
			continue
		}
		text, err := os.ReadFile(file)
		must(t, err)
		for _, found := range quick.FindAllString(string(text), -1) {
			if !strings.Contains(strings.ToLower(found), "salt") { // which everybody may know
				t.Errorf("%s has %s", file, found)
			}
		}
	}
}

// S122: what a program outside says of an account counts at the next login: that its password is over, that it is locked.
func TestS122ExternalExpiry(t *testing.T) {
	c, _ := checker(house(t))
	program := filepath.Join(t.TempDir(), "checkpassword")
	says := func(status string) {
		must(t, os.WriteFile(program, []byte("#!/bin/sh\nexit "+status+"\n"), 0o755))
	}
	c.Program = []string{program}
	for _, k := range []struct {
		status string
		want   error
	}{{"0", nil}, {"1", ErrCredentials}, {"0", nil}} {
		says(k.status)
		if _, err := c.Check(context.Background(), request("imap", "alice", "wonderland")); err != k.want {
			t.Errorf("exit %s: %v, want %v", k.status, err, k.want)
		}
	}
	says("111")
	if _, err := c.Check(context.Background(), request("imap", "alice", "wonderland")); err == nil || err == ErrCredentials {
		t.Errorf("exit 111 is not for ever: %v", err)
	}
}

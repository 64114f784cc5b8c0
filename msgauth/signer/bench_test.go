package signer

import (
	"context"
	"testing"
)

// BenchmarkAsk is what the pipe costs, without the signature.
func BenchmarkAsk(b *testing.B) {
	b.Setenv("SIGNER_TEST", "serve")
	c := &Client{Path: "/proc/self/exe"}
	defer c.Close()
	r := Request{Domain: "example.org", Digest: digest(string(make([]byte, 1000)))}
	for b.Loop() {
		if _, err := c.Ask(context.Background(), r); err != nil {
			b.Fatal(err)
		}
	}
}

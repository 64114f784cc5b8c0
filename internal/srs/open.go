package srs

import (
	"bytes"
	"fmt"
	"os"
	"time"
)

// Open is a rewriter for domain with the secrets of a file, one a line, newest first; nil where there is no file to read.
func Open(domain, file string) (*Rewriter, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &Rewriter{Domain: domain, Now: time.Now}
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			r.Secrets = append(r.Secrets, line)
		}
	}
	if len(r.Secrets) == 0 {
		return nil, fmt.Errorf("%s: no secret in it", file)
	}
	return r, nil
}

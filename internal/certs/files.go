package certs

import (
	"os"
	"os/signal"
)

// FromFiles loads the chains and keys of mail.toml's [tls], in pairs; nil where there are none.
func FromFiles(chains, keys []string, onError func(error)) (*Store, error) {
	if len(chains) == 0 {
		return nil, nil
	}
	pairs := make([]Pair, len(chains))
	for i, chain := range chains {
		pairs[i] = Pair{Cert: chain, Key: keys[i]}
	}
	return Load(pairs, onError)
}

// ReloadOn looks at the files when the signal comes; it never returns. A nil Store has none.
func (s *Store) ReloadOn(sig os.Signal) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, sig)
	for range c {
		if s != nil {
			s.Reload()
		}
	}
}

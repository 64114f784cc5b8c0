package login

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

// prove speaks a mechanism as a client does; binding is what the client believes the connection to be.
func prove(t testing.TB, c Verifier, p Peer, mechanism, authzid, name, password string, binding scram.ChannelBinding) (*Identity, error) {
	t.Helper()
	x, ok := c.Start(mechanism, p)
	if !ok {
		t.Fatalf("no %s", mechanism)
	}
	client, err := scramOf(strings.TrimSuffix(mechanism, plus)).generate.NewClient(name, password, authzid)
	must(t, err)
	client = client.WithMinIterations(1)
	talk := client.NewConversation()
	if binding.IsSupported() {
		talk = client.NewConversationWithChannelBinding(binding)
	}
	said, err := talk.Step("")
	must(t, err)
	for range 4 {
		challenge, done, r, err := x.Next([]byte(said))
		if err != nil {
			return nil, err
		}
		if done {
			id, err := c.Check(context.Background(), r)
			if err == nil && !talk.Valid() {
				t.Error("the client was let in and does not believe us")
			}
			return id, err
		}
		if said, err = talk.Step(string(challenge)); err != nil {
			return nil, err
		}
	}
	t.Fatal("it goes on for ever")
	return nil, nil
}

var here = Peer{Service: "imap", Remote: netip.MustParseAddr("192.0.2.9")}

// Each password of an account fits under the account's name, with each hash.
func TestSCRAM(t *testing.T) {
	dir := house(t)
	c, _ := checker(dir)
	main, err := ReadCredentials(filepath.Join(dir, "example.org/users/alice"))
	must(t, err)
	tablet, err := NewBeside(main[:1], "tablet", "through", cheap)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "example.org/users/alice/credentials/tablet"), []byte(tablet.String()), 0o640))
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1"} {
		for _, k := range []struct{ authzid, name, password, want string }{
			{"", "alice", "wonderland", "main"},
			{"", "Alice@example.ORG", "wonderland", "main"},
			{"", "alice", "through", "tablet"},
			{"alice@example.org", "alice", "through", "tablet"},
			{"bob", "alice", "through", ""},
			{"", "alice", "Wonderland", ""},
			{"", "alice", "looking glass", ""}, // has another salt; PLAIN finds it
			{"", "bob", "wonderland", ""},
			{"", "carol", "notes", ""}, // expired
			{"", "nobody", "x", ""},
			{"", "al=,ice", "x", ""},
		} {
			id, err := prove(t, c, here, mechanism, k.authzid, k.name, k.password, scram.ChannelBinding{})
			got := ""
			if err == nil {
				got = id.Credential
			}
			if got != k.want || err != nil && err != ErrCredentials {
				t.Errorf("%s %v: %q %v", mechanism, k, got, err)
			}
		}
	}
}

// S111: a name without verifiers has a salt as others have: the same whenever asked, in every spelling, another for each name.
func TestS111Salts(t *testing.T) {
	c, _ := checker(house(t))
	first := func(name string) string {
		x, _ := c.Start("SCRAM-SHA-256", here)
		challenge, done, _, err := x.Next([]byte("n,,n=" + name + ",r=abc"))
		if err != nil || done {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(challenge), ",")
		return rest
	}
	seen := map[string]string{}
	for _, name := range []string{"alice", "bob", "carol", "nobody", "nobody@example.net", "dave"} {
		salt := first(name)
		if salt != first(name) || salt != first(strings.ToUpper(name)) || !strings.Contains(name, "@") && salt != first(name+"@example.ORG") {
			t.Errorf("%s has several salts", name)
		}
		if other, ok := seen[salt]; ok {
			t.Errorf("%s and %s have one salt", name, other)
		}
		if seen[salt] = name; !strings.HasSuffix(salt, ",i=1") || len(salt) != len(first("alice")) {
			t.Errorf("%s: %s", name, salt)
		}
	}
}

// S035: a proof counts on the connection it was made for, and a client that was told of no binding learns that there is one.
func TestS035Binding(t *testing.T) {
	c, _ := checker(house(t))
	bound := here
	bound.Bindings = map[string][]byte{tlsExporter: []byte("the key of this connection"), tlsEndPoint: []byte("the certificate")}
	kind := func(name, data string) scram.ChannelBinding {
		return scram.ChannelBinding{Type: scram.ChannelBindingType(name), Data: []byte(data)}
	}
	for _, k := range []struct {
		mechanism string
		binding   scram.ChannelBinding
		want      error
	}{
		{"SCRAM-SHA-256-PLUS", kind(tlsExporter, "the key of this connection"), nil},
		{"SCRAM-SHA-1-PLUS", kind(tlsEndPoint, "the certificate"), nil},
		{"SCRAM-SHA-256-PLUS", kind(tlsExporter, "another connection's"), ErrCredentials},
		{"SCRAM-SHA-256-PLUS", kind(tlsEndPoint, "the key of this connection"), ErrCredentials},
		{"SCRAM-SHA-256-PLUS", kind("tls-unique", "x"), errNotOurs},
		{"SCRAM-SHA-256-PLUS", scram.ChannelBinding{}, errBinding},                     // says n
		{"SCRAM-SHA-256", kind(tlsExporter, "the key of this connection"), errBinding}, // says p
		{"SCRAM-SHA-256", scram.ChannelBinding{}, nil},                                 // knows of no bindings
	} {
		if _, err := prove(t, c, bound, k.mechanism, "", "alice", "wonderland", k.binding); err != k.want {
			t.Errorf("%s %s %q: %v, want %v", k.mechanism, k.binding.Type, k.binding.Data, err, k.want)
		}
	}
	x, _ := c.Start("SCRAM-SHA-256", bound)
	if _, _, _, err := x.Next([]byte("y,,n=alice,r=abc")); err != errNotOffered {
		t.Errorf("the list of mechanisms was changed on its way: %v", err)
	}
	if _, ok := c.Start("SCRAM-SHA-256-PLUS", here); ok {
		t.Error("a binding where there is nothing to bind to")
	}
}

// Scope, networks and expiry count as with PLAIN; a master user's credential opens what it says, and says who it was.
func TestMaster(t *testing.T) {
	dir := house(t)
	k := credential(t, "main", "keys of all")
	k.ActsFor = []string{"*@example.org"}
	path := filepath.Join(dir, "example.org/users/root/credentials")
	must(t, os.MkdirAll(path, 0o750))
	must(t, os.WriteFile(filepath.Join(path, "main"), []byte(k.String()), 0o640))
	c, _ := checker(dir)
	plain := func(authzid, name, password string) (*Identity, error) {
		r := request("imap", name, password)
		r.Authzid = authzid
		return c.Check(context.Background(), r)
	}
	bySCRAM := func(authzid, name, password string) (*Identity, error) {
		return prove(t, c, here, "SCRAM-SHA-256", authzid, name, password, scram.ChannelBinding{})
	}
	for _, login := range []func(string, string, string) (*Identity, error){plain, bySCRAM} {
		id, err := login("bob", "root", "keys of all")
		if err != nil || id.Account.User != "bob" || id.Authcid != "root" || id.Authzid != "bob" {
			t.Errorf("%+v %v", id, err)
		}
		for _, wrong := range [][3]string{{"bob", "root", "x"}, {"bob", "alice", "wonderland"}, {"nobody", "root", "keys of all"}, {"bob@example.net", "root", "keys of all"}} {
			if id, err := login(wrong[0], wrong[1], wrong[2]); err != ErrCredentials {
				t.Errorf("%q: %+v %v", wrong, id, err)
			}
		}
	}
}

// Anything may be said; nothing of it is let in, and it ends.
func FuzzSCRAM(f *testing.F) {
	c, _ := checker(house(f))
	f.Add("n,,n=alice,r=abc", "c=biws,r=abc,p=AAAA", "")
	f.Add("p=tls-exporter,a=bob,n=alice,r=abc", "c=,r=,p=", "x")
	f.Add("y,,m=x,n=,r=", "e=other-error", "")
	f.Fuzz(func(t *testing.T, a, b, last string) {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"} {
			p := here
			p.Bindings = map[string][]byte{tlsExporter: []byte("k")}
			x, _ := c.Start(mechanism, p)
			over := false
			for _, said := range []string{a, b, last, a} {
				_, done, r, err := x.Next([]byte(said))
				if done {
					if id, err := c.Check(context.Background(), r); err == nil {
						t.Errorf("%+v for %q %q", id, a, b)
					}
				}
				over = over || done || err != nil
			}
			if !over {
				t.Error("it goes on for ever")
			}
		}
	})
}

// The secret of a host is one for all its processes.
func TestSecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "auth")
	one, two := NewState(dir).secret(), NewState(dir).secret()
	if !hmac.Equal(one[:], two[:]) || one == sha256.Sum256(nil) {
		t.Error("two secrets")
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%v", left)
	}
}

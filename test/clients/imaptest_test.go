package clients

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pennypost/test/lab"
)

// explained are the scripts of the suite that cannot pass, and why that is right.
var explained = map[string]string{
	"catenate":               "CATENATE (RFC 4469) is not there",
	"search-context-update":  "CONTEXT=SEARCH (RFC 5267) is not there",
	"search-context-update2": "CONTEXT=SEARCH (RFC 5267) is not there",
	"sort-partial":           "CONTEXT=SORT (RFC 5267) is not there",
	"urlauth":                "URLAUTH (RFC 4467) is not there",
	"urlauth-binary":         "URLAUTH=BINARY (RFC 5524) is not there",
}

// TestImaptest runs the scripted tests of the imaptest project, a test for each. The suite lies beside the checkout, or where
// $PENNYPOST_SUITES says.
func TestImaptest(t *testing.T) {
	h := host(t, "python3")
	dir := os.Getenv("PENNYPOST_SUITES")
	if dir == "" {
		root, err := lab.Root()
		if err != nil {
			t.Skip(err)
		}
		dir = filepath.Join(root, "../shared/suites")
	}
	suite := filepath.Join(dir, "imaptest")
	if _, err := os.Stat(filepath.Join(suite, "run.py")); err != nil {
		t.Skipf("the suite is not there: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "python3", filepath.Join(suite, "run.py"), "-v", "--imap", h.Addr("IMAPS"), "--tls", "implicit", "--ca", ca(),
		"--user", "alice@demo.test", "--pass", lab.Password, "--user2", "bob@demo.test", "--pass2", lab.Password, filepath.Join(suite, "scripts"))
	out, err := cmd.CombinedOutput()
	results := regexp.MustCompile(`(?m)^(pass|skip|FAIL) ([a-z0-9-]+)(?:: ((?:.|\n)*?))?$`).FindAllStringSubmatch(string(out), -1)
	if len(results) == 0 {
		t.Fatalf("%v\n%s", err, last(string(out), 4000))
	}
	for _, r := range results {
		t.Run(r[2], func(t *testing.T) {
			switch why := explained[r[2]]; {
			case r[1] == "pass" && why != "":
				t.Errorf("it passes, and yet it is said that %s", why)
			case r[1] != "pass" && why != "":
				t.Skip(why)
			case r[1] != "pass":
				t.Errorf("%s: %s", r[1], r[3])
			}
		})
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	t.Log(lines[len(lines)-1])
}

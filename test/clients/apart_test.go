package clients

import (
	"os"
	"os/exec"
	"testing"
)

// TestApart has clients of every kind once more at a host where maillogin and mailauthd stand in front of imapd and pop3d.
func TestApart(t *testing.T) {
	host(t)
	if os.Getenv("PENNYPOST_APART") != "" {
		t.Skip("this is it")
	}
	cmd := exec.Command(os.Args[0], "-test.skip", "^(TestApart|TestImaptest|TestTakeover|TestTakeoverPOP3)$")
	cmd.Env = append(os.Environ(), "PENNYPOST_APART=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

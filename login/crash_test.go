package login

import (
	"fmt"
	"testing"
	"time"

	"pennypost/internal/domains"
	"pennypost/internal/durable/faultdisk"
)

// S117: a step that was written down is there after the power has gone, whenever it went; before, the one before is.
func TestCrashState(t *testing.T) {
	const file = "alice@example.org/totp/main"
	for _, strict := range []bool{false, true} {
		for n := 1; ; n++ {
			disk := faultdisk.New()
			if strict {
				disk = faultdisk.NewStrict()
			}
			disk.CrashAt(n)
			s := &State{dir: "auth", disk: disk}
			done := 0
			for step := 1; step <= 2; step++ {
				if s.write(file, fmt.Sprintln(step), true) != nil {
					break
				}
				done = step
			}
			got := disk.Reboot()[file]
			if got != fmt.Sprintln(done) && got != fmt.Sprintln(done+1) && !(done == 0 && got == "") {
				t.Errorf("cut at step %d (%s): step %d was used, and the file says %q", n, disk.LastStep(), done, got)
			}
			if !disk.Crashed() {
				break
			}
		}
	}
}

// An approval is in pending or in approved, whenever the power goes; one that was said is in approved.
func TestCrashApprove(t *testing.T) {
	a := &domains.Account{User: "alice", Domain: "example.org"}
	p := Approval{"phone", "192.0.2.0/24", "imap", "192.0.2.9", time.Unix(0, 0), "of"}
	name := approvalFile(a, "phone", p.Network)
	for n := 1; ; n++ {
		disk := faultdisk.NewStrict().Put("pending/"+name, p.String()).Dirs("approved")
		disk.CrashAt(n)
		_, err := (&State{dir: "auth", disk: disk}).Approve(a, "phone", "")
		found := disk.Reboot()
		if err == nil && found["approved/"+name] == "" || found["approved/"+name] == "" && found["pending/"+name] == "" {
			t.Errorf("cut at step %d (%s): %v", n, disk.LastStep(), found)
		}
		if !disk.Crashed() {
			break
		}
	}
}

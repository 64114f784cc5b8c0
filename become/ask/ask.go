// Package ask asks become(8) to start a program as a Unix user.
package ask

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pennypost/internal/packet"
)

// Socket is where become is asked, below the run directory of mail.toml(5).
func Socket(run string) string { return filepath.Join(run, "become.sock") }

// ErrMost is why a program is not started of which a user has as many as there may be.
var ErrMost = errors.New("as many of that user as there may be")

// answerTime bounds the wait for an answer: become starts a process, and waits for nobody.
const answerTime = 20 * time.Second

// Ask has the program started with input as its descriptor 0, which stays the caller's. Whatever goes wrong is temporary: become is not
// there, or an admin has to look at its log.
func Ask(ctx context.Context, socket string, r Request, input *os.File) error {
	c, err := packet.Dial(socket)
	if err != nil {
		return err
	}
	defer c.Close()
	until := time.Now().Add(answerTime)
	if d, ok := ctx.Deadline(); ok && d.Before(until) {
		until = d
	}
	c.SetDeadline(until)
	if err := packet.Send(c, r.String(), input); err != nil {
		return err
	}
	answer, files, err := packet.Receive(c)
	packet.Close(files)
	if err != nil {
		return fmt.Errorf("%s: %w", socket, err)
	}
	switch answer {
	case "ok":
		return nil
	case "no " + ErrMost.Error():
		return ErrMost
	}
	return errors.New("become: " + strings.TrimPrefix(answer, "no "))
}

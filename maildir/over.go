package maildir

import (
	"errors"
	"io/fs"
	"strconv"

	"pennypost/internal/durable"
	"pennypost/internal/escape"
)

// Over is the directory state/over: an empty-handed smtpd finds USER@DOMAIN there when that account
// can take no more mail, and says so at RCPT. Whoever counts makes and removes the files.
type Over struct{ disk durable.Disk }

// OpenOver works in state/over; the directory is made where it is missing.
func OpenOver(state durable.Disk) (*Over, error) {
	if err := state.Mkdir("over", 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return &Over{state}, nil
}

// Mark says that user is over his quota: wanted octets more had no room.
func (o *Over) Mark(user string, wanted int64) error {
	f, err := o.disk.Create("over/"+escape.File(user), 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write(strconv.AppendInt(nil, wanted, 10))
	return errors.Join(err, f.Close())
}

// Clear says that he is not any more.
func (o *Over) Clear(user string) error {
	err := o.disk.Remove("over/" + user)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Marked reports whether user is marked, and how many octets he had no room for.
func (o *Over) Marked(user string) (wanted int64, marked bool) {
	f, err := o.disk.Open("over/" + user)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	var b [20]byte
	n, _ := f.ReadAt(b[:], 0)
	wanted, _ = strconv.ParseInt(string(b[:n]), 10, 64)
	return wanted, true
}

// Users are those who are marked.
func (o *Over) Users() ([]string, error) { return o.disk.ReadDir("over") }

// Wanted is the room that decides whether an account is full after a message of size octets was
// refused: a big letter that does not fit does not lock out small ones.
func Wanted(size, limit int64) int64 {
	return min(size, max(limit/10, 64<<10))
}

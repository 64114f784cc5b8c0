package mailbox

import (
	"context"
	"errors"
	"io"
	"path"
	"time"

	"pennypost/internal/durable"
)

const lockName = "mb-lock"

// longestLock is how long a change waits for the folder before it is refused (INUSE).
const longestLock = 30 * time.Second

// lock takes the folder's lock against other processes. f.mu is held already: the sessions of this process are one waiter.
func (f *Folder) lock(ctx context.Context) (unlock func(), err error) {
	return lockIn(ctx, f.disk, lockName)
}

// lockTree takes the lock of the account's root against other processes: who makes, removes, renames or subscribes is alone. a.mu is held already.
func (a *Account) lockTree() (unlock func(), err error) {
	return lockIn(context.Background(), a.disk, lockName)
}

// lockMeta is the lock of a folder that is not open.
func (a *Account) lockMeta(dir string) (unlock func(), err error) {
	return lockIn(context.Background(), a.disk, path.Join(dir, lockName))
}

func lockIn(ctx context.Context, disk durable.Disk, name string) (unlock func(), err error) {
	locker, ok := disk.(durable.Locker)
	if !ok {
		return func() {}, nil
	}
	deadline := time.Now().Add(longestLock)
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, 5*time.Millisecond) {
		var held io.Closer
		held, err = locker.TryLock(name)
		if err == nil {
			return func() { held.Close() }, nil
		}
		if !errors.Is(err, durable.ErrLocked) {
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, ErrInUse
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

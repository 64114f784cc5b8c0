package mailbox

import (
	"context"

	"pennypost/internal/sequence"
)

// Candidates is the messages that can have the needle in their text, by the filter; ok is false when there is none.
func (v *View) Candidates(ctx context.Context, n *Needle) (uids sequence.Set, ok bool) { return nil, false }

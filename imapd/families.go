package imapd

import "pennypost/maildir/mailbox"

var (
	mailboxVerbs []verb
	appendVerbs  []verb
	searchVerbs  []verb
	metaVerbs    []verb
	idleVerbs    []verb
)

// streams says of a command whose literal comes now whether the literal may stay on the connection: APPEND and REPLACE.
func (s *session) streams(text []byte) bool { return false }

// firstLogin makes the special-use mailboxes of an account that has none.
func (s *session) firstLogin() {}

// openFolder opens a mailbox by its name, also one shared by another user.
func (s *session) openFolder(name string) (*mailbox.Folder, error) { return s.account.Folder(name) }

// readOnlyTo reports whether ACL lets the session only read.
func (s *session) readOnlyTo(name string) bool { return false }

// mayExpunge reports whether ACL lets the session expunge.
func (s *session) mayExpunge() bool { return true }

// listLine writes the LIST response of one mailbox.
func (s *session) listLine(name string) {}

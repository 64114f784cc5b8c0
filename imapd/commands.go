package imapd

// verb is one command: when it may be said, who answers it, and what may be told with the answer.
type verb struct {
	name    string
	states  state
	run     func(*session, *command) reply
	tell    telling
	numbers bool // it speaks in message numbers: refused with UIDONLY (RFC 9586)
}

// telling says which news about the selected mailbox may go out before the tagged response. Untagged EXPUNGE may not while the client
// could still speak in numbers it learned earlier (RFC 9051 section 7.5.1).
type telling uint8

const (
	nothing       telling = iota
	holdExpunges          // EXISTS and flags only
	expungesIfUID         // all of it after the UID form
	expunges              // all of it
)

// verbs is RFC 9051 section 6 and its extensions.
var verbs map[string]*verb

func init() {
	verbs = map[string]*verb{}
	for _, list := range [][]verb{generalVerbs, loginVerbs, selectVerbs, mailboxVerbs, appendVerbs, fetchVerbs, storeVerbs, copyVerbs, searchVerbs, metaVerbs, idleVerbs} {
		for i := range list {
			verbs[list[i].name] = &list[i]
		}
	}
}

func verbOf(name string) *verb { return verbs[name] }

// Each family of commands is a table beside its handlers; these are those whose handlers are in the files named in the package doc.
var generalVerbs = []verb{
	{"CAPABILITY", anyState, (*session).capability, nothing, false},
	{"NOOP", anyState, (*session).noop, expunges, false},
	{"LOGOUT", anyState, (*session).logout, nothing, false},
	{"ID", anyState, (*session).identify, nothing, false},
	{"ENABLE", authenticated | selectedState, (*session).enable, nothing, false},
	{"CHECK", selectedState, (*session).noop, expunges, false},
}

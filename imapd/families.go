package imapd

var (
	idleVerbs []verb
)

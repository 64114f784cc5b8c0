package maillog

// Login is a mailbox opened after a login: how many messages it has and their octets.
func (l *Log) Login(service, ip, user string, messages int, size int64) {
	l.event("login", "").str("service", service).str("ip", ip).str("user", user).num("messages", int64(messages)).num("size", size).end()
}

// Logout is the end of that session: what was fetched and what was deleted. err is what ended it if not QUIT.
func (l *Log) Logout(service, ip, user string, fetched, deleted int, size int64, err error) {
	l.event("logout", "").str("service", service).str("ip", ip).str("user", user).num("fetched", int64(fetched)).
		num("deleted", int64(deleted)).num("size", size).err(err)
}

package pop3d

// state is RFC 1939's; UPDATE is not one a client can speak in.
type state uint8

const (
	authorization state = 1 << iota // package front
	transaction
	always = authorization | transaction
)

// verb is one command.
type verb struct {
	name      string
	in        state
	min, max  int // words after the name; the last one takes the rest of the line
	answer    func(s *session, args []string) string
	suggested string // when the state is wrong
}

// verbs is RFC 1939, 2449 and 6856, and what came before login: what may be said when, and who answers. An answer is
// what follows "+OK" or "-ERR"; "" was sent already.
var verbs map[string]verb

func init() {
	for _, v := range []verb{
		{"CAPA", always, 0, 0, (*session).capa, ""},
		{"NOOP", transaction, 0, 0, (*session).noop, "log in first"},
		{"QUIT", always, 0, 0, (*session).quit, ""},

		{"LANG", always, 0, 1, (*session).lang, ""},

		{"UTF8", authorization, 0, 0, nil, "UTF8 comes before the login"},
		{"STLS", authorization, 0, 0, nil, "STLS comes before the login"},
		{"USER", authorization, 0, 0, nil, "you are logged in"},
		{"PASS", authorization, 0, 0, nil, "you are logged in"},
		{"AUTH", authorization, 0, 0, nil, "you are logged in"},

		{"STAT", transaction, 0, 0, (*session).stat, "log in first"},
		{"LIST", transaction, 0, 1, (*session).list, "log in first"},
		{"UIDL", transaction, 0, 1, (*session).uidl, "log in first"},
		{"RETR", transaction, 1, 1, (*session).retr, "log in first"},
		{"TOP", transaction, 2, 2, (*session).top, "log in first"},
		{"DELE", transaction, 1, 1, (*session).dele, "log in first"},
		{"RSET", transaction, 0, 0, (*session).rset, "log in first"},
	} {
		if verbs == nil {
			verbs = make(map[string]verb)
		}
		verbs[v.name] = v
	}
}

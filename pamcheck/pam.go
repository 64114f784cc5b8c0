package pamcheck

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// service is the name in /etc/pam.d.
const service = "pennypost"

// What of <security/pam_appl.h> is used here. Linux-PAM has had these numbers since it exists.
const (
	pamSuccess        = 0
	pamPermDenied     = 6
	pamAuthErr        = 7
	pamUserUnknown    = 10
	pamMaxTries       = 11
	pamNewAuthtok     = 12
	pamAcctExpired    = 13
	pamConvErr        = 19
	pamAuthtokExpired = 27

	pamRHost     = 4
	pamFailDelay = 10

	promptEchoOff = 1
	promptEchoOn  = 2

	silent       = 0x8000
	noNullTokens = 0x0001 // an empty password is no password
)

// refusals are the results that say "no"; every other but success is trouble, and temporary.
var refusals = map[int32]bool{pamPermDenied: true, pamAuthErr: true, pamUserUnknown: true, pamMaxTries: true, pamNewAuthtok: true, pamAcctExpired: true,
	pamAuthtokExpired: true}

type pamMessage struct {
	style int32
	text  *byte
}

type pamResponse struct {
	text *byte
	code int32
}

type pamConv struct{ talk, data uintptr }

// library is libpam, and what of libc it takes to answer it.
type library struct {
	start        func(service, user string, conv unsafe.Pointer, handle *uintptr) int32
	setItem      func(handle uintptr, item int32, value unsafe.Pointer) int32
	setFunc      func(handle uintptr, item int32, value uintptr) int32
	authenticate func(handle uintptr, flags int32) int32
	account      func(handle uintptr, flags int32) int32
	end          func(handle uintptr, status int32) int32
	text         func(handle uintptr, status int32) string
	calloc       func(n, size uintptr) unsafe.Pointer
	duplicate    func(s unsafe.Pointer) *byte
}

func open() (l library, err error) {
	pam, err := purego.Dlopen("libpam.so.0", purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return l, err
	}
	libc, err := purego.Dlopen("libc.so.6", purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return l, err
	}
	purego.RegisterLibFunc(&l.start, pam, "pam_start")
	purego.RegisterLibFunc(&l.setItem, pam, "pam_set_item")
	purego.RegisterLibFunc(&l.setFunc, pam, "pam_set_item")
	purego.RegisterLibFunc(&l.authenticate, pam, "pam_authenticate")
	purego.RegisterLibFunc(&l.account, pam, "pam_acct_mgmt")
	purego.RegisterLibFunc(&l.end, pam, "pam_end")
	purego.RegisterLibFunc(&l.text, pam, "pam_strerror")
	purego.RegisterLibFunc(&l.calloc, libc, "calloc")
	purego.RegisterLibFunc(&l.duplicate, libc, "strdup")
	return l, nil
}

// authenticate asks PAM, of the account alone or of the password before. It is called once in the life of a process.
func authenticate(name, password, remote string, account bool) (yes bool, err error) {
	l, err := open()
	if err != nil {
		return false, err
	}
	runtime.LockOSThread() // modules may keep things by thread
	defer runtime.UnlockOSThread()
	var pins runtime.Pinner
	defer pins.Unpin()
	secret, host := append([]byte(password), 0), append([]byte(remote), 0)
	pins.Pin(&secret[0])
	pins.Pin(&host[0])
	conv := &pamConv{talk: purego.NewCallback(func(n int32, messages **pamMessage, answers **pamResponse, _ uintptr) int32 {
		return l.answer(n, messages, answers, &secret[0])
	})}
	pins.Pin(conv)
	var handle uintptr
	if r := l.start(service, name, unsafe.Pointer(conv), &handle); r != pamSuccess {
		return false, fmt.Errorf("pam_start: error %d", r)
	}
	if remote != "" {
		l.setItem(handle, pamRHost, unsafe.Pointer(&host[0]))
	}
	l.setFunc(handle, pamFailDelay, purego.NewCallback(func(status int32, delay uint32, data uintptr) uintptr { return 0 }))
	r, what := int32(pamSuccess), "pam_authenticate"
	if !account {
		r = l.authenticate(handle, silent|noNullTokens)
	}
	if r == pamSuccess {
		r, what = l.account(handle, silent), "pam_acct_mgmt"
	}
	text := l.text(handle, r)
	l.end(handle, r)
	switch {
	case r == pamSuccess:
		return true, nil
	case refusals[r]:
		return false, nil
	}
	return false, fmt.Errorf("%s: %s (%d)", what, text, r)
}

// answer gives the password to whatever is asked without echo, and nothing to anything else: a second factor cannot be asked for here.
func (l *library) answer(n int32, messages **pamMessage, answers **pamResponse, secret *byte) int32 {
	if n <= 0 || n > 32 {
		return pamConvErr
	}
	room := l.calloc(uintptr(n), unsafe.Sizeof(pamResponse{}))
	if room == nil {
		return pamConvErr
	}
	all := unsafe.Slice((*pamResponse)(room), n)
	for i, m := range unsafe.Slice(messages, n) {
		switch m.style {
		case promptEchoOff:
			all[i].text = l.duplicate(unsafe.Pointer(secret))
		case promptEchoOn:
			empty := []byte{0}
			all[i].text = l.duplicate(unsafe.Pointer(&empty[0]))
		}
	}
	*answers = (*pamResponse)(room)
	return pamSuccess
}

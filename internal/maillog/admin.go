package maillog

import (
	"pennypost/internal/address"
)

// Pickup is a message of a local user taken out of drop/.
func (l *Log) Pickup(id string, from address.Path, rcpts int, size int64, uid int) {
	l.event("pickup", id).path("from", from).num("rcpts", int64(rcpts)).num("size", size).num("uid", int64(uid)).end()
}

// PickupFail is a file in drop/ that is no message we take.
func (l *Log) PickupFail(file string, uid int, why string) {
	l.event("pickup-fail", "").str("file", file).num("uid", int64(uid)).str("why", why).end()
}

// Reload is configuration or certificates read again; err says why the old ones stay.
func (l *Log) Reload(what string, err error) { l.event("reload", "").str("what", what).err(err) }

// Change is something an admin's tool has changed: mailuser add alice@example.org.
func (l *Log) Change(what, name string) {
	l.event("change", "").str("what", what).str("name", name).end()
}

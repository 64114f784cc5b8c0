package imapd

var (
)

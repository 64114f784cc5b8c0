#!/bin/sh
# mail.toml.sh prints the mail.toml of the package: the sample, in which every program has a uid of its own.
set -eu
sed -e '/^\[login\]/,/^\[/ {
s|^#socket = ""|socket = "/run/pennypost/login/sock"|
s|^#clients = \[\]|clients = ["mailin", "maillogin", "vmail"]|
}' -e '/^\[queue.workers\]/,/^\[/ {
s|^#local = "deliver-local"|local = "unix:/run/pennypost/local/sock"|
s|^#remote = "deliver-remote"|remote = "unix:/run/pennypost/remote/sock"|
}' -e '/^\[remote\]/,/^\[/ s|^#sign = "mailkey"|sign = "unix:/run/pennypost/sign/sign.sock"|' \
-e '/^\[pop3d\]/,/^\[/ s|^#sessions = ""|sessions = "/run/pennypost/sessions/pop3d.sock"|' \
-e '/^\[imapd\]/,/^\[/ s|^#sessions = ""|sessions = "/run/pennypost/sessions/imapd.sock"|' "$1"

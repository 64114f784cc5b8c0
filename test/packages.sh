#!/bin/sh
# packages.sh gets what the tests drive. As root, and where apt works, the clients are installed and the other mail servers are
# unpacked, not installed: the machine keeps the MTA it has. Everybody else is told which tests will be skipped.
set -u
clients="swaks:swaks msmtp:msmtp s-nail:s-nail curl:curl mpop:mpop fetchmail:fetchmail getmail:getmail6 mutt:mutt mbsync:isync offlineimap:offlineimap3 neomutt:neomutt aerc:aerc socat:socat ldns-signzone:ldnsutils mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs mandoc:mandoc xmllint:libxml2-utils dmarc-cat:dmarc-cat /usr/lib/python3/dist-packages/dkim/__init__.py:python3-dkim /usr/sbin/haproxy:haproxy git:git /usr/lib/git-core/git-send-email:git-email"
servers="postfix exim4-daemon-light opensmtpd dovecot-core courier-imap opendkim unbound nsd"
if [ "$(id -u)" = 0 ]; then cache=${XDG_CACHE_HOME:-/var/cache}/pennypost-test
else cache=${XDG_CACHE_HOME:-$HOME/.cache}/pennypost-test; fi

[ -d "$(dirname "$0")/../../shared/suites" ] ||
	echo "packages: no ../shared/suites beside this checkout: the samples of DSNs and MIME and the scripts of imaptest are skipped"

missing=
for c in $clients; do
	command -v "${c%%:*}" >/dev/null 2>&1 || missing="$missing ${c##*:}"
done
unpack= # the number changes with what unpacking makes
for s in $servers; do
	[ -e "$cache/$s/.complete-2" ] || unpack="$unpack $s"
done
# a client that is a library: its scripts are in test/clients/testdata
imapflow=imapflow@1.7.7
if [ ! -e "$cache/$imapflow/.complete" ]; then
	if command -v npm >/dev/null 2>&1; then
		echo "packages: fetching $imapflow"
		mkdir -p "$cache/$imapflow" &&
			npm install --prefix "$cache/$imapflow" --ignore-scripts --no-audit --no-fund --silent "$imapflow" >/dev/null 2>&1 && : >"$cache/$imapflow/.complete" ||
			echo "packages: $imapflow is not to be had: its tests are skipped"
	else
		echo "packages: no npm: the tests of imapflow are skipped"
	fi
fi

# and another, in Go, which is a module of its own
(cd "$(dirname "$0")/clients/testdata/goimap" && go mod download) >/dev/null 2>&1 ||
	echo "packages: go-imap is not to be had: its test is skipped"

# a peer that is one: its script is in test/peers/testdata
mailauth=mailauth@4.13.3
if [ ! -e "$cache/$mailauth/.complete" ] && command -v npm >/dev/null 2>&1; then
	echo "packages: fetching $mailauth"
	mkdir -p "$cache/$mailauth" &&
		npm install --prefix "$cache/$mailauth" --ignore-scripts --no-audit --no-fund --silent "$mailauth" >/dev/null 2>&1 && : >"$cache/$mailauth/.complete" ||
		echo "packages: $mailauth is not to be had: its tests are skipped"
fi

# a Debian tree for test/deb, with systemd, runit, inetd and tcpserver in it; the number changes with what is in it
tree=$cache/debian-1.tar
command -v systemd-analyze >/dev/null 2>&1 || missing="$missing systemd"
if [ "$(id -u)" = 0 ] && [ ! -e "$tree" ] && ! command -v mmdebstrap >/dev/null 2>&1; then missing="$missing mmdebstrap"; fi

[ -z "$missing$unpack" ] && [ -e "$tree" ] && { echo "packages: everything is there"; exit 0; }

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "packages: not root, or no apt: tests are skipped that need${missing:+ the clients$missing}${unpack:+ the servers$unpack}"
	exit 0
fi
apt="apt-get -q -o Dpkg::Use-Pty=0 -o Acquire::Retries=2"
if ! $apt update >/dev/null 2>&1; then
	echo "packages: apt-get update failed: tests are skipped that need${missing:+ the clients$missing}${unpack:+ the servers$unpack}"
	exit 0
fi
# what a client needs for what we ask of it, and only recommends
also() {
	case $1 in
	swaks) echo libio-socket-ssl-perl libnet-dns-perl libauthen-sasl-perl;;
	python3-dkim) echo python3-nacl python3-authres;;
	git-email) echo libmailtools-perl libnet-smtp-ssl-perl libauthen-sasl-perl;;
	esac
}
for p in $missing; do # one by one: a package that is not to be had must not take the others with it
	echo "packages: installing $p"
	DEBIAN_FRONTEND=noninteractive $apt install -y --no-install-recommends $p $(also "$p") >/dev/null 2>&1 ||
		echo "packages: $p is not to be had: its tests are skipped"
done

# A server's directory is a root for chroot(2): the package, the libraries it needs, and a shell for those who cannot do without.
closure() {
	with=
	case $1 in
	exim4-daemon-light) with=exim4-base;;
	opensmtpd) with=dash;;
	opendkim) with=opendmarc;;
	dovecot-core) with="dovecot-imapd dovecot-pop3d dovecot-lmtpd";;
	unbound) with=$(apt-cache depends unbound 2>/dev/null | sed -n 's/.*Depends: \(libpython[0-9.]*\)$/\1/p');;
	courier-imap) with="courier-pop courier-base courier-authlib courier-authdaemon courier-authlib-pipe dash";;
	esac
	{ for p in $1 $with; do echo "$p"; done
	  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$1" $with 2>/dev/null |
		grep -E '^(lib|zlib1g$|dash$)' | grep -vE '^lib.*(perl|python|debconf|pam-|nss-systemd|systemd-|elogind)'
	} | sort -u
}
for s in $unpack; do
	echo "packages: unpacking $s"
	root=$cache/$s
	rm -rf "$root"; mkdir -p "$root/.deb" || continue
	# merged /usr, as the machine has it
	for d in bin sbin lib lib64; do mkdir -p "$root/usr/$d"; ln -s "usr/$d" "$root/$d"; done
	if (cd "$root/.deb" && chmod 755 . && $apt -o APT::Sandbox::User=root download $(closure "$s") >/dev/null 2>../.log); then
		for deb in "$root"/.deb/*.deb; do
			dpkg-deb --fsys-tarfile "$deb" | tar -C "$root" -x --keep-directory-symlink --exclude=./usr/share/doc --exclude=./usr/share/man --exclude=./usr/share/locale || { echo "packages: $deb does not unpack"; break; }
		done
		rm -rf "$root/.deb"
		: >"$root/.complete-2"
	else
		echo "packages: $s is not to be had ($(tail -n 1 "$root/.log" 2>/dev/null)): its tests are skipped"
		rm -rf "$root"
	fi
done
if [ ! -e "$tree" ] && command -v mmdebstrap >/dev/null 2>&1; then
	echo "packages: making a Debian tree"
	mkdir -p "$cache"
	mmdebstrap --quiet --variant=minbase --include=runit,openbsd-inetd,ucspi-tcp,systemd,procps,iproute2,netbase "$(. /etc/os-release; echo "${VERSION_CODENAME:-stable}")" "$tree.new.tar" >"$cache/debian.log" 2>&1 &&
		mv "$tree.new.tar" "$tree" || echo "packages: a Debian tree is not to be had ($(tail -n 1 "$cache/debian.log")): the tests of the package are skipped"
fi
exit 0

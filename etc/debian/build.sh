#!/bin/sh
# build.sh BIN VERSION OUT.deb makes the package with dpkg-deb alone; "make deb" calls it. The same commit and compiler give the same
# file: times are those of SOURCE_DATE_EPOCH, owners are root, names are sorted.
set -eu
bin=$(cd "$1" && pwd) version=$2 out=$(realpath -m "$3")
cd "$(dirname "$0")/../.."
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || echo 0)}"
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022
root=$(mktemp -d); trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
make -s install-files BIN="$bin" DESTDIR="$root" PREFIX=/usr SYSCONFDIR=/etc
mkdir -p "$root/etc/pennypost" "$root/usr/bin" "$root/usr/share/doc/pennypost" "$root/DEBIAN"
sh etc/debian/mail.toml.sh etc/mail.toml >"$root/etc/pennypost/mail.toml"
ln -s ../sbin/mailq "$root/usr/bin/mailq" # where cron, mutt and people look for them
ln -s ../sbin/sendmail "$root/usr/bin/newaliases"
ln -s ../sbin/sendmail "$root/usr/lib/sendmail"
ln -s sendmail.8.gz "$root/usr/share/man/man8/newaliases.8.gz"
cp LICENSE "$root/usr/share/doc/pennypost/copyright"
gzip -9nc CHANGES.md >"$root/usr/share/doc/pennypost/changelog.gz"
find "$root/usr/share/man" -type f -exec gzip -9n {} +
names() { "$bin/mailsetup" --names | sed -n "s/^$1 //p" | tr '\n' ' ' | sed 's/ $//'; }
for script in postinst prerm postrm; do
	sed -e "s|@USERS@|$(names user)|" -e "s|@GROUPS@|$(names group)|" etc/debian/$script >"$root/DEBIAN/$script"
	chmod 755 "$root/DEBIAN/$script"
done
cp etc/debian/conffiles "$root/DEBIAN/conffiles"
(cd "$root" && find etc usr -type f | sort | xargs md5sum >DEBIAN/md5sums)
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$(dpkg --print-architecture)/" -e "s/@SIZE@/$((($(find "$root/usr" "$root/etc" -type f -printf "%s\n" | paste -sd+)) / 1024))/" etc/debian/control.in >"$root/DEBIAN/control"
find "$root" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$(dirname "$out")"
dpkg-deb --root-owner-group ${DEB_COMPRESS:--Zxz} --build "$root" "$out" >/dev/null

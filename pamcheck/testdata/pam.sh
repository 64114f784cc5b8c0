# A host with users of its own: /etc is a private copy of this mount namespace. $1: a directory with pamcheck. $2: our file for /etc/pam.d.
d=$1
mkdir $d/etc; cp -a /etc/. $d/etc/; mount --bind $d/etc /etc
cp $2 /etc/pam.d/pennypost
useradd --system --groups shadow mailpam
useradd -u 2001 -d /home/alice alice; useradd -u 2002 locked; useradd -u 2003 expired; useradd -u 2004 nopass
printf 'alice:geheim und lang\nlocked:x1y2z3\nexpired:x1y2z3\n' | chpasswd
usermod -L locked; chage -E 1 expired; passwd -qd nopass
as() { u=$1; shift; setpriv --reuid $u --regid $u --init-groups --no-new-privs "$@"; }
try() { printf '%s\0%s\0\0' "$2" "$3" >$d/said; as mailpam $d/pamcheck --once 3<$d/said 2>/dev/null; echo "$1: $?"; }
try right alice 'geheim und lang'
try wrong alice 'geheim'
try empty alice ''
try unknown nosuch x
try root root root
try locked locked x1y2z3
try expired expired x1y2z3
acct() { printf '%s\0\0\0' "$2" >$d/said; as mailpam $d/pamcheck --once --account 3<$d/said 2>/dev/null; echo "$1: $?"; }
acct account alice
acct 'account of an unknown' nosuch
acct 'account that expired' expired
try 'no password' nopass ''
printf 'alice\0geheim und lang\0\0' >$d/said
as mailpam $d/pamcheck --once sh -c 'echo "program: $USER $HOME"' 3<$d/said
as nobody $d/pamcheck --once 3<$d/said 2>/dev/null; echo "nobody without the group: $?"

# Process 1 of a host of its own: namespaces for all but users are new, $1 is its tree, the rest is what runs as process 1 there.
set -e
t=$1; shift
mount --make-rprivate /
mount --bind $t $t
mount -t proc proc $t/proc
mount -t sysfs sysfs $t/sys
mount -t cgroup2 cgroup2 $t/sys/fs/cgroup || true
mount -t tmpfs tmpfs $t/dev -o mode=755
for n in null zero full random urandom tty; do touch $t/dev/$n; mount --bind /dev/$n $t/dev/$n; done
mkdir -p $t/dev/pts $t/dev/shm
mount -t devpts devpts $t/dev/pts -o newinstance,ptmxmode=666
ln -s pts/ptmx $t/dev/ptmx
mount -t tmpfs tmpfs $t/run -o mode=755
mount -t tmpfs tmpfs $t/tmp -o mode=1777
hostname mx
cd $t
mkdir -p oldroot
pivot_root . oldroot
ip link set lo up
umount -l /oldroot
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@" </dev/null >/dev/null 2>&1

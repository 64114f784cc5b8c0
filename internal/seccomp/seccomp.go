/*
Package seccomp gives up system calls for good, for a program and all that it starts: sockets but unix ones, namespaces, and what changes
the machine or looks into other processes. The filter says what is not to be and lets the rest pass, since users' programs inherit it.
*/
package seccomp

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forbidden are the system calls that a starter of programs for users, and what it starts, has no use for.
var forbidden = []uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD, unix.SYS_USERFAULTFD,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_OPEN_TREE,
	unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSMOUNT, unix.SYS_FSCONFIG, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT, unix.SYS_SWAPON,
	unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SYSLOG, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_KEYCTL,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME,
	unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_IO_URING_SETUP,
	unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_FANOTIFY_INIT, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_VHANGUP,
}

var arch = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64, "riscv64": unix.AUDIT_ARCH_RISCV64}[runtime.GOARCH]

// filter is the program of seccomp(2), in the instructions of the kernel's packet filter.
func filter() []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		some  = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		more  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		give  = unix.BPF_RET | unix.BPF_K
		fail  = unix.SECCOMP_RET_ERRNO
		// struct seccomp_data: the low half of the first argument, on the little-endian machines we have
		nr, architecture, arg0 = 0, 4, 16
		namespaces             = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	)
	p := []unix.SockFilter{
		{Code: load, K: architecture}, {Code: equal, K: arch, Jt: 1}, {Code: give, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: load, K: nr}, {Code: more, K: 0x40000000, Jf: 1}, {Code: give, K: fail | uint32(unix.ENOSYS)}, // x32
		{Code: equal, K: unix.SYS_CLONE3, Jf: 1}, {Code: give, K: fail | uint32(unix.ENOSYS)}, // its flags are in memory; libc then uses clone
		{Code: equal, K: unix.SYS_SOCKET, Jf: 4}, {Code: load, K: arg0}, {Code: equal, K: unix.AF_UNIX, Jt: 1},
		{Code: give, K: fail | uint32(unix.EAFNOSUPPORT)}, {Code: give, K: unix.SECCOMP_RET_ALLOW},
		{Code: equal, K: unix.SYS_CLONE, Jf: 4}, {Code: load, K: arg0}, {Code: some, K: namespaces, Jf: 1},
		{Code: give, K: fail | uint32(unix.EPERM)}, {Code: give, K: unix.SECCOMP_RET_ALLOW},
	}
	for _, n := range forbidden {
		p = append(p, unix.SockFilter{Code: equal, K: n, Jf: 1}, unix.SockFilter{Code: give, K: fail | uint32(unix.EPERM)})
	}
	return append(p, unix.SockFilter{Code: give, K: unix.SECCOMP_RET_ALLOW})
}

// Enter puts the filter, and no_new_privs, on all threads.
func Enter() error {
	if arch == 0 {
		return errors.New("no filter of system calls for " + runtime.GOARCH)
	}
	runtime.LockOSThread() // TSYNC takes both from this thread to the others
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	code := filter()
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	if _, _, e := syscall.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program))); e != 0 {
		return os.NewSyscallError("seccomp", e)
	}
	return nil
}

package disk

import (
	"os"

	"golang.org/x/sys/unix"
)

// virtual are the file systems whose files are generated when they are read.
var virtual = map[int64]string{
	unix.PROC_SUPER_MAGIC: "proc", unix.SYSFS_MAGIC: "sysfs", unix.CGROUP_SUPER_MAGIC: "cgroup",
	unix.CGROUP2_SUPER_MAGIC: "cgroup2", unix.TRACEFS_MAGIC: "tracefs", unix.DEBUGFS_MAGIC: "debugfs",
	unix.SECURITYFS_MAGIC: "securityfs", unix.BPF_FS_MAGIC: "bpf", unix.EFIVARFS_MAGIC: "efivarfs",
	unix.SELINUX_MAGIC: "selinuxfs", unix.SMACK_MAGIC: "smackfs", unix.DEVPTS_SUPER_MAGIC: "devpts",
	unix.BINFMTFS_MAGIC: "binfmt_misc", unix.RDTGROUP_SUPER_MAGIC: "resctrl", unix.NSFS_MAGIC: "nsfs",
	unix.PID_FS_MAGIC: "pidfs", 0x62656570: "configfs", 0x65735543: "fusectl",
	0x5a3c69f0: "apparmorfs", 0x6e736e66: "nfsd", 0x67596969: "rpc_pipefs",
}

// FileSystem identifies the file system of an open file or directory: by an id
// that, unlike the device number, most file systems keep over a reboot or another
// place in the machine (0: there is none); and its type, if its files are made
// up when they are read.
func FileSystem(f *os.File) (id uint64, made string) {
	var st unix.Statfs_t
	if err := ignoringEINTR(func() error { return unix.Fstatfs(int(f.Fd()), &st) }); err != nil {
		return 0, ""
	}
	return uint64(uint32(st.Fsid.Val[0])) | uint64(uint32(st.Fsid.Val[1]))<<32, virtual[int64(st.Type)]
}

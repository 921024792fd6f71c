//go:build linux || darwin

package disk

import "golang.org/x/sys/unix"

// Space is how large the file system at path is, in bytes, and how much of it a process
// without privileges can still use.
func Space(path string) (available, size uint64, err error) {
	var st unix.Statfs_t
	if err := ignoringEINTR(func() error { return unix.Statfs(path, &st) }); err != nil {
		return 0, 0, err
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
}

//go:build unix

package daemon

import (
	"errors"
	"os"
	"syscall"
)

// become takes the rights of a user in place of root's, until back is called.
func become(uid, gid int, all []int) (back func() error, err error) {
	groups, err := os.Getgroups()
	if err != nil {
		return nil, err
	}
	own := os.Getegid()
	back = func() error {
		return errors.Join(syscall.Seteuid(0), syscall.Setegid(own), syscall.Setgroups(groups))
	}
	if os.Geteuid() != 0 {
		return nil, os.ErrPermission
	}
	for _, step := range []func() error{
		func() error { return syscall.Setgroups(all) },
		func() error { return syscall.Setegid(gid) },
		func() error { return syscall.Seteuid(uid) },
	} {
		if err := step(); err != nil {
			return nil, errors.Join(err, back())
		}
	}
	return back, nil
}

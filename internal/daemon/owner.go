package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
)

// ServiceUser is the user that the services run as.
const ServiceUser = "fanin"

// User is a user that this process can act as, for commands that root runs for a service. What is in
// the directories of a service, the service's user can replace at any time, by links to anything. So
// root must not write there with its own rights, nor give away what is at a name there.
type User struct {
	name     string
	uid, gid int
	groups   []int
	self     bool // this process is that user
}

// UserOf returns a user. With no name, it is ServiceUser for root, and for others themselves.
func UserOf(name string) (*User, error) {
	if name == "" && os.Geteuid() == 0 {
		name = ServiceUser
	}
	if name == "" {
		return &User{self: true}, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("there is no user %q that the service would run as: install the package, or make "+
			"the user "+
			"with systemd-sysusers and systemd/fanin.sysusers, or name another one with --user (%w)", name, err)
	}
	uid, uerr := strconv.Atoi(u.Uid)
	gid, gerr := strconv.Atoi(u.Gid)
	if err := cmp.Or(uerr, gerr); err != nil {
		return nil, fmt.Errorf("the user %q has no number: %w", name, err)
	}
	groups := []int{gid}
	others, _ := u.GroupIds() // its own one suffices for most
	for _, text := range others {
		if id, err := strconv.Atoi(text); err == nil && id != gid {
			groups = append(groups, id)
		}
	}
	return &User{name, uid, gid, groups, uid == os.Geteuid()}, nil
}

// Do calls f with the rights of the user, and of nothing else. The whole process has them meanwhile.
func (u *User) Do(f func() error) error {
	if u.self {
		return f()
	}
	back, err := become(u.uid, u.gid, u.groups)
	if err != nil {
		return fmt.Errorf("act as the user %s: %w", u.name, err)
	}
	err = f()
	if failed := back(); failed != nil {
		return fmt.Errorf("act as %s no more: %w", u.name, failed)
	}
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("the service's user %s may not do this: %w", u.name, err)
	}
	return err
}

// Mkdir makes a directory that belongs to the user, unless it is there. make makes it; it is called
// again with the rights of this process where the user may not, as in /var/lib.
func (u *User) Mkdir(path string, make func() error) error {
	_, before := os.Lstat(path)
	err := u.Do(make)
	if u.self || !errors.Is(err, fs.ErrPermission) || !errors.Is(before, fs.ErrNotExist) {
		return err
	}
	if err := make(); err != nil {
		return err
	}
	return os.Lchown(path, u.uid, u.gid)
}

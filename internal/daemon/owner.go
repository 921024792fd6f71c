package daemon

import (
	"cmp"
	"fmt"
	"os"
	"os/user"
	"strconv"
)

// ServiceUser is the user that the services run as.
const ServiceUser = "fanin"

// Owner returns the function that gives a file to a user, for commands that root runs for a
// service. With no name, it is ServiceUser for root, and for others files stay theirs.
func Owner(name string) (func(path string) error, error) {
	if name == "" && os.Geteuid() == 0 {
		name = ServiceUser
	}
	if name == "" {
		return func(string) error { return nil }, nil
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
	return func(path string) error { return os.Lchown(path, uid, gid) }, nil
}

// Package access decides what a peer may do over the network. Roles are granted to names in
// certificates, to tokens, and to networks. It knows neither HTTP nor the protocol of workers.
package access

import "strings"

// Role is what a peer may do. Several are one value: Read | Work.
type Role uint8

// The roles. A caller that the configuration gives Admin has All.
const (
	Read  Role = 1 << iota // ask and watch: every GET
	Work                   // be a worker of a group
	Admin                  // change something
	All   = Read | Work | Admin
)

// ParseRole returns the roles that the configuration means by a name: "admin" includes the others.
func ParseRole(name string) (r Role, ok bool) {
	switch name {
	case "read":
		return Read, true
	case "work":
		return Work, true
	case "admin":
		return All, true
	}
	return 0, false
}

// Has reports whether r includes all roles of need.
func (r Role) Has(need Role) bool { return r&need == need }

// Names returns the names of the roles, never nil.
func (r Role) Names() []string {
	names := []string{}
	for i, name := range []string{"read", "work", "admin"} {
		if r.Has(1 << i) {
			names = append(names, name)
		}
	}
	return names
}

// String returns the names of the roles, separated by commas.
func (r Role) String() string { return strings.Join(r.Names(), ", ") }

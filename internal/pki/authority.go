// Package pki is the collector's own authority: it signs the certificates of the collector and
// of hosts, and remembers what it signed, whom it invited, and which certificates are revoked.
//
// Its directory has four files. Each is replaced as a whole, and durable before anything that
// depends on it is answered:
//
//	authority.pem   0600  the authority: its certificate and key, and those before it (keyring)
//	register.json   0600  certificates, invitations, revocations (register)
//	server.pem      0600  the collector's certificates and key, for cert and key of a listener
//	ca.crt          0644  the authorities that are trusted, for client_ca of a listener
//
// The last two follow from the first: Open makes them again if they do not fit it. So a process
// that ends between two writes leaves nothing half done.
//
// A serial number is 16 bytes: a number that grows by one with each certificate (8, big endian),
// and 8 random ones. To revoke a name is to store the number of its last certificate: that one
// and all before it are refused, whatever the clock shows, and whether or not they are listed.
package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/disk"
)

// How long things are valid.
const (
	AuthorityValid = 10 * 365 * 24 * time.Hour
	HostValid      = 90 * 24 * time.Hour // a host's certificate, and the collector's own
	TokenValid     = time.Hour           // a token, by default

	backdate = time.Hour // for clocks that differ a little
)

// The files of an authority.
const (
	authorityName = "authority.pem"
	registerName  = "register.json"
	serverName    = "server.pem"
	caName        = "ca.crt"
)

// Paths are the files that a listener names.
type Paths struct {
	Server string // cert and key
	CA     string // client_ca
}

// PathsIn returns the files of an authority in a directory.
func PathsIn(dir string) Paths {
	return Paths{Server: filepath.Join(dir, serverName), CA: filepath.Join(dir, caName)}
}

// Authority signs certificates. Open makes it; all methods may be called at the same time.
type Authority struct {
	dir  string
	disk *disk.Disk
	now  func() time.Time

	mu       sync.Mutex
	keys     *keyring
	register *register
	server   serverFiles

	refused atomic.Pointer[refused]
}

// ErrExists: there is an authority in the directory.
var ErrExists = errors.New("there is an authority already")

// Create makes an authority, in a directory that must not be there, for a collector with these
// names and addresses.
func Create(d *disk.Disk, dir string, names []string, now time.Time) error {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrExists, dir)
	}
	fresh := dir + ".new" // what was left of an attempt that was killed is of no use
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := d.Mkdir(fresh, 0o700); err != nil {
		return err
	}
	keys, err := newKeyring(now)
	if err != nil {
		return err
	}
	a := &Authority{dir: fresh, disk: d, now: func() time.Time { return now }, keys: keys,
		register: &register{Version: registerVersion, Names: names}}
	if err := a.rewrite(); err != nil {
		return err
	}
	if err := a.follow(); err != nil {
		return err
	}
	return d.RenameNew(fresh, dir)
}

// Open opens the authority in a directory. The error is fs.ErrNotExist if there is none. If there is
// an authority beside an error, it can be used: Upkeep will write what could not be written.
func Open(d *disk.Disk, dir string, now func() time.Time) (*Authority, error) {
	a := &Authority{dir: dir, disk: d, now: now}
	text, err := disk.ReadFile(filepath.Join(dir, authorityName))
	if errors.Is(err, fs.ErrNotExist) && exists(filepath.Join(dir, registerName)) {
		return nil, fmt.Errorf("the authority has lost its key, and without it would accept revoked certificates; "+
			"restore %s, or move %s away to begin anew", filepath.Join(dir, authorityName), dir)
	}
	if err != nil {
		return nil, err
	}
	if a.keys, err = parseKeyring(text); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, authorityName), err)
	}
	path := filepath.Join(dir, registerName)
	if text, err = disk.ReadFile(path); err != nil {
		return nil, fmt.Errorf("the authority has no register, and without it would accept revoked certificates; "+
			"restore %s: %v", path, err)
	}
	if a.register, err = parseRegister(text); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	a.publish()
	if err := a.follow(); err != nil {
		return a, &notStored{err}
	}
	return a, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// NamesIn returns the names of the collector whose authority is in a directory.
func NamesIn(dir string) ([]string, error) {
	path := filepath.Join(dir, registerName)
	text, err := disk.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r, err := parseRegister(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r.Names, nil
}

// rewrite writes the files that all others follow from.
func (a *Authority) rewrite() error {
	text, err := a.keys.text()
	if err != nil {
		return err
	}
	if err := a.disk.WriteFile(filepath.Join(a.dir, authorityName), text, 0o600); err != nil {
		return err
	}
	return a.disk.WriteFile(filepath.Join(a.dir, registerName), a.register.text(), 0o600)
}

// change makes a change of the register durable, and then puts it in force. On an error nothing
// has changed, except that numbers of certificates are not used again. It is called with mu.
func (a *Authority) change(f func(r *register) error) error {
	next := a.register.clone()
	err := f(next)
	a.register.Sequence = next.Sequence
	if err != nil {
		return err
	}
	if err := a.disk.WriteFile(filepath.Join(a.dir, registerName), next.text(), 0o600); err != nil {
		return &notStored{err}
	}
	a.register = next
	a.publish()
	return nil
}

// notStored is an error of the disk: the same request may succeed later.
type notStored struct{ err error }

func (e *notStored) Error() string { return fmt.Sprintf("the register cannot be written: %v", e.err) }

func (e *notStored) Unwrap() error { return e.err }

// Names are the names and addresses of the collector.
func (a *Authority) Names() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.register.Names
}

// Paths are the files that a listener names.
func (a *Authority) Paths() Paths { return PathsIn(a.dir) }

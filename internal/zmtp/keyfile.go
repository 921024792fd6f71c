package zmtp

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"fanin/internal/disk"
)

// A key file has one line of Z85, or is a certificate in ZPL (RFC 4) as zmq.auth of pyzmq and
// zcert of czmq write it:
//
//	#   a comment
//	metadata
//	    name = "value"
//	curve
//	    public-key = "40 characters"
//	    secret-key = "40 characters"
const (
	publicField = "public-key"
	secretField = "secret-key"

	publicSuffix = ".key"        // of the file with the public key alone
	secretSuffix = ".key_secret" // of the file with both
	maxKeyFile   = 1 << 20
)

// ReadSecretKey reads a secret key from a file: one line of Z85, or a certificate in ZPL with
// secret-key, as zmq.auth.create_certificates of pyzmq writes it. A file that every user can read
// is refused.
func ReadSecretKey(path string) (SecretKey, error) {
	fi, err := os.Stat(path)
	if err == nil && fi.Mode().Perm()&0o007 != 0 {
		err = fmt.Errorf("secret key %s can be read by every user (mode %04o): chmod 0600 %s",
			path, fi.Mode().Perm(), path)
	}
	if err != nil {
		return SecretKey{}, err
	}
	k, err := readKey(path, secretField)
	return SecretKey(k), err
}

// ReadPublicKey reads a public key from a file: one line of Z85, or a certificate in ZPL with
// public-key.
func ReadPublicKey(path string) (Key, error) { return readKey(path, publicField) }

// readKey reads the key of a file.
func readKey(path, field string) (k Key, err error) {
	b, err := readKeyFile(path)
	if err != nil {
		return k, err
	}
	fields, bare := parseKeyFile(string(b))
	text, ok := fields[field]
	switch {
	case ok:
	case len(fields) == 0 && len(bare) == 1:
		text = bare[0].text
	case field == secretField && fields[publicField] != "":
		return k, fmt.Errorf("%s has a public key alone: name the file with the secret one, *%s", path, secretSuffix)
	default:
		return k, fmt.Errorf("%s has no %s: want one line of 40 characters in Z85, "+
			"or a certificate as zmq.auth writes it", path, field)
	}
	if k, err = ParseKey(text); err != nil {
		// The text may be a secret: it is not shown.
		return k, fmt.Errorf("%s: its %s is not a CURVE key: want 40 characters of Z85", path, field)
	}
	return k, nil
}

func readKeyFile(path string) ([]byte, error) {
	if err := disk.Regular(path); err != nil {
		return nil, err
	}
	fi, err := os.Stat(path)
	if err == nil && fi.Size() > maxKeyFile {
		err = fmt.Errorf("%s has %d bytes; a file of keys has at most %d", path, fi.Size(), maxKeyFile)
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// bareLine is a line of a key file that is no field.
type bareLine struct {
	number int // from 1
	text   string
}

// parseKeyFile returns the fields NAME = VALUE of a certificate, and the lines that are not one.
// Sections and their indentation mean nothing here: a name is in one section only.
func parseKeyFile(text string) (fields map[string]string, bare []bareLine) {
	fields = make(map[string]string)
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line == "metadata" || line == "curve" || isComment(line) {
			continue
		}
		name, value, ok := strings.Cut(line, " = ")
		if !ok {
			bare = append(bare, bareLine{number, line})
			continue
		}
		fields[strings.TrimSpace(name)] = strings.Trim(strings.TrimSpace(value), `"`)
	}
	return fields, bare
}

// isComment reports whether a line is a comment. # is a digit of Z85, too.
func isComment(line string) bool {
	_, err := ParseKey(line)
	return err != nil && strings.HasPrefix(line, "#")
}

// ReadClientKeys reads the public keys of clients: from a file with a key a line, where # begins
// a comment, or from a directory of certificates NAME.key, as zmq.auth.load_certificates reads it.
func ReadClientKeys(path string) (map[Key]bool, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return readClientDirectory(path)
	}
	b, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	fields, bare := parseKeyFile(string(b))
	if _, ok := fields[secretField]; ok {
		return nil, errSecretClient(path)
	}
	clients := make(map[Key]bool)
	if text := fields[publicField]; text != "" {
		k, err := ParseKey(text)
		if err != nil {
			return nil, fmt.Errorf("%s: its %s is %w", path, publicField, err)
		}
		clients[k] = true
	}
	for _, line := range bare {
		k, err := ParseKey(strings.Fields(line.text)[0]) // a name may follow it
		if err != nil {
			return nil, fmt.Errorf("%s: line %d is %w", path, line.number, err)
		}
		clients[k] = true
	}
	if len(clients) == 0 {
		return nil, fmt.Errorf("%s has no key: no client could connect", path)
	}
	return clients, nil
}

// errSecretClient reports the secret key of a client, which this side must not have.
func errSecretClient(path string) error {
	return fmt.Errorf("%s has a secret key: name the file with the client's public key, *%s", path, publicSuffix)
}

func readClientDirectory(path string) (map[Key]bool, error) {
	files, err := filepath.Glob(filepath.Join(path, "*"+publicSuffix))
	if err != nil {
		return nil, err
	}
	clients := make(map[Key]bool)
	for _, file := range files {
		k, err := readClientKey(file)
		if err != nil {
			return nil, err
		}
		clients[k] = true
	}
	if len(clients) == 0 {
		return nil, fmt.Errorf("%s has no file *%s with a public key: no client could connect", path, publicSuffix)
	}
	return clients, nil
}

// readClientKey reads the public key of a client from a file that has it alone.
func readClientKey(path string) (Key, error) {
	b, err := readKeyFile(path)
	if err != nil {
		return Key{}, err
	}
	if fields, _ := parseKeyFile(string(b)); fields[secretField] != "" {
		return Key{}, errSecretClient(path)
	}
	return readKey(path, publicField)
}

// WriteKeyPair writes NAME.key_secret, which its owner alone can read, and NAME.key, certificates
// as zmq.auth reads them. It replaces no file.
func WriteKeyPair(name string, secret SecretKey) error {
	public, err := secret.Public()
	if err != nil {
		return err
	}
	certificate := "metadata\ncurve\n    " + publicField + " = \"" + public.String() + "\"\n"
	if _, err := os.Lstat(name + publicSuffix); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s exists: remove it, or choose another name", name+publicSuffix)
	}
	both := "#   ZeroMQ CURVE secret certificate: keep it from others\n" + certificate +
		"    " + secretField + " = \"" + encodeZ85(secret[:]) + "\"\n"
	if err := writeNew(name+secretSuffix, both, 0o600); err != nil {
		return err
	}
	return writeNew(name+publicSuffix, "#   ZeroMQ CURVE public certificate\n"+certificate, 0o644)
}

// writeNew writes a file that does not exist.
func writeNew(path, text string, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists: remove it, or choose another name", path)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

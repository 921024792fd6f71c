package disk

import (
	"fmt"
	"os"
	"strings"
)

// ReadSecret reads a secret, such as a password, from a file that not every user may read. White
// space around it does not count.
func ReadSecret(path string) (string, error) {
	if err := Regular(path); err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	fi, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	if fi.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("secret %s can be read by every user (mode %04o): chmod 0640 %s",
			path, fi.Mode().Perm(), path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	if s := strings.TrimSpace(string(b)); s != "" {
		return s, nil
	}
	return "", fmt.Errorf("secret %s is empty", path)
}

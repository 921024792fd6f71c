package disk

import (
	"errors"
	"testing"
)

func TestSpace(t *testing.T) {
	available, size, err := Space(t.TempDir())
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil || size == 0 || available > size {
		t.Errorf("%d of %d bytes are available: %v", available, size, err)
	}
	if _, _, err := Space("/no such directory"); err == nil {
		t.Error("a directory that does not exist has space")
	}
}

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/internal/tail/decode"
)

// loadText loads a configuration with these keys of one table of files.
func loadText(t *testing.T, to, keys string) (*settings, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.toml")
	text := "[agent]\nid = 'a'\nstate = '/nowhere'\nto = ['" + to + "']\n[[agent.file]]\npaths = ['/x/a.log']\n" + keys
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return (&options{config: path}).load(nil)
}

// TestTextKeys: what the keys of a table say is what its files are decoded with.
func TestTextKeys(t *testing.T) {
	s, err := loadText(t, "tcp://h:1", "encoding = 'utf-16be'\nmultiline = {first = '^\\d', max_lines = 7}\n")
	if err != nil {
		t.Fatal(err)
	}
	m, ok := s.files()[0].Text.Choose(nil, false).(*decode.Multiline)
	if !ok || m.Of != (decode.UTF16{BigEndian: true}) || m.First.String() != `^\d` || m.MaxLines != 7 ||
		m.MaxBytes != 1<<20 || m.Timeout != 2*time.Second {
		t.Errorf("%+v", m)
	}
}

// TestTextKeysRefused: each mistake is reported with what is allowed.
func TestTextKeysRefused(t *testing.T) {
	for keys, want := range map[string]string{
		"format = 'xml'":                          `format "xml": want one of`,
		"encoding = 'latin-1'":                    `encoding "latin-1": want one of`,
		"format = 'cri'\nencoding = 'utf-16le'":   `format "cri" is always in UTF-8: remove encoding`,
		"multiline = {}":                          "first is missing",
		"multiline = {first = '('}":               "missing closing )",
		"multiline = {first = 'a', max_lines=1}":  "max_lines is 1; want 2 to 100000",
		"multiline = {first = 'a', max_bytes=1}":  "max_bytes",
		"multiline = {first = 'a', timeout='1x'}": "timeout",
	} {
		if _, err := loadText(t, "tcp://h:1", keys+"\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", keys, err, want)
		}
	}
	if _, err := loadText(t, "udp://h:1", "multiline = {first = 'a'}\n"); err == nil || !strings.Contains(err.Error(), "does not work with udp") {
		t.Errorf("over udp: %v", err)
	}
}

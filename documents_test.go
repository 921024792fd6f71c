package fanin_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	namedTest = regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)`")
	testFunc  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)\(`)
)

// Each test that a document names as the proof of what it says exists, and each
// claim in SECURITY.md of what is defended names one.
func TestDocumentsNameTests(t *testing.T) {
	tests := make(map[string]bool)
	err := filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllSubmatch(b, -1) {
			tests[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	documents, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, path := range append(documents, "README.md", "DESIGN.md", "SECURITY.md", "CONTRIBUTING.md") {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range namedTest.FindAllSubmatch(b, -1) {
			if named++; !tests[string(m[1])] {
				t.Errorf("%s names %s, and there is no such test", path, m[1])
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d tests are named: is the expression right?", named)
	}
	security, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	_, defended, _ := strings.Cut(string(security), "so is any of these:\n")
	defended, _, _ = strings.Cut(defended, "\n## ")
	for _, claim := range strings.Split(defended, "\n- ")[1:] {
		if !namedTest.MatchString(claim) {
			t.Errorf("SECURITY.md claims this without a test: %.100s", claim)
		}
	}
}

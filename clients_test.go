package fanin_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// notRun is how docs/clients.md marks what no test runs.
const notRun = "from the vendor's documentation, not run"

// Each configuration in docs/clients.md is, byte for byte, a file of the script that its
// mark names, and the script uses it.
func TestDocumentsClients(t *testing.T) {
	scripts := clientScripts(t)
	shown := make(map[string]bool)
	for title, text := range clientSections(t) {
		saysSo := strings.Contains(strings.ToLower(text), notRun)
		blocks := regexp.MustCompile("(?ms)^(?:<!-- (.*?) -->\n)?```[a-z]+\n(.*?)^```").FindAllStringSubmatch(text, -1)
		for _, b := range blocks {
			mark, content := b[1], b[2]
			if mark == "collector" || mark == "not run" && saysSo {
				continue
			}
			script, name, _ := strings.Cut(mark, ": ")
			shown[script] = true
			switch archive := scripts[script]; {
			case archive == nil:
				t.Errorf("%s: the mark %q of a block names no script of e2e/testdata/clients", title, mark)
			case file(archive, name) != content:
				t.Errorf("%s: what the document shows is not what %s runs as %s, which is\n%s", title, script, name, file(archive, name))
			case !uses(archive, name):
				t.Errorf("%s: %s does not use %s", title, script, name)
			}
		}
		if !regexp.MustCompile(`\b[a-z_-]+\.txtar\b`).MatchString(text) && !saysSo {
			t.Errorf("%s names no script, and does not say %q", title, notRun)
		}
	}
	for _, script := range slices.Sorted(maps.Keys(scripts)) {
		if !shown[script] {
			t.Errorf("docs/clients.md shows nothing of e2e/testdata/clients/%s", script)
		}
	}
}

// clientSections returns the sections of docs/clients.md that are about clients, by title.
func clientSections(t *testing.T) map[string]string {
	t.Helper()
	_, text, found := strings.Cut(documents(t)["docs/clients.md"], "<!-- clients -->\n")
	text, _, ended := strings.Cut(text, "<!-- /clients -->\n")
	if !found || !ended {
		t.Fatal("docs/clients.md has no part between <!-- clients --> and <!-- /clients -->")
	}
	sections := make(map[string]string)
	for _, s := range strings.Split("\n"+text, "\n### ")[1:] {
		title, rest, _ := strings.Cut(s, "\n")
		sections[title] = rest
	}
	return sections
}

// clientScripts returns the scripts of TestClients, by name.
func clientScripts(t *testing.T) map[string]*txtar.Archive {
	t.Helper()
	paths, err := filepath.Glob("e2e/testdata/clients/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	scripts := make(map[string]*txtar.Archive)
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		scripts[filepath.Base(path)] = txtar.Parse(b)
	}
	return scripts
}

func file(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// uses reports whether the script or another of its files names a file. Some programs find
// their configuration by its name alone.
func uses(a *txtar.Archive, name string) bool {
	if name == "logback.xml" {
		return true
	}
	text := string(a.Comment)
	for _, f := range a.Files {
		if f.Name != name {
			text += string(f.Data)
		}
	}
	return strings.Contains(text, name)
}

package fanin_test

import (
	"go/ast"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	namedTest = regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)`")
	testFunc  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)\(`)
)

// Each test that a document names as a proof exists, and each claim in SECURITY.md of
// what is defended names one.
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
	named := 0
	for path, text := range documents(t) {
		for _, m := range namedTest.FindAllStringSubmatch(text, -1) {
			if named++; !tests[m[1]] {
				t.Errorf("%s names %s, and there is no such test", path, m[1])
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d tests are named: is the expression right?", named)
	}
	_, defended, found := strings.Cut(documents(t)["SECURITY.md"], "so is any of these:\n")
	if !found {
		t.Error("SECURITY.md has no list of what is defended")
	}
	defended, _, _ = strings.Cut(defended, "\n## ")
	for _, claim := range strings.Split(defended, "\n- ")[1:] {
		if !namedTest.MatchString(claim) {
			t.Errorf("SECURITY.md claims this without a test: %.100s", claim)
		}
	}
}

// documents returns the documents that describe the code, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]string)
	for _, path := range append(paths, "README.md", "DESIGN.md", "SECURITY.md", "CONTRIBUTING.md") {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts[path] = string(b)
	}
	return texts
}

// section returns what DESIGN.md has between two texts.
func section(t *testing.T, begin, end string) string {
	t.Helper()
	_, text, found := strings.Cut(documents(t)["DESIGN.md"], begin)
	if !found {
		t.Fatalf("DESIGN.md has no %q", begin)
	}
	if end != "" {
		text, _, _ = strings.Cut(text, end)
	}
	return text
}

var namedFile = regexp.MustCompile("`([a-z0-9_]+(?:/[a-z0-9_]+)*\\.go)`")

// Each Go file that a document names exists: by its path, or by the end of its path.
func TestDocumentsNameFiles(t *testing.T) {
	var files []string
	goFiles(t, func(name string, _ *token.FileSet, _ *ast.File) { files = append(files, "/"+name) })
	named := 0
	for document, text := range documents(t) {
		for _, m := range namedFile.FindAllStringSubmatch(text, -1) {
			named++
			if !slices.ContainsFunc(files, func(file string) bool { return strings.HasSuffix(file, "/"+m[1]) }) {
				t.Errorf("%s names the file %s, which does not exist", document, m[1])
			}
		}
	}
	if named < 60 {
		t.Errorf("only %d files are named: is the expression right?", named)
	}
}

var codeWord = regexp.MustCompile("`([^`]+)`")

// The table of packages in DESIGN.md is the table of imports that arch_test.go enforces.
func TestDocumentsPackages(t *testing.T) {
	rows := make(map[string][]string)
	for _, line := range strings.Split(section(t, "<!-- packages -->", "<!-- /packages -->"), "\n") {
		cells := strings.Split(line, " | ")
		if len(cells) != 3 || !strings.HasPrefix(line, "| `") {
			continue
		}
		var imports []string
		for _, m := range codeWord.FindAllStringSubmatch(cells[2], -1) {
			imports = append(imports, "fanin/"+m[1])
		}
		rows["fanin/"+codeWord.FindStringSubmatch(cells[0])[1]] = imports
	}
	for name, imports := range direction {
		want := slices.Sorted(slices.Values(imports))
		got, ok := rows[name]
		if slices.Sort(got); !ok || !slices.Equal(got, want) {
			t.Errorf("DESIGN.md says that %s may import %q; the table in arch_test.go says %q", name, got, want)
		}
		delete(rows, name)
	}
	if len(rows) > 0 {
		t.Errorf("arch_test.go has no rows for these packages of DESIGN.md: %q", slices.Sorted(maps.Keys(rows)))
	}
}

var (
	// mainPath are the directories of the main path, from a file to the log and out again.
	mainPath = []string{"internal/wire", "ingest", "sink", "internal/tail", "internal/ship",
		"internal/counters", "internal/retry", "internal/natsconn", "internal/sequence"}

	// plainTypes match the types whose names explain themselves: settings, figures and
	// errors of a type that is in the glossary.
	plainTypes = regexp.MustCompile(`(Error|Status|Settings|Metrics|Limits|Options|Report|Policy|Timing|Counts|TLS)$`)

	codeType = regexp.MustCompile(`^[a-z]+\.[A-Za-z0-9]+$`)
)

// Each exported type of the main path is a word of the glossary, and the types that the
// glossary names exist.
func TestDocumentsGlossary(t *testing.T) {
	exists := make(map[string]bool)   // every type, as package.Type
	required := make(map[string]bool) // those that the glossary must have
	goFiles(t, func(name string, _ *token.FileSet, f *ast.File) {
		dir := path.Dir(name)
		onPath := slices.ContainsFunc(mainPath, func(p string) bool { return dir == p || strings.HasPrefix(dir, p+"/") })
		helper := strings.HasSuffix(name, "_test.go") || strings.HasSuffix(dir, "test") // of tests
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || helper {
				continue
			}
			for _, spec := range g.Specs {
				if s, ok := spec.(*ast.TypeSpec); ok {
					word := f.Name.Name + "." + s.Name.Name
					exists[word] = true
					required[word] = required[word] || onPath && s.Name.IsExported() && !plainTypes.MatchString(s.Name.Name)
				}
			}
		}
	})
	named := make(map[string]bool)
	for _, line := range strings.Split(section(t, "\n## Glossary\n", ""), "\n") {
		cells := strings.Split(line, " | ")
		if len(cells) != 3 {
			continue
		}
		for _, m := range codeWord.FindAllStringSubmatch(cells[2], -1) {
			if codeType.MatchString(m[1]) && !strings.HasSuffix(m[1], ".go") {
				named[m[1]] = true
			}
		}
	}
	known := functions(t)
	for word := range named {
		if !exists[word] && !known[strings.ToLower(word)] {
			t.Errorf("the glossary names %s, which does not exist", word)
		}
	}
	for word, must := range required {
		if must && !named[word] {
			t.Errorf("the glossary in DESIGN.md does not have %s: add its word, what it means, and `%s`", word, word)
		}
	}
}

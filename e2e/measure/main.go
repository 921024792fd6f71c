// Command measure prints how large and how tangled the code is: lengths of functions
// and files, widths of structs, cyclomatic complexity, exported names without a doc
// comment, and long lines. With -check it fails where a limit is exceeded, and names
// each place. Generated files are left out.
package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	check := flag.Bool("check", false, "fail where a limit is exceeded, and print nothing else")
	tests := flag.Bool("tests", false, "measure the tests and the programs under e2e instead of the code itself")
	flag.Parse()
	root := "."
	if flag.NArg() > 0 {
		root = flag.Arg(0)
	}
	m, err := measure(root, *tests)
	if err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(1)
	}
	if !*check {
		m.print(os.Stdout)
		return
	}
	places := m.exceeded()
	for _, p := range places {
		fmt.Println(p)
	}
	if len(places) > 0 {
		os.Exit(1)
	}
}

// measure reads the Go files below root.
func measure(root string, tests bool) (*measures, error) {
	m := new(measures)
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() && name != root && (base == "build" || base == "testdata" || strings.HasPrefix(base, ".")) {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(base, ".go") || isTest(root, name) != tests {
			return nil
		}
		return m.file(name)
	})
	return m, err
}

// isTest reports whether a file belongs to the tests: by its name, or because its
// package exists only to test the others.
func isTest(root, name string) bool {
	rel, err := filepath.Rel(root, name)
	if err != nil {
		rel = name
	}
	dir := filepath.ToSlash(filepath.Dir(rel)) + "/"
	return strings.HasSuffix(name, "_test.go") || strings.HasPrefix(dir, "e2e/") || strings.HasSuffix(dir, "test/")
}

// file adds one file's measures.
func (m *measures) file(name string) error {
	src, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	if ast.IsGenerated(f) {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(string(src), "\n"), "\n")
	m.lines += len(lines)
	m.files = append(m.files, value{name, len(lines)})
	for i, line := range lines {
		if n := width(line); n > maxColumns {
			m.columns = append(m.columns, value{fmt.Sprintf("%s:%d", name, i+1), n})
		}
	}
	at := func(n ast.Node) token.Position { return fset.Position(n.Pos()) }
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			place := fmt.Sprintf("%s: %s", at(fn), fn.Name.Name)
			m.functions = append(m.functions, value{place, fset.Position(fn.End()).Line - at(fn).Line + 1})
			m.complexity = append(m.complexity, value{place, complexity(fn)})
		}
		for _, name := range undocumented(d) {
			m.undocumented = append(m.undocumented, fmt.Sprintf("%s: %s", at(name), name.Name))
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if t, ok := n.(*ast.TypeSpec); ok {
			if s, ok := t.Type.(*ast.StructType); ok {
				m.structs = append(m.structs, value{fmt.Sprintf("%s: %s", at(t), t.Name.Name), s.Fields.NumFields()})
			}
		}
		return true
	})
	return nil
}

// width is a line's length in columns; a tab counts as four.
func width(line string) int {
	n := 0
	for _, r := range line {
		if n++; r == '\t' {
			n += 3
		}
	}
	return n
}

// complexity is McCabe's cyclomatic complexity of a function with the literals in
// it: 1, and 1 for each if, for, case and boolean operator.
func complexity(fn *ast.FuncDecl) int {
	n := 1
	ast.Inspect(fn, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			n++
		case *ast.CaseClause:
			if node.List != nil {
				n++
			}
		case *ast.CommClause:
			if node.Comm != nil {
				n++
			}
		case *ast.BinaryExpr:
			if node.Op == token.LAND || node.Op == token.LOR {
				n++
			}
		}
		return true
	})
	return n
}

// undocumented returns the exported names that a declaration introduces without a doc
// comment. The comment of a group counts for every name in it.
func undocumented(d ast.Decl) (names []*ast.Ident) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && exportedReceiver(d) {
			names = append(names, d.Name)
		}
	case *ast.GenDecl:
		if d.Doc != nil {
			return nil
		}
		for _, s := range d.Specs {
			names = append(names, undocumentedIn(s)...)
		}
	}
	return names
}

func undocumentedIn(s ast.Spec) (names []*ast.Ident) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		if s.Doc == nil && s.Comment == nil && s.Name.IsExported() {
			names = append(names, s.Name)
		}
	case *ast.ValueSpec:
		for _, name := range s.Names {
			if s.Doc == nil && s.Comment == nil && name.IsExported() {
				names = append(names, name)
			}
		}
	}
	return names
}

// exportedReceiver reports whether fn is a function, or a method of an exported type.
func exportedReceiver(fn *ast.FuncDecl) bool {
	if fn.Recv == nil {
		return true
	}
	of := fn.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	if index, ok := of.(*ast.IndexExpr); ok {
		of = index.X
	}
	id, ok := of.(*ast.Ident)
	return ok && id.IsExported()
}

// Package fanin_test has the rules for the whole program: which package may import which,
// which one may sync and rename, how long functions and files may be, and that the
// documents are true.
package fanin_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// direction lists what each package may import of this module. A package without a row
// has the row of the directory above it. Inputs, sink, tail and ship meet only in
// internal/collector and internal/agent: none imports another, and none knows where its
// settings come from.
var direction = map[string][]string{
	"fanin/internal/wire":              {"fanin/internal/msgpack"},
	"fanin/internal/msgpack":           {},
	"fanin/internal/wire/appendertest": {"fanin/internal/wire"},
	"fanin/internal/disk":              {},
	"fanin/internal/instant":           {},
	"fanin/internal/unpack":            {},
	"fanin/internal/units":             {},
	"fanin/internal/config":            {"fanin/internal/units"},
	"fanin/internal/config/tables":     {"fanin/internal/config", "fanin/internal/certs", "fanin/internal/natsconn"},
	"fanin/internal/machine":           {},
	"fanin/internal/daemon":            {"fanin/internal/escape", "fanin/internal/machine"},
	"fanin/internal/certs":             {"fanin/internal/disk"},
	"fanin/internal/join":              {},
	"fanin/internal/pki":               {"fanin/internal/certs", "fanin/internal/disk", "fanin/internal/join"},
	"fanin/internal/doctor":            {"fanin/internal/escape"},
	"fanin/internal/escape":            {},
	"fanin/internal/top":               {"fanin/internal/escape"},
	"fanin/internal/top/toptest":       {},
	"fanin/internal/origin":            {},
	"fanin/internal/access":            {"fanin/internal/disk", "fanin/internal/origin"},
	"fanin/internal/certs/certstest":   {},
	"fanin/internal/natsconn":          {"fanin/internal/retry", "fanin/internal/wire", "fanin/internal/disk"},
	"fanin/internal/natstest":          {"fanin/internal/freeport"},
	"fanin/internal/freeport":          {},
	"fanin/internal/redisconn":         {"fanin/internal/disk"},
	"fanin/internal/redistest":         {"fanin/internal/freeport", "fanin/internal/redisconn", "fanin/internal/waittest"},
	"fanin/internal/zmtp":              {"fanin/internal/retry", "fanin/internal/disk", "fanin/internal/origin"},
	"fanin/internal/waittest":          {},
	"fanin/internal/page":              {},
	"fanin/internal/retry":             {},
	"fanin/internal/pace":              {"fanin/internal/machine", "fanin/internal/retry"},
	"fanin/internal/lines":             {"fanin/internal/wire"},
	"fanin/internal/counters":          {},
	"fanin/ingest":                     {"fanin/internal/counters", "fanin/internal/lines", "fanin/internal/retry", "fanin/internal/wire", "fanin/internal/disk", "fanin/internal/origin"},
	"fanin/ingest/stream":              {"fanin/ingest", "fanin/internal/retry", "fanin/internal/wire", "fanin/internal/origin"},
	"fanin/ingest/datagram":            {"fanin/ingest", "fanin/internal/counters", "fanin/internal/lines", "fanin/internal/retry", "fanin/internal/wire", "fanin/internal/origin"},
	"fanin/ingest/agent":               {"fanin/ingest", "fanin/ingest/stream", "fanin/ingest/datagram", "fanin/internal/counters", "fanin/internal/lines", "fanin/internal/wire", "fanin/internal/origin"},
	"fanin/ingest/plain":               {"fanin/ingest", "fanin/ingest/stream", "fanin/ingest/datagram", "fanin/ingest/syslog", "fanin/internal/counters", "fanin/internal/lines", "fanin/internal/wire"},
	"fanin/ingest/ingesttest":          {"fanin/ingest", "fanin/ingest/syslog", "fanin/ingest/stream", "fanin/ingest/datagram", "fanin/ingest/agent", "fanin/ingest/plain", "fanin/internal/counters", "fanin/internal/waittest", "fanin/internal/wire"},
	"fanin/ingest/key":                 {"fanin/internal/lines", "fanin/internal/wire"},
	"fanin/internal/sequence":          {"fanin/internal/lines", "fanin/internal/wire"},
	"fanin/ingest/gelf":                {"fanin/ingest", "fanin/ingest/stream", "fanin/ingest/datagram", "fanin/internal/counters", "fanin/internal/lines", "fanin/internal/retry", "fanin/internal/wire", "fanin/internal/origin"},
	"fanin/ingest/nats":                {"fanin/ingest", "fanin/internal/sequence", "fanin/internal/counters", "fanin/internal/lines", "fanin/internal/natsconn", "fanin/internal/retry", "fanin/internal/wire", "fanin/internal/disk"},
	"fanin/ingest/redis":               {"fanin/ingest", "fanin/internal/sequence", "fanin/ingest/key", "fanin/internal/counters", "fanin/internal/lines", "fanin/internal/redisconn", "fanin/internal/retry", "fanin/internal/wire"},
	"fanin/ingest/syslog":              {"fanin/ingest", "fanin/internal/counters", "fanin/internal/lines", "fanin/internal/retry", "fanin/internal/wire"},
	"fanin/ingest/relp":                {"fanin/ingest", "fanin/ingest/stream", "fanin/ingest/syslog", "fanin/internal/counters", "fanin/internal/lines", "fanin/internal/wire"},
	"fanin/ingest/zmq":                 {"fanin/ingest", "fanin/internal/counters", "fanin/internal/lines", "fanin/internal/retry", "fanin/internal/wire", "fanin/internal/zmtp"},
	"fanin/internal/unixsock":          {"fanin/internal/retry", "fanin/internal/wire"},
	"fanin/internal/spool":             {"fanin/internal/lines", "fanin/internal/retry", "fanin/internal/wire", "fanin/internal/disk"},
	"fanin/internal/tail":              {"fanin/internal/instant", "fanin/internal/unpack", "fanin/internal/lines", "fanin/internal/retry", "fanin/internal/wire", "fanin/internal/disk"},
	"fanin/internal/journal":           {"fanin/internal/disk", "fanin/internal/retry", "fanin/internal/sequence", "fanin/internal/wire"},
	"fanin/internal/ship":              {"fanin/internal/instant", "fanin/internal/lines", "fanin/internal/retry", "fanin/internal/wire", "fanin/internal/disk", "fanin/internal/natsconn"},
	"fanin/sink":                       {"fanin/internal/msgpack", "fanin/internal/units", "fanin/internal/counters", "fanin/internal/lines", "fanin/internal/retry", "fanin/internal/pace", "fanin/internal/wire", "fanin/internal/disk", "fanin/internal/escape"},
	"fanin/sink/line":                  {"fanin/internal/escape", "fanin/internal/lines", "fanin/internal/wire"},
	"fanin/sink/archive":               {"fanin/internal/disk", "fanin/internal/retry"},
	"fanin/sink/summary":               {"fanin/internal/disk"},
	"fanin/sink/distribute":            {"fanin/internal/msgpack", "fanin/internal/retry", "fanin/internal/pace", "fanin/sink", "fanin/sink/line", "fanin/internal/wire", "fanin/internal/disk", "fanin/internal/origin"},
	"fanin/sink/distribute/protocol":   {},
	"fanin/sink/distribute/worker":     {"fanin/internal/retry", "fanin/sink/distribute/protocol", "fanin/internal/escape"},
	"fanin/sink/distribute/carry":      {"fanin/internal/retry", "fanin/sink/distribute/protocol", "fanin/sink/distribute/worker"},
	"fanin/sink/distribute/nats":       {"fanin/sink/line", "fanin/sink/distribute/carry", "fanin/sink/distribute/protocol", "fanin/internal/natsconn"},
	"fanin/sink/distribute/redis":      {"fanin/sink/line", "fanin/sink/distribute/carry", "fanin/sink/distribute/protocol", "fanin/sink/distribute/worker", "fanin/sink", "fanin/sink/distribute", "fanin/internal/redisconn", "fanin/internal/retry", "fanin/internal/disk"},
	"fanin/sink/distribute/zmq":        {"fanin/internal/retry", "fanin/internal/zmtp", "fanin/sink/distribute/carry", "fanin/sink/distribute/protocol"},
	"fanin/sink/merge":                 {"fanin/internal/escape", "fanin/internal/retry", "fanin/internal/units", "fanin/sink", "fanin/sink/depot"},
	"fanin/sink/depot":                 {"fanin/internal/disk", "fanin/internal/pace", "fanin/internal/retry", "fanin/sink"},
	"fanin/internal/s3test":            {"fanin/internal/freeport", "fanin/internal/waittest"},
	"fanin/sink/relay":                 {"fanin/internal/retry", "fanin/sink", "fanin/sink/line", "fanin/internal/wire", "fanin/internal/lines", "fanin/internal/disk", "fanin/internal/escape"},
	"fanin/sink/livetail/redis":        {"fanin/internal/redisconn", "fanin/internal/retry", "fanin/sink"},
	"fanin/sink/livetail/zmq":          {"fanin/internal/retry", "fanin/internal/zmtp", "fanin/sink"},
	"fanin/sink/livetail":              {"fanin/internal/units", "fanin/internal/retry", "fanin/sink", "fanin/sink/line", "fanin/internal/wire", "fanin/internal/disk", "fanin/internal/escape", "fanin/internal/origin"},
	"fanin/internal/cluster":           {"fanin/internal/retry", "fanin/internal/wire", "fanin/sink"},
	"fanin/internal/collector": {"fanin/internal/cluster", "fanin/internal/counters", "fanin/internal/unixsock", "fanin/ingest/...", "fanin/sink", "fanin/sink/distribute", "fanin/sink/distribute/protocol", "fanin/sink/distribute/nats", "fanin/sink/distribute/redis", "fanin/sink/distribute/worker", "fanin/sink/distribute/zmq", "fanin/sink/livetail", "fanin/sink/livetail/redis", "fanin/sink/livetail/zmq", "fanin/sink/line", "fanin/sink/merge", "fanin/sink/relay", "fanin/sink/depot", "fanin/internal/sequence", "fanin/internal/ship", "fanin/internal/zmtp",
		"fanin/internal/config", "fanin/internal/config/tables", "fanin/internal/machine", "fanin/internal/daemon", "fanin/internal/certs", "fanin/internal/join", "fanin/internal/pki", "fanin/internal/units", "fanin/internal/natsconn", "fanin/internal/redisconn", "fanin/internal/retry", "fanin/internal/wire", "fanin/internal/disk", "fanin/internal/escape", "fanin/internal/origin", "fanin/internal/page", "fanin/internal/access", "fanin/internal/doctor", "fanin/internal/top"},
	"fanin/internal/agent": {"fanin/internal/tail", "fanin/internal/tail/decode", "fanin/internal/unpack", "fanin/internal/journal", "fanin/internal/spool", "fanin/internal/unixsock", "fanin/internal/ship",
		"fanin/internal/config", "fanin/internal/config/tables", "fanin/internal/machine", "fanin/internal/daemon", "fanin/internal/certs", "fanin/internal/join", "fanin/internal/natsconn", "fanin/internal/retry", "fanin/internal/wire", "fanin/internal/disk", "fanin/internal/escape", "fanin/internal/doctor"},
	"fanin/cmd/collector": {"fanin/internal/collector", "fanin/internal/daemon"},
	"fanin/cmd/agent":     {"fanin/internal/agent", "fanin/internal/daemon"},
}

const (
	maxFunction = 100 // lines
	maxFile     = 600
)

// pkg is a package in the output of `go list`.
type pkg struct {
	ImportPath, Dir, Export string
	GoFiles, Imports        []string
	Standard                bool
	DepOnly                 bool
}

// goList runs `go list -json` with more arguments.
func goList(t *testing.T, args ...string) (list []pkg) {
	t.Helper()
	c := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Export,GoFiles,Imports,Standard,DepOnly"}, args...)...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// checker reports whether a package tests the programs from outside: fewer rules apply to it.
func checker(importPath string) bool { return strings.HasPrefix(importPath, "fanin/e2e") }

// allows reports whether a rule of the table allows an import: "path/..." allows path and
// everything below it.
func allows(rule, importPath string) bool {
	if path, ok := strings.CutSuffix(rule, "/..."); ok {
		return importPath == path || strings.HasPrefix(importPath, path+"/")
	}
	return importPath == rule
}

func TestArchitectureImports(t *testing.T) {
	for _, p := range goList(t, "./...") {
		if checker(p.ImportPath) || len(p.GoFiles) == 0 {
			continue
		}
		row := p.ImportPath
		for direction[row] == nil && row != "." {
			row = path.Dir(row)
		}
		allowed, ok := direction[row]
		if !ok {
			t.Errorf("%s has no row in the table of imports (arch_test.go)", p.ImportPath)
		}
		for _, i := range p.Imports {
			within := i == row || strings.HasPrefix(i, row+"/")
			if strings.HasPrefix(i, "fanin/") && !slices.ContainsFunc(allowed, func(rule string) bool { return allows(rule, i) }) && !within {
				t.Errorf("%s imports %s; allowed are %q", p.ImportPath, i, allowed)
			}
		}
	}
}

// The agent, which runs on every machine, stays small: it links nothing of the collector.
func TestArchitectureAgentLinksNoCollector(t *testing.T) {
	for _, p := range goList(t, "-deps", "./cmd/agent") {
		for _, not := range []string{"fanin/sink", "fanin/ingest"} {
			if p.ImportPath == not || strings.HasPrefix(p.ImportPath, not+"/") {
				t.Errorf("cmd/agent links %s", p.ImportPath)
			}
		}
	}
}

// source is a package of this module with types.
type source struct {
	pkg
	files []*ast.File
	info  *types.Info
	types *types.Package
}

// load type-checks the packages of this module, their tests left out.
func load(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	exports := make(map[string]string)
	var own []source
	for _, p := range goList(t, "-export", "-deps", "./...") {
		exports[p.ImportPath] = p.Export
		if !p.DepOnly && len(p.GoFiles) > 0 {
			own = append(own, source{pkg: p})
		}
	}
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("no export data for %s", path)
		}
		return os.Open(exports[path])
	})
	for i := range own {
		s := &own[i]
		for _, name := range s.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(s.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			s.files = append(s.files, f)
		}
		s.info = &types.Info{Types: make(map[ast.Expr]types.TypeAndValue), Uses: make(map[*ast.Ident]types.Object), Defs: make(map[*ast.Ident]types.Object),
			Selections: make(map[*ast.SelectorExpr]*types.Selection)}
		var err error
		if s.types, err = (&types.Config{Importer: imports}).Check(s.ImportPath, fset, s.files, s.info); err != nil {
			t.Fatal(err)
		}
	}
	return fset, own
}

// durable matches the calls that decide what survives a power cut. They are made in
// one package, where a test can make them fail.
var durable = regexp.MustCompile(`^(os\.(Rename|File\.Sync)|(syscall|golang\.org/x/sys/unix)\.(Rename\w*|Fsync|Fdatasync|Sync\w*))$`)

func TestArchitectureOnlyDiskSyncs(t *testing.T) {
	fset, own := load(t)
	for _, s := range own {
		if s.ImportPath == "fanin/internal/disk" || checker(s.ImportPath) {
			continue
		}
		for id, o := range s.info.Uses {
			f, ok := o.(*types.Func)
			if !ok || f.Pkg() == nil {
				continue
			}
			if name := funcName(f); durable.MatchString(name) {
				t.Errorf("%s: %s outside internal/disk", fset.Position(id.Pos()), name)
			}
		}
	}
}

// printing matches the calls that print text unescaped. Commands print with
// internal/escape instead: names from outside must not reach a terminal as they are.
var printing = regexp.MustCompile(`^(fmt\.(Fp|P)rint\w*|encoding/json\.Encoder\.SetIndent|os\.File\.WriteString)$`)

// program reports whether a package is a part of a program's command line.
func program(importPath string) bool {
	return strings.HasPrefix(importPath, "fanin/cmd/") || importPath == "fanin/internal/collector" || importPath == "fanin/internal/agent"
}

func TestArchitectureCommandsEscape(t *testing.T) {
	fset, own := load(t)
	for _, s := range own {
		if !program(s.ImportPath) {
			continue
		}
		for id, o := range s.info.Uses {
			if f, ok := o.(*types.Func); ok && f.Pkg() != nil && printing.MatchString(funcName(f)) {
				t.Errorf("%s: %s prints text unescaped; use internal/escape", fset.Position(id.Pos()), f.Name())
			}
		}
	}
}

// funcName is a function's name with its package and receiver.
func funcName(f *types.Func) string {
	if r := f.Signature().Recv(); r != nil {
		return f.Pkg().Path() + "." + typeName(r.Type()) + "." + f.Name()
	}
	return f.Pkg().Path() + "." + f.Name()
}

func typeName(t types.Type) string {
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	if n, ok := t.(*types.Named); ok {
		return n.Obj().Name()
	}
	return t.String()
}

// Nothing runs before main, and packages share no state except what they pass to each other.
func TestArchitectureNoHiddenState(t *testing.T) {
	fset, own := load(t)
	for _, s := range own {
		if checker(s.ImportPath) {
			continue
		}
		for _, f := range s.files {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s: init()", fset.Position(fn.Pos()))
				}
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if id := s.mutated(n); id != nil {
					t.Errorf("%s: package variable %s changes", fset.Position(id.Pos()), id.Name)
				}
				return true
			})
		}
	}
}

// mutated returns the package variable that n changes or could change, nil if there is
// none: n assigns to it or into it, takes its address, or calls a method on its pointer.
func (s *source) mutated(n ast.Node) *ast.Ident {
	var targets []ast.Expr
	switch n := n.(type) {
	case *ast.AssignStmt:
		targets = n.Lhs
	case *ast.IncDecStmt:
		targets = []ast.Expr{n.X}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			targets = []ast.Expr{n.X}
		}
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "delete" || f.Name == "clear") {
			targets = n.Args[:1]
		}
	case *ast.SelectorExpr:
		sel := s.info.Selections[n]
		if sel == nil || sel.Kind() != types.MethodVal {
			break
		}
		_, onPointer := sel.Obj().(*types.Func).Signature().Recv().Type().(*types.Pointer)
		if _, isPointer := sel.Recv().(*types.Pointer); onPointer && !isPointer {
			targets = []ast.Expr{n.X}
		}
	}
	for _, x := range targets {
		if id := s.packageVar(x); id != nil {
			return id
		}
	}
	return nil
}

// packageVar finds the package variable that x is a part of.
func (s *source) packageVar(x ast.Expr) *ast.Ident {
	for {
		switch y := x.(type) {
		case *ast.ParenExpr:
			x = y.X
		case *ast.IndexExpr:
			x = y.X
		case *ast.SelectorExpr:
			x = y.X
		case *ast.StarExpr:
			x = y.X
		case *ast.Ident:
			if v, ok := s.info.Uses[y].(*types.Var); ok && v.Parent() == s.types.Scope() {
				return y
			}
			return nil
		default:
			return nil
		}
	}
}

// goFiles walks all of the module's Go files, those for other systems and tests
// included.
func goFiles(t *testing.T, visit func(name string, fset *token.FileSet, f *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() && name != "." && (base == "build" || base == "testdata" || strings.HasPrefix(base, ".")) {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(base, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err == nil {
			visit(name, fset, f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestArchitectureSizes(t *testing.T) {
	goFiles(t, func(name string, fset *token.FileSet, f *ast.File) {
		if ast.IsGenerated(f) {
			return
		}
		if n := fset.Position(f.FileEnd).Line; n > maxFile {
			t.Errorf("%s has %d lines; at most %d", name, n, maxFile)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > maxFunction {
				t.Errorf("%s has %d lines; at most %d", fset.Position(fn.Pos()), n, maxFunction)
			}
		}
	})
}

var pathName = regexp.MustCompile(`\b[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+\b`)

// The path of a line in DESIGN.md is the path in the code.
func TestArchitectureDesignPath(t *testing.T) {
	b, err := os.ReadFile("DESIGN.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("there is no DESIGN.md yet")
	} else if err != nil {
		t.Fatal(err)
	}
	var names []string
	paths := regexp.MustCompile("(?s)<!-- path -->.*?<!-- /path -->").FindAllString(string(b), -1)
	for _, block := range paths {
		names = append(names, pathName.FindAllString(strings.NewReplacer("(*", "", ")", "").Replace(block), -1)...)
	}
	if len(paths) != 3 || len(names) < 25 {
		t.Fatalf("DESIGN.md should have three paths, of a line into the log, of its acknowledgement, and of a line to a worker, "+
			"between <!-- path --> and <!-- /path -->: %q", names)
	}
	known := functions(t)
	for _, name := range names {
		if strings.HasSuffix(name, ".go") || strings.HasSuffix(name, ".md") {
			continue
		}
		if !known[strings.ToLower(name)] {
			t.Errorf("a path in DESIGN.md names %s, and there is no such function", name)
		}
	}
}

// functions returns the names of all functions, as a document may have them:
// package.function, package.Type.method, Type.method, and package.method.
func functions(t *testing.T) map[string]bool {
	known := make(map[string]bool)
	add := func(parts ...string) { known[strings.ToLower(strings.Join(parts, "."))] = true }
	goFiles(t, func(name string, _ *token.FileSet, f *ast.File) {
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		in := f.Name.Name
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			add(in, fn.Name.Name)
			if fn.Recv == nil {
				continue
			}
			of := fn.Recv.List[0].Type
			if star, ok := of.(*ast.StarExpr); ok {
				of = star.X
			}
			if generic, ok := of.(*ast.IndexExpr); ok {
				of = generic.X
			}
			if id, ok := of.(*ast.Ident); ok {
				add(in, id.Name, fn.Name.Name)
				add(id.Name, fn.Name.Name)
			}
		}
	})
	return known
}

// Command vulncheck reports which known vulnerabilities the programs call, by govulncheck with the
// database in the module golang.org/x/vulndb: a module proxy is all that it needs.
//
//	vulncheck [-db VERSION]
//
// It fails if one is in a module that fanin uses. Those of Go's own library are listed with the
// release of Go that repairs them: a build with it has the remedy.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"fanin/deploy/build"
)

// govulncheck is the tool, pinned.
const govulncheck = "golang.org/x/vuln/cmd/govulncheck@v1.9.0"

func main() {
	version := flag.String("db", "latest", "the `version` of golang.org/x/vulndb")
	flag.Parse()
	bad, err := check(*version, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vulncheck:", err)
	}
	if bad || err != nil {
		os.Exit(1)
	}
}

// check prints what is known, and reports whether a module that fanin uses has a vulnerability that
// is called.
func check(version string, out io.Writer) (bad bool, err error) {
	root, err := build.Root()
	if err != nil {
		return false, err
	}
	tmp, err := os.MkdirTemp("", "fanin-vulncheck-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(tmp)
	var db struct{ Version, Dir string }
	b, err := run(tmp, "go", "mod", "download", "-json", "golang.org/x/vulndb@"+version)
	if err == nil {
		err = json.Unmarshal(b, &db)
	}
	if err != nil {
		return false, fmt.Errorf("get the database: %w", err)
	}
	index := filepath.Join(tmp, "db")
	indexdb := "golang.org/x/vulndb/cmd/indexdb@" + db.Version
	reports := filepath.Join(db.Dir, "data", "osv")
	if _, err = run(tmp, "go", "run", indexdb, "-vulns", reports, "-out", index); err != nil {
		return false, fmt.Errorf("index the database: %w", err)
	}
	b, err = run(root, "go", "run", govulncheck, "-db", "file://"+index, "-format", "json", "./cmd/...")
	if err != nil {
		return false, err
	}
	list, goVersion, err := called(b)
	if err != nil {
		return false, fmt.Errorf("read the findings: %w", err)
	}
	fmt.Fprintf(out, "database: golang.org/x/vulndb %s; %s\n", db.Version, goVersion)
	for _, v := range list {
		bad = bad || v.module != library
		fmt.Fprintln(out, v)
	}
	if len(list) == 0 {
		fmt.Fprintln(out, "no known vulnerability is called")
	}
	return bad, nil
}

// run runs a command and returns what it prints.
func run(dir, name string, args ...string) ([]byte, error) {
	c := exec.Command(name, args...)
	c.Dir, c.Stderr = dir, os.Stderr
	b, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %v: %w", name, args, err)
	}
	return b, nil
}

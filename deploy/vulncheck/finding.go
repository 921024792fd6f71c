package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// library is the module that govulncheck calls Go's own library.
const library = "stdlib"

// vulnerability is one that the programs call.
type vulnerability struct {
	id, module, version, fixed, symbol string
}

// String is a line of the report.
func (v vulnerability) String() string {
	module, version := v.module, v.version
	fixed := cmp.Or(v.fixed, "no release yet")
	if module == library {
		module = "Go's library"
		version, fixed = strings.Replace(version, "v", "go", 1), strings.Replace(fixed, "v", "go", 1)
	}
	return fmt.Sprintf("%s: %s %s (%s); repaired in %s", v.id, module, version, v.symbol, fixed)
}

// message is one of what govulncheck prints, as golang.org/x/vuln/internal/govulncheck has it.
type message struct {
	Config *struct {
		GoVersion string `json:"go_version"`
	} `json:"config"`
	Finding *struct {
		OSV   string `json:"osv"`
		Fixed string `json:"fixed_version"`
		Trace []struct {
			Module   string `json:"module"`
			Version  string `json:"version"`
			Package  string `json:"package"`
			Function string `json:"function"`
		} `json:"trace"`
	} `json:"finding"`
}

// called reads the messages and returns the vulnerabilities with a call, each once, and the release
// of Go. The first entry of a trace is the vulnerable symbol; it has a function only if a call
// reaches it.
func called(messages []byte) (list []vulnerability, goVersion string, err error) {
	found := make(map[string]vulnerability)
	for d := json.NewDecoder(bytes.NewReader(messages)); ; {
		var m message
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, "", err
		}
		if m.Config != nil {
			goVersion = m.Config.GoVersion
		}
		if f := m.Finding; f != nil && len(f.Trace) > 0 && f.Trace[0].Function != "" {
			at := f.Trace[0]
			symbol := at.Package + "." + at.Function
			found[f.OSV+at.Module] = vulnerability{f.OSV, at.Module, at.Version, f.Fixed, symbol}
		}
	}
	if goVersion == "" {
		return nil, "", errors.New("no configuration among them: govulncheck prints something else than expected")
	}
	return slices.SortedFunc(maps.Values(found), func(a, b vulnerability) int {
		return cmp.Or(strings.Compare(a.module, b.module), strings.Compare(a.id, b.id))
	}), goVersion, nil
}

// Package rig runs the built programs as an operator's machine would, and as its
// worst day would: it kills them at any moment and starts them again.
package rig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"fanin/internal/freeport"
)

// Build builds both programs into dir, once, and returns their paths.
func Build(dir string) (collector, agent string, err error) {
	collector, agent = filepath.Join(dir, "fanin-collector"), filepath.Join(dir, "fanin-agent")
	for path, pkg := range map[string]string{collector: "fanin/cmd/collector", agent: "fanin/cmd/agent"} {
		c := exec.Command("go", "build", "-o", path, pkg)
		c.Dir = Root()
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return "", "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return collector, agent, nil
}

// Root is the directory of the module.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// FreePort finds a port for a server, see package freeport.
func FreePort() (int, error) { return freeport.One() }

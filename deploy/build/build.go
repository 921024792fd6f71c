// Package build compiles the programs for images and packages. What it makes depends on the
// commit and on the Go release alone.
package build

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Architectures are those that are built, in Go's words.
func Architectures() []string { return []string{"amd64", "arm64"} }

// Root returns the directory of the programs' module. This module is one directory below it.
func Root() (string, error) {
	dir, err := output("", "go", "list", "-m", "-f", "{{.Dir}}")
	return filepath.Dir(dir), err
}

// Program compiles a program, such as fanin-agent, into dir, and returns the path of the file.
func Program(root, dir, name, arch string) (string, error) {
	path := filepath.Join(dir, name+"-"+arch)
	c := exec.Command("go", "build", "-trimpath", "-buildvcs=auto", "-ldflags", "-s -w", "-o", path,
		"./cmd/"+strings.TrimPrefix(name, "fanin-"))
	c.Dir, c.Stderr = root, os.Stderr
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("build %s for %s: %w", name, arch, err)
	}
	return path, nil
}

// Made is the time that every file gets: SOURCE_DATE_EPOCH, in seconds since 1970, otherwise the
// time of the commit.
func Made(root string) time.Time {
	seconds := os.Getenv("SOURCE_DATE_EPOCH")
	if seconds == "" {
		seconds, _ = output(root, "git", "log", "-1", "--format=%ct")
	}
	n, _ := strconv.ParseInt(seconds, 10, 64) // 1970, where there is no commit
	return time.Unix(n, 0).UTC()
}

// Version names the commit, as git describes it.
func Version(root string) string {
	if v, err := output(root, "git", "describe", "--tags", "--always", "--dirty"); err == nil && v != "" {
		return v
	}
	return "latest"
}

// output runs a command and returns what it prints.
func output(dir, name string, args ...string) (string, error) {
	c := exec.Command(name, args...)
	c.Dir = dir
	b, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(b)), nil
}

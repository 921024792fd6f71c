// Command image builds the container images of both programs, for linux/amd64 and linux/arm64,
// as OCI layouts, without a container engine. Two builds of one commit are identical, if they
// use the same Go release and the same certificates of authorities.
//
//	image OUT     writes OUT/fanin-agent and OUT/fanin-collector
//
// SOURCE_DATE_EPOCH sets the time of the files, in seconds since 1970; otherwise it is that of the
// commit.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: image OUT")
		os.Exit(64)
	}
	if err := build(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// build builds the programs and their images.
func build(out string) error {
	root, err := output("", "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return err
	}
	root = filepath.Dir(root) // this module is one directory below the programs'
	made, version := commit(root)
	tmp, err := os.MkdirTemp("", "fanin-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for _, s := range specs() {
		programs := make(map[string][]byte)
		for _, arch := range architectures() {
			if programs[arch], err = compile(root, tmp, s.name, arch); err != nil {
				return err
			}
		}
		index, err := s.index(programs, version, made)
		if err != nil {
			return err
		}
		dir := filepath.Join(out, s.name)
		if err := store(dir, version, index); err != nil {
			return fmt.Errorf("write %s: %w", dir, err)
		}
		digest, err := index.Digest()
		if err != nil {
			return err
		}
		fmt.Printf("%s:%s %s\n", dir, version, digest)
	}
	return nil
}

// compile builds a program for an architecture.
func compile(root, dir, name, arch string) ([]byte, error) {
	path := filepath.Join(dir, name+"-"+arch)
	c := exec.Command("go", "build", "-trimpath", "-buildvcs=auto", "-ldflags", "-s -w", "-o", path,
		"./cmd/"+strings.TrimPrefix(name, "fanin-"))
	c.Dir, c.Stderr = root, os.Stderr
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("build %s for %s: %w", name, arch, err)
	}
	return os.ReadFile(path)
}

// commit returns the time of the files, and the version, which is the tag of the images.
func commit(root string) (made time.Time, version string) {
	version = "latest"
	if v, err := output(root, "git", "describe", "--tags", "--always", "--dirty"); err == nil && v != "" {
		version = v
	}
	seconds := os.Getenv("SOURCE_DATE_EPOCH")
	if seconds == "" {
		seconds, _ = output(root, "git", "log", "-1", "--format=%ct")
	}
	n, _ := strconv.ParseInt(seconds, 10, 64) // 1970, where there is no commit
	return time.Unix(n, 0).UTC(), version
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

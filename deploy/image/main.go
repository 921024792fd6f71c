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
	"path/filepath"

	"fanin/deploy/build"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: image OUT")
		os.Exit(64)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// write builds the programs and their images.
func write(out string) error {
	root, err := build.Root()
	if err != nil {
		return err
	}
	made, version := build.Made(root), build.Version(root)
	tmp, err := os.MkdirTemp("", "fanin-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for _, s := range specs() {
		programs := make(map[string][]byte)
		for _, arch := range build.Architectures() {
			path, err := build.Program(root, tmp, s.name, arch)
			if err != nil {
				return err
			}
			if programs[arch], err = os.ReadFile(path); err != nil {
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

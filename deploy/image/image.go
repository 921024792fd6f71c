package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"fanin/deploy/build"
)

// user runs the programs: it exists in no file of the image.
const user = 65532

// spec is what an image has besides its program. The Dockerfiles make the same.
type spec struct {
	name        string
	description string
	dirs        []string // that the user owns; the last ones are volumes
	ports       []string
	env         []string
	command     []string
}

// specs are the images.
func specs() []spec {
	return []spec{
		{name: "fanin-agent", description: "follows logs and sends their lines to a fanin-collector, each exactly once",
			dirs: []string{"/var/lib/fanin-agent"}, env: []string{"STATE_DIRECTORY=/var/lib/fanin-agent"},
			command: []string{"--config", "/etc/fanin/agent.toml"}},
		{name: "fanin-collector", description: "collects lines from many machines into one rotated file",
			dirs: []string{"/var/log/fanin", "/var/lib/fanin"}, ports: []string{"6789/tcp", "6789/udp"},
			command: []string{"--config", "/etc/fanin/collector.toml"}},
	}
}

// authorities are where systems have the certificates of public authorities.
func authorities() []string {
	return []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"}
}

// file is one file or directory of a layer.
type file struct {
	name  string
	data  []byte // nil: a directory
	mode  int64
	owner int
}

// files are all files of an image, each behind its directories.
func (s *spec) files(program []byte) []file {
	list := []file{{name: s.name, data: program, mode: 0o755}}
	made := map[string]bool{"/": true}
	var directory func(dir string, owner int)
	directory = func(dir string, owner int) {
		if made[dir] {
			return
		}
		made[dir] = true
		directory(path.Dir(dir), 0)
		list = append(list, file{name: dir[1:] + "/", mode: 0o755, owner: owner})
	}
	for _, dir := range s.dirs {
		directory(dir, user)
	}
	directory("/etc/fanin", 0)
	for _, from := range authorities() {
		if b, err := os.ReadFile(from); err == nil {
			directory("/etc/ssl/certs", 0)
			return append(list, file{name: authorities()[0][1:], data: b, mode: 0o644})
		}
	}
	return list
}

// archive packs files as a layer. Every byte depends on the files and on made alone.
func archive(list []file, made time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range list {
		h := &tar.Header{Name: f.name, Mode: f.mode, Uid: f.owner, Gid: f.owner, ModTime: made, Format: tar.FormatPAX,
			Typeflag: tar.TypeDir}
		if f.data != nil {
			h.Typeflag, h.Size = tar.TypeReg, int64(len(f.data))
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := w.Close() // writes the end of the archive
	return b.Bytes(), err
}

// image makes the image of one architecture.
func (s *spec) image(program []byte, arch, version string, made time.Time) (v1.Image, error) {
	packed, err := archive(s.files(program), made)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(packed)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.Append(img, mutate.Addendum{Layer: layer,
		History: v1.History{Created: v1.Time{Time: made}, CreatedBy: "make image"}})
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(img, s.config(img, arch, version, made))
}

// config is what a runtime reads of an image that has its layers.
func (s *spec) config(img v1.Image, arch, version string, made time.Time) *v1.ConfigFile {
	c, err := img.ConfigFile()
	if err != nil { // an image in memory has one
		return nil
	}
	c = c.DeepCopy()
	c.OS, c.Architecture, c.Created = "linux", arch, v1.Time{Time: made}
	c.Config = v1.Config{
		User: fmt.Sprintf("%d:%d", user, user), Env: append([]string{"PATH=/"}, s.env...),
		Entrypoint: []string{"/" + s.name}, Cmd: s.command, StopSignal: "SIGTERM", WorkingDir: "/",
		Volumes: make(map[string]struct{}), Labels: map[string]string{
			"org.opencontainers.image.title": s.name, "org.opencontainers.image.description": s.description,
			"org.opencontainers.image.version": version, "org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	for _, dir := range s.dirs {
		c.Config.Volumes[dir] = struct{}{}
	}
	if len(s.ports) > 0 {
		c.Config.ExposedPorts = make(map[string]struct{})
	}
	for _, port := range s.ports {
		c.Config.ExposedPorts[port] = struct{}{}
	}
	return c
}

// index makes one index of the images of all architectures, from the program of each.
func (s *spec) index(programs map[string][]byte, version string, made time.Time) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range build.Architectures() {
		img, err := s.image(programs[arch], arch, version, made)
		if err != nil {
			return nil, fmt.Errorf("%s for %s: %w", s.name, arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	return index, nil
}

// store writes an index into a new directory, as the only content of an OCI layout, with a tag.
func store(dir, tag string, index v1.ImageIndex) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	path, err := layout.Write(dir, mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	if err != nil {
		return err
	}
	return path.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag}))
}

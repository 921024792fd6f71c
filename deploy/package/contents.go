package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is one file of a package.
type file struct {
	path   string // where it is installed
	data   []byte
	mode   os.FileMode
	config bool // the administrator's: an upgrade keeps it as it was changed
}

// job is one package for one architecture.
type job struct {
	product
	*settings
	root, tmp string // directories: of the sources, and for what is made
	program   string // the file
	arch      string
	made      time.Time
}

// changes is what the logs of changes of the package formats say of a release.
const changes = "CHANGELOG.md has what this release changes."

// documents are for every reader; those of the programs are in docs/.
func documents() []string {
	return []string{"README.md", "SECURITY.md", "CHANGELOG.md", "DESIGN.md", "config.example.toml"}
}

// contents are all files of the package in a format.
func (j *job) contents(format string) ([]file, error) {
	program, err := os.ReadFile(j.program)
	if err != nil {
		return nil, err
	}
	list := []file{{path: "/usr/bin/" + j.name, data: program, mode: 0o755}}
	for _, part := range []func(string) ([]file, error){j.service, j.help, j.docs, j.legal} {
		more, err := part(format)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	slices.SortFunc(list, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return list, nil
}

// copied reads files of the sources: paths are pairs of a source and where it is installed.
func (j *job) copied(paths ...string) ([]file, error) {
	var list []file
	for pair := range slices.Chunk(paths, 2) {
		b, err := os.ReadFile(filepath.Join(j.root, pair[0]))
		if err != nil {
			return nil, err
		}
		list = append(list, file{path: pair[1], data: b, mode: 0o644})
	}
	return list, nil
}

// service is what runs the program: its unit, user and directories, and its configuration.
func (j *job) service(format string) ([]file, error) {
	list, err := j.copied(
		"systemd/"+j.name+".service", "/usr/lib/systemd/system/"+j.name+".service",
		"systemd/fanin.sysusers", "/usr/lib/sysusers.d/"+j.name+".conf",
		"systemd/"+j.name+".tmpfiles", "/usr/lib/tmpfiles.d/"+j.name+".conf",
		"systemd/"+j.config+".toml", "/etc/fanin/"+j.config+".toml")
	if err != nil {
		return nil, err
	}
	list[3].config = true
	if format == "apk" { // Alpine has OpenRC
		script, err := j.script("openrc")
		if err != nil {
			return nil, err
		}
		list = append(list, file{path: "/etc/init.d/" + j.name, data: script, mode: 0o755})
	}
	return list, nil
}

// help is what a shell knows of the program: manual and completion.
func (j *job) help(format string) ([]file, error) {
	pages, err := manual(j.command(), j.version, j.made)
	if err != nil {
		return nil, err
	}
	var list []file
	for name, page := range pages {
		packed, err := compressed(page)
		if err != nil {
			return nil, err
		}
		list = append(list, file{path: "/usr/share/man/man1/" + name + ".gz", data: packed, mode: 0o644})
	}
	var bash, zsh, fish bytes.Buffer
	c := j.command()
	if err := c.GenBashCompletionV2(&bash, true); err != nil {
		return nil, err
	}
	if err := c.GenZshCompletion(&zsh); err != nil {
		return nil, err
	}
	if err := c.GenFishCompletion(&fish, true); err != nil {
		return nil, err
	}
	functions := "/usr/share/zsh/site-functions/_"
	if format == "deb" {
		functions = "/usr/share/zsh/vendor-completions/_"
	}
	return append(list,
		file{path: "/usr/share/bash-completion/completions/" + j.name, data: bash.Bytes(), mode: 0o644},
		file{path: functions + j.name, data: zsh.Bytes(), mode: 0o644},
		file{path: "/usr/share/fish/vendor_completions.d/" + j.name + ".fish", data: fish.Bytes(), mode: 0o644}), nil
}

// docs are the documents and examples.
func (j *job) docs(string) ([]file, error) {
	var paths []string
	for _, name := range documents() {
		paths = append(paths, name, j.doc(name))
	}
	unit := "systemd/" + j.name
	for _, pattern := range []string{"docs/*.md", "deploy/monitoring/*", unit + "*.example",
		unit + ".service.d/*.example"} {
		found, err := filepath.Glob(filepath.Join(j.root, pattern))
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			name := strings.TrimPrefix(f, j.root+"/")
			dir, _, _ := strings.Cut(strings.TrimPrefix(name, "deploy/"), "/")
			paths = append(paths, name, j.doc(filepath.Join(dir, filepath.Base(name))))
		}
	}
	return j.copied(paths...)
}

// doc is the path of a document.
func (j *job) doc(name string) string { return "/usr/share/doc/" + j.name + "/" + name }

// legal is what a package must say of where it comes from.
func (j *job) legal(format string) ([]file, error) {
	third, err := j.licences()
	if err != nil {
		return nil, err
	}
	bom, err := j.sbom()
	if err != nil {
		return nil, err
	}
	list := []file{{path: j.doc("THIRD-PARTY-LICENCES.txt"), data: third, mode: 0o644},
		{path: j.doc(j.name + ".cdx.json"), data: bom, mode: 0o644}}
	if format != "deb" {
		more, err := j.copied("LICENSE", "/usr/share/licenses/"+j.name+"/LICENSE")
		return append(list, more...), err
	}
	const entry = "%s (%s) unstable; urgency=medium\n\n  * " + changes + "\n\n -- %s  %s\n"
	log, err := compressed(fmt.Appendf(nil, entry, j.name, j.version, j.maintainer, j.made.Format(time.RFC1123Z)))
	if err != nil {
		return nil, err
	}
	overrides, err := j.script("lintian")
	return append(list, file{path: j.doc("copyright"), data: j.copyright(), mode: 0o644},
		file{path: j.doc("changelog.gz"), data: log, mode: 0o644},
		file{path: "/usr/share/lintian/overrides/" + j.name, data: overrides, mode: 0o644}), err
}

// compressed packs a text as gzip, without a name or a time.
func compressed(text []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}

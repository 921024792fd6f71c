package main

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/apk" // packs apk
	_ "github.com/goreleaser/nfpm/v2/deb" // packs deb
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm" // packs rpm
)

// formats are those of the packages.
func formats() []string { return []string{"deb", "rpm", "apk"} }

// scripts are the texts that a package manager runs, and what else names the package.
//
//go:embed scripts
var scripts embed.FS

// script returns a script with the names of the package in it.
func (j *job) script(name string) ([]byte, error) {
	text, err := scripts.ReadFile("scripts/" + name)
	return []byte(strings.NewReplacer("@package@", j.name, "@config@", j.config, "@state@", strings.Join(j.state, " ")).
		Replace(string(text))), err
}

// pack makes the package in a format, and returns the path of its file in the directory out.
func (j *job) pack(format, out string) (string, error) {
	contents, err := j.contents(format)
	if err != nil {
		return "", err
	}
	return j.packed(format, out, contents)
}

// packed makes the package of the given files.
func (j *job) packed(format, out string, contents []file) (string, error) {
	info, err := j.info(format, contents)
	if err != nil {
		return "", err
	}
	packager, err := nfpm.Get(format)
	if err != nil {
		return "", err
	}
	path := filepath.Join(out, packager.ConventionalFileName(info))
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	if err := packager.Package(info, f); err != nil {
		f.Close()
		return "", err
	}
	return path, f.Close()
}

// info describes the package.
func (j *job) info(format string, contents []file) (*nfpm.Info, error) {
	info := &nfpm.Info{Name: j.name, Arch: j.arch, Platform: "linux", Version: j.version, VersionSchema: "none",
		Section: "admin", Priority: "optional", Maintainer: j.maintainer, License: "Apache-2.0", MTime: j.made,
		Description: j.summary + "\n" + j.description, DisableGlobbing: true}
	for i, f := range contents {
		source, err := j.kept(fmt.Sprintf("%s-%d", format, i), f.data)
		if err != nil {
			return nil, err
		}
		c := &files.Content{Source: source, Destination: f.path,
			FileInfo: &files.ContentFileInfo{Mode: f.mode, MTime: j.made, Owner: "root", Group: "root"}}
		c.Type = kind(format, f)
		info.Contents = append(info.Contents, c)
	}
	if format == "rpm" {
		if err := j.rpm(info); err != nil {
			return nil, err
		}
	}
	if format != "apk" {
		info.Depends = []string{"systemd"}
	}
	if format == "deb" {
		info.Depends = []string{"systemd | systemd-standalone-sysusers | systemd-sysusers"}
	}
	return info, j.addScripts(format, info)
}

// rpm adds what only rpm has: a summary, a log of changes, and directories, which it removes if the
// package owns them.
func (j *job) rpm(info *nfpm.Info) error {
	info.Release, info.Description = "1", j.description
	info.RPM.Summary = strings.ToUpper(j.summary[:1]) + j.summary[1:]
	info.RPM.Group, info.RPM.BuildHost = "System Environment/Daemons", "localhost"
	licence := "/usr/share/licenses/" + j.name
	for _, dir := range []string{"/etc/fanin", j.doc(""), j.doc("docs"), j.doc("systemd"), licence} {
		info.Contents = append(info.Contents, &files.Content{Destination: dir, Type: files.TypeDir,
			FileInfo: &files.ContentFileInfo{Mode: 0o755, MTime: j.made, Owner: "root", Group: "root"}})
	}
	const entry = "- semver: %s-1\n  date: %s\n  packager: %q\n  changes:\n    - note: " + changes + "\n"
	text := fmt.Appendf(nil, entry, j.version, j.made.Format(time.RFC3339), j.maintainer)
	var err error
	info.Changelog, err = j.kept("changelog", text)
	return err
}

// kind is what a package manager must know of a file.
func kind(format string, f file) string {
	switch {
	case f.config:
		return files.TypeConfigNoReplace
	case format != "rpm":
		return files.TypeFile
	case strings.HasPrefix(f.path, "/usr/share/licenses/"):
		return files.TypeRPMLicense
	case strings.HasPrefix(f.path, "/usr/share/doc/"), strings.HasPrefix(f.path, "/usr/share/man/"):
		return files.TypeRPMDoc
	}
	return files.TypeFile
}

// addScripts adds what the package manager of a format runs. An apk has one script at most: nfpm
// 2.45 writes several in an order that changes.
func (j *job) addScripts(format string, info *nfpm.Info) error {
	for name, to := range map[string]*string{
		"preinstall": &info.Scripts.PreInstall, "postinstall": &info.Scripts.PostInstall,
		"preremove": &info.Scripts.PreRemove, "postremove": &info.Scripts.PostRemove,
	} {
		name = format + "." + name
		if _, err := scripts.Open("scripts/" + name); err != nil {
			continue // the format needs none
		}
		text, err := j.script(name)
		if err != nil {
			return err
		}
		if *to, err = j.kept(name, text); err != nil {
			return err
		}
	}
	return nil
}

// kept writes a file where the packager reads it, with the time that it gives to scripts.
func (j *job) kept(name string, data []byte) (string, error) {
	path := filepath.Join(j.tmp, strings.Join([]string{j.name, j.arch, name}, "-"))
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return "", err
	}
	return path, os.Chtimes(path, j.made, j.made)
}

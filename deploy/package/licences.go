package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// copyright is Debian's file of that name.
func (j *job) copyright() []byte {
	return fmt.Appendf(nil, `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: fanin
Comment: The program is linked with modules that have licences of their own:
 /usr/share/doc/%s/THIRD-PARTY-LICENCES.txt

Files: *
Copyright: 2026 The fanin authors
License: Apache-2.0
 On Debian systems, the text of the Apache License, version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.
`, j.name)
}

// licences are the texts of the licences of everything that is linked into the program.
func (j *job) licences() ([]byte, error) {
	info, err := buildinfo.ReadFile(j.program)
	if err != nil {
		return nil, err
	}
	args := []string{"list", "-m", "-f", "{{.Path}} {{.Version}}\t{{.Dir}}"}
	for _, m := range info.Deps {
		args = append(args, m.Path)
	}
	list, err := j.goCommand(args...)
	if err != nil {
		return nil, err
	}
	home, err := j.goCommand("env", "GOROOT")
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for line := range strings.Lines("Go's library " + info.GoVersion + "\t" + home + "\n" + list) {
		name, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		texts, err := licenceTexts(dir)
		if err != nil {
			return nil, fmt.Errorf("licence of %s: %w", name, err)
		}
		fmt.Fprintf(&b, "==== %s ====\n\n%s\n", name, texts)
	}
	return []byte(b.String()), nil
}

// legalText matches the names of files that must come with a module's code.
var legalText = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice)`)

// licenceTexts reads the files of a module's directory that must come with its code.
func licenceTexts(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, e := range entries {
		if e.IsDir() || !legalText.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", err
		}
		b.WriteString(strings.ReplaceAll(strings.TrimSpace(string(text)), "\r\n", "\n") + "\n\n")
	}
	if b.Len() == 0 {
		return "", fmt.Errorf("%s has no file with one", dir)
	}
	return b.String(), nil
}

// goCommand runs go in the module of the programs.
func (j *job) goCommand(args ...string) (string, error) {
	c := exec.Command("go", args...)
	c.Dir, c.Stderr = j.root, os.Stderr
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

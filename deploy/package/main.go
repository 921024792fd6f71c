// Command package builds the packages of both programs, deb, rpm and apk, for linux/amd64 and
// linux/arm64. Two builds of one commit are identical, if they use the same Go release.
//
//	package [-version V] [-maintainer 'NAME <ADDRESS>'] [-format F] [-arch A] OUT
//
// SOURCE_DATE_EPOCH sets the time of the files, in seconds since 1970; otherwise it is that of the
// commit.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"fanin/deploy/build"
	"fanin/internal/daemon"
)

// settings are what a build may be asked for.
type settings struct {
	version, maintainer string
	formats, archs      []string
}

func main() {
	// Defaults of flags come from these, and would get into the manual.
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "FANIN_") {
			os.Unsetenv(name)
		}
	}
	version := flag.String("version", daemon.Release, "the packages' `version`")
	maintainer := flag.String("maintainer", "The fanin maintainers <fanin@example.net>",
		"who answers for the packages, as `name` <address>")
	format := flag.String("format", "", "only this `format`: deb, rpm or apk")
	arch := flag.String("arch", "", "only this `architecture`: amd64 or arm64")
	flag.Parse()
	s := settings{*version, *maintainer, only(formats(), *format), only(build.Architectures(), *arch)}
	if flag.NArg() != 1 || len(s.formats) == 0 || len(s.archs) == 0 {
		flag.Usage()
		os.Exit(daemon.ExitUsage)
	}
	if err := s.write(flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "package:", err)
		os.Exit(daemon.ExitFailure)
	}
}

// only returns the one that is asked for, or all.
func only(all []string, one string) []string {
	if one == "" {
		return all
	}
	return slices.DeleteFunc(all, func(s string) bool { return s != one })
}

// write builds the programs and packs them into the directory out.
func (s *settings) write(out string) error {
	root, err := build.Root()
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "fanin-package-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, p := range products() {
		for _, arch := range s.archs {
			program, err := build.Program(root, tmp, p.name, arch)
			if err != nil {
				return err
			}
			j := job{p, s, root, tmp, program, arch, build.Made(root)}
			for _, format := range s.formats {
				path, err := j.pack(format, out)
				if err != nil {
					return fmt.Errorf("%s of %s for %s: %w", format, p.name, arch, err)
				}
				fmt.Println(path)
			}
		}
	}
	return nil
}

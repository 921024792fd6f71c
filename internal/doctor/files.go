package doctor

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Guarded is a file or directory, and who must not get at it.
type Guarded struct {
	Path   string
	Secret bool // others must not read it either
}

// Modes judges who may read and write files. A file that is not there is no finding: others look
// for it.
func Modes(files []Guarded) (found []Finding) {
	for _, g := range files {
		fi, err := os.Stat(g.Path)
		if err != nil {
			continue
		}
		mode, what := fi.Mode().Perm(), ""
		switch {
		case mode&0o002 != 0 && fi.Mode()&fs.ModeSticky == 0:
			what = "every user may write it"
		case g.Secret && mode&0o004 != 0:
			what = "every user may read it"
		default:
			continue
		}
		level := Wrong
		if fi.IsDir() && mode&0o002 == 0 {
			level = Risk
		}
		found = append(found, Finding{level, "", fmt.Sprintf("%s (mode %04o)", what, mode), g.Path,
			"chmod o-rwx " + g.Path})
	}
	return found
}

// Owner looks in a directory for files that another user has than the directory itself: a
// command that ran as root made them, and the service cannot write them. owner returns the number
// of a file's user.
func Owner(dir string, owner func(fs.FileInfo) (int, bool)) []Finding {
	fi, err := os.Stat(dir)
	if err != nil {
		return nil // a start makes it
	}
	own, known := owner(fi)
	if !known {
		return nil
	}
	others, first := 0, ""
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		fi, err := d.Info()
		if err != nil {
			return nil
		}
		if uid, ok := owner(fi); ok && uid != own {
			if others++; first == "" {
				first = path
			}
		}
		return nil
	})
	if others == 0 {
		return nil
	}
	return wrong(first, fmt.Sprintf("chown -R --reference=%[1]s %[1]s", dir), fmt.Sprintf("%d files of the state are "+
		"not of the user that has the directory %s", others, dir))
}

// Rotators looks for a configuration of logrotate, below root, that names the log.
func Rotators(root, log string) (found []Finding) {
	files, _ := filepath.Glob(filepath.Join(root, "etc/logrotate.d/*"))
	for _, file := range append(files, filepath.Join(root, "etc/logrotate.conf")) {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if line := names(string(b), log); line > 0 {
			where := fmt.Sprintf("%s:%d", "/"+strings.TrimPrefix(strings.TrimPrefix(file, root), "/"), line)
			found = append(found, wrong(where, "remove it there: the collector rotates its log itself "+
				"(collector.log.rotate_size, rotate_every)", fmt.Sprintf("logrotate rotates %s too: compressed or "+
				"truncated by it, lines are lost to readers and searches", log))...)
		}
	}
	return found
}

// names returns the first line of a logrotate configuration with a pattern for a path; 0:
// there is none.
func names(text, path string) int {
	depth := 0
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		for _, word := range strings.Fields(strings.ReplaceAll(line, "{", " { ")) {
			switch word = strings.Trim(word, `"'`); {
			case word == "{":
				depth++
			case strings.HasPrefix(word, "}"):
				depth--
			case depth == 0 && strings.HasPrefix(word, "/"):
				if ok, _ := filepath.Match(word, path); ok {
					return i + 1
				}
			}
		}
	}
	return 0
}

package tail

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// globbed is what a pattern finds, once each, in order.
func globbed(t testing.TB, pattern string, skips func(string) bool) (list []string, s *sight) {
	t.Helper()
	s = &sight{dirs: make(map[string]bool), whole: true}
	if err := s.glob(pattern, skips, func(path string) { list = append(list, path) }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return slices.Compact(list), s
}

// matched is what of a tree a pattern names, by its text alone.
func matched(t testing.TB, root, pattern string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if path != root && Matches(pattern, path) {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestDeepGlob: ** and {a,b} find what their texts name, in each place of a pattern, and name the
// directories that decide.
func TestDeepGlob(t *testing.T) {
	root := t.TempDir()
	tree(t, root, "a.log", "a/a.log", "a/b/a.log", "a/b/c/a.log", "a/b/c/d.txt", "b/a.log", "b/c/a/a.log", "{x}/a.log", "b/x,y.log", "c/**/a.log")
	for pattern, want := range map[string]string{
		"**/a.log":                    "a.log a/a.log a/b/a.log a/b/c/a.log b/a.log b/c/a/a.log c/**/a.log {x}/a.log",
		"a/**/a.log":                  "a/a.log a/b/a.log a/b/c/a.log",
		"a/**":                        "a/a.log a/b a/b/a.log a/b/c a/b/c/a.log a/b/c/d.txt",
		"**/c/**/*.log":               "a/b/c/a.log b/c/a/a.log c/**/a.log",
		"**/**/d.txt":                 "a/b/c/d.txt",
		"{a,b}/a.log":                 "a/a.log b/a.log",
		"{a/b,b/c}/**/a.log":          "a/b/a.log a/b/c/a.log b/c/a/a.log",
		"{a,{b,c/d}}/{a,x}.{log,txt}": "a/a.log b/a.log",
		`\{x\}/*.log`:                 "{x}/a.log",
		`b/x\,y.log`:                  "b/x,y.log",
		"b/{x,}*.log":                 "b/a.log b/x,y.log",
		"[ab]/[!b].log":               "a/a.log b/a.log",
		`c/\*\*/a.log`:                "c/**/a.log",
	} {
		pattern = filepath.Join(root, pattern)
		got, s := globbed(t, pattern, nil)
		for i, path := range got {
			if !s.dirs[filepath.Dir(path)] || !Matches(pattern, path) {
				t.Errorf("%s: the directory of %s does not decide, or it does not match", pattern, path)
			}
			got[i], _ = filepath.Rel(root, path)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
	}
}

// TestGlobIsMatch: whatever the pattern, a search finds what its text names, and a directory that
// is skipped has nothing that is not excluded.
func TestGlobIsMatch(t *testing.T) {
	root := t.TempDir()
	tree(t, root, "a", "b/a", "b/b/a", "b/c/b/a", "c/a", "c/b/c/a", "c/c/c/c", "ab/ba", "ab/c/abc")
	rapid.Check(t, func(r *rapid.T) {
		part := rapid.SampledFrom([]string{"a", "b", "c", "*", "**", "?", "[ab]", "{a,b}", "{b,c/b}", "{**,c}", "a*", "{a,*/b}", "{,a}b"})
		pattern := filepath.Join(root, strings.Join(rapid.SliceOfN(part, 1, 5).Draw(r, "parts"), "/"))
		if CheckPattern(pattern) != nil {
			r.Skip()
		}
		table := Table{Paths: []string{pattern}, Exclude: []string{filepath.Join(root, part.Draw(r, "skipped"), "**")}}
		if got, _ := globbed(t, pattern, nil); !slices.Equal(got, matched(t, root, pattern)) {
			r.Fatalf("%s: found %q, and it names %q", pattern, got, matched(t, root, pattern))
		}
		var want []string
		for _, path := range matched(t, root, pattern) {
			if !table.Excludes(path) {
				want = append(want, path)
			}
		}
		var got []string
		table.Find(pattern, func(path string) bool { got = append(got, path); return true })
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, want) {
			r.Fatalf("%s without %s: found %q, want %q", pattern, table.Exclude, got, want)
		}
	})
}

// TestDeepGlobLinks: ** follows no links to directories, and enters no file system of generated
// files; a link to a file is found.
func TestDeepGlobLinks(t *testing.T) {
	root := t.TempDir()
	tree(t, root, "a/x.log")
	for link, to := range map[string]string{"a/up": "..", "a/y.log": "x.log", "proc": "/proc"} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := globbed(t, filepath.Join(root, "**/*.log"), nil); len(got) != 2 {
		t.Errorf("found %q", got)
	}
	if got, s := globbed(t, "/proc/**/status", nil); len(got) != 0 || s.read > 1 {
		t.Errorf("found %d files in %d directories of /proc", len(got), s.read)
	}
}

// TestCheckPattern: what no pattern is, and one that stands for too many.
func TestCheckPattern(t *testing.T) {
	for _, good := range []string{"/var/log/*.log", "/var/{log,opt/*/log}/**/*.log", `/a\{b`, "**", "/**", strings.Repeat("{a,b}", 8)} {
		if err := CheckPattern(good); err != nil {
			t.Error(err)
		}
	}
	for bad, want := range map[string]string{
		"[": "invalid pattern", "{a": "invalid pattern", "a}": "invalid pattern", `a\`: "invalid pattern", "[a/b]": "invalid pattern",
		"/a**/b": "whole part", "/{a,**b}/c": "whole part", "/***": "whole part", strings.Repeat("{a,b}", 9): "more than 256", strings.Repeat("{a,b}", 1000): "more than 256",
	} {
		if err := CheckPattern(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s: %v, want %q", bad, err, want)
		}
	}
}

// TestLiteral: a name as a pattern matches itself alone.
func TestLiteral(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		name := rapid.StringOfN(rapid.RuneFrom([]rune(`a*?[]{}\,!^-é`)), 1, 8, -1)
		one, two := name.Draw(r, "one"), name.Draw(r, "two")
		if p := Literal(one); CheckPattern(p) != nil || !Matches(p, one) || Matches(p, two) != (one == two) {
			r.Fatalf("%q is the pattern %q, %v; %q: %v", one, p, CheckPattern(p), two, Matches(p, two))
		}
	})
}

// FuzzPattern: no pattern makes a search fail or hang, and a valid one stays within its bounds.
func FuzzPattern(f *testing.F) {
	for _, seed := range []string{"/**/{a,b}", "{a,{b,c}}/[x]", `\{`, "{[}],b}", "{a,b/**}/c", "[!]a]"} {
		f.Add(seed, "/a/b")
	}
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if len(pattern) > 200 || CheckPattern(pattern) != nil {
			return
		}
		list, err := partsOf(pattern)
		if err != nil || len(list) > mostAlternatives {
			t.Fatalf("%q: %d patterns, %v", pattern, len(list), err)
		}
		Matches(pattern, path)
		for _, p := range list {
			if len(p.rest) == 0 || slices.Contains(p.rest, "") {
				t.Fatalf("%q: %q", pattern, p)
			}
		}
	})
}

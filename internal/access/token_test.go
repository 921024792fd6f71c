package access

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// line is the line of a token.
func line(name, token string) string {
	return (&Token{Name: name, Hash: HashOf(token)}).Line() + "\n"
}

// TestNewToken: tokens are random, and what a file has of one is its hash.
func TestNewToken(t *testing.T) {
	one, other := NewToken(), NewToken()
	if good := regexp.MustCompile(`^fanin_[A-Z2-7]{26}$`); !good.MatchString(one) || one == other {
		t.Errorf("the tokens %s and %s", one, other)
	}
	if got, want := line("ops", "abc"), "ops sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"; got != want {
		t.Errorf("the line is %q, want %q", got, want)
	}
}

// TestParseTokens: each mistake is named with its line, and what may be a secret is not shown.
func TestParseTokens(t *testing.T) {
	a, b := line("a", "1"), line("b", "2")
	for _, row := range []struct {
		text  string
		names string
		want  string // "": it is right
	}{
		{"", "", ""}, {"# none\n\n", "", ""}, {a + b, "a b", ""}, {strings.TrimSuffix(a, "\n"), "a", ""},
		{"\ufeff" + strings.ReplaceAll(a+"# more\n"+b, "\n", "\r\n"), "a b", ""}, {"  a\t" + a[2:], "a", ""},
		{a + "A" + b[1:], "a A", ""},
		{a + "\n" + a, "", "line 3: the name a is in line 1 already"},
		{a + "c" + a[1:], "", "line 2: the same token is in line 1 already"},
		{"a fanin_SECRET\n", "", "line 1: behind the name a is no hash"},
		{"fanin_SECRET\n", "", "line 1: it has 1 words"},
		{"a b sha256:SECRET\n", "", "line 1: it has 3 words"},
		{a[:len(a)-2] + "\n", "", "line 1: behind the name a is no hash"},
		{a[:len(a)-1] + "00\n", "", "line 1: behind the name a is no hash"},
		{strings.Replace(a, "sha256:", "md5:", 1), "", "no hash"},
		{"a sha256:\n", "", "no hash"}, {"a sha256:" + strings.Repeat("z", 64) + "\n", "", "no hash"},
		{strings.Replace(a, "a ", "a\x1b[2J ", 1), "", "cannot be the name of a token"},
		{strings.Replace(a, "a ", strings.Repeat("a", 65)+" ", 1), "", "cannot be the name of a token"},
		{strings.Replace(a, "a ", ".a ", 1), "", "cannot be the name of a token"},
		{"x\ny\n" + a, "", "line 2: "},
		{strings.Repeat("#", maxFile+1), "", "more than 262144 bytes"},
	} {
		tokens, err := ParseTokens(row.text)
		if (err == nil) != (row.want == "") || err != nil && (!strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "\x1b")) {
			t.Errorf("%.100q: %v; want %q", row.text, err, row.want)
		}
		var names []string
		for _, x := range tokens {
			names = append(names, x.Name)
		}
		if got := strings.Join(names, " "); err == nil && got != row.names {
			t.Errorf("%.100q has the tokens %s, want %s", row.text, got, row.names)
		}
	}
	var many strings.Builder
	for i := range maxTokens {
		many.WriteString(line(fmt.Sprint("t", i), fmt.Sprint(i)))
	}
	if tokens, err := ParseTokens(many.String()); err != nil || len(tokens) != maxTokens {
		t.Errorf("%d tokens, %v", len(tokens), err)
	}
	if _, err := ParseTokens(many.String() + line("x", "x")); err == nil || !strings.Contains(err.Error(), "more than 1000 tokens") {
		t.Errorf("%v", err)
	}
}

// FuzzTokens: no text does harm, and what was read is written as it was.
func FuzzTokens(f *testing.F) {
	f.Add(line("a", "1") + line("b", "2"))
	f.Add("# x\r\n\r\na sha256:00\n")
	f.Add("a sha256:" + strings.Repeat("0", 64))
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := ParseTokens(text)
		if err != nil {
			return
		}
		again := ""
		for i := range tokens {
			again += tokens[i].Line() + "\n"
		}
		if other, err := ParseTokens(again); err != nil || len(other) != len(tokens) {
			t.Errorf("%q is written as %q: %v", text, again, err)
		}
	})
}

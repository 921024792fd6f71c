package join

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with a file of testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != text {
		t.Errorf("%s has changed (%v): tokens and frames must stay readable\ngot  %s\nwant %s", name, err, text, want)
	}
}

func sampleToken() *Token {
	t := &Token{Address: "collector.example:6793", Name: "web-1"}
	for i := range t.Authority {
		t.Authority[i] = byte(i)
	}
	for i := range t.Secret {
		t.Secret[i] = byte(0xa0 + i)
	}
	return t
}

func sampleRequest() *Request {
	return &Request{Kind: Join, Secret: sampleToken().Secret, Name: "web-1", CSR: []byte("certificate request")}
}

func sampleAnswers() []*Answer {
	return []*Answer{
		{Certificate: []byte("leaf"), Authorities: [][]byte{[]byte("new"), []byte("old")}},
		{Refused: Refused{Reason: "the token expired", Wait: 0}},
		{Refused: Refused{Reason: "later", Wait: 30 * time.Second}},
	}
}

// TestTokenGolden: a token reads back as it was, and its text does not change between versions.
func TestTokenGolden(t *testing.T) {
	want := sampleToken()
	golden(t, "token.golden", want.String()+"\n")
	many := *want
	many.Name = ""
	for _, token := range []*Token{want, &many} {
		got, err := ParseToken(" \t" + token.String() + "\r\n")
		if err != nil || got != *token {
			t.Errorf("%+v, %v; want %+v", got, err, token)
		}
		if strings.ContainsAny(token.String(), " '\"$`\\") {
			t.Errorf("a shell changes %s", token)
		}
	}
}

// TestTokenDamaged: a token that lacks a part or has another character is refused before
// anything is sent.
func TestTokenDamaged(t *testing.T) {
	text := sampleToken().String()
	for i := range text {
		if _, err := ParseToken(text[:i]); err == nil {
			t.Errorf("the first %d characters are taken for a token", i)
		}
		other := []byte(text)
		if other[i] ^= 1; other[i] == text[i] {
			continue
		}
		if _, err := ParseToken(string(other)); err == nil {
			t.Errorf("with another character at %d it is taken", i)
		}
	}
	for _, bad := range []string{"", "fanin1_", text + "A", text + text, strings.Repeat("a", 1<<20)} {
		if _, err := ParseToken(bad); err == nil {
			t.Errorf("%.50q is taken for a token", bad)
		}
	}
	for _, bad := range []Token{{Address: "collector"}, {Address: ":1"}, {Address: "c:1", Name: "a/b"}, {Address: "c:1", Name: "fanin"}} {
		if _, err := ParseToken(bad.String()); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// TestSecret: secrets have at least 128 random bits.
func TestSecret(t *testing.T) {
	seen := make(map[Secret]bool)
	var ones Secret
	for range 100 {
		s := NewSecret()
		if seen[s] {
			t.Fatal("a secret came twice")
		}
		seen[s] = true
		for i := range s {
			ones[i] |= s[i]
		}
	}
	if 8*len(ones) < 128 || ones != (Secret(bytes.Repeat([]byte{0xff}, SecretSize))) {
		t.Errorf("some bits never change: %x", ones)
	}
}

// TestFramesGolden: requests and answers read back as they were, and their bytes do not change.
func TestFramesGolden(t *testing.T) {
	var text strings.Builder
	for _, r := range []*Request{sampleRequest(), {Kind: Renew, Name: "a", CSR: []byte{1}}} {
		b := r.Append(nil)
		text.WriteString("request " + hex.EncodeToString(b) + "\n")
		got, err := ReadRequest(bytes.NewReader(b))
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%+v, %v; want %+v", got, err, r)
		}
	}
	for _, a := range sampleAnswers() {
		b := a.Append(nil)
		text.WriteString("answer " + hex.EncodeToString(b) + "\n")
		got, err := ReadAnswer(bytes.NewReader(b))
		if err != nil || !reflect.DeepEqual(got, a) {
			t.Errorf("%+v, %v; want %+v", got, err, a)
		}
	}
	golden(t, "frames.golden", text.String())
}

// counting counts what is read of a stream that never ends.
type counting struct{ n int }

func (c *counting) Read(p []byte) (int, error) {
	c.n += len(p)
	for i := range p {
		p[i] = 0xff
	}
	return len(p), nil
}

// TestFramesAreBounded: no more is read than a frame may have, whatever it announces, and a frame
// that ends early is an error.
func TestFramesAreBounded(t *testing.T) {
	var in counting
	if _, err := ReadRequest(&in); !errors.Is(err, errFormat) || in.n > 2 {
		t.Errorf("a request of 65535 bytes: %v after %d bytes", err, in.n)
	}
	in = counting{}
	if _, err := ReadAnswer(&in); !errors.Is(err, errFormat) || in.n > 2 {
		t.Errorf("an answer of 65535 bytes: %v after %d bytes", err, in.n)
	}
	request, answer := sampleRequest().Append(nil), sampleAnswers()[0].Append(nil)
	for i := range request {
		if _, err := ReadRequest(bytes.NewReader(request[:i])); err == nil {
			t.Errorf("%d bytes of a request are taken", i)
		}
	}
	for i := range answer {
		if _, err := ReadAnswer(bytes.NewReader(answer[:i])); err == nil {
			t.Errorf("%d bytes of an answer are taken", i)
		}
	}
	long := Answer{Refused: Refused{Reason: strings.Repeat("ä", 10_000), Wait: 250 * 365 * 24 * time.Hour}}
	if a, err := ReadAnswer(bytes.NewReader(long.Append(nil))); err != nil || len(a.Reason) > maxReason || a.Wait <= 0 {
		t.Errorf("a long reason: %v", err)
	}
	for _, bad := range []*Request{{Kind: 3, Name: "a", CSR: []byte{1}}, {Kind: Join, Name: "", CSR: []byte{1}}, {Kind: Join, Name: "a"},
		{Kind: Join, Name: "a\n", CSR: []byte{1}}, {Kind: Join, Name: strings.Repeat("a", 65), CSR: []byte{1}}, {Kind: Join, Name: "a", CSR: make([]byte, maxCSR+1)}} {
		if _, err := ReadRequest(bytes.NewReader(bad.Append(nil))); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// TestCheckName: what can be the name of a host.
func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "web-1", "web-1.example.net", "K8s_node", "1", strings.Repeat("a", 64)} {
		if err := CheckName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "-a", "a-", ".a", "a b", "a/b", "a*", "ä", "fanin", "a\x00", strings.Repeat("a", 65), "a\n"} {
		if CheckName(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add(sampleToken().String())
	f.Add("fanin1_")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseToken(text)
		if err != nil {
			return
		}
		again, err := ParseToken(token.String())
		if err != nil || again != token || token.Check() != nil {
			t.Errorf("%+v is %+v the second time, %v", token, again, err)
		}
	})
}

func FuzzRequest(f *testing.F) {
	f.Add(sampleRequest().Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ReadRequest(bytes.NewReader(b))
		if err != nil {
			return
		}
		if again := r.Append(nil); !bytes.HasPrefix(b, again) || CheckName(r.Name) != nil {
			t.Errorf("%x was read, and is written as %x", b, again)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, a := range sampleAnswers() {
		f.Add(a.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ReadAnswer(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := ReadAnswer(io.MultiReader(bytes.NewReader(a.Append(nil)), &counting{}))
		if err != nil || !reflect.DeepEqual(a, again) {
			t.Errorf("%+v is %+v the second time, %v", a, again, err)
		}
	})
}

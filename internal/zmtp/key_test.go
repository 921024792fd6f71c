package zmtp

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The example of RFC 32, and the keys of the example in libzmq's manual zmq_curve(7).
func TestZ85(t *testing.T) {
	if got := encodeZ85([]byte{0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B}); got != "HelloWorld" {
		t.Error(got)
	}
	secret, err := ParseKey("D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs")
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(secret[:4]); got != "7bb864b4" {
		t.Error(got)
	}
	public, err := SecretKey(secret).Public()
	if err != nil || public.String() != "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID" {
		t.Error(public, err)
	}
	for _, bad := range []string{"", "short", strings.Repeat("x", 41), strings.Repeat("~", 40), strings.Repeat("#", 40), strings.Repeat("x", 40) + "\n"} {
		if k, err := ParseKey(bad); err == nil {
			t.Errorf("%q is taken: %v", bad, k)
		} else if strings.Contains(err.Error(), "xx") || strings.Contains(err.Error(), "short") {
			t.Errorf("%v shows the text, which may be a secret", err)
		}
	}
}

func FuzzZ85(f *testing.F) {
	f.Add("HelloWorld")
	f.Add("#####")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := decodeZ85(text)
		if err == nil && encodeZ85(b) != text {
			t.Fatalf("%q: %x", text, b)
		}
	})
}

// A secret key is not printed by mistake.
func TestSecretKeyPrints(t *testing.T) {
	secret, _ := newSecret(t)
	o := Options{Security: Security{Curve: &Curve{Secret: secret}}}
	for _, text := range []string{fmt.Sprint(secret), fmt.Sprintf("%#v", *o.Security.Curve), fmt.Sprintf("%+v", *o.Security.Curve)} {
		if !strings.Contains(text, "(secret)") || strings.Contains(text, encodeZ85(secret[:])) {
			t.Error(text)
		}
	}
}

func writeFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// certificate is what zmq.auth.create_certificates of pyzmq 24 writes.
const certificate = `#   ****  Generated on 2026-11-26 00:20:52.802073 by pyzmq  ****
#   ZeroMQ CURVE **Secret** Certificate
#   DO NOT PROVIDE THIS FILE TO OTHER USERS nor change its permissions.

metadata
    who = me
curve
    public-key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
    secret-key = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
`

func TestKeyFiles(t *testing.T) {
	const public, secret = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
	publicOnly := certificate[:strings.Index(certificate, "    secret-key")]
	for _, test := range []struct {
		name, text   string
		mode         os.FileMode
		secret, open string // the secret key and the public one, or what an error contains
	}{
		{"certificate", certificate, 0o600, secret, public},
		{"bare", secret + "\n", 0o600, secret, secret},
		{"bare with a comment", "# the key of this server\n  " + secret + " \r\n", 0o640, secret, secret},
		{"public certificate", publicOnly, 0o600, "has a public key alone: name the file with the secret one", public},
		{"readable", certificate, 0o644, "every user (mode 0644): chmod 0600", public},
		{"empty", "", 0o600, "has no secret-key", "has no public-key"},
		{"two keys", secret + "\n" + public, 0o600, "has no secret-key", "has no public-key"},
		{"not a key", "curve\n secret-key = \"letmein\"\n public-key = \"letmein\"\n", 0o600, "secret-key is not a CURVE key", "public-key is not a CURVE key"},
		{"base64", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 0o600, "is not a CURVE key", "is not a CURVE key"},
	} {
		path := writeFile(t, test.text, test.mode)
		s, err := ReadSecretKey(path)
		checkKey(t, test.name+", secret", encodeZ85(s[:]), err, test.secret)
		p, err := ReadPublicKey(path)
		checkKey(t, test.name+", public", p.String(), err, test.open)
	}
	if _, err := ReadSecretKey(t.TempDir()); err == nil {
		t.Error("a directory is taken for a key")
	}
}

// checkKey compares a key, or an error, with what is wanted, which is a key of 40 characters or a
// part of an error that does not show the file's text.
func checkKey(t *testing.T, name, key string, err error, want string) {
	t.Helper()
	switch {
	case len(want) == 40 && !strings.Contains(want, " "):
		if err != nil || key != want {
			t.Errorf("%s: %s, %v; want %s", name, key, err, want)
		}
	case err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "letmein") ||
		strings.Contains(err.Error(), "D:)Q["):
		t.Errorf("%s: %v; want %q in it", name, err, want)
	}
}

func TestClientKeys(t *testing.T) {
	_, a := newSecret(t)
	b := Key{0x12} // a secret's public key may begin with any digit
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.key": "metadata\ncurve\n    public-key = \"" + a.String() + "\"\n", "b.key": b.String(), "c.key_secret": certificate, "README": "keys",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := writeFile(t, "# who may send\n"+a.String()+"\n\n"+b.String()+"   host-b\n", 0o644)
	for _, path := range []string{dir, file} {
		keys, err := ReadClientKeys(path)
		if err != nil || len(keys) != 2 || !keys[a] || !keys[b] {
			t.Errorf("%v, %v", keys, err)
		}
	}
	for text, want := range map[string]string{
		"":                        "has no key",
		"# nothing\n":             "has no key",
		a.String() + "\nletmein ": "line 2 is not a CURVE key",
		"# x\n\n" + a.String() + "\nsecret-key=letmein": "line 4 is not a CURVE key",
		certificate: "has a secret key",
		a.String() + "\n    secret-key = \"letmein\"\n": "has a secret key",
	} {
		_, err := ReadClientKeys(writeFile(t, text, 0o644))
		checkKey(t, text, "", err, want)
		if err := os.WriteFile(filepath.Join(dir, "d.key"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadClientKeys(dir); err == nil || strings.Contains(err.Error(), "letmein") {
			t.Errorf("%q in a directory: %v", text, err)
		}
	}
	if _, err := ReadClientKeys(t.TempDir()); err == nil || !strings.Contains(err.Error(), "*.key") {
		t.Error(err)
	}
}

// A pair that this side writes is read by zmq.auth, and its secret by its owner alone.
func TestWriteKeyPair(t *testing.T) {
	secret, public := newSecret(t)
	name := filepath.Join(t.TempDir(), "fanin")
	if err := WriteKeyPair(name, secret); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(name + secretSuffix)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if s, err := ReadSecretKey(name + secretSuffix); err != nil || s != secret {
		t.Error(err)
	}
	if p, err := ReadPublicKey(name + publicSuffix); err != nil || p != public {
		t.Error(p, err)
	}
	if b, err := os.ReadFile(name + publicSuffix); err != nil || bytes.Contains(b, []byte(secretField)) {
		t.Errorf("%s, %v", b, err)
	}
	if err := WriteKeyPair(name, SecretKey{1}); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Error(err)
	}
	if s, _ := ReadSecretKey(name + secretSuffix); s != secret {
		t.Error("the pair was replaced")
	}
	if exec.Command(python, "-c", "import zmq").Run() != nil {
		t.Skip("needs python3-zmq of Debian: make setup installs it")
	}
	out, err := exec.Command(python, "-c", `import sys, zmq.auth
print(*(k.decode() for k in zmq.auth.load_certificate(sys.argv[1])), sep="\n")`, name+secretSuffix).CombinedOutput()
	if want := public.String() + "\n" + encodeZ85(secret[:]) + "\n"; err != nil || string(out) != want {
		t.Errorf("%s, %v; want %s", out, err, want)
	}
}

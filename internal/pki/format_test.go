package pki

import (
	"bytes"
	"encoding/pem"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sampleRegister is a register with all that one can have.
func sampleRegister() *register {
	at := func(hours int) time.Time { return time.Date(2030, 5, 1, hours, 0, 0, 0, time.UTC) }
	return &register{Version: registerVersion, Sequence: 12, Names: []string{"collector.example", "192.0.2.1"},
		Certificates: []record{{Name: "web-1", Serial: "000000000000000c0123456789abcdef", Key: "aa01", Authority: "0badcafe", Issued: at(1), Expires: at(2), Invitation: "01020304"}},
		Invitations: []invitation{{ID: "01020304", Secret: "5ec4e7", Name: "web-1", Uses: 1, Made: at(0), Expires: at(1), Used: []use{{"web-1", "aa01"}}},
			{ID: "05060708", Secret: "5ec4e8", Pattern: "k8s-*", Uses: 100, Made: at(0), Expires: at(23)}},
		Revoked: []revocation{{"web-2", 11, at(3)}}}
}

func goldenFile(t *testing.T, name string, text []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return want
}

// TestRegisterGolden: the register's file stays readable.
func TestRegisterGolden(t *testing.T) {
	text := sampleRegister().text()
	want := goldenFile(t, "register.golden", text)
	if !bytes.Equal(text, want) {
		t.Errorf("the format has changed:\n%s\nwant\n%s", text, want)
	}
	r, err := parseRegister(want)
	if err != nil || !bytes.Equal(r.text(), want) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestKeyringGolden: the authority's file stays readable. The golden file has an authority that was
// replaced twice.
func TestKeyringGolden(t *testing.T) {
	c := newClock()
	k, err := newKeyring(c.now())
	for range 2 {
		if err == nil {
			k, err = k.replaced(c.now(), c.now().Add(HostValid))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := k.text()
	if err != nil {
		t.Fatal(err)
	}
	want := goldenFile(t, "authority.golden", text)
	got, err := parseKeyring(want)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := got.text(); err != nil || !bytes.Equal(again, want) || len(got.older) != 2 {
		t.Errorf("%d older ones, %v; it is written as\n%s", len(got.older), err, again)
	}
	for i := 0; i < len(want); i += 37 {
		blocks := 0
		for block, rest := pem.Decode(want[:i]); block != nil; block, rest = pem.Decode(rest) {
			blocks++
		}
		if _, err := parseKeyring(want[:i]); err == nil && (blocks < 2 || blocks%2 != 0) {
			t.Errorf("%d blocks are taken for the file", blocks)
		}
	}
}

func FuzzRegister(f *testing.F) {
	f.Add(sampleRegister().text())
	f.Add([]byte(`{"version":1,"names":["a"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRegister(text)
		if err != nil {
			return
		}
		again, err := parseRegister(r.text())
		if err != nil || !bytes.Equal(again.text(), r.text()) {
			t.Errorf("%s is %s the second time, %v", r.text(), again.text(), err)
		}
		r.prune(time.Unix(0, 0))
		for _, c := range r.Certificates {
			r.host(&c, time.Unix(0, 0))
		}
	})
}

func FuzzKeyring(f *testing.F) {
	text, err := os.ReadFile(filepath.Join("testdata", "authority.golden"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := parseKeyring(text)
		if err != nil {
			return
		}
		once, err := k.text()
		if err != nil {
			return // a key that cannot be written
		}
		if again, err := parseKeyring(once); err != nil || len(again.older) != len(k.older) {
			t.Errorf("%v", err)
		}
	})
}

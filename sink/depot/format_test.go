package depot

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/sink"
)

func goldenManifest() (Manifest, string) {
	closed := time.Date(2026, 11, 26, 16, 4, 5, 123456789, time.UTC)
	g := sink.Generation{Number: 42, Closed: closed}
	log, stem := "0123456789abcdef0123456789abcdef", stemOf(g)
	return Manifest{Format: 1, Log: log, Host: "collector-1", Layout: "syslog", Generation: 42,
		Opened: closed.Add(-time.Hour).Truncate(time.Microsecond), Closed: closed.Truncate(time.Microsecond), Lines: 1000, TextBytes: 90000,
		File:   Object{stem + gzipSuffix, 8765, strings.Repeat("0123456789abcdef", 4)},
		Ledger: Object{stem + ledgerSuffix, 240, strings.Repeat("fedcba9876543210", 4)}}, log + "/" + stem
}

// The manifest is as manifest.go says, and the first version of it can be read for ever.
func TestManifestGolden(t *testing.T) {
	m, base := goldenManifest()
	if base != "0123456789abcdef0123456789abcdef/00000042-20261126T160405.123Z" {
		t.Error(base)
	}
	want, err := os.ReadFile(filepath.Join("testdata", "manifest.golden"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.encode(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v, got\n%s\nwant\n%s", err, got, want)
	}
	if got, err := parseManifest(want, base); err != nil || got != m {
		t.Errorf("%v, %+v", err, got)
	}
}

func TestManifestRefused(t *testing.T) {
	good, base := goldenManifest()
	for what, change := range map[string]func(m *Manifest){
		"another log":        func(m *Manifest) { m.Log = strings.Repeat("f", 32) },
		"another generation": func(m *Manifest) { m.Generation++ },
		"another file":       func(m *Manifest) { m.File.Name = "../" + m.File.Name },
		"another ledger":     func(m *Manifest) { m.Ledger.Name = "all.log" },
		"no sum":             func(m *Manifest) { m.File.SHA256 = "" },
		"a short sum":        func(m *Manifest) { m.Ledger.SHA256 = m.Ledger.SHA256[1:] },
		"a negative size":    func(m *Manifest) { m.File.Bytes = -1 },
		"a negative text":    func(m *Manifest) { m.TextBytes = -1 },
		"a newer format":     func(m *Manifest) { m.Format = 2 },
	} {
		m := good
		change(&m)
		b, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseManifest(b, base); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	var more map[string]any
	b, _ := good.encode()
	if err := json.Unmarshal(b, &more); err != nil {
		t.Fatal(err)
	}
	more["later"] = true
	b, _ = json.Marshal(more)
	if m, err := parseManifest(b, base); err != nil || m != good {
		t.Errorf("a field of a later version: %v", err)
	}
}

func FuzzManifest(f *testing.F) {
	m, base := goldenManifest()
	b, _ := m.encode()
	f.Add(b)
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseManifest(b, base)
		if err != nil {
			return
		}
		again, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		if n, err := parseManifest(again, base); err != nil || !n.same(&m) {
			t.Errorf("%q becomes %q: %v", b, again, err)
		}
	})
}

func FuzzSaved(f *testing.F) {
	f.Add([]byte(`{"log":"0123456789abcdef0123456789abcdef","to":"file:///a","done":["00000042-20261126T160405.123Z"]}`))
	f.Add([]byte(`{"done":["../../etc/passwd"]}`))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSaved(b)
		for _, stem := range s.Done {
			if err != nil || !isStem(stem) {
				t.Errorf("%q is accepted, %v", stem, err)
			}
		}
	})
}

func FuzzStem(f *testing.F) {
	for _, text := range []string{"00000042-20261126T160405.123Z", "1-20261126T160405.123Z", "99999999999999999999-x", "", "-"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, ok := parseStem(text); ok && strings.ContainsAny(text, "/.\x00") && strings.Count(text, ".") != 1 {
			t.Errorf("%q is accepted", text)
		}
	})
}

func TestPlaces(t *testing.T) {
	for to, want := range map[string]string{
		"file:///mnt/archive/": "file:///mnt/archive", "file:///a//b/../c": "file:///a/c", "s3://logs": "s3://logs",
		"s3://logs/": "s3://logs", "s3://logs/site/1/": "s3://logs/site/1",
	} {
		if p, err := ParsePlace(to); err != nil || p.String() != want {
			t.Errorf("%s is %s, %v; want %s", to, p, err, want)
		}
	}
	for _, to := range []string{"", "/mnt", "file://mnt/a", "file:a", "s3://", "s3://Logs", "s3://a", "s3://u:p@logs", "https://logs", "s3://logs?x=1", "%"} {
		if p, err := ParsePlace(to); err == nil {
			t.Errorf("%q is accepted as %s", to, p)
		}
	}
	for endpoint, want := range map[string]string{
		"": "", "https://s3.example.net": "", "http://127.0.0.1:9000": "", "http://[::1]:9000/": "", "http://localhost": "",
		"http://192.0.2.1": "exposed", "http://s3.example.net:9000": "exposed", "s3.example.net": "bad", "ftp://x": "bad", "https://h/path": "bad",
	} {
		p := Place{Bucket: "logs", Endpoint: endpoint}
		got := ""
		if p.CheckEndpoint() != nil {
			got = "bad"
		} else if p.Exposed() {
			got = "exposed"
		}
		if got != want {
			t.Errorf("%q is %q, want %q", endpoint, got, want)
		}
	}
}

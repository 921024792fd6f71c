package collector

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fanin/internal/certs/certstest"
	"fanin/internal/waittest"
)

// TestGELFConfiguration: mistakes in a table are found before anything opens, and a table
// without one is accepted.
func TestGELFConfiguration(t *testing.T) {
	for _, c := range []struct{ keys, problem string }{
		{`listen = "127.0.0.1:12201"`, ""},
		{"listen = \"127.0.0.1:12201\"\nnetwork = \"both\"\nfields = \"keep\"\ntime = \"sender\"\ntrust_host = true\n" +
			"max_message = \"8KiB\"\nmax_incomplete = \"16MiB\"\nqueue = \"1MiB\"\nallow = [\"192.0.2.0/24\"]", ""},
		{"listen = \"0.0.0.0:12201\"\nnetwork = \"tcp\"\ntls = {cert = \"c\", key = \"k\", min_version = \"1.2\"}", ""},
		{"listen = \"systemd:gelf\"\nnetwork = \"both\"", ""},
		{``, "listen is \"\""},
		{`listen = "0.0.0.0:12201"`, "datagrams are never encrypted: use network = \"tcp\" with tls"},
		{"listen = \"0.0.0.0:12201\"\nnetwork = \"tcp\"", "give it tls"},
		{"listen = \"0.0.0.0:12201\"\nnetwork = \"both\"\ntls = {cert = \"c\", key = \"k\"}", "datagrams are never encrypted"},
		{"listen = \"127.0.0.1:12201\"\ntls = {cert = \"c\", key = \"k\"}", "tls has no effect"},
		{"listen = \"127.0.0.1:12201\"\nnetwork = \"tcp\"\ntls = {cert = \"c\"}", "tls needs cert and key"},
		{"listen = \"127.0.0.1:12201\"\nnetwork = \"sctp\"", `network is "sctp"; want one of`},
		{"listen = \"127.0.0.1:12201\"\nfields = \"all\"", `fields is "all"; want one of`},
		{"listen = \"127.0.0.1:12201\"\ntime = \"now\"", `time is "now"; want one of`},
		{"listen = \"127.0.0.1:12201\"\nmax_message = \"2MiB\"", "max_message is 2MiB"},
		{"listen = \"127.0.0.1:12201\"\nmax_incomplete = \"1MiB\"", "max_incomplete is 1MiB"},
		{"listen = \"127.0.0.1:12201\"\nmax_conns = 5", "max_conns has no effect with network = \"udp\""},
		{"listen = \"127.0.0.1:12201\"\nnetwork = \"tcp\"\nmax_incomplete = \"16MiB\"", "max_incomplete has no effect with network = \"tcp\""},
		{"listen = \"127.0.0.1:12201\"\nnetwork = \"tcp\"\nread_buffer = \"1MiB\"", "read_buffer has no effect with network = \"tcp\""},
		{"listen = \"127.0.0.1:12201\"\nnetwork = \"both\"\nqueue = \"1MiB\"\nmax_conns = 5", ""},
		{"listen = \"127.0.0.1:12201\"\nfeilds = \"keep\"", `did you mean "fields"`},
		{"listen = \"127.0.0.1:12201\"\n[[collector.udp]]\nlisten = \"127.0.0.1:12201\"", "where collector.gelf[0] listens already"},
		{"listen = \"127.0.0.1:12201\"\n[[collector.tcp]]\nlisten = \"127.0.0.1:12201\"", ""},
	} {
		_, err := loadText(t, t.TempDir(), "[collector.log]\npath = \"all.log\"\n[[collector.gelf]]\n"+c.keys)
		switch {
		case c.problem == "" && err != nil:
			t.Errorf("%s\nis refused: %v", c.keys, err)
		case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)):
			t.Errorf("%s\nhas the problem %v, want %q", c.keys, err, c.problem)
		}
	}
}

// written waits until the log has n lines, and returns it without its times.
func written(t *testing.T, config string, n int) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(config), "all.log")
	waittest.UntilEqual(t, "lines in the log", n, func() int {
		b, _ := os.ReadFile(path)
		return strings.Count(string(b), "\n")
	})
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`\d{4}-\d\d-\d\dT[^ "]*Z`).ReplaceAllString(string(b), "T")
}

// TestGELF: one port takes datagrams and encrypted connections. The host is the peer's name,
// the name in its certificate, or the message's, and the fields are where the keys say.
func TestGELF(t *testing.T) {
	a := certstest.New(t)
	dir := t.TempDir()
	ca, cert, key := a.Files(dir, a.Sign("collector"))
	c, config := configured(t, fmt.Sprintf("[[collector.gelf]]\nlisten = \"127.0.0.1:0\"\nnetwork = \"both\"\ninsecure = true\nfields = \"keep\"\n"+
		"names = {\"127.0.0.1\" = \"here\"}\ntls = {cert = %q, key = %q, client_ca = %q, min_version = \"1.2\"}\n", cert, key, ca))
	address := c.address(t, "gelf")
	udp, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	if _, err := io.WriteString(udp, `{"host":"web-9","short_message":"one","facility":"app","level":4,"_n":1.50}`); err != nil {
		t.Fatal(err)
	}
	want := "T here app: host=web-9 one severity=warning n=1.50\n"
	if got := written(t, config, 1); got != want {
		t.Fatalf("the log has %q, want %q", got, want)
	}
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: a.Pool, Certificates: []tls.Certificate{a.Sign("web-1", "web-1")},
		MaxVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, `{"host":"web-9","short_message":"two\nlines"}`+"\x00"+`{"host":"web-1","short_message":"three"}`+"\x00"); err != nil {
		t.Fatal(err)
	}
	got := written(t, config, 3)
	if want += "T web-1 gelf: host=web-9 two#012lines\nT web-1 gelf: three\n"; got != want {
		t.Errorf("the log has %q, want %q", got, want)
	}
}

// TestGELFAttributes: in format json, fields are attributes.
func TestGELFAttributes(t *testing.T) {
	dir := t.TempDir()
	s, err := loadText(t, dir, fmt.Sprintf("[collector.log]\nsync = \"none\"\nformat = \"json\"\npath = %q\n[[collector.gelf]]\nlisten = \"127.0.0.1:0\"\n"+
		"trust_host = true\n", filepath.Join(dir, "all.log")))
	if err != nil {
		t.Fatal(err)
	}
	c := serving(t, s, nil)
	udp, err := net.Dial("udp", c.address(t, "gelf"))
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	if _, err := io.WriteString(udp, `{"host":"web-9","short_message":"two\nlines","_container_name":"web","level":4,"_n":1.50,"_q":"\"x\""}`); err != nil {
		t.Fatal(err)
	}
	want := `{"ObservedTimestamp":"T","host.name":"web-9","service.name":"web","Attributes":{"severity":"warning","n":"1.50","q":"\"x\""},"Body":"two\u000alines"}` + "\n"
	if got := written(t, filepath.Join(dir, "collector.toml"), 1); got != want {
		t.Errorf("the log has %s, want %s", got, want)
	}
}

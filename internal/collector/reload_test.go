package collector

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fanin/internal/freeport"
	"fanin/internal/waittest"
)

// reloading is a collector whose configuration a test changes.
type reloading struct {
	*server
	path, log string
}

// reloadable runs a collector with tables below [collector.log].
func newReloading(t *testing.T, tables string) *reloading {
	t.Helper()
	dir := t.TempDir()
	r := &reloading{path: filepath.Join(dir, "collector.toml"), log: filepath.Join(dir, "all.log")}
	r.write(t, tables)
	o := &options{config: r.path}
	s, err := o.load()
	if err != nil {
		t.Fatal(err)
	}
	r.server = serving(t, s, o.load)
	return r
}

func (r *reloading) write(t *testing.T, tables string) {
	t.Helper()
	text := fmt.Sprintf("[collector]\nlog_level = \"error\"\n[collector.log]\nsync = \"none\"\nformat = \"syslog\"\npath = %q\n%s", r.log, tables)
	if err := os.WriteFile(r.path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// to reloads with other tables, and returns the answer.
func (r *reloading) to(t *testing.T, tables string) string {
	t.Helper()
	r.write(t, tables)
	return r.asked(t, "POST", "/reload")
}

// takes reloads with other tables, which must be taken, and with these changes.
func (r *reloading) takes(t *testing.T, tables string, changes ...string) {
	t.Helper()
	got := r.to(t, tables)
	for _, want := range append(changes, "the new configuration is in force") {
		if !strings.Contains(got, want) {
			t.Fatalf("reload answers %s, want %q in it", got, want)
		}
	}
}

// refuses reloads with other tables, which must not be taken.
func (r *reloading) refuses(t *testing.T, tables string, reasons ...string) {
	t.Helper()
	before := r.listeners.all()
	got := r.to(t, tables)
	for _, want := range append(reasons, "the collector continues with the old one") {
		if !strings.Contains(got, want) {
			t.Errorf("reload answers %s, want %q in it", got, want)
		}
	}
	after := r.listeners.all()
	if len(before) != len(after) {
		t.Fatalf("there were %d listeners, and now there are %d", len(before), len(after))
	}
	for i := range before {
		if before[i] != after[i] {
			t.Errorf("%s is another listener now", before[i].name())
		}
	}
}

// has waits until the log has a line that matches.
func (r *reloading) has(t *testing.T, line string) {
	t.Helper()
	want := regexp.MustCompile(`(?m)` + line + `$`)
	waittest.Until(t, "the line "+line, func() bool {
		b, err := os.ReadFile(r.log)
		return err == nil && want.Match(b)
	})
}

// dial connects over TCP, until the test ends.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}

func listenTable(kind, address, more string) string {
	return fmt.Sprintf("[[collector.%s]]\nlisten = %q\n%s\n", kind, address, more)
}

// free are addresses of this machine that are free.
func free(t *testing.T, n int) (all []string) {
	t.Helper()
	ports, err := freeport.Find(n)
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range ports {
		all = append(all, fmt.Sprintf("127.0.0.1:%d", port))
	}
	return all
}

// TestReloadTables: tables come, change and go. Connections of a table that is the same stay; so
// do those of a changed one whose senders could not send again, with the settings that they have.
func TestReloadTables(t *testing.T) {
	at := free(t, 4)
	same := listenTable("tcp", at[0], "source = \"same\"")
	r := newReloading(t, same+listenTable("tcp", at[1], "source = \"one\"")+listenTable("udp", at[2], ""))
	first, second := dial(t, at[0]), dial(t, at[1])
	fmt.Fprintf(first, "first before\n")
	fmt.Fprintf(second, "second before\n")
	r.has(t, "same: first before")
	r.has(t, "one: second before")
	kept := r.listeners.all()[0]
	r.takes(t, listenTable("relp", at[3], "")+listenTable("tcp", at[1], "source = \"two\"")+same,
		"collector.tcp[0] (tcp "+at[1]+"): changed", "collector.relp[0] (relp "+at[3]+"): new", "udp "+at[2]+": removed")
	fmt.Fprintf(first, "first after\n")
	fmt.Fprintf(second, "second after\n")
	r.has(t, "same: first after")
	r.has(t, "one: second after")
	fmt.Fprintf(dial(t, at[1]), "third\n")
	r.has(t, "two: third")
	if !slices.Contains(r.listeners.all(), kept) {
		t.Error("the listener of the table that is the same is another one")
	}
	waittest.Until(t, "that the address of the removed table is free", func() bool {
		conn, err := net.ListenPacket("udp", at[2])
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	relp := dial(t, at[3])
	io.WriteString(relp, "1 open 30 relp_version=0\ncommands=syslog\n2 syslog 4 over\n")
	for answers := bufio.NewScanner(relp); answers.Scan() && !strings.HasPrefix(answers.Text(), "2 rsp 6 200 OK"); {
	}
	r.has(t, ": over")
	r.takes(t, same, "tcp "+at[1]+": removed", "relp "+at[3]+": removed")
	if _, err := second.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection of the removed table: %v", err)
	}
	waittest.Until(t, "that the removed table is not served", func() bool {
		nc, err := net.Dial("tcp", at[1])
		if err == nil {
			nc.Close()
		}
		return err != nil
	})
	fmt.Fprintf(first, "first at the end\n")
	r.has(t, "same: first at the end")
}

// TestReloadAllOrNothing: if the third listener cannot bind, nothing is changed, and the message
// names the table, its line and what to do.
func TestReloadAllOrNothing(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	at := free(t, 4)
	tables := listenTable("tcp", at[0], "") + listenTable("udp", at[1], "")
	r := newReloading(t, tables)
	third := listenTable("tcp", at[2], "") + listenTable("udp", at[1], "source = \"x\"") + listenTable("relp", busy.Addr().String(), "")
	r.refuses(t, third, "collector.toml:13: ", "listen on relp "+busy.Addr().String(), "address already in use")
	if st, err := r.status(t.Context()); err != nil || !strings.Contains(st.Config.Failed, "address already in use") {
		t.Errorf("the status has %+v, %v", st.Config, err)
	}
	for _, address := range []string{at[2], at[3]} {
		if ln, err := net.Listen("tcp", address); err != nil {
			t.Errorf("what was opened for nothing: %v", err)
		} else {
			ln.Close()
		}
	}
	r.refuses(t, tables+listenTable("tcp", at[2], "tls = {cert = \"/none\", key = \"/none\"}"), "collector.toml:13: ", "/none")
	_, port, _ := net.SplitHostPort(at[0])
	r.refuses(t, listenTable("tcp", "0.0.0.0:"+port, "insecure = true"), "this collector has the port at "+at[0], "with one reload")
	for key, change := range map[string]string{
		"collector.log.path":      "[collector.log]\nsync = \"none\"\npath = \"/other.log\"\n",
		"collector.log.sync":      "[collector.log]\nsync = \"commit\"\npath = \"" + r.log + "\"\n",
		"collector.log.format":    "[collector.log]\nformat = \"raw\"\nsync = \"none\"\npath = \"" + r.log + "\"\n",
		"collector.state":         "[collector]\nstate = \"/other\"\n[collector.log]\nsync = \"none\"\npath = \"" + r.log + "\"\n",
		"collector.max_in_flight": "[collector]\nmax_in_flight = \"32MiB\"\n[collector.log]\nsync = \"none\"\npath = \"" + r.log + "\"\n",
	} {
		if err := os.WriteFile(r.path, []byte(change+tables), 0o600); err != nil {
			t.Fatal(err)
		}
		got := r.asked(t, "POST", "/reload")
		if want := strings.TrimPrefix(key, "collector.") + " cannot change while the collector runs: restart it"; !strings.Contains(got, want) || !strings.Contains(got, "collector.toml:") {
			t.Errorf("%s: reload answers %s", key, got)
		}
	}
	r.takes(t, tables+listenTable("tcp", at[2], ""), "collector.tcp[1] (tcp "+at[2]+"): new")
	if st, err := r.status(t.Context()); err != nil || st.Config.Failed != "" {
		t.Errorf("after a reload that was taken the status has %+v, %v", st.Config, err)
	}
}

// TestReloadBounds: the bounds of the log, and how much the collector logs, are in force at once.
func TestReloadBounds(t *testing.T) {
	at := free(t, 1)
	r := newReloading(t, "rotate_size = \"64KiB\"\n"+listenTable("tcp", at[0], ""))
	nc := dial(t, at[0])
	fill := func(more uint64) {
		before := r.sink.Status().Generation
		waittest.Until(t, "rotations", func() bool {
			fmt.Fprintf(nc, "%s\n", strings.Repeat("x", 1000))
			return r.sink.Status().Generation >= before+more
		})
	}
	fill(3)
	r.takes(t, "rotate_size = \"64KiB\"\nkeep_files = 1\n"+listenTable("tcp", at[0], ""), "collector.log.keep_files: changed")
	waittest.Until(t, "the removal of the files that are one too many", func() bool { return len(r.sink.Status().Generations) <= 2 })
	r.takes(t, "rotate_size = \"1MiB\"\nkeep_files = 1\n[collector.limits]\nstreams_per_agent = 1\n"+listenTable("tcp", at[0], ""),
		"collector.log.rotate_size: changed", "collector.limits.streams_per_agent: changed")
	before := r.sink.Status().Generation
	for range 200 {
		fmt.Fprintf(nc, "%s\n", strings.Repeat("x", 1000))
	}
	fmt.Fprintf(nc, "the end\n")
	r.has(t, "the end")
	if now := r.sink.Status().Generation; now != before {
		t.Errorf("it rotated at the old size: %d, then %d", before, now)
	}
}

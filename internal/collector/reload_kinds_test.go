package collector

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"fanin/internal/natstest"
	"fanin/internal/redistest"
	"fanin/internal/waittest"
)

// inOrder waits until the log has n lines "NAME i", and wants each once, in order.
func (r *reloading) inOrder(t *testing.T, name string, n int) {
	t.Helper()
	r.has(t, fmt.Sprintf(" %s %d", name, n-1))
	b, err := os.ReadFile(r.log)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m) `+name+` (\d+)$`).FindAllStringSubmatch(string(b), -1)
	for i, m := range found {
		if got, _ := strconv.Atoi(m[1]); got != i {
			t.Fatalf("%s %d comes where %d belongs", name, got, i)
		}
	}
	if len(found) != n {
		t.Errorf("%d lines of %s, want %d", len(found), name, n)
	}
}

// TestReloadSequences: what is read from servers goes on where the table before has committed, while
// the tables change again and again. So do outputs.
func TestReloadSequences(t *testing.T) {
	redis, server := redistest.New(t), natstest.New(t)
	tables := func(i int) string {
		return fmt.Sprintf("[[collector.redis]]\nurl = %q\nstreams = [\"entries\"]\nlists = [\"queue\"]\nhost = \"h%d\"\n", redis.URL(), i) +
			fmt.Sprintf("[[collector.redis]]\nurl = %q\n[collector.redis.output]\nstream = \"out\"\nmax_len = %d\n", redis.URL(), 100_000+i) +
			fmt.Sprintf("[[collector.nats]]\nurl = %q\nagents = \"\"\nsubjects = [\"logs.>\"]\nstream = \"LOGS\"\ncreate = true\nhost = \"h%d\"\n", server.ClientURL(), i)
	}
	r := newReloading(t, tables(0))
	nc, err := nats.Connect(server.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the JetStream stream", func() bool { _, err := js.StreamInfo("LOGS"); return err == nil })
	const reloads, each = 8, 25
	n := 0
	send := func() {
		for range each {
			redis.Do("XADD", "entries", "*", "message", fmt.Sprint("entry ", n))
			redis.Do("RPUSH", "queue", fmt.Sprint("element ", n))
			if _, err := js.Publish("logs.app", []byte(fmt.Sprint("message ", n))); err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	for i := range reloads {
		send()
		r.takes(t, tables(i+1), "collector.redis[0]", "collector.redis[1]", "collector.nats[0]")
	}
	send()
	for _, name := range []string{"entry", "element", "message"} {
		r.inOrder(t, name, n)
	}
	lines := fmt.Sprint(r.sink.Status().Lines)
	waittest.UntilEqual(t, "lines in the stream of the output", lines, func() string { return redis.Do("XLEN", "out") })
	for range 2 {
		r.takes(t, listenTable("tcp", "127.0.0.1:0", ""), "removed")
		r.takes(t, tables(0), "collector.nats[0]")
	}
	send()
	r.inOrder(t, "entry", n)
	r.inOrder(t, "message", n)
}

// TestReloadHTTP: requests get the new settings, a live tail ends and may go on, and groups, that
// come with a reload, stay when the listener for workers changes or goes.
func TestReloadHTTP(t *testing.T) {
	at := free(t, 4)
	tcp := listenTable("tcp", at[0], "")
	r := newReloading(t, tcp+"[collector.http]\nlisten = \""+at[1]+"\"\n")
	named := func() int {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at[1]+"/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Host = "logs.example.net"
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	tail, err := http.Get("http://" + at[1] + "/tail")
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Body.Close()
	if code := named(); code != http.StatusForbidden {
		t.Errorf("a request for a name that is none: %d", code)
	}
	work := "[collector.work]\nlisten = \"" + at[2] + "\"\n"
	r.takes(t, tcp+work+"[collector.http]\nlisten = \""+at[1]+"\"\nhosts = [\"logs.example.net\"]\nmax_lookbacks = 3\n", "collector.http (http "+at[1]+"): changed", "collector.work (work "+at[2]+"): new")
	io.Copy(io.Discard, tail.Body) // ends: it may go on where it was
	if code := named(); code != http.StatusOK {
		t.Errorf("a request for a name that is one now: %d", code)
	}
	d, err := r.distributor()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Create("g", ""); err != nil {
		t.Fatal(err)
	}
	worker := dial(t, at[2])
	r.takes(t, tcp+"[collector.work]\nlisten = \""+at[2]+"\"\nattempts = 3\n", "collector.work (work "+at[2]+"): changed", "http "+at[1]+": removed")
	if got := d.Settings().Attempts; got != 3 {
		t.Errorf("attempts is %d", got)
	}
	dial(t, at[2])
	worker.Close()
	r.takes(t, tcp, "work "+at[2]+": removed")
	if list, err := r.groups(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("the groups: %+v, %v", list, err)
	}
}

// TestReloadUnix: the file of a socket stays, with a new mode, and so do those who send to it.
func TestReloadUnix(t *testing.T) {
	dir := t.TempDir()
	path, stream := filepath.Join(dir, "log.sock"), filepath.Join(dir, "stream.sock")
	tables := func(source, mode string) string {
		return fmt.Sprintf("[[collector.unix]]\npath = %q\nsource = %q\nmode = %q\n[[collector.unix]]\npath = %q\ntype = \"stream\"\nsource = %q\n", path, source, mode, stream, source)
	}
	r := newReloading(t, tables("one", "0600"))
	datagrams, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	lines, err := net.Dial("unix", stream)
	if err != nil {
		t.Fatal(err)
	}
	defer lines.Close()
	send := func(text string) {
		fmt.Fprintf(datagrams, "<13>datagram %s", text)
		fmt.Fprintf(lines, "<13>line %s\n", text)
	}
	send("before")
	r.has(t, "line before")
	r.takes(t, tables("two", "0666"), "collector.unix[0] (unix "+path+"): changed")
	send("after")
	r.has(t, "datagram before")
	r.has(t, "datagram after")
	r.has(t, "line after")
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o666 {
		t.Errorf("the socket: %v, %v", fi, err)
	}
	r.takes(t, listenTable("tcp", "127.0.0.1:0", ""), "unix "+path+": removed")
	waittest.Until(t, "that the files are gone", func() bool {
		_, err1 := os.Stat(path)
		_, err2 := os.Stat(stream)
		return os.IsNotExist(err1) && os.IsNotExist(err2)
	})
}

// TestReloadMoves: an address moves from one kind of table to another one.
func TestReloadMoves(t *testing.T) {
	at := free(t, 2)
	r := newReloading(t, listenTable("tcp", at[0], "")+listenTable("udp", at[1], ""))
	old := dial(t, at[0])
	fmt.Fprintf(old, "plain before\n")
	r.has(t, "plain before")
	r.takes(t, listenTable("relp", at[0], "")+listenTable("gelf", at[1], ""), "collector.relp[0] (relp "+at[0]+"): changed", "collector.gelf[0] (gelf "+at[1]+"): changed")
	fmt.Fprintf(old, "plain after\n")
	r.has(t, "plain after")
	relp := dial(t, at[0])
	io.WriteString(relp, "1 open 30 relp_version=0\ncommands=syslog\n2 syslog 4 over\n")
	for answers := bufio.NewScanner(relp); answers.Scan() && !strings.HasPrefix(answers.Text(), "2 rsp 6 200 OK"); {
	}
	r.has(t, ": over")
	conn, err := net.Dial("udp", at[1])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, `{"version":"1.1","host":"h","short_message":"of GELF"}`)
	r.has(t, "of GELF")
}

// TestReloadLeaks: after 200 reloads there are as many goroutines and descriptors as after the first.
func TestReloadLeaks(t *testing.T) {
	at := free(t, 5)
	tables := func(i int) string {
		source := fmt.Sprintf("source = \"s%d\"", i%2)
		// A reader of datagrams looks five times a second whether it is to end.
		all := listenTable("tcp", at[0], source) + listenTable("udp", at[1], fmt.Sprintf("source = \"s%d\"", i/25))
		if i%2 == 0 {
			all += listenTable("relp", at[2], source) + listenTable("gelf", at[3], source+"\nnetwork = \"tcp\"") +
				"[[collector.zmq]]\npull = \"tcp://" + at[4] + "\"\n" + "[collector.http]\nlisten = \"" + at[4][:strings.LastIndex(at[4], ":")] + ":0\"\n"
		}
		return all
	}
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(list)
	}
	r := newReloading(t, tables(0))
	fmt.Fprintf(dial(t, at[0]), "kept\n")
	r.has(t, "kept")
	var goroutines, open int
	for i := 1; i <= 200; i++ {
		r.takes(t, tables(i))
		if i == 2 {
			waittest.Until(t, "that the listeners of the first reloads are gone", func() bool { return r.removedAll() })
			goroutines, open = runtime.NumGoroutine(), descriptors()
		}
	}
	const idle = 8 // connections of the control socket that are about to close
	waittest.Until(t, fmt.Sprintf("%d goroutines, and %d descriptors", goroutines, open), func() bool {
		return runtime.NumGoroutine() <= goroutines+idle && descriptors() <= open+idle
	})
	fmt.Fprintf(dial(t, at[0]), "the end\n")
	r.has(t, "the end")
}

// removedAll reports whether nothing is left of listeners that were removed.
func (r *reloading) removedAll() bool {
	end, err := r.reloads.begin(r.reloads.ctx)
	if err != nil {
		return false
	}
	defer end()
	for _, y := range r.reloads.removed {
		if !y.isGone() {
			return false
		}
	}
	return true
}

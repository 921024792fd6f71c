package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fanin/internal/wire"
)

// terminal is a pseudo terminal: what is written to it, and what it would show.
func terminal(t *testing.T) (tty *os.File, shown func() string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudo terminals:", err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	read := make(chan struct{})
	go func() { // ends when tty is closed
		io.Copy(&out, master)
		close(read)
	}()
	return tty, func() string {
		tty.Close()
		<-read
		master.Close()
		return out.String()
	}
}

// sendWith runs send with another stderr.
func sendWith(t *testing.T, stderr *os.File, addr, path string) {
	t.Helper()
	before := os.Stderr
	os.Stderr = stderr
	defer func() { os.Stderr = before }()
	if code, text := sendFiles(t, addr, t.TempDir(), path); code != 0 {
		t.Fatalf("exit %d: %s", code, text)
	}
}

var drawn = regexp.MustCompile(`\x1b\[K *(\d+)%  ([\d.]+) (B|KiB|MiB)  ([\d ]+) lines(?:  ([\d.]+) (?:B|KiB|MiB)/s)?(?:  (\w+) left)?\r`)

// TestSendProgress: on a terminal, send shows the part that is done, bytes, lines, rate and
// the time that is left, and removes that in the end; elsewhere it is silent.
func TestSendProgress(t *testing.T) {
	m, addr := collect(t)
	m.Before = func(context.Context, wire.Batch) error {
		time.Sleep(drawEvery / 4) // a slow collector: there is something to see
		return nil
	}
	line := strings.Repeat("x", 99) + "\n"
	path := write(t, filepath.Join(t.TempDir(), "a.log"), strings.Repeat(line, 60000))
	tty, shown := terminal(t)
	sendWith(t, tty, addr, path)
	text := shown()
	draws := drawn.FindAllStringSubmatch(text, -1)
	rates, lefts, last := 0, 0, 0
	for _, d := range draws {
		part, err := strconv.Atoi(d[1])
		if err != nil || part < last {
			t.Errorf("%d%% after %d%%, %v", part, last, err)
		}
		last = part
		if d[5] != "" {
			rates++
		}
		if d[6] != "" {
			lefts++
		}
	}
	if len(draws) < 2 || rates == 0 || lefts == 0 {
		t.Errorf("it shows %q", text)
	}
	if !strings.Contains(text, "60 000 lines, 5.7 MiB, were sent now") || strings.LastIndex(text, "% ") > strings.LastIndex(text, "\x1b[K") {
		t.Errorf("it ends with %q", text[max(0, len(text)-300):])
	}

	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sendWith(t, file, addr, write(t, filepath.Join(t.TempDir(), "b.log"), "one\n"))
	b, err := os.ReadFile(file.Name())
	if err != nil || bytes.ContainsAny(b, "\r\x1b%") {
		t.Errorf("without a terminal it prints %q, %v", b, err)
	}
}

// TestProgressText: rate and time left are those of the last moments.
func TestProgressText(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	p := progressLine{out: &out}
	step := func(bytes int64, done float64) string {
		out.Reset()
		now = now.Add(time.Second)
		p.show(now, bytes, 1234567, done)
		return strings.Trim(out.String(), "\x1b[K\r")
	}
	if got := step(0, 0); got != "  0%  0 B  1 234 567 lines" {
		t.Errorf("first %q", got)
	}
	if got := step(10<<20, 0.25); got != " 25%  10.0 MiB  1 234 567 lines  10.0 MiB/s  3s left" {
		t.Errorf("then %q", got)
	}
	for range 2 * rateSamples {
		step(10<<20, 0.25)
	}
	if got := step(10<<20, 0.25); got != " 25%  10.0 MiB  1 234 567 lines  0 B/s" {
		t.Errorf("while nothing goes on: %q", got)
	}
	now = now.Add(-time.Second)
	if got := step(1<<40, 1); got != "" {
		t.Errorf("at once again: %q", got)
	}
	for n, want := range map[float64]string{0: "0 B", 999: "999 B", 1000: "1.0 KiB", 1 << 20: "1.0 MiB", 999 << 20: "999 MiB", 5 << 40: "5.0 TiB", math.Pow(2, 60): "1048576 TiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("%v is %q, want %q", n, got, want)
		}
	}
}

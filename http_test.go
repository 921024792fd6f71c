package fanin_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Connections to the HTTP listener that stay open take no descriptors that the intake
// and rotation need, and do not keep a probe out.
func TestIdleHTTPTakesNoDescriptors(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "all.log")
	program := filepath.Join(programDir(t), "fanin-collector")
	c := start(t, exec.Command("sh", "-c", `ulimit -n 256; exec "$0" --out "$1" --listen 127.0.0.1:0 --http 127.0.0.1:0`, program, log))
	web := c.wait("^listening http (.*)")
	intake := c.wait("^listening tcp (.*)")
	c.wait("^writing")
	ask := func(nc net.Conn) error {
		nc.SetDeadline(time.Now().Add(patience))
		fmt.Fprint(nc, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
		}
		return err
	}
	for i := range 1000 {
		nc, err := net.Dial("tcp", web)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if err := ask(nc); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	for i := range 3 {
		nc, err := net.Dial("tcp", intake)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(nc, "line %d\n", i)
		nc.Close()
		awaitLine(t, log, fmt.Sprintf("line %d", i))
		if out, err := exec.Command(program, "rotate", "--out", log).CombinedOutput(); err != nil {
			t.Fatalf("rotate: %v\n%s", err, out)
		}
	}
	c.stop()
}

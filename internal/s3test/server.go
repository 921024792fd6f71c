// Package s3test runs a real S3-compatible server for tests: e2e/s3, which make setup builds.
package s3test

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"fanin/internal/freeport"
	"fanin/internal/waittest"
)

// Server is a process that has buckets in a directory.
type Server struct {
	t       testing.TB
	program string
	address string
	dir     string
	access  string
	secret  string
	cmd     *exec.Cmd
	log     *bytes.Buffer
}

// Bucket is the bucket that a server has.
const Bucket = "logs"

// New starts a server on a free port of the loopback interface. It ends with the test, which is skipped
// where the program was not built.
func New(t testing.TB) *Server {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	program := filepath.Join(filepath.Dir(file), "..", "..", "build", "peers", "s3")
	if _, err := os.Stat(program); err != nil {
		t.Skip("there is no build/peers/s3: make setup builds it")
	}
	ports, err := freeport.Find(1)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, program: program, dir: t.TempDir(), address: "127.0.0.1:" + strconv.Itoa(ports[0]),
		access: "fanin-test", secret: "a secret for tests"}
	for _, dir := range []string{s.Files(), filepath.Join(s.dir, "meta")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.Start()
	t.Cleanup(s.Kill)
	return s
}

// Start starts the server, for the first time or again, and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	s.log = new(bytes.Buffer)
	s.cmd = exec.Command(s.program, s.address, filepath.Join(s.dir, "buckets"), filepath.Join(s.dir, "meta"), s.access, s.secret)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	waittest.Until(s.t, "the S3 server at "+s.address, func() bool {
		resp, err := http.Get(s.URL())
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
}

// Kill ends the server as kill -9 does, if it runs.
func (s *Server) Kill() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

// URL is the endpoint of the server.
func (s *Server) URL() string { return "http://" + s.address }

// Files is the directory with the objects of the bucket.
func (s *Server) Files() string { return filepath.Join(s.dir, "buckets", Bucket) }

// Keys writes the parts of the key into files.
func (s *Server) Keys() (access, secret string) {
	s.t.Helper()
	return Secret(s.t, s.access), Secret(s.t, s.secret)
}

// Secret writes a secret into a file.
func Secret(t testing.TB, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

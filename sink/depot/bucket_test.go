package depot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/s3test"
)

// proxy is between a copier and a server, and may do what it likes with some requests.
type proxy struct {
	*httptest.Server
	meddle  atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool] // true: the request was answered
	forward http.Handler
	puts    atomic.Int64
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{forward: &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(u); r.Out.Host = r.In.Host }, // which the signature covers
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			p.puts.Add(1)
		}
		if f := p.meddle.Load(); f == nil || !(*f)(w, r) {
			p.forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

// set has a function meddle from now on.
func (p *proxy) set(f func(w http.ResponseWriter, r *http.Request) bool) { p.meddle.Store(&f) }

// bucketPlace is a bucket of a server that a proxy leads to.
func bucketPlace(t *testing.T, s *s3test.Server, p *proxy) Place {
	t.Helper()
	to, err := ParsePlace("s3://" + s3test.Bucket + "/site-1")
	if err != nil {
		t.Fatal(err)
	}
	to.Endpoint = p.URL
	to.AccessKeyFile, to.SecretKeyFile = s.Keys()
	return to
}

// A bucket of a real server has each file once, with its ledger, although the copier and the server forget.
func TestBucket(t *testing.T) {
	server := s3test.New(t)
	proxy := newProxy(t, server.URL())
	to := bucketPlace(t, server, proxy)
	dir := t.TempDir()
	n := open(t, dir, to, hold, nil)
	n.files(3)
	n.archived()
	has(t, to, 0, 900)
	if got := len(objects(t, filepath.Join(server.Files(), "site-1"))); got != 9 {
		t.Errorf("%d objects are below the prefix, want 9", got)
	}
	n.stop()
	puts := proxy.puts.Load()
	if err := os.Remove(filepath.Join(dir, "state", fileName)); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, to, hold, nil)
	again.archived()
	if proxy.puts.Load() != puts || again.copier.Status().Files != 1 {
		t.Errorf("what was there was sent again: %d requests, before %d", proxy.puts.Load(), puts)
	}
	server.Kill()
	again.next = n.next
	again.files(2)
	again.says("files of the log cannot be archived now")
	server.Start()
	again.archived()
	has(t, to, 0, 1500)
}

// faults are what a server, or what is between, does at its worst, to one request.
var faults = map[string]func(p *proxy, w http.ResponseWriter, r *http.Request) bool{
	"answers 500": func(_ *proxy, w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusInternalServerError)
		return true
	},
	"does not answer": func(_ *proxy, _ http.ResponseWriter, r *http.Request) bool {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		return true
	},
	"closes": func(*proxy, http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
	"forgets": func(_ *proxy, w http.ResponseWriter, r *http.Request) bool { // it lies about success
		if r.Method != http.MethodPut {
			return false
		}
		io.Copy(io.Discard, r.Body)
		w.Header().Set("ETag", `"0123456789abcdef0123456789abcdef"`)
		return true
	},
	"loses the answer": func(p *proxy, _ http.ResponseWriter, r *http.Request) bool {
		p.forward.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	},
	"cuts what is read": func(p *proxy, w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet {
			return false
		}
		rec := httptest.NewRecorder()
		p.forward.ServeHTTP(rec, r)
		w.WriteHeader(rec.Code)
		w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		return true
	},
	"changes what is read": func(p *proxy, w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet {
			return false
		}
		rec := httptest.NewRecorder()
		p.forward.ServeHTTP(rec, r)
		b := rec.Body.Bytes()
		if len(b) > 0 {
			b[len(b)/2] ^= 1
		}
		w.WriteHeader(rec.Code)
		w.Write(b)
		return true
	},
}

// Whatever happens to requests, all files are there in the end, and right, and no file counts before.
func TestBucketFaults(t *testing.T) {
	server := s3test.New(t)
	for what, fault := range faults {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t, server.URL())
			to := bucketPlace(t, server, p)
			to.Prefix = strings.ReplaceAll(what, " ", "-")
			if what == "does not answer" {
				to.stall = time.Second
			}
			var left atomic.Int64
			left.Store(4)
			p.set(func(w http.ResponseWriter, r *http.Request) bool {
				return rand.IntN(3) == 0 && left.Add(-1) >= 0 && fault(p, w, r)
			})
			n := open(t, t.TempDir(), to, hold, nil)
			n.files(3)
			n.archived()
			p.meddle.Store(nil)
			has(t, to, 0, 900)
			n.stop()
		})
	}
}

// What a server says to have, and has not, is found at once, and is sent again.
func TestLyingServer(t *testing.T) {
	server := s3test.New(t)
	p := newProxy(t, server.URL())
	to := bucketPlace(t, server, p)
	p.set(func(w http.ResponseWriter, r *http.Request) bool { return faults["forgets"](p, w, r) })
	n := open(t, t.TempDir(), to, hold, nil)
	n.files(1)
	n.says("has taken an object, and does not have it")
	if st := n.copier.Status(); st.Files != 0 || st.Waiting != 1 {
		t.Errorf("%+v", st)
	}
	p.meddle.Store(nil)
	n.archived()
	has(t, to, 0, 300)
}

// Mistakes in the configuration are named, and corrected without a restart.
func TestBucketMistakes(t *testing.T) {
	server := s3test.New(t)
	for what, c := range map[string]struct {
		break_ func(p *Place)
		want   string
	}{
		"no bucket":  {func(p *Place) { p.Bucket = "missing" }, "the bucket missing does not exist at http://127.0.0.1"},
		"other key":  {func(p *Place) { p.SecretKeyFile = s3test.Secret(t, "wrong") }, "refuses the key in "},
		"other id":   {func(p *Place) { p.AccessKeyFile = s3test.Secret(t, "wrong") }, "refuses the key in "},
		"no file":    {func(p *Place) { p.SecretKeyFile = "/nowhere/secret" }, "/nowhere/secret"},
		"no server":  {func(p *Place) { p.Endpoint = "http://127.0.0.1:1" }, "connection refused"},
		"no TLS":     {func(p *Place) { p.Endpoint = strings.Replace(p.Endpoint, "http:", "https:", 1) }, "HTTP response to HTTPS client"},
		"other file": {func(p *Place) { p.AccessKeyFile = t.TempDir() }, "is a directory"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			to := bucketPlace(t, server, newProxy(t, server.URL()))
			c.break_(&to)
			n := open(t, t.TempDir(), to, hold, nil)
			n.files(1)
			n.says("files of the log cannot be archived now")
			if got := n.copier.Status().Trouble; !strings.Contains(got, c.want) {
				t.Errorf("the trouble is %q, want %q", got, c.want)
			}
			if what == "other key" {
				if err := os.WriteFile(to.SecretKeyFile, []byte("a secret for tests"), 0o600); err != nil {
					t.Fatal(err)
				}
				n.archived()
				n.says("the archive takes files again")
			}
		})
	}
}

// What is too large for one request is sent in parts, after the parts of an attempt that was killed
// were removed; and a store is a store.
func TestStores(t *testing.T) {
	server := s3test.New(t)
	to := bucketPlace(t, server, newProxy(t, server.URL()))
	small, err := to.open(nil)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := to.open(nil)
	if err != nil {
		t.Fatal(err)
	}
	parts.(*bucket).single, parts.(*bucket).part = 1<<20, 5<<20
	dir, err := place(t).open(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]store{"one request": small, "parts": parts, "directory": dir} {
		t.Run(name, func(t *testing.T) { testStore(t, s, strings.ReplaceAll(name, " ", "-")+"/object") })
	}
}

func testStore(t *testing.T, s store, name string) {
	ctx := context.Background()
	if _, err := s.stat(ctx, name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of nothing: %v", err)
	}
	if _, err := s.get(ctx, name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("get of nothing: %v", err)
	}
	var text []byte
	for _, size := range []int{0, 11<<20 + 17, 1000} {
		text = make([]byte, size)
		rand.NewChaCha8([32]byte{1}).Read(text)
		sum := sha256.Sum256(text)
		if err := s.put(ctx, name, content{bytes.NewReader(text), int64(size), hex.EncodeToString(sum[:]), false}); err != nil {
			t.Fatalf("put of %d bytes: %v", size, err)
		}
		if n, err := s.stat(ctx, name); err != nil || n != int64(size) {
			t.Errorf("stat: %d, %v", n, err)
		}
		r, err := s.get(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, text) {
			t.Errorf("get of %d bytes: %d, %v", size, len(got), err)
		}
		r.Close()
	}
	sum := sha256.Sum256(text)
	err := s.put(ctx, name, content{bytes.NewReader(text), int64(len(text)), hex.EncodeToString(sum[:]), true})
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("put of what is there: %v", err)
	}
	if err := s.put(ctx, name, content{io.MultiReader(bytes.NewReader(text[:500]), failing{}), 1000, hex.EncodeToString(sum[:]), false}); err == nil {
		t.Error("put of what cannot be read succeeds")
	}
	if n, err := s.stat(ctx, name); err != nil || n != 1000 {
		t.Errorf("after it failed: %d, %v", n, err)
	}
	var names []string
	if err := s.list(ctx, "", func(name string) { names = append(names, name) }); err != nil || !slices.Contains(names, name) {
		t.Errorf("list: %q, %v", names, err)
	}
}

var errFailing = errors.New("it cannot be read")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errFailing }

package access

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var update = flag.Bool("update", false, "write the golden file")

func sessions(t *testing.T) *Sessions {
	t.Helper()
	s := new(Sessions)
	s.OpenKey(filepath.Join(t.TempDir(), "key"), slog.New(slog.DiscardHandler))
	return s
}

// TestCookieGolden pins the bytes of a cookie.
func TestCookieGolden(t *testing.T) {
	s := &Sessions{key: bytes.Repeat([]byte{7}, 32)}
	hash := HashOf("token")
	now := time.Unix(1_790_000_000, 0)
	b, err := base64.RawURLEncoding.DecodeString(s.begin(&hash, now))
	if err != nil {
		t.Fatal(err)
	}
	copy(b[9:17], "fixed-id")
	b = s.sign(b[:sessionSigned:sessionSigned])
	const path = "testdata/cookie.golden"
	if *update {
		if err := os.WriteFile(path, []byte(hex.Dump(b)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(path); err != nil || string(want) != hex.Dump(b) {
		t.Errorf("%v; it is\n%swant\n%s", err, hex.Dump(b), want)
	}
	x, ok := s.parse(base64.RawURLEncoding.EncodeToString(b), now)
	if !ok || !x.until.Equal(now.Add(SessionTime)) || string(x.id[:]) != "fixed-id" || !x.of(&hash) {
		t.Errorf("it is read as %+v, %v", x, ok)
	}
}

// TestCookies: a cookie is good for 12 hours, with the key that signed it, as it was made.
func TestCookies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, other := sessions(t), sessions(t)
		hash, no := HashOf("a"), HashOf("b")
		cookie := s.begin(&hash, time.Now())
		good := func(s *Sessions, cookie string) bool { _, ok := s.parse(cookie, time.Now()); return ok }
		if !good(s, cookie) || good(other, cookie) || good(new(Sessions), cookie) {
			t.Error("a cookie is good with another key, or is not with its own")
		}
		if x, _ := s.parse(cookie, time.Now()); x.of(&no) {
			t.Error("the session is of another token")
		}
		b, _ := base64.RawURLEncoding.DecodeString(cookie)
		for i := range b {
			b[i] ^= 1
			if good(s, base64.RawURLEncoding.EncodeToString(b)) {
				t.Errorf("with byte %d changed it is good", i)
			}
			b[i] ^= 1
		}
		for _, bad := range []string{"", "x", cookie + "A", cookie[1:], cookie + "=", strings.Repeat("A", len(cookie)), strings.Repeat("A", 1<<20), cookie + "\n"} {
			if good(s, bad) {
				t.Errorf("%.100q is good", bad)
			}
		}
		if good := func() bool { _, ok := s.parse(cookie, time.Now().Add(-time.Hour)); return ok }(); good {
			t.Error("a cookie from the future is good")
		}
		time.Sleep(SessionTime)
		if !good(s, cookie) {
			t.Error("it is over before 12 hours")
		}
		time.Sleep(2 * time.Second)
		if good(s, cookie) {
			t.Error("it is good after 12 hours")
		}
	})
}

// TestFinish: a session that was ended is over, and how many of these are remembered is bounded.
func TestFinish(t *testing.T) {
	s := sessions(t)
	hash := HashOf("a")
	now := time.Now()
	for range maxOut + 100 {
		cookie := s.begin(&hash, now)
		x, ok := s.parse(cookie, now)
		if !ok {
			t.Fatal("a new session is over")
		}
		s.finish(x, now)
		if _, ok := s.parse(cookie, now); ok {
			t.Fatal("a session that was ended is not over")
		}
	}
	if len(s.out) > maxOut {
		t.Errorf("%d are remembered", len(s.out))
	}
	x, _ := s.parse(s.begin(&hash, now), now)
	s.finish(x, now.Add(SessionTime+time.Hour))
	if len(s.out) != 1 {
		t.Errorf("%d are remembered after they would have ended", len(s.out))
	}
}

// TestKey: sessions outlive a restart; a key that cannot be used is replaced, which is reported.
func TestKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	var log bytes.Buffer
	open := func() *Sessions {
		t.Helper()
		s := new(Sessions)
		s.OpenKey(path, slog.New(slog.NewTextHandler(&log, nil)))
		return s
	}
	hash := HashOf("a")
	cookie := open().begin(&hash, time.Now())
	if _, ok := open().parse(cookie, time.Now()); !ok || log.Len() > 0 {
		t.Errorf("after a restart the session is over; %s", log.String())
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the key has the mode %v, %v", fi.Mode(), err)
	}
	write(t, path, "short")
	if _, ok := open().parse(cookie, time.Now()); ok || !strings.Contains(log.String(), "the key of the sessions cannot be used") {
		t.Errorf("with another key the session goes on; %s", log.String())
	}
	log.Reset()
	path = filepath.Join(path, "none")
	s := open()
	if _, ok := s.parse(s.begin(&hash, time.Now()), time.Now()); !ok || !strings.Contains(log.String(), "they end with the collector") {
		t.Errorf("with a key that cannot be kept no session is good, or this is not reported: %s", log.String())
	}
}

// FuzzCookie: no cookie does harm, and none but ours is good.
func FuzzCookie(f *testing.F) {
	s := &Sessions{key: bytes.Repeat([]byte{7}, 32)}
	hash := HashOf("token")
	now := time.Now()
	f.Add("")
	f.Add(s.begin(&hash, now)[:40])
	f.Add(strings.Repeat("A", 87))
	f.Fuzz(func(t *testing.T, cookie string) {
		if x, ok := s.parse(cookie, now); ok {
			t.Errorf("%q is good: %+v", cookie, x)
		}
	})
}

package redisconn_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/internal/redisconn"
	"fanin/internal/redistest"
	"fanin/internal/waittest"
)

// TestClasses: what real servers answer when they do not do what they are asked, and what an
// operator is told.
func TestClasses(t *testing.T) {
	s := redistest.New(t, "enable-debug-command yes", "user weak on nopass ~mine +@all -xadd")
	s.Do("SET", "text", "x")
	s.Do("XADD", "logs", "5-5", "a", "b")
	deny := func(setting, value string) func() { return func() { s.Do("CONFIG", "SET", setting, value) } }
	for _, row := range []struct {
		before func()
		parts  []string
		want   redisconn.Class
		after  func()
	}{
		{nil, []string{"XADD", "logs", "5-5", "a", "b"}, redisconn.Other, nil},
		{nil, []string{"NOSUCH"}, redisconn.Other, nil},
		{nil, []string{"XADD", "text", "*", "a", "b"}, redisconn.WrongType, nil},
		{nil, []string{"EVAL", "return redis.call('RPUSH', 'text', 'x')", "0"}, redisconn.WrongType, nil},
		{nil, []string{"EVALSHA", strings.Repeat("0", 40), "0"}, redisconn.NoScript, nil},
		{nil, []string{"XREADGROUP", "GROUP", "g", "c", "STREAMS", "logs", ">"}, redisconn.NoGroup, nil},
		{deny("maxmemory", "1"), []string{"XADD", "logs", "*", "a", "b"}, redisconn.OutOfMemory, nil},
		{nil, []string{"EVAL", "return redis.call('RPUSH', 'q', 'x')", "0"}, redisconn.OutOfMemory, deny("maxmemory", "0")},
		{deny("min-replicas-to-write", "1"), []string{"XADD", "logs", "*", "a", "b"}, redisconn.ReadOnly, deny("min-replicas-to-write", "0")},
		{func() { s.Do("REPLICAOF", "127.0.0.1", "1") }, []string{"XADD", "logs", "*", "a", "b"}, redisconn.ReadOnly, nil},
		{nil, []string{"EVAL", "return redis.call('RPUSH', 'q', 'x')", "0"}, redisconn.ReadOnly, nil},
		{deny("replica-serve-stale-data", "no"), []string{"GET", "text"}, redisconn.ReadOnly, func() { s.Do("REPLICAOF", "NO", "ONE") }},
	} {
		if row.before != nil {
			row.before()
		}
		_, err := s.Try(row.parts...)
		if got := redisconn.Classify(err); err == nil || got != row.want || row.want.Remedy() != "" && !strings.HasSuffix(redisconn.Explain(err), row.want.Remedy()) {
			t.Errorf("%v: class %d of %v, want %d", row.parts, got, redisconn.Explain(err), row.want)
		}
		if row.after != nil {
			row.after()
		}
	}
	weak := redisconn.Login{URLs: []string{s.URL()}, User: "weak", PasswordFile: secret(t, "any")}
	for _, parts := range [][]string{{"XADD", "mine", "*", "a", "b"}, {"GET", "others"}, {"PUBLISH", "app", "x"}, {"EVAL", "return redis.call('XADD', KEYS[1], '*', 'a', 'b')", "1", "mine"}} {
		if _, err := try(t, weak, parts...); redisconn.Classify(err) != redisconn.NoPermission {
			t.Errorf("%v: class %d of %v", parts, redisconn.Classify(err), err)
		}
	}
}

// TestBusy: while a script runs, commands are answered with Busy.
func TestBusy(t *testing.T) {
	s := redistest.New(t, "busy-reply-threshold 1")
	conn := dial(t, s.Client())
	conn.Command("EVAL", "while true do end", "0")
	if err := conn.Send(t.Context()); err != nil {
		t.Fatal(err)
	}
	waittest.UntilEqual(t, "the class", redisconn.Busy, func() redisconn.Class {
		_, err := s.Try("GET", "x")
		return redisconn.Classify(err)
	})
	s.Do("SCRIPT", "KILL")
}

// TestLoading: a server that reads its data answers with Loading; then it serves.
func TestLoading(t *testing.T) {
	s := redistest.New(t, "appendonly yes")
	s.Do("EVAL", "for i = 1, 5000 do redis.call('SET', 'k' .. i, i) end", "0")
	s.Stop()
	s.Set("key-load-delay 200", "loading-process-events-interval-bytes 1024")
	s.Launch()
	waittest.UntilEqual(t, "the class", redisconn.Loading, func() redisconn.Class {
		_, err := s.Try("GET", "k1")
		return redisconn.Classify(err)
	})
	waittest.Until(t, "the value", func() bool { v, _ := s.Try("GET", "k1"); return v == "1" })
}

// TestDisk: a server that cannot save its data refuses writes, and that is ReadOnly, too.
func TestDisk(t *testing.T) {
	s := redistest.New(t, "enable-protected-configs yes")
	dir := filepath.Join(s.Dir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.Do("CONFIG", "SET", "dir", dir)
	s.Do("CONFIG", "SET", "save", "1 1")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	waittest.UntilEqual(t, "the class", redisconn.ReadOnly, func() redisconn.Class {
		_, err := s.Try("SET", "a", fmt.Sprint(time.Now()))
		return redisconn.Classify(err)
	})
}

// TestAway: a server that is not there, or ends, is Away.
func TestAway(t *testing.T) {
	s := redistest.New(t)
	conn := dial(t, s.Client())
	conn.Command("XREAD", "BLOCK", "0", "STREAMS", "logs", "$")
	if err := conn.Send(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	_, err := conn.Receive(t.Context(), -1)
	if redisconn.Classify(err) != redisconn.Away || !strings.Contains(redisconn.Explain(err), "start the server, or correct url") {
		t.Errorf("killed: %v", redisconn.Explain(err))
	}
	if _, err := s.Try("PING"); redisconn.Classify(err) != redisconn.Away {
		t.Errorf("gone: %v", err)
	}
}

// TestServerNamedOnce: an error of a login that the server breaks off names the server once.
func TestServerNamedOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // ends with l
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	client := &redisconn.Client{Login: redisconn.Login{URLs: []string{"redis://" + l.Addr().String() + "/3"}}}
	_, err = client.Dial(t.Context(), "")
	if err == nil || strings.Count(err.Error(), "Redis server") != 1 || !strings.HasPrefix(err.Error(), "log in: the Redis server ") {
		t.Errorf("the error is %v", err)
	}
}

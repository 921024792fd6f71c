package redis

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/redistest"
	"fanin/internal/waittest"
)

// TestLeastRights: the commands that docs/redis.md names are all that an output needs.
func TestLeastRights(t *testing.T) {
	both(t, func(t *testing.T, change func(*Output)) {
		s := redistest.New(t)
		rights := []string{"~fanin", "+eval", "+xadd", "+xinfo"}
		if o := new(Output); func() bool { change(o); return o.List != "" }() {
			rights = []string{"~fanin", "~{fanin}:fanin-out", "+eval", "+get", "+set", "+llen", "+rpush", "+ltrim"}
		}
		s.Do(append([]string{"ACL", "SETUSER", "least", "on", ">secret"}, rights...)...)
		file := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		h := open(t, t.TempDir(), s, change, func(o *Output) {
			o.Server.Login.User, o.Server.Login.PasswordFile, o.MaxLen = "least", file, 1000
		})
		h.put(100)
		h.want(h.lines)
		h.finished()
	})
}

// TestMaxLen: a list keeps exactly so many, and counts what it loses; a stream about so many.
func TestMaxLen(t *testing.T) {
	both(t, func(t *testing.T, change func(*Output)) {
		s := redistest.New(t)
		h := open(t, t.TempDir(), s, change, func(o *Output) { o.MaxLen = 50 })
		for range 10 {
			h.put(100)
		}
		h.finished()
		lines := h.stored()
		trimmed := int(h.out.counts.trimmed.Load())
		if h.out.List != "" && (len(lines) != 50 || trimmed != 950) || len(lines) < 50 || len(lines) > 300 {
			t.Errorf("%d lines are kept, and %d were counted as lost", len(lines), trimmed)
		}
		h.want(h.lines[1000-len(lines):])
	})
}

// TestReplica: after a failover to a replica that lacks the end, the output goes on there, and
// what is missing is sent again.
func TestReplica(t *testing.T) {
	both(t, func(t *testing.T, change func(*Output)) {
		master, replica := redistest.New(t), redistest.New(t)
		h := open(t, t.TempDir(), master, change, func(o *Output) {
			o.Server.Login.URLs = []string{master.URL(), replica.URL()}
		})
		replica.Do("REPLICAOF", "127.0.0.1", master.Port())
		h.put(100)
		h.want(h.lines)
		h.server = replica
		h.want(h.lines)
		replica.Do("REPLICAOF", "127.0.0.1", "1")
		h.put(100)
		h.finished()
		master.Kill()
		h.put(100)
		h.troubled("READONLY")
		replica.Do("REPLICAOF", "NO", "ONE")
		h.want(h.lines)
		h.finished()
		if n := h.out.counts.resent.Load(); n != 100 {
			t.Errorf("%d lines were sent again, want 100", n)
		}
	})
}

// TestCluster: in a Cluster, the output finds the node that has the key, and waits while no
// node has it.
func TestCluster(t *testing.T) {
	both(t, func(t *testing.T, change func(*Output)) {
		s := redistest.New(t, "cluster-enabled yes")
		h := open(t, t.TempDir(), s, change, func(o *Output) { o.Server.Login.Cluster = true })
		h.put(10)
		h.troubled("CLUSTERDOWN")
		s.Do("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
		waittest.Until(t, "the Cluster", func() bool { return strings.Contains(s.Do("CLUSTER", "INFO"), "cluster_state:ok") })
		h.want(h.lines)
		h.calm()
	})
}

package redisconn_test

import (
	"strconv"
	"strings"
	"testing"

	"fanin/internal/redisconn"
	"fanin/internal/redistest"
	"fanin/internal/waittest"
)

// TestSentinel: the master is found through any Sentinel that answers, and the new one after
// a failover; a Sentinel that does not know the name, and one that names a replica, are
// errors.
func TestSentinel(t *testing.T) {
	master := redistest.New(t)
	replica := redistest.New(t, "replicaof 127.0.0.1 "+master.Port())
	waittest.Until(t, "the replica", func() bool { return strings.Contains(replica.Do("INFO", "replication"), "master_link_status:up") })
	sentinel := redistest.New(t, "sentinel monitor logs 127.0.0.1 "+master.Port()+" 1",
		"sentinel down-after-milliseconds logs 300", "sentinel failover-timeout logs 2000")
	login := redisconn.Login{URLs: []string{"redis://127.0.0.1:1", sentinel.URL()}, Sentinel: "logs"}
	client := &redisconn.Client{Login: login}
	conn := dial(t, client)
	if conn.Server() != master.Addr() {
		t.Fatalf("connected to %s, the master is %s", conn.Server(), master.Addr())
	}
	waittest.Until(t, "the Sentinel's replica", func() bool { return strings.Contains(sentinel.Do("SENTINEL", "REPLICAS", "logs"), replica.Port()) })

	unknown := login
	unknown.Sentinel = "other"
	if _, err := try(t, unknown, "PING"); err == nil || !strings.Contains(err.Error(), "correct sentinel_master") {
		t.Errorf("an unknown name: %v", err)
	}
	master.Kill()
	if _, err := conn.Do(t.Context(), "PING"); redisconn.Classify(err) != redisconn.Away {
		t.Errorf("the killed master: %v", err)
	}
	waittest.Until(t, "the new master", func() bool {
		conn, err := client.Dial(t.Context(), "")
		if err != nil {
			return false
		}
		defer conn.Close()
		return conn.Server() == replica.Addr()
	})
	master.Set("replicaof 127.0.0.1 " + replica.Port())
	master.Start()
	if got := dial(t, client).Server(); got != replica.Addr() {
		t.Errorf("connected to %s, the master is %s", got, replica.Addr())
	}

	stale := redistest.New(t, "sentinel monitor logs 127.0.0.1 "+master.Port()+" 2", "sentinel down-after-milliseconds logs 600000")
	if _, err := try(t, redisconn.Login{URLs: []string{stale.URL()}, Sentinel: "logs"}, "PING"); redisconn.Classify(err) != redisconn.ReadOnly {
		t.Errorf("a Sentinel that names a replica: %v", err)
	}
}

// TestSentinelLogin: Sentinels may ask for the same login.
func TestSentinelLogin(t *testing.T) {
	s := redistest.New(t, "requirepass pass")
	sentinel := redistest.New(t, "sentinel monitor logs 127.0.0.1 "+s.Port()+" 1", "sentinel auth-pass logs pass", "requirepass pass")
	l := redisconn.Login{URLs: []string{sentinel.URL()}, Sentinel: "logs", PasswordFile: secret(t, "pass")}
	if pong, err := try(t, l, "PING"); pong != "PONG" || err != nil {
		t.Errorf("%q, %v", pong, err)
	}
	l.PasswordFile = secret(t, "wrong")
	if _, err := try(t, l, "PING"); redisconn.Classify(err) != redisconn.NoAuth {
		t.Errorf("a wrong password: %v", err)
	}
}

// TestCluster: a connection leads to the node that has the key, and after its slot has moved
// to the other one.
func TestCluster(t *testing.T) {
	a := redistest.New(t, "cluster-enabled yes", "cluster-config-file a.conf")
	b := redistest.New(t, "cluster-enabled yes", "cluster-config-file b.conf")
	login := redisconn.Login{URLs: []string{a.URL(), b.URL()}, Cluster: true}
	client := &redisconn.Client{Login: login}
	if _, err := client.Dial(t.Context(), "logs"); redisconn.Classify(err) != redisconn.Moved || !strings.Contains(err.Error(), "no node has the slot") {
		t.Errorf("a Cluster without slots: %v", err)
	}
	a.Do("CLUSTER", "ADDSLOTSRANGE", "0", "8191")
	b.Do("CLUSTER", "ADDSLOTSRANGE", "8192", "16383")
	a.Do("CLUSTER", "MEET", "127.0.0.1", b.Port(), b.Bus())
	for _, s := range []*redistest.Server{a, b} {
		waittest.Until(t, "the Cluster", func() bool { return strings.Contains(s.Do("CLUSTER", "INFO"), "cluster_state:ok") })
	}
	for key, want := range map[string]*redistest.Server{"logs": b, "b": a, "x{b}y": a} {
		conn, err := client.Dial(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Do(t.Context(), "XADD", key, "*", "a", "b"); err != nil || conn.Server() != want.Addr() {
			t.Errorf("%s is at %s, not at %s: %v", key, want.Addr(), conn.Server(), err)
		}
		conn.Close()
	}
	if _, err := a.Try("XADD", "logs", "*", "a", "b"); redisconn.Classify(err) != redisconn.Moved || !strings.Contains(redisconn.Explain(err), "needs cluster = true") {
		t.Errorf("another node's key: %v", redisconn.Explain(err))
	}
	if _, err := a.Try("SUNION", "logs", "b"); redisconn.Classify(err) != redisconn.Moved {
		t.Errorf("keys of two slots: %v", err)
	}
	id := b.Do("CLUSTER", "MYID")
	slot := a.Do("CLUSTER", "KEYSLOT", "new")
	from, to := a, b
	if dialled, err := client.Dial(t.Context(), "new"); err != nil {
		t.Fatal(err)
	} else if dialled.Close(); dialled.Server() == b.Addr() {
		from, to, id = b, a, a.Do("CLUSTER", "MYID")
	}
	for _, s := range []*redistest.Server{to, from} {
		s.Do("CLUSTER", "SETSLOT", slot, "NODE", id)
	}
	waittest.UntilEqual(t, "the owner of the slot", to.Addr(), func() string {
		conn, err := client.Dial(t.Context(), "new")
		if err != nil {
			return err.Error()
		}
		defer conn.Close()
		return conn.Server()
	})
	if _, err := try(t, redisconn.Login{URLs: []string{a.URL()}, Cluster: true}, "PUBLISH", "app", "x"); err != nil {
		t.Errorf("without a key: %v", err)
	}
}

// TestSlot: slots are those that servers compute.
func TestSlot(t *testing.T) {
	s := redistest.New(t, "cluster-enabled yes")
	for _, key := range []string{"", "a", "logs", "user1000", "{user1000}.following", "foo{}{bar}", "foo{{bar}}zap", "foo{bar}{zap}", "{", "}{", "é"} {
		if got := s.Do("CLUSTER", "KEYSLOT", key); got != strconv.Itoa(redisconn.Slot(key)) {
			t.Errorf("%q has the slot %s, not %d", key, got, redisconn.Slot(key))
		}
	}
}

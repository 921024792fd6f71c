package container

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fanin/internal/wire"
)

// TestOrder: which files continue each other, as the kubelet and Docker name them.
func TestOrder(t *testing.T) {
	for live, names := range map[string][]string{ // from the oldest to the newest
		"0.log":        {"0.log.20251231-235959", "0.log.20260101-000000", "0.log.20260101-000001", "0.log"},
		"ab-json.log":  {"ab-json.log.10", "ab-json.log.9", "ab-json.log.1", "ab-json.log"},
		"x.log.y.log":  {"x.log.y.log.1", "x.log.y.log"},
		"app.old.log":  {"app.old.log"},
		"12.log":       {"12.log.20260101-000000", "12.log"},
		"no-extension": nil,
	} {
		var orders []string
		for _, name := range names {
			got, order, ok := Order(name)
			if got != live || !ok || Rotated(name) != (name != live) {
				t.Errorf("%s: %q, %v", name, got, ok)
			}
			orders = append(orders, order)
		}
		if !slices.IsSorted(orders) {
			t.Errorf("%s: %q", live, orders)
		}
	}
	for _, name := range []string{"0.log.20260101-000000.gz", "0.log.20260101-000000.tmp", "0.log.0", "0.log.old", "0.txt", ""} {
		if _, _, ok := Order(name); ok {
			t.Errorf("%s is one of a container's files", name)
		}
	}
}

func TestSource(t *testing.T) {
	dir := t.TempDir()
	id := strings.Repeat("0123456789abcdef", 4)
	containers := 0
	docker := func(config string) string {
		containers++
		path := filepath.Join(dir, strconv.Itoa(containers), id)
		if err := os.MkdirAll(path, 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "config.v2.json"), []byte(config), 0o640); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(path, id+"-json.log")
	}
	for _, x := range []struct{ path, want string }{
		{"/var/log/pods/default_web-7d4b9-x2x5z_5ad1f1f5-6f3c-4a0e-bf2a-0a1b2c3d4e5f/nginx/0.log", "default/web-7d4b9-x2x5z/nginx"},
		{"/var/log/pods/kube-system_etcd-node_0a1b2c/etcd/13.log.20260101-000000", "kube-system/etcd-node/etcd"},
		{"/var/log/containers/web-7d4b9_default_nginx-" + id + ".log", "default/web-7d4b9/nginx"},
		{"/var/log/pods/default_web_uid/nginx/app.log", ""},
		{"/var/log/nginx/0.log", ""},
		{docker(`{"StreamConfig":{},"Name":"/shop_web.1","ID":"x"}`), "shop_web.1"},
		{docker(`{"Name":"/fanin"}`), "fanin_"},
		{docker(`{"Name":5`), id[:12]},
		{docker(`{}`) + ".1", id[:12]},
		{"/nowhere/" + id + "/" + id + "-json.log", id[:12]},
	} {
		if got := Source(x.path); got != x.want {
			t.Errorf("%s: %q, want %q", x.path, got, x.want)
		}
	}
	long := "/var/log/pods/" + strings.Repeat("n", 63) + "_" + strings.Repeat("p", 240) + "-end_uid/" + strings.Repeat("c", 63) + "/0.log"
	got := Source(long)
	if len(got) != wire.MaxName || !strings.HasSuffix(got, "-end/"+strings.Repeat("c", 63)) ||
		!strings.HasPrefix(got, strings.Repeat("n", 63)+"/ppp") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

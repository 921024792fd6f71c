package collector

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"fanin/sink/merge"
)

// memberReads answers reads of the logs that a member has: of partitions that it owns, and of those that it owned.
type memberReads struct {
	parts func() map[int]*server // of the partitions that it owns
	logs  localLogs

	mu    sync.Mutex
	ended map[int]*merge.Server // of partitions that it does not own
}

// ServeHTTP answers GET /read?partition=P as merge.Server does.
func (r *memberReads) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	p, err := strconv.Atoi(req.URL.Query().Get("partition"))
	if n := r.logs.settings.Collector.Cluster.partitions(); err != nil || p < 0 || p >= n {
		http.Error(w, fmt.Sprintf("partition=%.20q: want one from 0 to %d", req.URL.Query().Get("partition"), n-1),
			http.StatusBadRequest)
		return
	}
	x, err := r.server(req.Context(), p)
	if err != nil {
		http.Error(w, fmt.Sprintf("partition %d has no log here", p), http.StatusNotFound)
		return
	}
	x.ServeHTTP(w, req)
}

// server answers for one partition.
func (r *memberReads) server(ctx context.Context, p int) (*merge.Server, error) {
	if x := r.parts()[p]; x != nil && x.isOpen() {
		return &x.reads, nil
	}
	k, err := r.logs.log(ctx, p)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended[p] == nil {
		r.ended[p] = &merge.Server{Sink: k, Look: k.Refresh}
	}
	return r.ended[p], nil
}

// list lists the logs, for GET /partitions.
func (r *memberReads) list(ctx context.Context) ([]partitionLog, error) {
	list, err := r.logs.find(ctx)
	if list == nil {
		list = []partitionLog{}
	}
	return list, err
}

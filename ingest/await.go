package ingest

import (
	"context"
	"sync"
)

// Await waits until all that serving counts has ended. When ctx ends first, it returns
// ctx's cause; what serving counts must then be ended by other means.
func Await(ctx context.Context, serving *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() { // ends with serving
		serving.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

package tail

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// TestPoolOrder: those that wait get blocks in their order, a large one is not overtaken, and
// one that gives up keeps nothing.
func TestPoolOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(100)
		a, b := p.try(60), p.try(40)
		if a == nil || b == nil || p.try(1) != nil {
			t.Fatal("it has another size")
		}
		var mu sync.Mutex
		var order []int
		ask := func(ctx context.Context, size int) {
			go func() { // ends when it has its block, or ctx ends
				block, err := p.get(ctx, size)
				if err != nil {
					return
				}
				mu.Lock()
				order = append(order, size)
				mu.Unlock()
				p.put(block)
			}()
			synctest.Wait()
		}
		ctx, stop := context.WithCancel(t.Context())
		ask(t.Context(), 70)
		ask(ctx, 50)
		ask(t.Context(), 40)
		p.put(b)
		if synctest.Wait(); p.try(10) != nil || len(order) > 0 {
			t.Errorf("the first was overtaken: %v", order)
		}
		stop()
		synctest.Wait()
		p.put(a)
		synctest.Wait()
		if len(order) != 2 || order[0] != 70 || order[1] != 40 || p.left != 100 || p.waiting.Len() != 0 {
			t.Errorf("in the order %v; %d bytes are left", order, p.left)
		}
		if _, err := p.get(ctx, 200); !errors.Is(err, context.Canceled) || p.waiting.Len() != 0 {
			t.Errorf("a wait that was given up: %v", err)
		}
	})
}

package zmtp

import "testing"

// TestBufferGrows: the buffer of a busy connection grows, whatever the size of its messages:
// one that ends in the middle of a message at each read grows, too.
func TestBufferGrows(t *testing.T) {
	for _, size := range []int{1, 50, 100, 253, 254, 255, 1000} {
		push, pull := mustJoin(t, &Options{Type: Push}, &Options{Type: Pull})
		const messages = 3000
		sent := make(chan error, 1)
		go func() { // ends with the last message
			for range messages {
				if err := push.Send(make([]byte, size)); err != nil {
					sent <- err
					return
				}
			}
			sent <- push.Flush()
		}()
		reads := 0
		for got := 0; got < messages; reads++ {
			frames, err := pull.Receive()
			for ok := err == nil; ok; frames, ok, err = pull.Next() {
				if got++; len(frames) != 1 || len(frames[0]) != size {
					t.Fatalf("message %d has %d frames", got, len(frames))
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if bytes := messages * size; bytes > 100_000 && len(pull.in.buf) != pull.in.most {
			t.Errorf("messages of %d bytes: after %d bytes in %d reads the buffer has %d bytes, want %d", size, bytes, reads,
				len(pull.in.buf), pull.in.most)
		}
	}
}

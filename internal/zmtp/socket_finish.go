package zmtp

import "time"

// finishTime is how long Finish waits for a peer.
const finishTime = 5 * time.Second

// Finish ends a connection so that the peer gets all that was sent and flushed: it
// announces the end, and waits until the peer has closed, which it does when it has read
// everything. A plain Close may destroy what the peer has not read: if the peer sends
// something after it, such as a PING, the kernel resets the connection.
//
// Another goroutine must be receiving, which closes read when the connection ends. Finish
// waits no longer than a few seconds, or until Shutdown closes the connection.
func (l *Link) Finish(read <-chan struct{}) {
	if half, ok := l.nc.Conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	select {
	case <-read:
	case <-time.After(finishTime):
	}
}

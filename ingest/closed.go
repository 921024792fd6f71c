package ingest

import "errors"

// ErrServerClosed is what a listener's Serve returns after Shutdown.
var ErrServerClosed = errors.New("ingest: server closed")

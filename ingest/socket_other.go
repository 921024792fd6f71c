//go:build !linux

package ingest

import "net"

// dontWait makes a read return at once; here only a deadline can.
const dontWait = 0

func setReceiveBuffer(conn *net.UDPConn, n int) (int, error) { return n, conn.SetReadBuffer(n) }

// kernelDrops is not known here.
func kernelDrops(*net.UDPConn) (uint32, error) { return 0, nil }

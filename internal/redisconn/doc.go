// Package redisconn is what this module knows of connecting to Redis, and to servers that
// speak its protocol, such as Valkey: login, TLS, Sentinel, Cluster, commands and replies.
//
//	Client.Dial -> Conn.Command, Conn.Send ----> the server
//	               Conn.Receive <- Reader.Next <- its replies, never held beyond limits
//
// A Conn belongs to one goroutine and is dedicated to one purpose: nothing is shared,
// pooled or repeated behind the caller's back. A command is sent once. When its reply does
// not come, the connection ends, and the caller decides what that means.
//
// Nothing that a server sends is believed: a length is memory only as its bytes come, a
// value beyond the limit is skipped without being held, and what breaks the protocol ends
// the connection with an error.
package redisconn

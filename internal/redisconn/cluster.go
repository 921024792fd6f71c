package redisconn

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// slots is how many hash slots a Cluster has.
const slots = 1 << 14

// Slot is the hash slot of a key: the CRC-16 (XMODEM) of the part that Tag returns. (Redis
// Cluster specification, Key distribution model.)
func Slot(key string) int {
	var crc uint16
	for _, b := range []byte(Tag(key)) {
		crc ^= uint16(b) << 8
		for range 8 {
			carry := crc & 0x8000
			crc <<= 1
			if carry != 0 {
				crc ^= 0x1021
			}
		}
	}
	return int(crc) % slots
}

// Tag is the part of a key that decides about its slot: what is between its first '{' and
// the next '}', or all of the key where there is nothing between them. Keys that a script
// uses together, or a transaction, must have the same one.
func Tag(key string) string {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			return tag
		}
	}
	return key
}

// dialOwner connects to the node that has the slot of a key, as the node at an address
// knows it.
func (c *Client) dialOwner(ctx context.Context, seed address, key string) (*Conn, error) {
	conn, err := c.dial(ctx, seed, true)
	if err != nil {
		return nil, err
	}
	v, err := conn.Do(ctx, "CLUSTER", "SLOTS")
	if err != nil {
		conn.Close()
		return nil, during("ask the Redis server "+seed.String()+" for the slots of its Cluster",
			"ask for the slots of the Cluster", err)
	}
	owner, ok := owner(v, Slot(key), seed)
	switch {
	case !ok:
		conn.Close()
		err = newServerError("CLUSTERDOWN no node has the slot of the key " + key)
		return nil, fmt.Errorf("the Redis server %s: %w", seed, err)
	case owner.host == seed.host:
		return conn, nil
	}
	conn.Close()
	return c.dial(ctx, owner, true)
}

// owner finds a slot in the reply to CLUSTER SLOTS, each element of which is
//
//	[first slot, last slot, [host, port, id, ...] of the master, [...] of a replica, ...]
//
// A node that does not know its own host leaves it out: it is the host that was asked.
func owner(v Value, slot int, asked address) (a address, ok bool) {
	for _, e := range v.All() {
		first, ok1 := e.At(0).Int()
		last, ok2 := e.At(1).Int()
		port, ok3 := e.At(2).At(1).Int()
		if !ok1 || !ok2 || !ok3 || int64(slot) < first || int64(slot) > last {
			continue
		}
		host := e.At(2).At(0).String()
		if host == "" || host == "?" {
			host, _, _ = net.SplitHostPort(asked.host)
		}
		return address{network: "tcp", secure: asked.secure,
			host: net.JoinHostPort(host, strconv.FormatInt(port, 10))}, true
	}
	return a, false
}

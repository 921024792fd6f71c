package redis

import (
	"crypto/rand"
	"strconv"
	"strings"
)

// batchID names a batch of a list. The server keeps that of the last one, as text:
//
//	NONCE:NUMBER        such as CPMVB7WNQ3ZJ6T4VXPF5QKDLRE:17
//
// The nonce is random, and made when the server has no id: a server that forgot its numbers
// does not give one twice.
type batchID struct {
	nonce  string
	number uint64
}

// newBatchID is before the first batch of a server.
func newBatchID() batchID { return batchID{nonce: rand.Text()} }

func parseBatchID(text string) (id batchID, ok bool) {
	nonce, number, found := strings.Cut(text, ":")
	id.nonce = nonce
	id.number, ok = parseUint([]byte(number))
	return id, ok && found && len(nonce) == 26 && id.String() == text
}

func (id batchID) String() string { return id.nonce + ":" + strconv.FormatUint(id.number, 10) }

func (id batchID) next() batchID { return batchID{id.nonce, id.number + 1} }

// Package ingest is the way in: it takes lines from connections and datagrams
// and gives them, as batches, to one wire.Appender. It knows nothing of files.
package ingest

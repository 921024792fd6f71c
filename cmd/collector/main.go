// Command fanin-collector gathers lines from agents and other senders into one
// rotated file.
package main

import (
	"os"

	"fanin/internal/collector"
	"fanin/internal/daemon"
)

func main() {
	err := collector.Command().Execute()
	daemon.PrintError(os.Stderr, err)
	os.Exit(daemon.Code(err))
}

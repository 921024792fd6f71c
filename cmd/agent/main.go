// Command fanin-agent follows files and sends their lines to a collector.
package main

import (
	"os"

	"fanin/internal/agent"
	"fanin/internal/daemon"
)

func main() {
	err := agent.Command().Execute()
	daemon.PrintError(os.Stderr, err)
	os.Exit(daemon.Code(err))
}

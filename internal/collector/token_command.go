package collector

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"fanin/internal/access"
	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/internal/escape"
)

// tokenCommand makes a token.
func (o *options) tokenCommand() *cobra.Command {
	var add string
	c := &cobra.Command{
		Use:   "token [NAME]",
		Short: "make a token for the network, and its line for a tokens_file",
		Long: `Makes a token, which a client shows to prove that it may read, work or change
something over the network: see [[collector.access]]. Prints it once. What the
collector needs is the line, which has the token's name and a hash, and no secret.

A client has the token in a file that only it may read, and names the file in
--token-file or FANIN_TOKEN_FILE; curl and Prometheus send it as
"Authorization: Bearer TOKEN"; a person pastes it into the page.

To take a token back, remove its line. The collector reads the file again when it
changes, and ends the sessions and connections of the token.`,
		Example: "  fanin-collector token prometheus --add /etc/fanin/tokens",
		Args:    usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			name := "token"
			if len(args) > 0 {
				name = args[0]
			}
			if err := access.CheckName(name); err != nil {
				return daemon.Exitf(daemon.ExitUsage, "%w", err)
			}
			token := access.NewToken()
			line := (&access.Token{Name: name, Hash: access.HashOf(token)}).Line()
			if add != "" {
				if err := addLine(add, line); err != nil {
					return err
				}
				escape.Fprintf(c.OutOrStdout(), "%s\n", token)
				return nil
			}
			escape.Fprintf(c.OutOrStdout(), "# the token, which is shown only now; the client keeps it secret\n%s\n"+
				"# its line for tokens_file\n%s\n", token, line)
			return nil
		},
	}
	c.Flags().StringVar(&add, "add", "", "add the line to this `file`, which is made if it is missing, and print the "+
		"token alone")
	return c
}

// addLine adds a line to a file of tokens that can be read, and stays so.
func addLine(path, line string) error {
	before, err := disk.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("add to the tokens: %w", err)
	}
	if len(before) > 0 && !strings.HasSuffix(string(before), "\n") {
		line = "\n" + line
	}
	if _, err := access.ParseTokens(string(before) + line); err != nil {
		return daemon.Exitf(daemon.ExitConfig, "add to the tokens %s: %w", path, err)
	}
	f, err := new(disk.Disk).Open(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("add to the tokens: %w", err)
	}
	defer f.Close()
	if len(before) == 0 { // root makes it, and the collector's user must read it; it holds no secret
		if err := f.HaveMode(0o644); err != nil {
			return fmt.Errorf("add to the tokens: %w", err)
		}
	}
	if _, err := f.Write([]byte(line + "\n")); err != nil {
		return fmt.Errorf("add to the tokens: %w", err)
	}
	return f.Sync()
}

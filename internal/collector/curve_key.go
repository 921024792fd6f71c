package collector

import (
	"github.com/spf13/cobra"

	"fanin/internal/escape"
	"fanin/internal/zmtp"
)

// curveKeyCommand makes keys for the CURVE of ZeroMQ.
func (o *options) curveKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "curve-key NAME",
		Short: "make a pair of keys for ZeroMQ's CURVE: NAME.key_secret and NAME.key",
		Long: `Makes a pair of keys for curve in [[collector.zmq]], and prints the public one.

NAME.key_secret has the secret key: it stays on this side, as secret_file. NAME.key has
the public key alone: the other side needs it, as server_key or below clients_file. Both
are certificates as zmq.auth of Python writes and reads them. Files that are there already
are not replaced.`,
		Example: "  fanin-collector curve-key /etc/fanin/zmq",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			secret, err := zmtp.NewSecretKey()
			if err != nil {
				return err
			}
			if err := zmtp.WriteKeyPair(args[0], secret); err != nil {
				return err
			}
			public, err := zmtp.ReadPublicKey(args[0] + ".key")
			if err != nil {
				return err
			}
			escape.Fprintf(c.OutOrStdout(), "%s\n", public)
			return nil
		},
	}
}

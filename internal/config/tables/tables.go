// Package tables has the tables of the configuration that both programs know.
package tables

import (
	"log/slog"

	"fanin/internal/certs"
	"fanin/internal/config"
	"fanin/internal/natsconn"
)

// ServerTLS is the tls table of a listener.
type ServerTLS struct {
	Cert       string `toml:"cert"`
	Key        string `toml:"key"`
	ClientCA   string `toml:"client_ca"`
	MinVersion string `toml:"min_version"`
}

// Files are the files that the table names. Where there is no table there are none.
func (t *ServerTLS) Files(log *slog.Logger) certs.Files {
	if t == nil {
		t = &ServerTLS{}
	}
	return certs.Files{Cert: t.Cert, Key: t.Key, CA: t.ClientCA, TLS12: t.MinVersion == "1.2", Log: log}
}

// Check reports the mistakes in the tls table of a listener, and in the names of the
// certificates that may connect. All its peers speak TLS 1.3.
func (t *ServerTLS) Check(at config.Table, clientNames []string) {
	t.CheckDevices(at, clientNames)
	if t != nil && t.MinVersion == "1.2" {
		at.Sub("tls").Problem("min_version", "min_version \"1.2\" is for listeners to which devices send, "+
			"which may know nothing newer; remove it here")
	}
}

// CheckDevices is Check for a listener to which devices send that may know only TLS 1.2.
func (t *ServerTLS) CheckDevices(at config.Table, clientNames []string) {
	if t != nil && t.MinVersion != "" {
		at.Sub("tls").OneOf("min_version", t.MinVersion, "1.2", "1.3")
	}
	if t != nil && (t.Cert == "" || t.Key == "") {
		at.Problem("tls", "tls needs cert and key")
	}
	if clientNames == nil {
		return
	}
	if t == nil || t.ClientCA == "" {
		at.Problem("client_names", "client_names needs client_ca in tls: without it no client shows a certificate")
	}
	if err := certs.CheckPatterns(clientNames); err != nil {
		at.Problem("client_names", "client_names: %v", err)
	}
}

// ClientTLS is the tls table of a connection to a server.
type ClientTLS struct {
	CA         string `toml:"ca"`
	Cert       string `toml:"cert"`
	Key        string `toml:"key"`
	ServerName string `toml:"server_name"`
}

// Files are the files that the table names. Where there is no table, the system's
// authorities count.
func (t *ClientTLS) Files(log *slog.Logger) certs.Files {
	if t == nil {
		t = &ClientTLS{}
	}
	return certs.Files{Cert: t.Cert, Key: t.Key, CA: t.CA, ServerName: t.ServerName, Log: log}
}

// Check reports the mistakes in the tls table of a connection.
func (t *ClientTLS) Check(at config.Table) {
	if t != nil && (t.Cert == "") != (t.Key == "") {
		at.Problem("tls", "tls has one of cert and key; it needs both, or neither")
	}
}

// NATSLogin is what a table has to log in to a NATS server.
type NATSLogin struct {
	User         string `toml:"user"`
	PasswordFile string `toml:"password_file"`
	TokenFile    string `toml:"token_file"`
	NKeyFile     string `toml:"nkey_file"`
	CredsFile    string `toml:"creds_file"`
}

// Login is the login to the server at a URL; its TLS is not set.
func (t *NATSLogin) Login(url string) natsconn.Login {
	return natsconn.Login{URL: url, User: t.User, PasswordFile: t.PasswordFile, TokenFile: t.TokenFile,
		NKeyFile: t.NKeyFile, CredsFile: t.CredsFile}
}

package zmtp

// Key is a CURVE key, public or secret: 32 bytes.
type Key [32]byte

// ParseKey reads a key in Z85 (RFC 32): 40 characters.
func ParseKey(text string) (Key, error) { return Key{}, errTodo }

// String returns the key in Z85. Do not print secret keys.
func (k Key) String() string { return "" }

// Public returns the public key that belongs to a secret one.
func (k Key) Public() (Key, error) { return Key{}, errTodo }

// NewSecretKey returns a random secret key.
func NewSecretKey() (Key, error) { return Key{}, errTodo }

// ReadSecretKey reads a secret key from a file: one line of Z85, or a certificate in ZPL with
// secret-key, as zmq.auth.create_certificates of pyzmq writes it. Files that every user can read
// are refused.
func ReadSecretKey(path string) (Key, error) { return Key{}, errTodo }

// ReadPublicKey reads a public key from a file: one line of Z85, or a certificate in ZPL with
// public-key.
func ReadPublicKey(path string) (Key, error) { return Key{}, errTodo }

// ReadClientKeys reads the public keys of clients: from a file with a key a line, where # begins
// a comment, or from a directory of certificates, as zmq.auth.load_certificates reads it.
func ReadClientKeys(path string) (map[Key]bool, error) { return nil, errTodo }

// WriteKeyPair writes NAME.key_secret, which only its owner can read, and NAME.key, certificates
// as zmq.auth reads them. It replaces no file.
func WriteKeyPair(name string, secret Key) error { return errTodo }

package sink

import (
	"encoding/json"
	"unicode/utf8"
)

// plainMark is a StreamMark without its methods.
type plainMark StreamMark

// markJSON is a StreamMark in JSON, which has UTF-8 only. A name that is not UTF-8 is among Raw.
type markJSON struct {
	plainMark
	Raw map[string][]byte `json:"raw,omitempty"`
}

// names are the names that may have any bytes.
func (m *plainMark) names() map[string]*string {
	return map[string]*string{"agent": &m.Agent, "address": &m.Address, "host": &m.Host, "source": &m.Source}
}

// MarshalJSON implements json.Marshaler.
func (m StreamMark) MarshalJSON() ([]byte, error) {
	x := markJSON{plainMark: plainMark(m)}
	for key, name := range x.names() {
		if utf8.ValidString(*name) {
			continue
		}
		if x.Raw == nil {
			x.Raw = make(map[string][]byte)
		}
		x.Raw[key], *name = []byte(*name), ""
	}
	return json.Marshal(&x)
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *StreamMark) UnmarshalJSON(data []byte) error {
	var x markJSON
	if err := json.Unmarshal(data, &x); err != nil {
		return err
	}
	names := x.names()
	for key, raw := range x.Raw {
		if name := names[key]; name != nil {
			*name = string(raw)
		}
	}
	*m = StreamMark(x.plainMark)
	return nil
}

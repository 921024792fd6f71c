package cluster

import (
	"encoding/json"
	"fmt"
	"slices"
)

// parts joins the parts of an entry that is too large for one message. They follow each other in the
// journal, and the entry counts when its last part is there: an owner that ends before that has
// written nothing.
type parts struct {
	claim string
	have  int
	data  []byte
}

// add takes a message in. It returns the entry that is complete with it; nil: there is none.
func (p *parts) add(e *entry) (*entry, error) {
	if e.Kind != kindPart {
		*p = parts{}
		return e, nil
	}
	if e.Part == 1 {
		*p = parts{claim: e.Claim}
	}
	if e.Part != p.have+1 || e.Claim != p.claim {
		*p = parts{} // the rest of one whose beginning is not there
		return nil, nil
	}
	p.have, p.data = e.Part, append(p.data, e.Data...)
	if p.have < e.Parts {
		return nil, nil
	}
	whole, err := parseEntry(p.data)
	*p = parts{}
	if err == nil && whole.Kind == kindPart {
		err = fmt.Errorf("an entry of the journal has parts that have parts")
	}
	return whole, err
}

// messages are the messages of an entry, each of at most so many bytes.
func (e *entry) messages(most int) ([][]byte, error) {
	data, err := json.Marshal(e)
	if err != nil || len(data) <= most {
		return [][]byte{data}, err
	}
	const around, text, raw = 200, 4, 3 // JSON has 4 letters for 3 bytes
	pieces := slices.Collect(slices.Chunk(data, max(1, (most-around)/text*raw)))
	list := make([][]byte, len(pieces))
	for i, piece := range pieces {
		list[i], err = json.Marshal(&entry{Kind: kindPart, Epoch: e.Epoch, Claim: e.Claim, Part: i + 1,
			Parts: len(pieces), Data: piece})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

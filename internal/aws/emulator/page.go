package emulator

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"slices"
)

// pageSize is how many items Amazon returns at most, and by default.
const pageSize = 25

// page cuts the items that follow the place token marks, at most most of them (0: as many as a page holds),
// and gives the token for the next page, "" after the last. Items are in ascending order of position; what
// is added or removed between two pages neither repeats nor hides another.
//
// A token is good for the same operation, Region and filters only, as Amazon's are; for any other see badToken.
func page[T any](c *call, items []T, position func(T) int64, most int, token string) ([]T, string, error) {
	if most == 0 {
		most = pageSize
	}
	if token != "" {
		after, ok := c.openToken(token)
		if !ok {
			return nil, "", c.badToken()
		}
		for len(items) > 0 && position(items[0]) <= after {
			items = items[1:]
		}
	}
	if len(items) <= most {
		return items, "", nil
	}
	items = items[:most]
	return items, c.sealToken(position(items[most-1])), nil
}

// badToken is the operation's own error for a value it does not take, or the one common to all if it has none.
func (c *call) badToken() error {
	const message = "The specified NextToken is not valid."
	if slices.Contains(model.Operations[c.op].Errors, modelRef{"InvalidParameterValuesException"}) {
		return invalidParameters(message)
	}
	return &apiError{Type: "ValidationException", Message: message}
}

// sealToken makes a token of a position. It does not hide the position, only keep clients from making one up.
func (c *call) sealToken(position int64) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(position))
	b = binary.BigEndian.AppendUint64(b, c.tokenSeal(position))
	return base64.RawURLEncoding.EncodeToString(b)
}

func (c *call) openToken(token string) (int64, bool) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != 16 {
		return 0, false
	}
	position := int64(binary.BigEndian.Uint64(b))
	return position, binary.BigEndian.Uint64(b[8:]) == c.tokenSeal(position)
}

// tokenSeal binds a position to what was asked. The Limit may change from page to page.
func (c *call) tokenSeal(position int64) uint64 {
	filter := map[string]any{}
	for name, value := range c.input {
		if name != "NextToken" && name != "Limit" && name != "MaxResults" {
			filter[name] = value
		}
	}
	b, err := json.Marshal(filter) // keys in order
	if err != nil {
		panic("emulator: checked input cannot be encoded: " + err.Error())
	}
	return hash(c.op, c.region, string(b), string(binary.BigEndian.AppendUint64(nil, uint64(position))))
}

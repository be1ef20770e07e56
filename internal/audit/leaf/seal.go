package leaf

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// The sizes of secrets.
const (
	// MinSalt and MaxSalt bound the salt of a commitment: random, and another for each field of each entry.
	MinSalt = 16
	MaxSalt = 32
	// MinMaster is the fewest bytes a master key may have.
	MinMaster = 32
	// KeySize is the size of a writer's key.
	KeySize = 32
)

// Hash is the leaf's hash in the tree: SHA-256(0x00 ‖ leaf). The nodes above begin with 0x01, so none of them is the hash
// of a leaf (RFC 6962, section 2.1).
func Hash(leaf []byte) [32]byte {
	var sum [32]byte
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(leaf)
	h.Sum(sum[:0])
	return sum
}

// Commitment binds an entry to a value about a person without telling it: with salt and value destroyed, nothing is left
// to guess against. Written "c1:" and base64.
type Commitment [32]byte

// Commit is HMAC-SHA256(salt, field ‖ 0x00 ‖ value). It panics unless the salt has 16 to 32 bytes, because without one
// the value can be guessed, and when field is not a name that [Entry].PII takes, because the two could then be told
// apart in more than one way.
func Commit(salt []byte, field, value string) Commitment {
	if len(salt) < MinSalt || len(salt) > MaxSalt {
		panic(fmt.Sprintf("leaf: a salt of %d bytes", len(salt)))
	}
	if !validField(field) {
		panic("leaf: a commitment to a field that no entry can have")
	}
	var c Commitment
	h := hmac.New(sha256.New, salt)
	h.Write([]byte(field))
	h.Write([]byte{0})
	h.Write([]byte(value))
	h.Sum(c[:0])
	return c
}

// Opens tells whether c is the commitment to this value, in constant time. A salt or field that Commit would not take
// opens nothing.
func (c Commitment) Opens(salt []byte, field, value string) bool {
	if len(salt) < MinSalt || len(salt) > MaxSalt || !validField(field) {
		return false
	}
	other := Commit(salt, field, value)
	return hmac.Equal(c[:], other[:])
}

// writerInfo begins the HKDF info of a writer's key.
const writerInfo = "forge audit writer v1\x00"

// WriterKey is the key of one boot of one writer: HKDF-SHA256 of master, without salt, 32 bytes, where info is
// "forge audit writer v1" ‖ 0x00 ‖ len(id) ‖ id ‖ len(boot) ‖ boot, each length in four bytes, big end first. It panics
// when master has fewer than 32 bytes: such a key protects nothing, and whoever loads keys checks them.
func WriterKey(master []byte, writerID, bootEpoch string) []byte {
	if len(master) < MinMaster {
		panic(fmt.Sprintf("leaf: a master key of %d bytes", len(master)))
	}
	info := []byte(writerInfo)
	for _, s := range []string{writerID, bootEpoch} {
		info = binary.BigEndian.AppendUint32(info, uint32(len(s)))
		info = append(info, s...)
	}
	key, err := hkdf.Key(sha256.New, master, nil, string(info), KeySize)
	if err != nil {
		panic(fmt.Sprintf("leaf: %v", err)) // only for a length of more than 255 hashes
	}
	return key
}

// MAC is HMAC-SHA256(writerKey, leaf): what someone with only the database cannot make.
func MAC(writerKey, leaf []byte) [32]byte {
	var sum [32]byte
	h := hmac.New(sha256.New, writerKey)
	h.Write(leaf)
	h.Sum(sum[:0])
	return sum
}

// VerifyMAC tells, in constant time, whether mac is the leaf's under that key.
func VerifyMAC(writerKey, leaf, mac []byte) bool {
	want := MAC(writerKey, leaf)
	return hmac.Equal(want[:], mac)
}

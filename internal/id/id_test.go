package id

import (
	"slices"
	"testing"
)

func TestIdsAreOrderedByTheirMaking(t *testing.T) {
	var made []WorkSpace
	for range 2000 {
		made = append(made, New[WorkSpace]())
	}
	if !slices.IsSorted(made) {
		t.Fatal("ids made later sort earlier")
	}
	if len(slices.Compact(made)) != 2000 {
		t.Fatal("two ids are the same")
	}
}

func TestEncodingKeepsEveryBitAndTheOrder(t *testing.T) {
	var zero, one, high [16]byte
	one[15], high[0] = 1, 0xff
	if got := encode(zero); got != "00000000000000000000000000" {
		t.Errorf("zero is %s", got)
	}
	if got := encode(one); got != "00000000000000000000000001" {
		t.Errorf("one is %s", got)
	}
	if got := encode(high); got != "7z000000000000000000000000" {
		t.Errorf("high byte is %s", got)
	}
	seen := map[string]bool{}
	for bit := range 128 {
		var u [16]byte
		u[bit/8] = 1 << (bit % 8)
		seen[encode(u)] = true
	}
	if len(seen) != 128 {
		t.Fatalf("128 single bits give %d texts", len(seen))
	}
}

func TestIsKnowsItsOwnKind(t *testing.T) {
	w := string(New[WorkSpace]())
	if !Is[WorkSpace](w) || Is[User](w) || Is[WorkSpace]("ws_short") || Is[WorkSpace]("ws_iiiiiiiiiiiiiiiiiiiiiiiiii") {
		t.Fatal("Is mistakes one kind for another")
	}
}

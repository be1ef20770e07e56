package money_test

import (
	"errors"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/robco-forge/forge/internal/money"
)

func TestAnAmountIsReadExactlyOrNotAtAll(t *testing.T) {
	for _, c := range []struct {
		in   string
		want money.USD
		err  error
	}{
		{"0", 0, nil},
		{"12.5", 12_500_000, nil},
		{"-0.000001", -1, nil},
		{"000000000000001", money.Dollar, nil},
		{"999999999999.999999", money.Max, nil},
		{"", 0, money.ErrSyntax},
		{".5", 0, money.ErrSyntax},
		{"5.", 0, money.ErrSyntax},
		{"+5", 0, money.ErrSyntax},
		{"1e400", 0, money.ErrSyntax},
		{"NaN", 0, money.ErrSyntax},
		{"1,000", 0, money.ErrSyntax},
		{" 1", 0, money.ErrSyntax},
		{"--1", 0, money.ErrSyntax},
		{"1.2.3", 0, money.ErrSyntax},
		{"٣", 0, money.ErrSyntax},
		{"0.1234567", 0, money.ErrRange},
		{"1000000000000", 0, money.ErrRange},
	} {
		got, err := money.Parse(c.in)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("Parse(%q) = %d, %v; want %d, %v", c.in, got, err, c.want, c.err)
		}
	}
}

func TestTextAndAmountAreOneToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := money.USD(rapid.Int64Range(-int64(money.Max), int64(money.Max)).Draw(t, "micros"))
		back, err := money.Parse(u.String())
		if err != nil || back != u {
			t.Fatalf("%d -> %s -> %d, %v", u, u, back, err)
		}
	})
}

func TestAShareIsTheNearestMicroDollar(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := rapid.Int64Range(-1e15, 1e15).Draw(t, "micros")
		num := rapid.Int64Range(0, 3e12).Draw(t, "num")
		den := rapid.Int64Range(num+1, 4e12).Draw(t, "den")
		got := int64(money.USD(u).Share(num, den))
		exact := new(big.Rat).Mul(big.NewRat(u, 1), big.NewRat(num, den))
		off := new(big.Rat).Sub(exact, big.NewRat(got, 1))
		if off.Abs(off).Cmp(big.NewRat(1, 2)) > 0 {
			t.Fatalf("%d*%d/%d = %d, off by %s", u, num, den, got, off)
		}
	})
	if got := money.USD(1).Share(1, 2); got != 1 {
		t.Errorf("half a micro-dollar rounds away from zero, got %d", got)
	}
	if got := money.USD(-1).Share(1, 2); got != -1 {
		t.Errorf("half a micro-dollar of debt rounds away from zero, got %d", got)
	}
}

func TestAddRefusesToWrap(t *testing.T) {
	if _, err := money.USD(1 << 62).Add(1 << 62); !errors.Is(err, money.ErrRange) {
		t.Fatalf("got %v", err)
	}
	if s, err := money.Dollar.Add(-1); err != nil || s != 999_999 {
		t.Fatalf("got %d, %v", s, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("12.345600")
	f.Add("-0")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := money.Parse(s)
		if err != nil {
			return
		}
		if back, err := money.Parse(u.String()); err != nil || back != u {
			t.Fatalf("%q -> %s -> %d, %v", s, u, back, err)
		}
	})
}

// Package money counts United States dollars exactly, in millionths.
package money

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
)

// USD is an amount in micro-dollars. Its range is about ±9.2 million million dollars.
type USD int64

// Dollar is one dollar; Max the greatest amount a person may enter: 12 digits before the point.
const (
	Dollar USD = 1_000_000
	Max    USD = 999_999_999_999_999_999
	// Currency is the only currency there is.
	Currency = "USD"
)

// ErrSyntax says that a text is not a plain decimal amount; ErrRange that it is too large or too fine.
var (
	ErrSyntax = errors.New("not an amount: write digits with at most one point, such as 12.50")
	ErrRange  = errors.New("amount out of range: at most 12 digits before the point and 6 after")
)

// Parse reads a plain decimal such as "12.5" or "-0.000001". Exponents, signs other than a leading minus, spaces,
// and digits beyond the sixth decimal are refused: nothing is rounded on the way in.
func Parse(s string) (USD, error) {
	rest, negative := strings.CutPrefix(s, "-")
	whole, frac, point := strings.Cut(rest, ".")
	if !digits(whole) || point && !digits(frac) {
		return 0, ErrSyntax
	}
	if len(frac) > 6 || len(strings.TrimLeft(whole, "0")) > 12 {
		return 0, ErrRange
	}
	var n int64
	for _, c := range whole + (frac + "000000")[:6] {
		n = n*10 + int64(c-'0')
	}
	if negative {
		n = -n
	}
	return USD(n), nil
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// String is the amount with all six decimals: "12.345600".
func (u USD) String() string {
	sign, n := "", uint64(u) //nolint:gosec // two's complement is what the next line corrects
	if u < 0 {
		sign, n = "-", -n
	}
	return fmt.Sprintf("%s%d.%06d", sign, n/1_000_000, n%1_000_000)
}

// Share is u·num/den, rounded half away from zero to the micro-dollar. It is exact for any operands: the product is
// taken in arbitrary precision. It panics when den is not positive or the result does not fit, which no rate and no
// span of time within range can bring about.
func (u USD) Share(num, den int64) USD {
	if den <= 0 {
		panic("money: share of nothing")
	}
	p := new(big.Int).Mul(big.NewInt(int64(u)), big.NewInt(num))
	q, r := new(big.Int).QuoRem(p, big.NewInt(den), new(big.Int))
	if r.Sign() != 0 && new(big.Int).Abs(r.Lsh(r, 1)).Cmp(big.NewInt(den)) >= 0 {
		q.Add(q, big.NewInt(int64(p.Sign())))
	}
	if !q.IsInt64() {
		panic("money: share out of range")
	}
	return USD(q.Int64())
}

// Times is u·n. It panics on overflow.
func (u USD) Times(n int64) USD { return u.Share(n, 1) }

// Add is u+v, refusing overflow.
func (u USD) Add(v USD) (USD, error) {
	if v > 0 && u > math.MaxInt64-v || v < 0 && u < math.MinInt64-v {
		return 0, ErrRange
	}
	return u + v, nil
}

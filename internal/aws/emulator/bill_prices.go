package emulator

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strconv"
	"strings"
)

// dollars is an amount of money in billionths of a US dollar. There is no floating point in a bill.
type dollars int64

const (
	dollarDigits         = 9
	dollar       dollars = 1_000_000_000
	// maxPrice bounds a price, so that no sum of a bill can overflow.
	maxPrice = 10_000 * dollar
)

// String writes as many decimals as are needed: 9.75.
func (d dollars) String() string { return decimal(int64(d), dollarDigits) }

// decimal writes n / 10^digits exactly, without trailing zeros. n is not negative.
func decimal(n int64, digits int) string {
	s := strconv.FormatInt(n, 10)
	s = strings.Repeat("0", max(0, digits+1-len(s))) + s
	whole, fraction := s[:len(s)-digits], strings.TrimRight(s[len(s)-digits:], "0")
	if fraction == "" {
		return whole
	}
	return whole + "." + fraction
}

// MarshalText writes a decimal; in JSON it is a string.
func (d dollars) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalJSON reads a decimal string, or a number, by its digits.
func (d *dollars) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	whole, fraction, _ := strings.Cut(text, ".")
	digits := whole + fraction + strings.Repeat("0", max(0, dollarDigits-len(fraction)))
	n, ok := new(big.Int).SetString(digits, 10)
	if !ok || len(text) > 32 || whole == "" || len(fraction) > dollarDigits || strings.ContainsAny(digits, "+-_") {
		return fmt.Errorf("%s is not an amount of dollars, such as 9.75, with at most %d decimals", b, dollarDigits)
	}
	if n.Cmp(big.NewInt(int64(maxPrice))) > 0 {
		return fmt.Errorf("%s is more than %s dollars", b, maxPrice)
	}
	*d = dollars(n.Int64())
	return nil
}

// share is d × num / den, rounded half up to a billionth of a dollar. That is the only place of a bill where
// anything is rounded: once per line, and a total is the sum of its lines.
func (d dollars) share(num, den int64) dollars {
	return dollars(halfUp(int64(d), num, den))
}

// halfUp is n × num / den to the nearest integer, the larger of two. None is negative, num is not more than den.
func halfUp(n, num, den int64) int64 {
	product := new(big.Int).Mul(big.NewInt(n), big.NewInt(num))
	product.Lsh(product, 1).Add(product, big.NewInt(den))
	return product.Quo(product, new(big.Int).Lsh(big.NewInt(den), 1)).Int64()
}

// price is what one kind of WorkSpace costs. What is nil has no price. The words are those of Amazon's Price List.
type price struct {
	Region          string `json:"region"`
	Compute         string `json:"compute_type"`
	OperatingSystem string `json:"operating_system"` // Windows, Amazon Linux, Ubuntu Linux, Red Hat Enterprise Linux or Rocky Linux
	License         string `json:"license"`          // Included, Bring Your Own License or None
	// The fees are for volumes of just these sizes, or of larger ones where what is beyond has a price.
	RootGiB int `json:"root_gib"`
	UserGiB int `json:"user_gib"`

	AlwaysOnMonth *dollars `json:"always_on_month,omitempty"`
	AutoStopMonth *dollars `json:"auto_stop_month,omitempty"`
	AutoStopHour  *dollars `json:"auto_stop_hour,omitempty"` // whatever the volumes (rule 15)
	RootGiBMonth  *dollars `json:"root_gib_month,omitempty"` // each GiB beyond
	UserGiBMonth  *dollars `json:"user_gib_month,omitempty"`
}

// maxPrices bounds a price book: more than Amazon has rows for WorkSpaces.
const maxPrices = 5_000

// priceBook is what things cost: now, and whenever a bill of the past is asked for.
type priceBook struct {
	Prices []price `json:"prices"`
}

func (*priceBook) kind() string { return "prices" }
func (*priceBook) key() string  { return "prices" }

func (b *priceBook) check() error {
	if len(b.Prices) > maxPrices {
		return fmt.Errorf("%d prices are more than %d", len(b.Prices), maxPrices)
	}
	type row struct {
		product
		root, user int
	}
	seen := map[row]bool{}
	for i, p := range b.Prices {
		if p.Region == "" || p.Compute == "" || p.OperatingSystem == "" || p.License == "" || p.RootGiB <= 0 || p.UserGiB <= 0 {
			return fmt.Errorf("price %d: region, compute_type, operating_system, license, root_gib and user_gib must all be given", i+1)
		}
		for _, perGiB := range []*dollars{p.RootGiBMonth, p.UserGiBMonth} {
			if perGiB != nil && *perGiB > 10*dollar {
				return fmt.Errorf("price %d: a GiB for more than 10 dollars a month", i+1)
			}
		}
		r := row{p.product(), p.RootGiB, p.UserGiB}
		if seen[r] {
			return fmt.Errorf("price %d: there are two for %s with volumes of %d and %d GiB", i+1, r.product, r.root, r.user)
		}
		seen[r] = true
	}
	return nil
}

// product is what is sold, volumes apart.
type product struct{ region, compute, system, license string }

func (p price) product() product { return product{p.Region, p.Compute, p.OperatingSystem, p.License} }

func (p product) String() string {
	return fmt.Sprintf("%s %s, %s, license %s", p.region, p.compute, p.system, p.license)
}

// soldAs says as what Amazon sells an operating system: Windows Server comes with its licence, the desktop
// Windows only as the customer's own, and Linux needs none (rule 19).
var soldAs = []struct{ prefix, system, license string }{
	{"WINDOWS_SERVER_", "Windows", "Included"},
	{"WINDOWS_", "Windows", "Bring Your Own License"},
	{"AMAZON_LINUX_", "Amazon Linux", "None"},
	{"UBUNTU_", "Ubuntu Linux", "None"},
	{"RHEL_", "Red Hat Enterprise Linux", "None"},
	{"ROCKY_", "Rocky Linux", "None"},
}

// productOf is what a WorkSpace of these terms is sold as.
func productOf(region string, t *terms) product {
	for _, s := range soldAs {
		if strings.HasPrefix(t.System, s.prefix) {
			return product{region, t.Compute, s.system, s.license}
		}
	}
	return product{region, t.Compute, t.System, "unknown"}
}

// fee is a monthly fee for the volumes of t, nil if there is none: a fee belongs to a pair of volumes and to
// a compute type (rule 15), and beyond the pairs it grows by the GiB (rule 16).
func (b *priceBook) fee(region string, t *terms, which func(*price) *dollars) *dollars {
	if t.RunningMode == manual {
		return nil // is of WorkSpaces Core, which has another price list
	}
	is := productOf(region, t)
	for i := range b.Prices {
		if p := &b.Prices[i]; p.product() == is && p.RootGiB == t.RootGiB && p.UserGiB == t.UserGiB {
			return which(p)
		}
	}
	for i := range b.Prices {
		p := &b.Prices[i]
		fee := which(p)
		if p.product() != is || fee == nil {
			continue
		}
		root, ok1 := beyond(t.RootGiB, p.RootGiB, p.RootGiBMonth)
		user, ok2 := beyond(t.UserGiB, p.UserGiB, p.UserGiBMonth)
		if ok1 && ok2 {
			sum := *fee + root + user
			return &sum
		}
	}
	return nil
}

// beyond is the fee for what a volume (GiB) has beyond what is included.
func beyond(size, included int, perGiB *dollars) (dollars, bool) {
	switch {
	case size == included:
		return 0, true
	case size < included || perGiB == nil:
		return 0, false
	}
	return *perGiB * dollars(size-included), true
}

// hour is the hourly rate, nil if there is none. It does not depend on the volumes (rule 15).
func (b *priceBook) hour(region string, t *terms) *dollars {
	if t.RunningMode == manual {
		return nil
	}
	is := productOf(region, t)
	for i := range b.Prices {
		if p := &b.Prices[i]; p.product() == is && p.AutoStopHour != nil {
			return p.AutoStopHour
		}
	}
	return nil
}

//go:embed bill_prices.json
var defaultPricesJSON []byte

// defaultPrices are Amazon's public list prices of June 2026, as far as they are known here. What is not among
// them has no price, and is never billed by a guess.
var defaultPrices = func() *priceBook {
	b := new(priceBook)
	err := json.Unmarshal(defaultPricesJSON, b)
	if err == nil {
		err = b.check()
	}
	if err != nil {
		panic("emulator: default prices: " + err.Error())
	}
	return b
}()

// priceList is the prices in force. The caller holds e.mu.
func (e *Emulator) priceList() *priceBook {
	if e.world.prices == nil {
		return defaultPrices
	}
	return e.world.prices
}

func (e *Emulator) adminPrices(w http.ResponseWriter, _ *http.Request) {
	e.mu.RLock()
	b := e.priceList()
	e.mu.RUnlock()
	adminWrite(w, http.StatusOK, b)
}

// adminSetPrices replaces all prices.
func (e *Emulator) adminSetPrices(w http.ResponseWriter, r *http.Request) {
	b := new(priceBook)
	err := readAdmin(w, r, b)
	if err == nil && b.Prices == nil {
		err = errors.New(`give prices, such as {"prices":[]}`)
	}
	if err == nil {
		err = b.check()
	}
	if err != nil {
		adminWrite(w, http.StatusBadRequest, adminError{err.Error()})
		return
	}
	e.mu.Lock()
	err = e.commit(b)
	e.mu.Unlock()
	if err != nil {
		e.log.Error("emulator: admin request failed", "error", err)
		adminWrite(w, http.StatusInternalServerError, adminError{"the change could not be written down and was not made"})
		return
	}
	adminWrite(w, http.StatusOK, b)
}

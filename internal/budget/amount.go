package budget

import (
	"errors"
	"regexp"
	"strings"

	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/money"
)

// What an amount that somebody typed can be refused for, besides not being one (ErrAmount).
var (
	ErrAmountNegative = fault.New(fault.Invalid, "AMOUNT_NEGATIVE", "an amount of a budget is not negative", fault.Suggest("zero admits nothing; to take something back, set a smaller amount"))
	ErrAmountTooFine  = fault.New(fault.Invalid, "AMOUNT_TOO_FINE", "an amount has at most 6 decimals: nothing is rounded", fault.Suggest("leave out what is behind the sixth decimal"))
	ErrAmountTooLarge = fault.New(fault.Invalid, "AMOUNT_TOO_LARGE", "an amount has at most 12 digits before the point", fault.Suggest("give less than 1000000000000"))
	ErrCurrency       = fault.New(fault.Invalid, "CURRENCY_UNSUPPORTED", "amounts are in USD, as Amazon's prices are", fault.Suggest("give US dollars, as digits only"))
)

// foreign is an amount with a currency beside it.
var foreign = regexp.MustCompile(`^(\p{Sc}|[A-Za-z]{3})\s*-?[0-9]|[0-9]\s*(\p{Sc}|[A-Za-z]{3})$`)

// ParseAmount reads an amount that somebody typed: plain US dollars, not negative. currency may be empty.
func ParseAmount(text, currency string) (money.USD, error) {
	if currency != "" && currency != money.Currency || foreign.MatchString(text) {
		return 0, ErrCurrency
	}
	amount, err := money.Parse(text)
	switch {
	case errors.Is(err, money.ErrRange):
		if _, decimals, _ := strings.Cut(text, "."); len(decimals) > 6 {
			return 0, ErrAmountTooFine
		}
		return 0, ErrAmountTooLarge
	case err != nil:
		return 0, ErrAmount.Sayf("%v", err)
	case amount < 0:
		return 0, ErrAmountNegative
	}
	return amount, nil
}

package emulator

import (
	"net/http"
	"regexp"
	"strings"
)

// placeOf names where something is: in a Region of an account. Everything is kept apart by it, so that no
// operation finds what is in another place unless it means to. It is the name of the Region alone in the default
// account, as in journals from before there were others, and 111122223333/eu-west-1 in another one.
func placeOf(accountID, region string) string {
	if accountID == account {
		return region
	}
	return accountID + "/" + region
}

// accountOf is the account of a place.
func accountOf(place string) string {
	if id, _, other := strings.Cut(place, "/"); other {
		return id
	}
	return account
}

// regionOf is the Region of a place.
func regionOf(place string) string { return place[strings.LastIndexByte(place, '/')+1:] }

// account is whom the call's resources belong to.
func (c *call) account() string { return accountOf(c.region) }

var accountID = regexp.MustCompile(`^[0-9]{12}$`)

// credential is the start of a SigV4 Authorization header, up to the Region. Signatures are not checked.
var credential = regexp.MustCompile(`^AWS4-[A-Z0-9-]+ Credential=([^/,\s]+)/\d{8}/([a-z0-9-]{1,32})/`)

// placeFrom reads where a request goes from its signature. An access key id of twelve digits is the account
// it is for; every other key, and none, is for the default account.
func placeFrom(r *http.Request) string {
	m := credential.FindStringSubmatch(r.Header.Get("Authorization"))
	switch {
	case m == nil:
		return defaultRegion
	case accountID.MatchString(m[1]):
		return placeOf(m[1], m[2])
	}
	return m[2]
}

// describeAccount tells of an account that has not been enabled for bringing its own licences.
func describeAccount(*Emulator, *call, nothing) (any, error) {
	return struct{ DedicatedTenancySupport string }{"DISABLED"}, nil
}

type describeAccountModificationsInput struct{ NextToken string }

// describeAccountModifications has none to tell of: accounts cannot be modified here.
func describeAccountModifications(_ *Emulator, _ *call, in describeAccountModificationsInput) (any, error) {
	if in.NextToken != "" { // of which there are none; the model has no error of the operation's own for it
		return nil, &apiError{Type: "ValidationException", Message: "The specified NextToken is not valid."}
	}
	return struct{ AccountModifications []nothing }{[]nothing{}}, nil
}

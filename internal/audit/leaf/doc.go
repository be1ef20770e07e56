// Package leaf turns one audit log entry into the bytes that are stored, hashed, signed and kept for seven years, and
// back. It is the final format, version 1: entries are immutable, so neither the encoder nor the decoder may ever
// change what a given entry looks like. The golden vectors in testdata hold it still.
//
// A leaf is one JSON object in the canonical form of RFC 8785 (JCS), restricted so that a reader needs neither
// floating point nor UTF-16. It is stored and hashed as bytes; nobody ever rebuilds it from columns.
//
//	{"action":"workspace.create","actor":{"id":"usr_…","role":"engineer","type":"user"},"code":"BUDGET_EXCEEDED",
//	 "details":{…},"id":"<uuid v7>","interface":"api","log":"forge.example/audit","pii":{"email":"c1:<base64>"},
//	 "req":"req_…","resource":{"id":"ws_…","type":"workspace"},"result":"success",
//	 "ts":"2026-03-01T12:34:56.123456Z","v":1,"w":{"b":"<boot epoch>","id":"<writer id>","n":"184467"}}
//
// actor.role, code, details, pii and req are left out when empty; everything else is always there.
//
// # What comes from outside
//
// Whatever a stranger can put into an entry is written down in some form; it can neither make [Entry.Encode] fail nor
// change what another part of the entry says. The errors of Encode are mistakes of the program: a wrong type, an
// unknown result, a missing action.
//
//   - Fixed texts (actor.id, actor.role, code, req, resource.id, resource.type) go through [Text]: each invalid byte
//     becomes U+FFFD, and what is longer than 200 bytes is cut and ends with the SHA-256 of the whole.
//   - Strings in details are kept as sent and are not normalised.
//   - Names of members in details are kept when they are printable ASCII without quote and backslash. A leading "$" is
//     doubled; any other name becomes "$k:" and its bytes in base64url. So a name that begins with a single "$" is
//     never the caller's, except after "$k:".
//
// # Markers
//
// Where JSON has no word for a value in details, an object with one reserved member stands for it:
//
//	{"$b64":"…"}                             bytes, or a string that is not UTF-8; standard base64, padded
//	{"$int":"…"}                             an integer of 2^53 or more either way, in decimal
//	{"$trunc":{"len":N,"sha256":"<hex>"}}    a value too large or too deep; see below
//
// A string or byte slice over 4096 bytes, and an object or array inside five others (details is the first of the
// five), is left out and "$trunc" stands for it: len and sha256 are the length and SHA-256 of the canonical
// encoding the value would have had, with no limit on depth, and with strings within an object or array still left out
// by the same rule. [Truncate] computes it, so a copy kept elsewhere can be compared. When the whole leaf would be
// larger than 65535 bytes, details as a whole is replaced by its "$trunc". No leaf nests deeper than eight.
//
// Different details therefore have different leaves, as far as SHA-256 goes. The values that count as the same are
// listed at [Entry].
package leaf

// Package client is the typed Go client of the API, generated from its description.
package client

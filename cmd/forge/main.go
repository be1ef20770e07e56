// Command forge is RobCo Forge: the server, and the client of engineers, in one binary.
package main

import (
	"fmt"
	"os"

	"github.com/robco-forge/forge/internal/httpapi"
)

func main() {
	b, err := httpapi.New(httpapi.Config{}).OpenAPI()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Stdout.Write(b)
}

package cli

import (
	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

func (e *env) blueprintImagesCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "images NAME[@VERSION]", Short: "What a version is launched from in each region, and how far it is", Args: cobra.ExactArgs(1),
		Long: `Shows the images and bundles of a version: what the definition names, and what Forge makes when a launch first needs it.
A capture is made of the golden WorkSpace, a copy of an image of another region, and a bundle of an image for each size.
READY is when a bundle can be there, as an estimate. USES are the WorkSpaces that are on a bundle, or wait for it.`,
		Example: "  forge blueprint images backend/services\n  forge blueprint images backend/services@3 -o json | jq '.items[] | select(.state == \"FAILED\")'",
	}
	return e.remote(c, func(s *session, args []string) error {
		name, number, err := versioned(args[0])
		if err != nil {
			return err
		}
		if number == 0 {
			v, _, err := s.version(args[0])
			if err != nil {
				return err
			}
			number = v.Number
		}
		out, err := s.api.ListBlueprintImagesWithResponse(s.ctx, name, number)
		if err != nil {
			return err
		}
		found, err := decode[client.BlueprintImageList](out.Body)
		if err != nil {
			return err
		}
		t := &table{head: []string{"REGION", "KIND", "SIZE", "STATE", "ID", "SOURCE", "USES", "SINCE", "READY", "PROBLEM"}, none: "It is launched from Amazon's public bundles."}
		for _, i := range found.Items {
			problem := wordsOf(i.ErrorCode)
			if i.ErrorMessage != nil {
				problem = words(problem.text + ": " + *i.ErrorMessage)
			}
			t.row(words(i.Region), words(string(i.Kind)), wordsOf(i.ComputeType), words(string(i.State)), wordsOf(i.Id), wordsOf(i.Source), count(i.Uses),
				instantOf(i.WantedAt), instantOf(i.ReadyAt), problem)
		}
		return s.emit(out.Body, t)
	})
}

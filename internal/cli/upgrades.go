package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

func (e *env) upgradeCommand() *cobra.Command {
	var blueprint, bundle string
	c := &cobra.Command{
		Use: "upgrade ID|NAME", Short: "Bring a WorkSpace to another version or bundle by migration; loses data",
		Long: `Has Amazon make a new WorkSpace of another version of its blueprint, or of another bundle type, which takes
the place of this one within an hour. What is on the root volume (C:) is lost, and the user volume (D:) comes
back from its last snapshot, which is up to 12 hours old. It must be 12 hours old. It asks for the WorkSpace's
name; where nobody can be asked, --confirm NAME is required. Where nothing would be lost, other commands do it.`,
		Example: "  forge upgrade spike --blueprint backend/services@4\n  forge upgrade spike --bundle GRAPHICS_G4DN --confirm spike --wait",
	}
	c.Flags().StringVar(&blueprint, "blueprint", "", "another version of its blueprint, such as backend/services@4")
	c.Flags().StringVar(&bundle, "bundle", "", "the bundle type; the one that it has, if the version offers it")
	return e.losingCommand(c, func(s *session, id string, body client.WorkspaceConfirm) ([]byte, error) {
		key := newKey()
		r, err := s.api.MigrateWorkspaceWithResponse(s.ctx, id, &client.MigrateWorkspaceParams{IdempotencyKey: &key},
			client.WorkspaceMigrate{Confirm: body.Confirm, Blueprint: given(blueprint), BundleType: given(bundle)})
		if err != nil {
			return nil, err
		}
		return r.Body, nil
	})
}

func (e *env) blueprintUpgradeCommand() *cobra.Command {
	var to, canary, batch, canaryFailures, batchFailures int64
	var from []int64
	var said string
	var dry bool
	c := &cobra.Command{
		Use: "upgrade BLUEPRINT", Short: "Upgrade its WorkSpaces to a version, in batches", Args: cobra.ExactArgs(1),
		Long: `Brings the live WorkSpaces of a blueprint to one of its versions: some of them first (the canary), then
batch after batch. It is paused when more of the canary or of a batch fail than may, and can be paused, aborted
and resumed. Where only settings differ they change at once. Where the image, the operating system or the
bundle does, a WorkSpace is migrated: what is on its root volume is lost and its user volume comes back from its
last snapshot, which must be confirmed with the blueprint's name. Leads of the team and admins only.`,
		Example: "  forge blueprint upgrade backend/services --dry-run --confirm services\n  forge blueprint upgrade backend/services --to 4 --from 2,3 --canary 10 --confirm services",
	}
	c.Flags().Int64Var(&to, "to", 0, "the version; the active one when left out")
	c.Flags().Int64SliceVar(&from, "from", nil, "only WorkSpaces of these versions; of any other when left out")
	c.Flags().Int64Var(&canary, "canary", 10, "how many percent go first; at least one WorkSpace")
	c.Flags().Int64Var(&batch, "batch", 10, "how many of a batch, and at once, 1 to 25")
	c.Flags().Int64Var(&canaryFailures, "canary-failures", 0, "how many of the canary may fail")
	c.Flags().Int64Var(&batchFailures, "batch-failures", 0, "how many of any later batch may fail")
	c.Flags().StringVar(&said, "confirm", "", "the blueprint's name or id: yes, lose what migrations lose")
	c.Flags().BoolVar(&dry, "dry-run", false, "say what would be upgraded, and change nothing")
	return e.remote(c, func(s *session, args []string) error {
		body := client.UpgradeCreate{CanaryPercent: &canary, BatchSize: &batch, CanaryFailures: &canaryFailures, BatchFailures: &batchFailures, Confirm: given(said)}
		if to != 0 {
			body.ToVersion = &to
		}
		if len(from) > 0 {
			body.FromVersions = &from
		}
		key := newKey()
		params := client.CreateUpgradeParams{IdempotencyKey: &key}
		if dry {
			params = client.CreateUpgradeParams{DryRun: &dry}
		}
		r, err := s.api.CreateUpgradeWithResponse(s.ctx, args[0], &params, body)
		if err != nil {
			return err
		}
		return s.emitUpgrade(r.Body)
	})
}

func (e *env) blueprintUpgradesCommand() *cobra.Command {
	c := e.remote(&cobra.Command{
		Use: "upgrades BLUEPRINT", Short: "Upgrades of its WorkSpaces, the newest first", Args: cobra.ExactArgs(1),
		Long: `Lists the upgrades of a blueprint's WorkSpaces, with how far they are. ` + "`show`" + ` has every WorkSpace, and why
one failed, was skipped or waits. Leads of the team and admins only.`,
		Example: "  forge blueprint upgrades backend/services\n  forge blueprint upgrades show upg_01jd8x5qf8e2x9v7m3k4n5p6q7",
	}, func(s *session, args []string) error {
		limit := int64(100)
		r, err := s.api.ListUpgradesWithResponse(s.ctx, args[0], &client.ListUpgradesParams{Limit: &limit})
		if err != nil {
			return err
		}
		l, err := decode[client.UpgradeList](r.Body)
		if err != nil {
			return err
		}
		t := &table{head: []string{"ID", "TO", "STATE", "WAITING", "UNDER WAY", "DONE", "FAILED", "SKIPPED", "CREATED", "REASON"}, none: "There are none."}
		for _, u := range l.Items {
			sum := summed(u.Progress)
			t.row(words(u.Id), words(u.To), words(string(u.State)), count(sum.Waiting), count(sum.UnderWay), count(sum.Done), count(sum.Failed), count(sum.Skipped), instant(u.CreatedAt), wordsOf(u.Reason))
		}
		return s.emit(r.Body, t)
	})
	c.AddCommand(e.upgradesShowCommand(),
		e.steerCommand("pause", "Begin nothing until it is resumed", func(s *session, id string) ([]byte, error) {
			r, err := s.api.PauseUpgradeWithResponse(s.ctx, id)
			if err != nil {
				return nil, err
			}
			return r.Body, nil
		}),
		e.steerCommand("abort", "Leave what has not begun as it is", func(s *session, id string) ([]byte, error) {
			r, err := s.api.AbortUpgradeWithResponse(s.ctx, id)
			if err != nil {
				return nil, err
			}
			return r.Body, nil
		}),
		e.upgradesResumeCommand())
	return c
}

func (e *env) steerCommand(verb, short string, do func(s *session, id string) ([]byte, error)) *cobra.Command {
	return e.remote(&cobra.Command{
		Use: verb + " UPGRADE", Short: short, Args: cobra.ExactArgs(1),
		Long:    short + ". What is under way goes on to its end.",
		Example: "  forge blueprint upgrades " + verb + " upg_01jd8x5qf8e2x9v7m3k4n5p6q7",
	}, func(s *session, args []string) error {
		body, err := do(s, args[0])
		if err != nil {
			return err
		}
		return s.emitUpgrade(body)
	})
}

func (e *env) upgradesResumeCommand() *cobra.Command {
	var retry bool
	c := e.steerCommand("resume", "Let it go on, also when it was aborted", func(s *session, id string) ([]byte, error) {
		r, err := s.api.ResumeUpgradeWithResponse(s.ctx, id, client.UpgradeResume{Retry: &retry})
		if err != nil {
			return nil, err
		}
		return r.Body, nil
	})
	c.Long = "Lets an upgrade go on. What has failed is not counted against its batch any more."
	c.Flags().BoolVar(&retry, "retry", false, "take once more what failed or was skipped")
	return c
}

func (e *env) upgradesShowCommand() *cobra.Command {
	return e.remote(&cobra.Command{
		Use: "show UPGRADE", Short: "Its WorkSpaces, and how far each is", Args: cobra.ExactArgs(1),
		Example: "  forge blueprint upgrades show upg_01jd8x5qf8e2x9v7m3k4n5p6q7",
	}, func(s *session, args []string) error {
		var all []client.UpgradeItem
		var whole client.Upgrade
		limit := int64(100)
		for p := (client.GetUpgradeParams{Limit: &limit}); ; {
			r, err := s.api.GetUpgradeWithResponse(s.ctx, args[0], &p)
			if err != nil {
				return err
			}
			u, err := decode[client.Upgrade](r.Body)
			if err != nil {
				return err
			}
			if u.Items != nil {
				all = append(all, *u.Items...)
			}
			if whole = u; u.NextCursor == nil {
				break
			}
			if len(all) > 100_000 {
				return errors.New("the server's list does not come to an end")
			}
			p.Cursor = u.NextCursor
		}
		whole.Items = &all
		t := &table{head: []string{"BATCH", "WORKSPACE", "NAME", "FROM", "MIGRATES", "STATE", "BEGUN", "FINISHED", "CODE", "MESSAGE"}, foot: saidOf(whole)}
		for _, i := range all {
			t.row(count(i.Batch), words(i.WorkspaceId), words(i.WorkspaceName), words(i.From), words(fmt.Sprint(i.Migrates)), words(string(i.State)), instantOf(i.BegunAt), instantOf(i.FinishedAt), wordsOf(i.Code), wordsOf(i.Message))
		}
		return s.emitValue(whole, t)
	})
}

// emitUpgrade shows an upgrade batch by batch.
func (s *session) emitUpgrade(body []byte) error {
	u, err := decode[client.Upgrade](body)
	if err != nil {
		return err
	}
	t := &table{head: []string{"BATCH", "WAITING", "UNDER WAY", "DONE", "FAILED", "SKIPPED"}, foot: saidOf(u), none: "No WorkSpace is on another version."}
	for _, b := range u.Progress {
		t.row(count(b.Batch), count(b.Waiting), count(b.UnderWay), count(b.Done), count(b.Failed), count(b.Skipped))
	}
	return s.emit(body, t)
}

// saidOf says in a line what an upgrade is.
func saidOf(u client.Upgrade) string {
	said := fmt.Sprintf("%s to %s is %s", u.Id, printable(u.To), u.State)
	if u.DryRun != nil && *u.DryRun {
		said = "Nothing was changed. An upgrade to " + printable(u.To) + " would have these batches"
	}
	if why := text(u.Reason); why != "" {
		said += ": " + printable(why)
	}
	return strings.TrimSuffix(said, ".") + "."
}

func summed(batches []client.UpgradeBatch) (sum client.UpgradeBatch) {
	for _, b := range batches {
		sum.Waiting += b.Waiting
		sum.UnderWay += b.UnderWay
		sum.Done += b.Done
		sum.Failed += b.Failed
		sum.Skipped += b.Skipped
	}
	return sum
}

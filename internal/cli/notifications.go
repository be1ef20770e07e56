package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

func (e *env) notificationsCommand() *cobra.Command {
	return parent(&cobra.Command{
		Use: "notifications", Short: "Messages to people, and how they fare",
		Long: `Shows what people were told, over which channel, and what could not be sent; sends it again; and
sends a test. Which channels there are is the server's configuration (forge server --help). Admins only.`,
		Example: "  forge notifications list --failed\n  forge notifications test",
	}, e.notificationsListCommand(), e.notificationsShowCommand(), e.notificationsReplayCommand(), e.notificationsTestCommand())
}

func (e *env) notificationsListCommand() *cobra.Command {
	var failed, waiting bool
	var message string
	var limit int
	c := &cobra.Command{
		Use: "list", Short: "Messages, the newest first",
		Long: `Lists messages, a line for each channel and recipient. One that fails is tried again, later and later
up to ten minutes, for as long as --notify-give-up-after of the server says; then it is DEAD. Those behind it to the same
recipient wait for it, so that they come in order.`,
		Example: "  forge notifications list\n  forge notifications list --failed -o json | jq -r '.[].id' | xargs -n1 forge notifications replay",
	}
	c.Flags().BoolVar(&failed, "failed", false, "only those that were given up")
	c.Flags().BoolVar(&waiting, "waiting", false, "only those that are not sent yet")
	c.Flags().StringVar(&message, "message", "", "only those of this message")
	c.MarkFlagsMutuallyExclusive("failed", "waiting")
	limitFlag(c, &limit)
	return e.remote(c, func(s *session, _ []string) error {
		p := client.ListNotificationsParams{MessageId: given(message)}
		var state client.ListNotificationsParamsState
		switch {
		case failed:
			state = "DEAD"
			p.State = &state
		case waiting:
			state = "WAITING"
			p.State = &state
		}
		var last []byte
		found, err := fetch[client.Notification](limit, func(cursor *string, size *int64) ([]byte, error) {
			p.Cursor, p.Limit = cursor, size
			r, err := s.api.ListNotificationsWithResponse(s.ctx, &p)
			if err != nil {
				return nil, err
			}
			last = r.Body
			return r.Body, nil
		})
		if err != nil {
			return err
		}
		whole, err := decode[client.NotificationList](last)
		if err != nil {
			return err
		}
		t := &table{head: []string{"ID", "STATE", "KIND", "CHANNEL", "RECIPIENT", "ATTEMPTS", "CREATED", "ENDED", "ERROR"}, none: "No notifications."}
		for _, n := range found.items {
			to := text(n.RecipientName)
			if to == "" {
				to = text(n.Recipient)
			}
			t.row(words(n.Id), deliveryState(string(n.State)), words(n.Kind), words(string(n.Channel)), words(to), count(n.Attempts), instant(n.CreatedAt), instantOf(n.EndedAt), wordsOf(n.LastError))
		}
		t.foot = channelsFoot(whole.Channels)
		t.none += "\n" + t.foot
		return emitList(s, found, t)
	})
}

func deliveryState(state string) cell {
	c := words(state)
	switch state {
	case "DEAD":
		c.style = &styleBad
	case "WAITING":
		c.style = &styleBusy
	default:
		c.style = &styleGood
	}
	return c
}

func channelsFoot(channels []string) string {
	if len(channels) == 0 {
		return "No channel is configured: nobody is told of anything."
	}
	return "Channels: " + printable(strings.Join(channels, ", "))
}

func (e *env) notificationsShowCommand() *cobra.Command {
	return e.remote(&cobra.Command{
		Use: "show ID", Short: "What a message says, and how it fares", Args: cobra.ExactArgs(1),
		Example: "  forge notifications show dlv_01jd8x5qf8e2x9v7m3k4n5p6q7",
	}, func(s *session, args []string) error {
		r, err := s.api.GetNotificationWithResponse(s.ctx, args[0])
		if err != nil {
			return err
		}
		n, err := decode[client.Notification](r.Body)
		if err != nil {
			return err
		}
		t := notificationPairs(n)
		t.pair("Subject", wordsOf(n.Subject))
		t.pair("Text", wordsOf(n.Text))
		if n.Data != nil {
			data, err := json.Marshal(n.Data)
			if err != nil {
				return err
			}
			t.pair("Data", words(string(data)))
		}
		return s.emit(r.Body, t)
	})
}

func notificationPairs(n client.Notification) *table {
	t := pairs()
	t.pair("ID", words(n.Id))
	t.pair("Message", words(n.MessageId))
	t.pair("Kind", words(n.Kind))
	t.pair("Channel", words(string(n.Channel)))
	t.pair("Recipient", wordsOf(n.Recipient))
	t.pair("Name", wordsOf(n.RecipientName))
	t.pair("State", deliveryState(string(n.State)))
	t.pair("Attempts", count(n.Attempts))
	t.pair("Error", wordsOf(n.LastError))
	t.pair("Created", instant(n.CreatedAt))
	t.pair("Next try", instantOf(n.DueAt))
	t.pair("Given up at", instantOf(n.GiveUpAt))
	t.pair("Ended", instantOf(n.EndedAt))
	return t
}

func (e *env) notificationsReplayCommand() *cobra.Command {
	return e.remote(&cobra.Command{
		Use: "replay ID", Short: "Send a message again", Args: cobra.ExactArgs(1),
		Long: `Sends a message again, or at once if it waits. A webhook gets it under the same webhook-id as before, so
that a receiver which has had it can tell.`,
		Example: "  forge notifications replay dlv_01jd8x5qf8e2x9v7m3k4n5p6q7",
	}, func(s *session, args []string) error {
		key := newKey()
		r, err := s.api.ReplayNotificationWithResponse(s.ctx, args[0], &client.ReplayNotificationParams{IdempotencyKey: &key})
		if err != nil {
			return err
		}
		n, err := decode[client.Notification](r.Body)
		if err != nil {
			return err
		}
		return s.emit(r.Body, notificationPairs(n))
	})
}

func (e *env) notificationsTestCommand() *cobra.Command {
	return e.remote(&cobra.Command{
		Use: "test", Short: "Send a message to yourself over every channel",
		Long: `Sends a message to you by e-mail, and to the organisation's webhook and Slack, as far as they are
configured. How that went is in the list a moment later.`,
		Example: "  forge notifications test",
	}, func(s *session, _ []string) error {
		key := newKey()
		r, err := s.api.TestNotificationsWithResponse(s.ctx, &client.TestNotificationsParams{IdempotencyKey: &key})
		if err != nil {
			return err
		}
		sent, err := decode[client.NotificationTest](r.Body)
		if err != nil {
			return err
		}
		t := pairs()
		t.pair("Message", words(sent.MessageId))
		t.pair("Channels", words(strings.Join(sent.Channels, ", ")))
		t.foot = channelsFoot(sent.Channels)
		if len(sent.Channels) > 0 {
			t.foot = fmt.Sprintf("How it fares:  forge notifications list --message %s", sent.MessageId)
		}
		return s.emit(r.Body, t)
	})
}

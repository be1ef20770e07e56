package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/notify"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/policy"
)

func (s *Server) notificationRoutes() {
	const tag = "Notifications"
	route(s, http.MethodGet, "/notifications", "list-notifications", "Messages to people, and how they fare", tag, http.StatusOK, s.listNotifications)
	route(s, http.MethodGet, "/notifications/{id}", "get-notification", "What a message says, and how it fares", tag, http.StatusOK, s.getNotification)
	route(s, http.MethodPost, "/notifications/{id}/replay", "replay-notification", "Send a message again", tag, http.StatusAccepted, s.replayNotification)
	route(s, http.MethodPost, "/notifications/test", "test-notifications", "Send a message to oneself over every channel", tag, http.StatusAccepted, s.testNotifications)
}

// DeliveryPath is the address of one notification.
type DeliveryPath struct {
	ID string `path:"id" maxLength:"64"`
}

func notificationView(d notify.Delivery, names map[string]string) api.Notification {
	v := api.Notification{
		ID: d.ID, MessageID: d.NotificationID, Kind: d.Kind, Channel: d.Channel, Recipient: d.Target, RecipientName: names[d.Target], State: string(d.State),
		Attempts: d.Attempts, LastError: d.LastError, CreatedAt: d.CreatedAt, EndedAt: d.EndedAt,
	}
	if d.State == notify.Waiting {
		v.DueAt, v.GiveUpAt = &d.DueAt, &d.GiveUpAt
	}
	return v
}

func (s *Server) listNotifications(ctx context.Context, in *struct {
	Page
	State   notify.State `query:"state" enum:"WAITING,SENT,DEAD"`
	Message string       `query:"message_id" maxLength:"64" doc:"Only the deliveries of this message"`
},
) (*struct{ Body api.NotificationList }, error) {
	after, err := in.after("notifications")
	if err != nil {
		return nil, err
	}
	if policy.ReachOf(actor.From(ctx), policy.NotificationRead) != policy.Any {
		return nil, s.refused(ctx, policy.NotificationRead)
	}
	f := notify.Filter{State: in.State, Message: in.Message, Limit: in.Limit + 1}
	if after != "" {
		if f.Before, err = strconv.ParseInt(after, 10, 64); err != nil {
			return nil, errCursor
		}
	}
	found, err := notify.Deliveries(ctx, s.audit.Pool(), f)
	if err != nil {
		return nil, err
	}
	found, next := cut(found, in.Limit, "notifications", func(d notify.Delivery) string { return strconv.FormatInt(d.Number, 10) })
	names, err := people.Names(ctx, s.audit.Pool(), mapped(found, func(d notify.Delivery) string { return d.Target }))
	if err != nil {
		return nil, err
	}
	return &struct{ Body api.NotificationList }{api.NotificationList{
		Items: mapped(found, func(d notify.Delivery) api.Notification { return notificationView(d, names) }), NextCursor: next, Channels: s.cfg.Notify.Configured(),
	}}, nil
}

func (s *Server) getNotification(ctx context.Context, in *DeliveryPath) (*struct{ Body api.Notification }, error) {
	if policy.ReachOf(actor.From(ctx), policy.NotificationRead) != policy.Any {
		return nil, s.refused(ctx, policy.NotificationRead)
	}
	d, err := notify.Find(ctx, s.audit.Pool(), in.ID)
	if err != nil {
		return nil, err
	}
	names, err := people.Names(ctx, s.audit.Pool(), []string{d.Target})
	if err != nil {
		return nil, err
	}
	v := notificationView(d, names)
	if v.Subject, v.Text, err = s.cfg.Notify.Text(ctx, d.Kind, d.Payload); err != nil {
		return nil, err
	}
	err = json.Unmarshal(d.Payload, &v.Data)
	return &struct{ Body api.Notification }{v}, err
}

func (s *Server) replayNotification(ctx context.Context, in *struct {
	DeliveryPath
	Once
},
) (*Answer[api.Notification], error) {
	what := intent(policy.NotificationManage, "notification", in.ID)
	return once(ctx, s, in.Once, what, nil, all, func(tx *audit.Tx) (api.Notification, string, error) {
		d, err := s.cfg.Notify.Replay(ctx, tx, in.ID)
		return notificationView(d, nil), "", err
	})
}

func (s *Server) testNotifications(ctx context.Context, in *struct{ Once }) (*Answer[api.NotificationTest], error) {
	what := audit.Intent{Action: notify.KindTest, ResourceType: "notification"}
	return once(ctx, s, in.Once, what, nil, all, func(tx *audit.Tx) (api.NotificationTest, string, error) {
		message, err := notify.Test(ctx, tx)
		return api.NotificationTest{MessageID: message, Channels: s.cfg.Notify.Configured()}, "", err
	})
}

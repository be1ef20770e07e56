package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/httpapi"
	"github.com/robco-forge/forge/internal/notify"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/workspace"
)

// newSender makes what brings messages to people, over the channels that are configured.
func newSender(cfg Config, log *audit.Log, reg prometheus.Registerer) (*notify.Sender, error) {
	channels, err := cfg.Notify.Open()
	if err != nil {
		return nil, err
	}
	attempts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "forge_notification_attempts_total", Help: "Attempts to send a message, by channel and by how they ended.",
	}, []string{"channel", "outcome"})
	reg.MustRegister(attempts)
	return &notify.Sender{
		Pool: log.Pool(), Log: log, Clock: cfg.Clock, Slog: cfg.Logger, Channels: channels, Names: namesOfAll,
		Observe: func(channel, outcome string) { attempts.WithLabelValues(channel, outcome).Inc() },
	}, nil
}

// namesOfAll are the names of people, teams, projects and WorkSpaces.
func namesOfAll(ctx context.Context, q postgres.Querier, ids []string) (map[string]string, error) {
	names, err := people.Names(ctx, q, ids)
	if err != nil {
		return nil, err
	}
	workspaces, err := workspace.Names(ctx, q, ids)
	maps.Copy(names, workspaces)
	return names, err
}

// notifications tells whether people hear of things. It only warns: everything else goes on.
func (f *Forge) notifications(ctx context.Context) httpapi.Check {
	c := httpapi.Check{Name: "notifications", OK: true}
	if len(f.notify.Configured()) == 0 {
		c.Message = "no channel is configured: nobody is told of anything (docs/notifications.md)"
		return c
	}
	now := f.Log.Clock()()
	backlogs, err := notify.Backlogs(ctx, f.Pool, now)
	if err != nil {
		f.cfg.Logger.WarnContext(ctx, "notifications", "error", err)
		c.Message = "they could not be looked at; the cause is in the log"
	}
	for _, b := range backlogs {
		if b.Dead > 0 {
			c.Message += fmt.Sprintf("%d over %s were given up within a week (forge notifications list --failed). ", b.Dead, b.Channel)
		}
		if b.Oldest != nil && now.Sub(*b.Oldest) > backlogAfter {
			c.Message += fmt.Sprintf("%d over %s wait, the oldest since %s. ", b.Waiting, b.Channel, b.Oldest.UTC().Format(time.RFC3339))
		}
	}
	c.Message = strings.TrimSpace(c.Message)
	return c
}

// backlogAfter is how old a message may be that is not sent before that is worth a word.
const backlogAfter = 5 * time.Minute

// notifyCollector shows, when somebody scrapes, what waits and what was given up, the same from every replica.
type notifyCollector struct{ forge *Forge }

var (
	waitingDesc = prometheus.NewDesc("forge_notifications_waiting", "Messages that are not sent yet, by channel.", []string{"channel"}, nil)
	oldestDesc  = prometheus.NewDesc("forge_notifications_oldest_seconds", "Age of the oldest message that is not sent yet, by channel.", []string{"channel"}, nil)
	deadDesc    = prometheus.NewDesc("forge_notifications_dead", "Messages that were given up within a week, by channel; `forge notifications list --failed` lists them.", []string{"channel"}, nil)
)

// Describe tells what there is to collect.
func (notifyCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- waitingDesc
	ch <- oldestDesc
	ch <- deadDesc
}

// Collect reads the backlogs, also those of 0.
func (c notifyCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	now := c.forge.Log.Clock()()
	backlogs, err := notify.Backlogs(ctx, c.forge.Pool, now)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			c.forge.cfg.Logger.WarnContext(ctx, "notifications are not in the metrics", "error", err)
		}
		return
	}
	byChannel := map[string]notify.Backlog{}
	for _, channel := range c.forge.notify.Configured() {
		byChannel[channel] = notify.Backlog{}
	}
	for _, b := range backlogs {
		byChannel[b.Channel] = b
	}
	for channel, b := range byChannel {
		var age time.Duration
		if b.Oldest != nil {
			age = max(0, now.Sub(*b.Oldest))
		}
		ch <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(b.Waiting), channel) // not money: a count
		ch <- prometheus.MustNewConstMetric(deadDesc, prometheus.GaugeValue, float64(b.Dead), channel)       // not money: a count
		ch <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, age.Seconds(), channel)
	}
}

-- forge: oldest binary 1

-- Messages are delivered by channel: each delivery is a row until it has arrived or is given up.

-- +goose Up
ALTER TABLE notifications ADD COLUMN event_key text NULL;
-- Nothing was ever sent until now, and what is old is no news.
UPDATE notifications SET sent_at = created_at;
CREATE TABLE notification_deliveries (
  id text NOT NULL,
  number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  notification_id text NOT NULL,
  event_key text NOT NULL,
  channel text NOT NULL,
  target text NOT NULL,
  state text NOT NULL DEFAULT 'WAITING',
  attempts integer NOT NULL DEFAULT 0,
  due_at timestamptz NOT NULL,
  give_up_at timestamptz NOT NULL,
  lease_until timestamptz NULL,
  lease_token text NULL,
  last_error text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL,
  ended_at timestamptz NULL,
  PRIMARY KEY (id),
  CONSTRAINT notification_deliveries_notification_fk FOREIGN KEY (notification_id) REFERENCES notifications (id) ON UPDATE NO ACTION ON DELETE NO ACTION,
  CONSTRAINT notification_deliveries_channel_ck CHECK (channel = ANY (ARRAY['email'::text, 'webhook'::text, 'slack'::text])),
  CONSTRAINT notification_deliveries_ended_ck CHECK ((state = 'WAITING'::text) = (ended_at IS NULL)),
  CONSTRAINT notification_deliveries_state_ck CHECK (state = ANY (ARRAY['WAITING'::text, 'SENT'::text, 'DEAD'::text]))
);
CREATE INDEX notification_deliveries_dead_idx ON notification_deliveries (number) WHERE (state = 'DEAD'::text);
CREATE INDEX notification_deliveries_due_idx ON notification_deliveries (due_at, number) WHERE (state = 'WAITING'::text);
CREATE UNIQUE INDEX notification_deliveries_event_uq ON notification_deliveries (event_key, channel, target);
CREATE INDEX notification_deliveries_notification_idx ON notification_deliveries (notification_id);
CREATE UNIQUE INDEX notification_deliveries_number_uq ON notification_deliveries (number);
CREATE INDEX notification_deliveries_waiting_idx ON notification_deliveries (channel, target, number) WHERE (state = 'WAITING'::text);
GRANT INSERT, SELECT, UPDATE ON notification_deliveries TO :"app";

-- +goose Down
DROP INDEX notification_deliveries_waiting_idx;
DROP INDEX notification_deliveries_number_uq;
DROP INDEX notification_deliveries_notification_idx;
DROP INDEX notification_deliveries_event_uq;
DROP INDEX notification_deliveries_due_idx;
DROP INDEX notification_deliveries_dead_idx;
DROP TABLE notification_deliveries;
ALTER TABLE notifications DROP COLUMN event_key;

-- forge: oldest binary 1

-- the tree of the audit log

-- +goose Up
CREATE TABLE audit_bundles (
  n bigint NOT NULL,
  ids uuid[] NOT NULL,
  timestamps timestamp with time zone[] NOT NULL,
  first_timestamp timestamptz NOT NULL,
  last_timestamp timestamptz NOT NULL,
  PRIMARY KEY (n),
  CONSTRAINT audit_bundles_full_ck CHECK ((cardinality(ids) = 256) AND (cardinality(timestamps) = 256))
);
CREATE INDEX audit_bundles_time_idx ON audit_bundles USING gist ((tstzrange(first_timestamp, last_timestamp, '[]'::text)));
CREATE TABLE audit_checkpoints (
  size bigint NOT NULL,
  root bytea NOT NULL,
  note text NOT NULL,
  signed_at timestamptz NOT NULL,
  PRIMARY KEY (size),
  CONSTRAINT audit_checkpoints_root_ck CHECK (octet_length(root) = 32)
);
CREATE TABLE audit_quarantine (
  "timestamp" timestamptz NOT NULL,
  id uuid NOT NULL,
  reason text NOT NULL,
  found_at timestamptz NOT NULL,
  PRIMARY KEY ("timestamp", id)
);
CREATE TABLE audit_tiles (
  level smallint NOT NULL,
  n bigint NOT NULL,
  hashes bytea NOT NULL,
  PRIMARY KEY (level, n),
  CONSTRAINT audit_tiles_full_ck CHECK (octet_length(hashes) = 8192)
);
CREATE TABLE audit_tree (
  singleton boolean NOT NULL DEFAULT true,
  origin text NOT NULL,
  size bigint NOT NULL,
  edges bytea[] NOT NULL,
  tail_ids uuid[] NOT NULL,
  tail_timestamps timestamp with time zone[] NOT NULL,
  snapshot pg_snapshot NOT NULL,
  pending pg_snapshot NULL,
  cursor_xid xid8 NULL,
  cursor_timestamp timestamptz NULL,
  cursor_id uuid NULL,
  recheck_until timestamptz NOT NULL,
  cluster text NOT NULL,
  epoch bigint NOT NULL,
  leader text NOT NULL,
  leader_pid integer NOT NULL,
  lease_until timestamptz NOT NULL,
  PRIMARY KEY (singleton),
  CONSTRAINT audit_tree_cursor_ck CHECK (((cursor_xid IS NULL) = (cursor_timestamp IS NULL)) AND ((cursor_xid IS NULL) = (cursor_id IS NULL)) AND ((cursor_xid IS NULL) OR (pending IS NOT NULL))),
  CONSTRAINT audit_tree_one_row_ck CHECK (singleton),
  CONSTRAINT audit_tree_tail_ck CHECK ((cardinality(tail_ids) = (size % (256)::bigint)) AND (cardinality(tail_timestamps) = (size % (256)::bigint)))
);
GRANT INSERT, SELECT ON audit_bundles TO :"app";
GRANT INSERT, SELECT ON audit_checkpoints TO :"app";
GRANT INSERT, SELECT ON audit_quarantine TO :"app";
GRANT INSERT, SELECT ON audit_tiles TO :"app";
GRANT INSERT, SELECT, UPDATE ON audit_tree TO :"app";

-- +goose Down
DROP TABLE audit_tree;
DROP TABLE audit_tiles;
DROP TABLE audit_quarantine;
DROP TABLE audit_checkpoints;
DROP INDEX audit_bundles_time_idx;
DROP TABLE audit_bundles;

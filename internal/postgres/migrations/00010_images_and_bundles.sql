-- forge: oldest binary 1

-- Images that Forge makes of golden WorkSpaces, the bundles made of them, and which WorkSpaces need those.

-- +goose Up
ALTER TABLE workspaces ADD COLUMN bundle_id text NULL, ADD COLUMN image_since timestamptz NULL;
CREATE TABLE aws_bundles (
  id text NOT NULL,
  region text NOT NULL,
  image_id text NOT NULL,
  compute_type text NOT NULL,
  root_gib integer NOT NULL,
  user_gib integer NOT NULL,
  versions text[] NOT NULL,
  state text NOT NULL,
  generation integer NOT NULL DEFAULT 1,
  bundle_id text NULL,
  error_code text NOT NULL DEFAULT '',
  error_message text NOT NULL DEFAULT '',
  attempts integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL,
  wanted_at timestamptz NOT NULL,
  asked_at timestamptz NULL,
  begun_at timestamptz NULL,
  ended_at timestamptz NULL,
  last_used_at timestamptz NOT NULL,
  next_due_at timestamptz NULL,
  lease_until timestamptz NULL,
  lease_token text NULL,
  PRIMARY KEY (id),
  CONSTRAINT aws_bundles_made_ck CHECK ((state <> 'AVAILABLE'::text) OR (bundle_id IS NOT NULL)),
  CONSTRAINT aws_bundles_state_ck CHECK (state = ANY (ARRAY['WANTED'::text, 'MAKING'::text, 'AVAILABLE'::text, 'FAILED'::text, 'DELETING'::text, 'GONE'::text]))
);
CREATE INDEX aws_bundles_due_idx ON aws_bundles (next_due_at) WHERE (next_due_at IS NOT NULL);
CREATE UNIQUE INDEX aws_bundles_key_uq ON aws_bundles (region, image_id, compute_type, root_gib, user_gib);
CREATE TABLE aws_bundle_uses (
  workspace_id text NOT NULL,
  bundle text NOT NULL,
  since timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, bundle),
  CONSTRAINT aws_bundle_uses_bundle_fk FOREIGN KEY (bundle) REFERENCES aws_bundles (id) ON UPDATE NO ACTION ON DELETE NO ACTION
);
CREATE INDEX aws_bundle_uses_bundle_idx ON aws_bundle_uses (bundle);
CREATE TABLE blueprint_images (
  id text NOT NULL,
  kind text NOT NULL,
  version_id text NULL,
  region text NOT NULL,
  source_region text NOT NULL,
  source text NOT NULL,
  state text NOT NULL,
  generation integer NOT NULL DEFAULT 1,
  image_id text NULL,
  error_code text NOT NULL DEFAULT '',
  error_message text NOT NULL DEFAULT '',
  attempts integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL,
  wanted_at timestamptz NOT NULL,
  asked_at timestamptz NULL,
  begun_at timestamptz NULL,
  ended_at timestamptz NULL,
  next_due_at timestamptz NULL,
  lease_until timestamptz NULL,
  lease_token text NULL,
  PRIMARY KEY (id),
  CONSTRAINT blueprint_images_version_fk FOREIGN KEY (version_id) REFERENCES blueprint_versions (id) ON UPDATE NO ACTION ON DELETE NO ACTION,
  CONSTRAINT blueprint_images_kind_ck CHECK ((kind = ANY (ARRAY['capture'::text, 'copy'::text])) AND ((kind = 'capture'::text) = (version_id IS NOT NULL))),
  CONSTRAINT blueprint_images_made_ck CHECK ((state <> 'AVAILABLE'::text) OR (image_id IS NOT NULL)),
  CONSTRAINT blueprint_images_state_ck CHECK (state = ANY (ARRAY['WANTED'::text, 'MAKING'::text, 'AVAILABLE'::text, 'FAILED'::text]))
);
CREATE UNIQUE INDEX blueprint_images_capture_uq ON blueprint_images (version_id) WHERE (kind = 'capture'::text);
CREATE UNIQUE INDEX blueprint_images_copy_uq ON blueprint_images (source, region) WHERE (kind = 'copy'::text);
CREATE INDEX blueprint_images_due_idx ON blueprint_images (next_due_at) WHERE (next_due_at IS NOT NULL);
CREATE INDEX blueprint_images_took_idx ON blueprint_images (region, kind, ended_at) INCLUDE (begun_at) WHERE (state = 'AVAILABLE'::text);
GRANT DELETE, INSERT, SELECT, UPDATE ON aws_bundle_uses TO :"app";
GRANT INSERT, SELECT, UPDATE ON aws_bundles TO :"app";
GRANT INSERT, SELECT, UPDATE ON blueprint_images TO :"app";

-- +goose Down
DROP INDEX blueprint_images_took_idx;
DROP INDEX blueprint_images_due_idx;
DROP INDEX blueprint_images_copy_uq;
DROP INDEX blueprint_images_capture_uq;
DROP TABLE blueprint_images;
DROP INDEX aws_bundle_uses_bundle_idx;
DROP TABLE aws_bundle_uses;
DROP INDEX aws_bundles_key_uq;
DROP INDEX aws_bundles_due_idx;
DROP TABLE aws_bundles;
ALTER TABLE workspaces DROP COLUMN image_since, DROP COLUMN bundle_id;

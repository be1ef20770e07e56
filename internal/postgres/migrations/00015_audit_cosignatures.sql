-- forge: oldest binary 1

-- What witnesses of the audit log signed.

-- +goose Up
CREATE TABLE audit_cosignatures (
  size bigint NOT NULL,
  witness text NOT NULL,
  line text NOT NULL,
  cosigned_at timestamptz NOT NULL,
  PRIMARY KEY (witness, size),
  CONSTRAINT audit_cosignatures_checkpoint_fk FOREIGN KEY (size) REFERENCES audit_checkpoints (size)
);
CREATE INDEX audit_cosignatures_size_idx ON audit_cosignatures (size);
GRANT INSERT, SELECT ON audit_cosignatures TO :"app";

-- +goose Down
DROP TABLE audit_cosignatures;

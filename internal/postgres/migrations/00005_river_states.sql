-- forge: oldest binary 1

-- The job queue's later steps. They use a state that 00002 added, which PostgreSQL allows only once that is committed.

-- +goose Up
-- forge: river up 6 8
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA river TO :"app";
GRANT USAGE ON ALL SEQUENCES IN SCHEMA river TO :"app";

-- +goose Down
-- forge: river down 8 6
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA river TO :"app";

-- forge: oldest binary 1

-- The job queue's tables, as its library makes them, in a schema of their own.

-- +goose Up
CREATE SCHEMA river;
-- forge: river up 1 5
GRANT USAGE ON SCHEMA river TO :"app";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA river TO :"app";
GRANT USAGE ON ALL SEQUENCES IN SCHEMA river TO :"app";

-- +goose Down
DROP SCHEMA river CASCADE;

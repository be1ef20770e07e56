-- forge: oldest binary 1

-- Entries of the audit log are found by the address and by the interface that they came from.

-- +goose Up
CREATE INDEX audit_logs_address_idx ON audit_logs (source_ip, timestamp DESC, id DESC) WHERE source_ip IS NOT NULL;
CREATE INDEX audit_logs_interface_idx ON audit_logs (interface, timestamp DESC, id DESC) WHERE interface NOT IN ('api', 'cli', 'worker');

-- +goose Down
DROP INDEX audit_logs_interface_idx;
DROP INDEX audit_logs_address_idx;

-- forge: oldest binary 1

-- The volumes that a monthly fee for volumes was sold for, so that a later month can be priced by a later book.

-- +goose Up
ALTER TABLE usage ADD COLUMN root_gib integer NOT NULL DEFAULT 0, ADD COLUMN user_gib integer NOT NULL DEFAULT 0;
UPDATE usage u
SET root_gib = coalesce(w.root_gib, 0), user_gib = coalesce(w.user_gib, 0)
FROM workspaces w
WHERE w.id = u.workspace_id AND u.kind = 'storage' AND u.closed_at IS NULL;

-- +goose Down
ALTER TABLE usage DROP COLUMN user_gib, DROP COLUMN root_gib;

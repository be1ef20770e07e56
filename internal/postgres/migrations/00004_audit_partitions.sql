-- forge: oldest binary 1

-- The audit log's months, made ahead without holding up writers. Each month now says its bounds in a CHECK as well, so
-- that PostgreSQL need not read a table that it attaches; personal data says which transaction wrote it, as entries do,
-- so that rows which arrive while an overflow partition is moved are found.

-- +goose Up

-- Both tables are held from here to the end, because a writer locks them before their partitions. The months that are
-- there are read once; that takes about a second for two million entries.
LOCK TABLE ONLY audit_logs, audit_personal_data IN ACCESS EXCLUSIVE MODE;

ALTER TABLE audit_personal_data ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX audit_personal_data_future_xid_idx ON audit_parts.audit_personal_data_future (xid);

-- +goose StatementBegin
-- The partitions of the audit log's two tables; -infinity and infinity where there is no bound, none for a DEFAULT one.
CREATE FUNCTION audit_partitions(OUT parent text, OUT part oid, OUT lower timestamptz, OUT upper timestamptz, OUT detaching boolean)
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $body$
  SELECT p.parent, c.oid,
         CASE b.bounds[1] WHEN 'MINVALUE' THEN '-infinity' ELSE btrim(b.bounds[1], '''')::timestamptz END,
         CASE b.bounds[2] WHEN 'MAXVALUE' THEN 'infinity' ELSE btrim(b.bounds[2], '''')::timestamptz END,
         i.inhdetachpending
  FROM unnest(ARRAY['audit_logs', 'audit_personal_data']) p (parent)
  JOIN pg_inherits i ON i.inhparent = format('public.%I', p.parent)::regclass
  JOIN pg_class c ON c.oid = i.inhrelid
  CROSS JOIN LATERAL (SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES FROM \((.+)\) TO \((.+)\)$')) b (bounds)
$body$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Months that are there become like those that are made from now on.
DO $body$
DECLARE
  p record;
BEGIN
  PERFORM set_config('timezone', 'UTC', true);
  FOR p IN SELECT * FROM audit_partitions() WHERE lower IS NOT NULL ORDER BY parent, lower LOOP
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %s CHECK (timestamp IS NOT NULL%s%s)', p.part::regclass,
      CASE WHEN isfinite(p.lower) AND isfinite(p.upper) THEN 'audit_month_ck' ELSE 'audit_overflow_ck' END,
      CASE WHEN isfinite(p.lower) THEN format(' AND timestamp >= %L', p.lower) END,
      CASE WHEN isfinite(p.upper) THEN format(' AND timestamp < %L', p.upper) END);
    EXECUTE format('ALTER TABLE %s SET (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_freeze_min_age = 0)', p.part::regclass);
  END LOOP;
END
$body$;
-- +goose StatementEnd

-- +goose StatementBegin
-- The months from January 2026 up to the last that no partition but the overflow one of the future takes.
CREATE FUNCTION audit_months_missing(last_month timestamptz, OUT parent text, OUT lower timestamptz, OUT upper timestamptz)
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $body$
  SELECT t.parent, m, m + interval '1 month'
  FROM unnest(ARRAY['audit_logs', 'audit_personal_data']) t (parent),
       generate_series('2026-01-01 00:00:00+00', last_month, interval '1 month') m
  WHERE NOT EXISTS (
    SELECT FROM audit_partitions() p
    WHERE p.parent = t.parent AND p.lower < m + interval '1 month' AND p.upper > m AND p.upper < 'infinity')
  ORDER BY t.parent, m
$body$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Makes every month that is missing, from January 2026 up to the given number of months after that of the instant, and
-- returns how many partitions that made. What the overflow partition of the future has of them goes where it belongs,
-- with its xid; a new overflow partition begins behind the last month.
--
-- The long part touches no table that others use: new tables are filled beside the old, from what the overflow partition
-- had at one moment. The short part holds both tables: the overflow partition is taken out, the new ones are attached,
-- which their CHECKs spare PostgreSQL to read them for, and what came after that moment is brought. It waits 200 ms for
-- a lock, gives way to those who queue behind it, and tries again, some ten seconds long; then it fails with 55P03 and
-- everything is as before.
--
-- The instant is an argument because the server's clock is an input. It cannot be far from the database's, so that no
-- clock makes thousands of tables.
CREATE FUNCTION audit_partitions_ensure(months_ahead integer, at timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $body$
DECLARE
  tries CONSTANT integer := 25;
  horizon CONSTANT timestamptz := now() + interval '300 months';
  callers_wait CONSTANT text := current_setting('lock_timeout');
  -- Where nothing dies autovacuum seldom comes. Let it come after every twentieth of new rows and freeze them at once:
  -- then nothing of a month is written again years later, and rows can be counted in an index.
  append_only CONSTANT text := 'autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_freeze_min_age = 0';
  last_month timestamptz;
  moment pg_snapshot; -- what the long part has seen at least
  attach text[] := '{}'; -- statements
  made integer := 0;
  -- The tables that get a new overflow partition, in the order in which every writer locks them; which they have now, if
  -- any; their columns; how many rows were copied from it.
  moving text[] := '{}';
  old regclass[] := '{}';
  columns text[] := '{}';
  copied bigint[] := '{}';
  t text;
  part text;
  next text;
  overflow record;
  m record;
  list text;
  n bigint;
  total bigint;
  had bigint;
  behind timestamptz;
BEGIN
  IF (months_ahead BETWEEN 0 AND 240) IS NOT TRUE THEN
    RAISE EXCEPTION 'months_ahead must be between 0 and 240, not %', months_ahead USING ERRCODE = '22023';
  END IF;
  IF (at BETWEEN '2026-01-01 00:00:00+00' AND horizon) IS NOT TRUE OR at + make_interval(months => months_ahead) > horizon THEN
    RAISE EXCEPTION 'the months must lie between 2026 and 300 months from now; is a clock right that says %?', at USING ERRCODE = '22023';
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN -- it would not see what is written meanwhile, and drop it
    RAISE EXCEPTION 'partitions are made in READ COMMITTED' USING ERRCODE = '25001';
  END IF;
  last_month := date_trunc('month', at) + make_interval(months => months_ahead);

  -- Nearly always nothing is missing. Else one at a time: who comes second finds the work done.
  IF NOT EXISTS (SELECT FROM audit_months_missing(last_month)) THEN
    RETURN 0;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended('forge audit partitions', 0));
  PERFORM set_config('lock_timeout', '200ms', true);

  -- The long part.
  moment := pg_current_snapshot();
  FOREACH t IN ARRAY ARRAY['audit_logs', 'audit_personal_data'] LOOP
    SELECT p.part::regclass AS part, p.lower INTO overflow FROM audit_partitions() p WHERE p.parent = t AND p.upper = 'infinity';
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO list
    FROM pg_attribute a
    WHERE a.attrelid = format('public.%I', t)::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
    behind := NULL;
    total := 0;
    FOR m IN SELECT * FROM audit_months_missing(last_month) x WHERE x.parent = t LOOP
      part := t || to_char(m.lower, '_YYYY_MM');
      IF m.lower < overflow.lower THEN -- a gap, which no overflow partition can cover
        IF m.upper > overflow.lower THEN
          RAISE EXCEPTION '% begins within a month, at %', overflow.part, overflow.lower USING ERRCODE = '55000';
        ELSIF to_regclass(format('audit_parts.%I', part)) IS NOT NULL THEN
          RAISE WARNING 'audit_parts.% is there and not attached: attach it, or drop it to have it made anew', part;
          CONTINUE;
        END IF;
      ELSE
        behind := last_month + interval '1 month';
      END IF;
      EXECUTE format('CREATE TABLE audit_parts.%I (LIKE public.%I INCLUDING ALL, CONSTRAINT audit_month_ck CHECK (timestamp IS NOT NULL AND timestamp >= %L AND timestamp < %L)) WITH (%s)',
        part, t, m.lower, m.upper, append_only);
      attach := attach || format('ALTER TABLE public.%I ATTACH PARTITION audit_parts.%I FOR VALUES FROM (%L) TO (%L)', t, part, m.lower, m.upper);
      made := made + 1;
      IF m.lower >= overflow.lower THEN
        EXECUTE format('INSERT INTO audit_parts.%I (%s) SELECT %2$s FROM %s WHERE timestamp >= %L AND timestamp < %L', part, list, overflow.part, m.lower, m.upper);
        GET DIAGNOSTICS n = ROW_COUNT;
        total := total + n;
      END IF;
    END LOOP;
    CONTINUE WHEN behind IS NULL;
    IF overflow.part IS NULL THEN -- somebody took it away; months may be there beyond the last
      SELECT greatest(behind, max(p.upper)) INTO behind FROM audit_partitions() p WHERE p.parent = t;
    END IF;
    next := t || '_coming'; -- as long as _future, so that the names of its indexes are cut at the same place
    EXECUTE format('CREATE TABLE audit_parts.%I (LIKE public.%I INCLUDING ALL, CONSTRAINT audit_overflow_ck CHECK (timestamp IS NOT NULL AND timestamp >= %L)) WITH (%s)',
      next, t, behind, append_only);
    IF t = 'audit_personal_data' THEN -- entries have this one everywhere
      EXECUTE format('CREATE INDEX ON audit_parts.%I (xid)', next);
    END IF;
    attach := attach || format('ALTER TABLE public.%I ATTACH PARTITION audit_parts.%I FOR VALUES FROM (%L) TO (MAXVALUE)', t, next, behind);
    IF overflow.part IS NOT NULL THEN
      EXECUTE format('INSERT INTO audit_parts.%I (%s) SELECT %2$s FROM %s WHERE timestamp >= %L', next, list, overflow.part, behind);
      GET DIAGNOSTICS n = ROW_COUNT;
      total := total + n;
    END IF;
    moving := moving || t;
    old := old || overflow.part;
    columns := columns || list;
    copied := copied || total;
  END LOOP;

  -- The short part.
  FOR attempt IN 1..tries LOOP
    BEGIN
      FOREACH t IN ARRAY moving LOOP
        EXECUTE format('LOCK TABLE ONLY public.%I IN ACCESS EXCLUSIVE MODE', t);
      END LOOP;
      FOR i IN 1..cardinality(moving) LOOP
        CONTINUE WHEN old[i] IS NULL;
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE NOWAIT', old[i]); -- writers wait by now
        EXECUTE format('ALTER TABLE public.%I DETACH PARTITION %s', moving[i], old[i]);
      END LOOP;
      FOREACH t IN ARRAY attach LOOP
        EXECUTE t;
      END LOOP;
      FOR i IN 1..cardinality(moving) LOOP
        IF old[i] IS NOT NULL THEN
          -- Some of these were copied: the copies have seen later moments.
          EXECUTE format('INSERT INTO public.%I (%s) SELECT %2$s FROM %s WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) ON CONFLICT DO NOTHING',
            moving[i], columns[i], old[i]) USING moment;
          GET DIAGNOSTICS n = ROW_COUNT;
          EXECUTE format('SELECT count(*) FROM %s', old[i]) INTO had; -- a million rows take a quarter of a second
          IF copied[i] + n <> had THEN
            RAISE EXCEPTION '% has % rows and % were moved: nothing is changed', old[i], had, copied[i] + n USING ERRCODE = 'XX001';
          END IF;
          EXECUTE format('DROP TABLE %s', old[i]);
        END IF;
        next := moving[i] || '_coming';
        EXECUTE format('ALTER TABLE audit_parts.%I RENAME TO %I', next, moving[i] || '_future');
        FOR m IN
          SELECT c.relname AS name
          FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
          WHERE x.indrelid = format('audit_parts.%I', moving[i] || '_future')::regclass
        LOOP
          EXECUTE format('ALTER INDEX audit_parts.%I RENAME TO %I', m.name, replace(m.name, next, moving[i] || '_future'));
        END LOOP;
      END LOOP;
      EXIT;
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
      IF attempt = tries THEN
        RAISE;
      END IF;
    END;
    PERFORM pg_sleep(0.1 + random() * 0.2);
  END LOOP;
  PERFORM set_config('lock_timeout', callers_wait, true);
  RETURN made;
END
$body$;
-- +goose StatementEnd

-- Programs of the release before call this one.
CREATE OR REPLACE FUNCTION audit_partitions_ensure(months_ahead integer) RETURNS integer
LANGUAGE sql SET search_path = pg_catalog, public, pg_temp AS $body$
  SELECT audit_partitions_ensure(months_ahead, now())
$body$;

REVOKE ALL ON FUNCTION audit_partitions(), audit_months_missing(timestamptz), audit_partitions_ensure(integer, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_partitions(), audit_partitions_ensure(integer, timestamptz) TO :"app";

-- +goose Down
LOCK TABLE ONLY audit_logs, audit_personal_data IN ACCESS EXCLUSIVE MODE;

DROP FUNCTION audit_partitions_ensure(integer, timestamptz);
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION audit_partitions_ensure(months_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' SET lock_timeout = '2s' AS $body$
DECLARE
  parent text;
  made integer := 0;
  first_month date;
  last_month date := (date_trunc('month', now()) + make_interval(months => months_ahead))::date;
  m date;
  part text;
BEGIN
  IF months_ahead NOT BETWEEN 0 AND 240 THEN
    RAISE EXCEPTION 'months_ahead must be between 0 and 240, not %', months_ahead USING ERRCODE = '22023';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended('forge audit partitions', 0));
  FOREACH parent IN ARRAY ARRAY['audit_logs', 'audit_personal_data'] LOOP
    SELECT coalesce(max(to_date(right(c.relname, 7), 'YYYY_MM')) + interval '1 month', '2026-01-01')::date INTO first_month
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = parent::regclass AND c.relname ~ '_[0-9]{4}_[0-9]{2}$';
    CONTINUE WHEN first_month > last_month;
    IF to_regclass('audit_parts.' || parent || '_future') IS NOT NULL THEN
      EXECUTE format('ALTER TABLE %I DETACH PARTITION audit_parts.%I', parent, parent || '_future');
    END IF;
    m := first_month;
    WHILE m <= last_month LOOP
      part := parent || to_char(m, '_YYYY_MM');
      EXECUTE format('CREATE TABLE audit_parts.%I (LIKE %I INCLUDING ALL)', part, parent);
      IF to_regclass('audit_parts.' || parent || '_future') IS NOT NULL THEN
        EXECUTE format('WITH moved AS (DELETE FROM audit_parts.%I WHERE timestamp >= %L AND timestamp < %L RETURNING *) INSERT INTO audit_parts.%I SELECT * FROM moved',
          parent || '_future', m::timestamptz, (m + interval '1 month')::timestamptz, part);
      END IF;
      EXECUTE format('ALTER TABLE %I ATTACH PARTITION audit_parts.%I FOR VALUES FROM (%L) TO (%L)',
        parent, part, m::timestamptz, (m + interval '1 month')::timestamptz);
      made := made + 1;
      m := (m + interval '1 month')::date;
    END LOOP;
    IF to_regclass('audit_parts.' || parent || '_future') IS NULL THEN
      EXECUTE format('CREATE TABLE audit_parts.%I (LIKE %I INCLUDING ALL)', parent || '_future', parent);
    END IF;
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION audit_parts.%I FOR VALUES FROM (%L) TO (MAXVALUE)',
      parent, parent || '_future', m::timestamptz);
  END LOOP;
  RETURN made;
END
$body$;
-- +goose StatementEnd
DROP FUNCTION audit_months_missing(timestamptz);

-- +goose StatementBegin
DO $body$
DECLARE
  p record;
BEGIN
  FOR p IN SELECT * FROM audit_partitions() WHERE lower IS NOT NULL LOOP
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %s', p.part::regclass,
      CASE WHEN isfinite(p.lower) AND isfinite(p.upper) THEN 'audit_month_ck' ELSE 'audit_overflow_ck' END);
    EXECUTE format('ALTER TABLE %s RESET (autovacuum_vacuum_insert_scale_factor, autovacuum_freeze_min_age)', p.part::regclass);
  END LOOP;
END
$body$;
-- +goose StatementEnd
DROP FUNCTION audit_partitions();

ALTER TABLE audit_personal_data DROP COLUMN xid;

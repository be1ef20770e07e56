package catalog

// rolesQuery names the owner, who is whoever applied the migrations, and the application's role.
const rolesQuery = `
	SELECT coalesce((SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass('public.goose_db_version')), pg_get_userbyid(datdba)),
	       coalesce(nullif($1, ''), datname || '_app')
	FROM pg_database
	WHERE datname = current_database()`

// scope begins every query. $1 are the schemas, $2 the tables left out, $3 the owner, $4 the application's role. What an
// extension brought is the extension's.
const scope = `
	WITH given AS (SELECT $1::text[] AS schemas, $2::text[] AS without, $3::text AS owner, $4::text AS app),
	roles AS (
	  SELECT r.oid, CASE r.rolname WHEN owner THEN ':owner' WHEN app THEN ':app' ELSE r.rolname END AS name
	  FROM pg_roles r, given
	  UNION ALL SELECT 0, 'PUBLIC'),
	schemas AS (
	  SELECT n.* FROM pg_namespace n, given
	  WHERE n.nspname = ANY (schemas)),
	extended AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
	rels AS (
	  SELECT c.*, format('%I.%I', n.nspname, c.relname) AS full_name
	  FROM pg_class c JOIN schemas n ON n.oid = c.relnamespace, given
	  WHERE format('%I.%I', n.nspname, c.relname) <> ALL (without)
	    AND NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid)
	    AND NOT EXISTS (
	      SELECT FROM pg_depend d JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace tn ON tn.oid = t.relnamespace
	      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
	        AND format('%I.%I', tn.nspname, t.relname) = ANY (without))),
	functions AS (
	  SELECT p.*, format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS full_name
	  FROM pg_proc p JOIN schemas n ON n.oid = p.pronamespace
	  WHERE NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid)),
	types AS (
	  SELECT t.*, format('%I.%I', n.nspname, t.typname) AS full_name
	  FROM pg_type t JOIN schemas n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
	  WHERE (t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND c.relkind = 'c')
	    AND NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid))
	`

const (
	kindConstraint = "constraint"
	// granted turns the entries of one list of privileges into one object for each grantee but the owner, whose own
	// rights are implied. It expects columns name, on_table, acl (with the defaults filled in) and owner_id.
	granted = `
	SELECT l.name || ' to ' || r.name, l.on_table, string_agg(x.privilege_type || CASE WHEN x.is_grantable THEN ' with grant option' ELSE '' END, ', ' ORDER BY x.privilege_type)
	FROM listed l CROSS JOIN LATERAL aclexplode(l.acl) x JOIN roles r ON r.oid = x.grantee
	WHERE x.grantee <> l.owner_id
	GROUP BY l.name, l.on_table, r.name`
)

// queries read one kind each: name, table, definition.
var queries = []struct{ kind, sql string }{
	{"schema", `
	SELECT quote_ident(s.nspname), '', 'owner ' || r.name
	FROM schemas s JOIN roles r ON r.oid = s.nspowner`},

	{"relation", `
	SELECT c.full_name, c.full_name, concat_ws(', ',
	  CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table' ELSE 'kind ' || c.relkind::text END,
	  CASE c.relpersistence WHEN 'u' THEN 'unlogged' END,
	  'by ' || pg_get_partkeydef(c.oid),
	  (SELECT CASE WHEN c.relispartition THEN 'partition of ' ELSE 'inherits ' END || string_agg(i.inhparent::regclass::text || CASE WHEN i.inhdetachpending THEN ' (detach pending)' ELSE '' END, ' ' ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = c.oid),
	  CASE WHEN c.relrowsecurity THEN 'row level security' END,
	  CASE WHEN c.relforcerowsecurity THEN 'forced row level security' END,
	  CASE c.relreplident WHEN 'd' THEN NULL WHEN 'n' THEN 'replica identity nothing' WHEN 'f' THEN 'replica identity full' WHEN 'i' THEN 'replica identity index' END,
	  'with ' || (SELECT string_agg(o, ' ' ORDER BY o) FROM unnest(c.reloptions) o),
	  (SELECT 'access method ' || a.amname FROM pg_am a WHERE a.oid = c.relam AND a.amname <> 'heap'),
	  (SELECT format('as %s from %s step %s min %s max %s%s', q.seqtypid::regtype, q.seqstart, q.seqincrement, q.seqmin, q.seqmax, CASE WHEN q.seqcycle THEN ' cycle' ELSE '' END) FROM pg_sequence q WHERE q.seqrelid = c.oid),
	  'owner ' || r.name,
	  CASE WHEN c.relkind IN ('v', 'm') THEN 'as ' || pg_get_viewdef(c.oid) END)
	FROM rels c JOIN roles r ON r.oid = c.relowner
	WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
	  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND c.relkind = 'S' AND d.deptype = 'i')`},

	{"column", `
	SELECT c.full_name || '.' || quote_ident(a.attname), c.full_name, concat_ws(' ',
	  format_type(a.atttypid, a.atttypmod),
	  (SELECT 'COLLATE ' || o.collname FROM pg_collation o JOIN pg_type t ON t.oid = a.atttypid WHERE o.oid = a.attcollation AND a.attcollation <> t.typcollation),
	  CASE WHEN a.attnotnull THEN 'NOT NULL' END,
	  CASE a.attidentity WHEN 'a' THEN 'GENERATED ALWAYS AS IDENTITY' WHEN 'd' THEN 'GENERATED BY DEFAULT AS IDENTITY' END,
	  CASE a.attgenerated WHEN '' THEN 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) ELSE 'GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid) || ')' || CASE a.attgenerated WHEN 's' THEN ' STORED' ELSE '' END END)
	FROM rels c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
	WHERE c.relkind IN ('r', 'p', 'f', 'c') AND a.attnum > 0 AND NOT a.attisdropped`},

	// PostgreSQL 18 lists NOT NULL here as well; it is read with the columns.
	{kindConstraint, `
	SELECT c.full_name || '.' || quote_ident(coalesce(p.conname, o.conname)), c.full_name,
	  pg_get_constraintdef(o.oid) || CASE WHEN o.convalidated THEN '' ELSE ' (not validated)' END || CASE WHEN o.connoinherit AND o.contype = 'c' AND position('NO INHERIT' IN pg_get_constraintdef(o.oid)) = 0 THEN ' NO INHERIT' ELSE '' END
	FROM rels c JOIN pg_constraint o ON o.conrelid = c.oid LEFT JOIN pg_constraint p ON p.oid = o.conparentid AND p.conrelid <> c.oid
	WHERE o.contype NOT IN ('n', 't')
	  AND (o.contype <> 'f' OR o.conparentid = 0 OR p.conrelid IS NOT NULL)`},

	{"index", `
	SELECT coalesce((SELECT p.full_name FROM pg_inherits h JOIN rels p ON p.oid = h.inhparent WHERE h.inhrelid = x.oid) || ' of ' || c.full_name, x.full_name), c.full_name, concat_ws(', ',
	  CASE WHEN i.indisunique THEN 'unique' END,
	  substring(pg_get_indexdef(x.oid) FROM ' (USING .*)$'),
	  CASE WHEN NOT i.indisvalid THEN 'invalid' END,
	  CASE WHEN NOT i.indisready THEN 'not ready' END,
	  CASE WHEN i.indisclustered THEN 'clustered' END,
	  CASE WHEN i.indisreplident THEN 'replica identity' END)
	FROM rels x JOIN pg_index i ON i.indexrelid = x.oid JOIN rels c ON c.oid = i.indrelid`},

	{"function", `
	SELECT p.full_name, '', CASE WHEN p.prokind = 'a' THEN 'aggregate ' || p.proargtypes::text ELSE pg_get_functiondef(p.oid) END || ' owner ' || r.name
	FROM functions p JOIN roles r ON r.oid = p.proowner`},

	// Triggers of constraints are PostgreSQL's own: they matter when somebody has switched one off.
	{"trigger", `
	SELECT c.full_name || '.' || CASE WHEN t.tgisinternal THEN 'of ' || quote_ident(coalesce(o.conname, '')) || ' ' || (t.tgtype & 60)::text ELSE quote_ident(t.tgname) END, c.full_name, concat_ws(', ',
	  CASE t.tgenabled WHEN 'O' THEN 'enabled' WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'enabled for replicas' WHEN 'A' THEN 'enabled always' END,
	  CASE WHEN NOT t.tgisinternal THEN pg_get_triggerdef(t.oid) END)
	FROM rels c JOIN pg_trigger t ON t.tgrelid = c.oid LEFT JOIN pg_constraint o ON o.oid = t.tgconstraint
	WHERE NOT t.tgisinternal OR t.tgenabled <> 'O' AND t.tgparentid = 0`},

	{"rule", `
	SELECT c.full_name || '.' || quote_ident(w.rulename), c.full_name, w.ev_enabled::text || ' ' || pg_get_ruledef(w.oid)
	FROM rels c JOIN pg_rewrite w ON w.ev_class = c.oid
	WHERE w.rulename <> '_RETURN'`},

	{"policy", `
	SELECT c.full_name || '.' || quote_ident(p.polname), c.full_name, concat_ws(' ',
	  p.polcmd::text, CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END,
	  (SELECT 'to ' || string_agg(r.name, ',' ORDER BY r.name) FROM roles r WHERE r.oid = ANY (p.polroles)),
	  'using ' || pg_get_expr(p.polqual, p.polrelid), 'check ' || pg_get_expr(p.polwithcheck, p.polrelid))
	FROM rels c JOIN pg_policy p ON p.polrelid = c.oid`},

	{"type", `
	SELECT t.full_name, '', concat_ws(', ',
	  CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain over ' || format_type(t.typbasetype, t.typtypmod) WHEN 'r' THEN 'range' WHEN 'c' THEN 'composite' END,
	  (SELECT string_agg(quote_literal(e.enumlabel), ' ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
	  CASE WHEN t.typnotnull THEN 'NOT NULL' END, 'default ' || t.typdefault,
	  (SELECT string_agg(quote_ident(o.conname) || ' ' || pg_get_constraintdef(o.oid), ' ' ORDER BY o.conname) FROM pg_constraint o WHERE o.contypid = t.oid AND o.contype <> 'n'),
	  (SELECT 'of ' || g.rngsubtype::regtype::text FROM pg_range g WHERE g.rngtypid = t.oid),
	  'owner ' || r.name)
	FROM types t JOIN roles r ON r.oid = t.typowner`},

	{"event trigger", `
	SELECT quote_ident(v.evtname), '', concat_ws(', ', v.evtevent, v.evtfoid::regprocedure::text, array_to_string(v.evttags, ' '),
	  CASE v.evtenabled WHEN 'O' THEN 'enabled' WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'enabled for replicas' WHEN 'A' THEN 'enabled always' END)
	FROM pg_event_trigger v`},

	{"extension", `
	SELECT quote_ident(e.extname), '', 'in ' || e.extnamespace::regnamespace::text
	FROM pg_extension e
	WHERE e.extname <> 'plpgsql'`},

	{"comment", `
	SELECT c.full_name || coalesce('.' || quote_ident(a.attname), ''), c.full_name, d.description
	FROM rels c JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = c.oid
	LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
	UNION ALL
	SELECT p.full_name, '', d.description
	FROM functions p JOIN pg_description d ON d.classoid = 'pg_proc'::regclass AND d.objoid = p.oid
	UNION ALL
	SELECT c.full_name || '.' || quote_ident(o.conname), c.full_name, d.description
	FROM rels c JOIN pg_constraint o ON o.conrelid = c.oid JOIN pg_description d ON d.classoid = 'pg_constraint'::regclass AND d.objoid = o.oid`},

	{"privileges", `
	, listed AS (
	  SELECT c.full_name AS name, c.full_name AS on_table, coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, c.relowner)) AS acl, c.relowner AS owner_id
	  FROM rels c
	  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
	  UNION ALL
	  SELECT c.full_name || '.' || quote_ident(a.attname), c.full_name, a.attacl, c.relowner
	  FROM rels c JOIN pg_attribute a ON a.attrelid = c.oid
	  WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
	  UNION ALL
	  SELECT 'function ' || p.full_name, '', coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner
	  FROM functions p
	  UNION ALL
	  SELECT 'schema ' || quote_ident(s.nspname), '', coalesce(s.nspacl, acldefault('n', s.nspowner)), s.nspowner
	  FROM schemas s
	  UNION ALL
	  SELECT 'type ' || t.full_name, '', coalesce(t.typacl, acldefault('T', t.typowner)), t.typowner
	  FROM types t
	  UNION ALL
	  SELECT 'later ' || CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' ELSE 'schemas' END
	    || ' of ' || r.name || coalesce(' in ' || d.defaclnamespace::regnamespace::text, ''), '', d.defaclacl, 0::oid
	  FROM pg_default_acl d JOIN roles r ON r.oid = d.defaclrole
	  WHERE d.defaclnamespace = 0 OR d.defaclnamespace IN (SELECT oid FROM schemas))` + granted},

	// What the application's role is beyond its rights on objects would undo them.
	{"role", `
	SELECT ':app', '', concat_ws(', ',
	  CASE WHEN r.rolsuper THEN 'superuser' END, CASE WHEN r.rolcreaterole THEN 'may create roles' END, CASE WHEN r.rolcreatedb THEN 'may create databases' END,
	  CASE WHEN r.rolbypassrls THEN 'passes row level security' END, CASE WHEN r.rolreplication THEN 'may replicate' END,
	  (SELECT 'member of ' || string_agg(n.name, ' ' ORDER BY n.name) FROM pg_auth_members m JOIN roles n ON n.oid = m.roleid WHERE m.member = r.oid))
	FROM pg_roles r, given
	WHERE r.rolname = app`},
}

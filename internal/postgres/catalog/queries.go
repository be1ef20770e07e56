package catalog

import "fmt"

// rolesQuery names the owner, who is whoever applied the migrations, and the application's role.
const rolesQuery = `
	SELECT coalesce((SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass('public.goose_db_version')), pg_get_userbyid(datdba)),
	       coalesce(nullif($1, ''), datname || '_app')
	FROM pg_database
	WHERE datname = current_database()`

// scope begins every query. $1 are the schemas, $2 the tables left out, $3 the owner, $4 the application's role. What an
// extension brought is the extension's. Roles other than ours are quoted where SQL would quote them, so that none can
// pass for :owner, :app or PUBLIC.
//
// Relations, triggers' tables and constraints have two names: full_name is PostgreSQL's, title the one that is shown.
// The index of a partition is shown by the index that it is part of, because PostgreSQL makes up its own name.
const scope = `
	WITH given AS (SELECT $1::text[] AS schemas, $2::text[] AS without, $3::text AS owner, $4::text AS app),
	roles AS (
	  SELECT r.oid, (CASE r.rolname WHEN owner THEN ':owner' WHEN app THEN ':app' ELSE quote_ident(r.rolname) END) COLLATE "C" AS name
	  FROM pg_roles r, given
	  UNION ALL SELECT 0, 'PUBLIC'),
	schemas AS (
	  SELECT n.* FROM pg_namespace n, given
	  WHERE n.nspname = ANY (schemas)),
	extended AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
	rels AS (
	  SELECT c.*, format('%I.%I', n.nspname, c.relname) AS full_name, h.on_table,
	    coalesce((
	      SELECT format('%I.%I of %s', pn.nspname, p.relname, h.on_table)
	      FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace
	      WHERE i.inhrelid = c.oid AND c.relkind IN ('i', 'I')), format('%I.%I', n.nspname, c.relname)) AS title
	  FROM pg_class c JOIN schemas n ON n.oid = c.relnamespace CROSS JOIN given
	  LEFT JOIN pg_index x ON x.indexrelid = c.oid
	  LEFT JOIN pg_depend d ON c.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
	  LEFT JOIN pg_class t ON t.oid = coalesce(x.indrelid, d.refobjid)
	  LEFT JOIN pg_namespace tn ON tn.oid = t.relnamespace
	  CROSS JOIN LATERAL (SELECT format('%I.%I', coalesce(tn.nspname, n.nspname), coalesce(t.relname, c.relname)) AS on_table) h
	  WHERE h.on_table <> ALL (without)
	    AND NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid)),
	cons AS (
	  SELECT o.*, c.full_name || '.' || quote_ident(coalesce(p.conname, o.conname)) AS title, c.on_table
	  FROM rels c JOIN pg_constraint o ON o.conrelid = c.oid LEFT JOIN pg_constraint p ON p.oid = o.conparentid AND p.conrelid <> c.oid
	  WHERE o.contype NOT IN ('n', 't')
	    AND (o.contype <> 'f' OR o.conparentid = 0 OR p.conrelid IS NOT NULL)),
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
	SELECT l.name || ' to ' || r.name, l.on_table, string_agg(DISTINCT (x.privilege_type || CASE WHEN x.is_grantable THEN ' with grant option' ELSE '' END) COLLATE "C", ', ')
	FROM listed l CROSS JOIN LATERAL aclexplode(l.acl) x JOIN roles r ON r.oid = x.grantee
	WHERE x.grantee <> l.owner_id
	GROUP BY l.name, l.on_table, r.name`
	// switched says when a trigger or a rule acts; %s is the column.
	switched = `CASE %s WHEN 'O' THEN 'enabled' WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'enabled for replicas' WHEN 'A' THEN 'enabled always' END`
)

// queries read one kind each: name, table, definition.
var queries = []struct{ kind, sql string }{
	{"schema", `
	SELECT quote_ident(s.nspname), '', 'owner ' || r.name
	FROM schemas s JOIN roles r ON r.oid = s.nspowner
	WHERE NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_namespace'::regclass AND e.objid = s.oid)`},

	{"relation", `
	SELECT c.full_name, c.on_table, concat_ws(', ',
	  CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table' ELSE 'kind ' || c.relkind::text END,
	  CASE c.relpersistence WHEN 'u' THEN 'unlogged' END,
	  'by ' || pg_get_partkeydef(c.oid),
	  (SELECT CASE WHEN c.relispartition THEN 'partition of ' ELSE 'inherits ' END || string_agg(i.inhparent::regclass::text || CASE WHEN i.inhdetachpending THEN ' (detach pending)' ELSE '' END, ' ' ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = c.oid),
	  -- The bounds of months and of what is before and after them move with time.
	  (SELECT pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
	   WHERE i.inhrelid = c.oid AND c.relkind IN ('r', 'p', 'f') AND NOT (starts_with(c.relname, p.relname) AND substr(c.relname, length(p.relname) + 1) ~ '^_([0-9]{4}_[0-9]{2}|past|future)$')),
	  CASE WHEN c.relrowsecurity THEN 'row level security' END,
	  CASE WHEN c.relforcerowsecurity THEN 'forced row level security' END,
	  CASE c.relreplident WHEN 'd' THEN NULL WHEN 'n' THEN 'replica identity nothing' WHEN 'f' THEN 'replica identity full' WHEN 'i' THEN 'replica identity index' END,
	  'with ' || (SELECT string_agg(o, ' ' ORDER BY o COLLATE "C") FROM unnest(c.reloptions) o),
	  (SELECT 'access method ' || a.amname FROM pg_am a WHERE a.oid = c.relam AND a.amname <> 'heap'),
	  (SELECT format('as %s from %s step %s min %s max %s cache %s%s', q.seqtypid::regtype, q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache, CASE WHEN q.seqcycle THEN ' cycle' ELSE '' END) FROM pg_sequence q WHERE q.seqrelid = c.oid),
	  (SELECT format('owned by %s.%I', c.on_table, a.attname) FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
	   WHERE c.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'a'),
	  'owner ' || r.name,
	  CASE WHEN c.relkind IN ('v', 'm') THEN 'as ' || pg_get_viewdef(c.oid) END)
	FROM rels c JOIN roles r ON r.oid = c.relowner
	WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
	  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND c.relkind = 'S' AND d.deptype = 'i')`},

	{"column", `
	SELECT c.full_name || '.' || quote_ident(a.attname), c.on_table, concat_ws(' ',
	  format_type(a.atttypid, a.atttypmod),
	  (SELECT 'COLLATE ' || o.oid::regcollation FROM pg_collation o JOIN pg_type t ON t.oid = a.atttypid WHERE o.oid = a.attcollation AND a.attcollation <> t.typcollation),
	  CASE WHEN a.attnotnull THEN 'NOT NULL' || CASE WHEN EXISTS (SELECT FROM pg_constraint o WHERE o.conrelid = c.oid AND o.contype = 'n' AND o.conkey = ARRAY[a.attnum] AND NOT o.convalidated) THEN ' (not validated)' ELSE '' END END,
	  CASE a.attidentity WHEN 'a' THEN 'GENERATED ALWAYS AS IDENTITY' WHEN 'd' THEN 'GENERATED BY DEFAULT AS IDENTITY' END
	    || (SELECT format(' (from %s step %s min %s max %s cache %s%s)', q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache, CASE WHEN q.seqcycle THEN ' cycle' ELSE '' END)
	        FROM pg_depend s JOIN pg_sequence q ON q.seqrelid = s.objid
	        WHERE s.classid = 'pg_class'::regclass AND s.refclassid = 'pg_class'::regclass AND s.refobjid = c.oid AND s.refobjsubid = a.attnum AND s.deptype = 'i'),
	  CASE a.attgenerated WHEN '' THEN 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) ELSE 'GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid) || ')' || CASE a.attgenerated WHEN 's' THEN ' STORED' ELSE '' END END)
	FROM rels c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
	WHERE (c.relkind IN ('r', 'p', 'f', 'c') OR c.relkind = 'v' AND d.oid IS NOT NULL) AND a.attnum > 0 AND NOT a.attisdropped`},

	// PostgreSQL 18 lists NOT NULL here as well; it is read with the columns.
	{kindConstraint, `
	SELECT o.title, o.on_table, pg_get_constraintdef(o.oid)
	FROM cons o`},

	{"index", `
	SELECT x.title, x.on_table, concat_ws(', ',
	  CASE WHEN i.indisunique THEN 'unique' END,
	  substring(pg_get_indexdef(x.oid) FROM ' (USING .*)$'),
	  CASE WHEN NOT i.indisvalid THEN 'invalid' END,
	  CASE WHEN NOT i.indisready THEN 'not ready' END,
	  CASE WHEN i.indisclustered THEN 'clustered' END,
	  CASE WHEN i.indisreplident THEN 'replica identity' END)
	FROM rels x JOIN pg_index i ON i.indexrelid = x.oid`},

	{"function", `
	SELECT p.full_name, '', coalesce(CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END, concat_ws(' ', 'aggregate of kind', a.aggkind, 'by', a.aggtransfn::regprocedure, 'in', format_type(a.aggtranstype, NULL),
	    'from ' || quote_literal(a.agginitval), 'then ' || nullif(a.aggfinalfn, 0)::regprocedure, a.aggfinalmodify, 'combined by ' || nullif(a.aggcombinefn, 0)::regprocedure,
	    'moving by ' || nullif(a.aggmtransfn, 0)::regprocedure, 'and ' || nullif(a.aggminvtransfn, 0)::regprocedure, 'then ' || nullif(a.aggmfinalfn, 0)::regprocedure, 'from ' || quote_literal(a.aggminitval),
	    'sorted by ' || nullif(a.aggsortop, 0)::regoperator, 'returns', format_type(p.prorettype, NULL), 'parallel', p.proparallel)) || ' owner ' || r.name
	FROM functions p JOIN roles r ON r.oid = p.proowner LEFT JOIN pg_aggregate a ON a.aggfnoid = p.oid`},

	// Triggers of constraints are PostgreSQL's own: they matter when somebody has switched one off, on a single partition
	// perhaps. A foreign key has them on both of its tables.
	{"trigger", `
	SELECT c.full_name || '.' || CASE WHEN t.tgisinternal
	    THEN concat_ws(' ', 'of', quote_ident(o.conname), 'of', o.conrelid::regclass, 'on', CASE WHEN t.tgtype & 4 > 0 THEN 'INSERT' END, CASE WHEN t.tgtype & 8 > 0 THEN 'DELETE' END, CASE WHEN t.tgtype & 16 > 0 THEN 'UPDATE' END)
	    ELSE quote_ident(t.tgname) END, c.on_table, concat_ws(', ',
	  ` + fmt.Sprintf(switched, "t.tgenabled") + `,
	  CASE WHEN NOT t.tgisinternal THEN pg_get_triggerdef(t.oid) END)
	FROM rels c JOIN pg_trigger t ON t.tgrelid = c.oid LEFT JOIN pg_constraint o ON o.oid = t.tgconstraint
	WHERE NOT t.tgisinternal OR t.tgenabled <> 'O'`},

	{"rule", `
	SELECT c.full_name || '.' || quote_ident(w.rulename), c.on_table, ` + fmt.Sprintf(switched, "w.ev_enabled") + ` || ', ' || pg_get_ruledef(w.oid)
	FROM rels c JOIN pg_rewrite w ON w.ev_class = c.oid
	WHERE w.rulename <> '_RETURN'`},

	{"policy", `
	SELECT c.full_name || '.' || quote_ident(p.polname), c.on_table, concat_ws(' ',
	  CASE p.polcmd WHEN '*' THEN 'ALL' WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' END, CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END,
	  (SELECT 'to ' || string_agg(r.name, ',' ORDER BY r.name) FROM roles r WHERE r.oid = ANY (p.polroles)),
	  'using ' || pg_get_expr(p.polqual, p.polrelid), 'check ' || pg_get_expr(p.polwithcheck, p.polrelid))
	FROM rels c JOIN pg_policy p ON p.polrelid = c.oid`},

	{"type", `
	SELECT t.full_name, '', concat_ws(', ',
	  CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain over ' || format_type(t.typbasetype, t.typtypmod) WHEN 'r' THEN 'range' WHEN 'c' THEN 'composite' END,
	  (SELECT string_agg(quote_literal(e.enumlabel), ' ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
	  CASE WHEN t.typnotnull THEN 'NOT NULL' END, 'default ' || pg_get_expr(t.typdefaultbin, 0),
	  (SELECT 'COLLATE ' || t.typcollation::regcollation FROM pg_type b WHERE b.oid = t.typbasetype AND b.typcollation <> t.typcollation),
	  (SELECT string_agg(quote_ident(o.conname) || ' ' || pg_get_constraintdef(o.oid), ' ' ORDER BY o.conname COLLATE "C") FROM pg_constraint o WHERE o.contypid = t.oid AND o.contype <> 'n'),
	  (SELECT 'of ' || g.rngsubtype::regtype::text FROM pg_range g WHERE g.rngtypid = t.oid),
	  'owner ' || r.name)
	FROM types t JOIN roles r ON r.oid = t.typowner`},

	{"event trigger", `
	SELECT quote_ident(v.evtname), '', concat_ws(', ', v.evtevent, v.evtfoid::regprocedure::text, array_to_string(v.evttags, ' '), ` + fmt.Sprintf(switched, "v.evtenabled") + `, 'owner ' || r.name)
	FROM pg_event_trigger v JOIN roles r ON r.oid = v.evtowner
	WHERE NOT EXISTS (SELECT FROM extended e WHERE e.classid = 'pg_event_trigger'::regclass AND e.objid = v.oid)`},

	{"extension", `
	SELECT quote_ident(e.extname), '', 'in ' || e.extnamespace::regnamespace::text
	FROM pg_extension e
	WHERE e.extname <> 'plpgsql'`},

	{"comment", `
	, commented AS (
	  SELECT 'pg_class'::regclass AS class, c.oid, a.attnum AS sub, c.title || coalesce('.' || quote_ident(a.attname), '') AS name, c.on_table
	  FROM rels c LEFT JOIN (SELECT attrelid, attnum, attname FROM pg_attribute WHERE attnum > 0 UNION ALL SELECT oid, 0, NULL FROM rels) a ON a.attrelid = c.oid
	  UNION ALL
	  SELECT 'pg_constraint'::regclass, o.oid, 0, 'constraint ' || o.title, o.on_table
	  FROM cons o
	  UNION ALL
	  SELECT 'pg_trigger'::regclass, t.oid, 0, 'trigger ' || c.full_name || '.' || quote_ident(t.tgname), c.on_table
	  FROM rels c JOIN pg_trigger t ON t.tgrelid = c.oid
	  UNION ALL
	  SELECT 'pg_policy'::regclass, p.oid, 0, 'policy ' || c.full_name || '.' || quote_ident(p.polname), c.on_table
	  FROM rels c JOIN pg_policy p ON p.polrelid = c.oid
	  UNION ALL
	  SELECT 'pg_rewrite'::regclass, w.oid, 0, 'rule ' || c.full_name || '.' || quote_ident(w.rulename), c.on_table
	  FROM rels c JOIN pg_rewrite w ON w.ev_class = c.oid
	  UNION ALL
	  SELECT 'pg_proc'::regclass, p.oid, 0, 'function ' || p.full_name, ''
	  FROM functions p
	  UNION ALL
	  SELECT 'pg_type'::regclass, t.oid, 0, 'type ' || t.full_name, ''
	  FROM types t
	  UNION ALL
	  SELECT 'pg_namespace'::regclass, s.oid, 0, 'schema ' || quote_ident(s.nspname), ''
	  FROM schemas s
	  UNION ALL
	  SELECT 'pg_event_trigger'::regclass, v.oid, 0, 'event trigger ' || quote_ident(v.evtname), ''
	  FROM pg_event_trigger v)
	SELECT c.name, c.on_table, d.description
	FROM commented c JOIN pg_description d ON d.classoid = c.class AND d.objoid = c.oid AND d.objsubid = c.sub`},

	{"privileges", `
	, listed AS (
	  SELECT c.full_name AS name, c.on_table, coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, c.relowner)) AS acl, c.relowner AS owner_id
	  FROM rels c
	  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
	  UNION ALL
	  SELECT c.full_name || '.' || quote_ident(a.attname), c.on_table, a.attacl, c.relowner
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
	  FROM types t)` + granted},

	// One object for each list, because an empty one is not the same as none: it takes away what is given by default.
	{"privileges", `
	SELECT 'later ' || CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' WHEN 'L' THEN 'large objects' ELSE d.defaclobjtype::text END
	    || ' of ' || r.name || coalesce(' in ' || quote_ident(s.nspname), ''), '', coalesce((
	    SELECT string_agg(g.name || ': ' || g.rights, '; ' ORDER BY g.name)
	    FROM (
	      SELECT to_role.name, string_agg(DISTINCT (x.privilege_type || CASE WHEN x.is_grantable THEN ' with grant option' ELSE '' END) COLLATE "C", ', ') AS rights
	      FROM aclexplode(d.defaclacl) x JOIN roles to_role ON to_role.oid = x.grantee
	      GROUP BY to_role.name) g), 'nobody')
	FROM pg_default_acl d JOIN roles r ON r.oid = d.defaclrole LEFT JOIN schemas s ON s.oid = d.defaclnamespace
	WHERE d.defaclnamespace = 0 OR s.oid IS NOT NULL`},

	// What the application's role is beyond its rights on objects would undo them.
	{"role", `
	SELECT ':app', '', concat_ws(', ',
	  CASE WHEN r.rolsuper THEN 'superuser' END, CASE WHEN r.rolcreaterole THEN 'may create roles' END, CASE WHEN r.rolcreatedb THEN 'may create databases' END,
	  CASE WHEN r.rolbypassrls THEN 'passes row level security' END, CASE WHEN r.rolreplication THEN 'may replicate' END, CASE WHEN NOT r.rolinherit THEN 'does not inherit' END,
	  -- Through others as well. A superuser would count as a member of every role.
	  (SELECT 'member of ' || string_agg(n.name, ' ' ORDER BY n.name) FROM roles n
	   WHERE CASE WHEN r.rolsuper THEN n.oid IN (SELECT m.roleid FROM pg_auth_members m WHERE m.member = r.oid) ELSE n.oid NOT IN (0, r.oid) AND pg_has_role(r.oid, n.oid, 'MEMBER') END))
	FROM pg_roles r, given
	WHERE r.rolname = app`},
}

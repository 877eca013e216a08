# CREATE EXTENSION in a database that others have prepared: what it makes is the extension's own, whatever stands in the
# search path, and stays its own when its schema or its tables are renamed.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Roles;

my $node = roles_node();

#
# A database that others have prepared
#

sql(q{
	ALTER DATABASE postgres SET search_path = traps, public, pg_catalog;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO attacker WITH GRANT OPTION;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO attacker WITH GRANT OPTION;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO attacker;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO attacker;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO PUBLIC;
	ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
});

# The test's own statements must not find the traps; those that are tested must.
$ENV{PGOPTIONS} = '-c search_path=pg_catalog';
sub among_traps { local $ENV{PGOPTIONS} = '-c search_path=traps,public,pg_catalog'; return sql(@_); }

sql('CREATE SCHEMA traps; CREATE SCHEMA mixpeek', 'attacker');
is(refusal('CREATE EXTENSION mixpeek_docs'), 'schema "mixpeek" already exists',
	'CREATE EXTENSION does not take over a schema named mixpeek');
sql('DROP SCHEMA mixpeek', 'attacker');
like(refusal('CREATE EXTENSION mixpeek_docs SCHEMA traps'), qr/must be installed in schema "pg_catalog"/,
	'CREATE EXTENSION in another schema is refused');

# Each operator, function and type that the script could find by search path, with arguments that suit better than
# pg_catalog's.
my @operators = map { my ($name, $left, $right) = split; [ $name, $left, $right ] } (
	'& int2 int4', '& int4 int4', '= bool bool', '= oid oid', '= oid regproc', '= oid regprocedure', '= text text',
	'= text unknown', '= "char" unknown', '= "char" text',
	'<> "char" unknown', '<> int4 int4', '<> int2 int4', '-> jsonb text', '-> jsonb unknown', '->> jsonb text',
		'->> jsonb unknown', '#>> jsonb text[]', '#>> jsonb unknown',
	'|| text text', '|| unknown text', '= numeric numeric', '= numeric int4', '>= numeric numeric',
		'<= numeric numeric', '>= numeric float8', '= jsonb jsonb', '= jsonb unknown');
my @functions = map { my ($name, @types) = split; [ $name, @types ] } (
	'now', 'gen_random_uuid', 'coalesce bool bool', 'has_table_privilege oid text', 'has_table_privilege oid unknown',
	'row_security_active oid', 'jsonb_typeof jsonb', 'abs numeric',
	'jsonb_array_elements jsonb', 'jsonb_array_elements_text jsonb', 'jsonb_each jsonb', 'regexp_match text text',
		'regexp_match text unknown', 'nullif jsonb jsonb',
	'quote_ident name', 'format text text text text', 'pg_extension_config_dump regclass text',
		'pg_extension_config_dump unknown unknown', 'acldefault "char" oid');
sql('CREATE TABLE traps.sprung (who text, place text); GRANT ALL ON traps.sprung TO PUBLIC;
	GRANT USAGE ON SCHEMA traps TO PUBLIC', 'attacker');
foreach my $schema ('traps', 'public')
{
	my $n = 0;
	my @sql;
	foreach my $operator (@operators)
	{
		my ($name, $left, $right) = @$operator;
		next if grep { $_ eq 'unknown' } $left, $right;
		$n++;
		push @sql, qq{
			CREATE FUNCTION $schema.operator_$n($left, $right) RETURNS @{[ $name =~ /^[<>=]/ ? 'boolean' : $name eq
				'&' ? 'int' : $name eq '->' ? 'jsonb' : 'text' ]} LANGUAGE plpgsql AS \$\$
			BEGIN INSERT INTO traps.sprung VALUES (current_user, '$name'); RETURN NULL; END \$\$;
			CREATE OPERATOR $schema.$name (LEFTARG = $left, RIGHTARG = $right, FUNCTION = $schema.operator_$n)};
	}
	foreach my $function (@functions)
	{
		my ($name, @types) = @$function;
		next if grep { $_ eq 'unknown' } @types;
		push @sql, qq{
			CREATE FUNCTION $schema."$name"(@{[ join(', ', @types) ]}) RETURNS text LANGUAGE plpgsql AS \$\$
			BEGIN INSERT INTO traps.sprung VALUES (current_user, '$name'); RETURN NULL; END \$\$};
	}
	push @sql, map { "CREATE DOMAIN $schema.$_ AS pg_catalog.text CHECK (length(VALUE) > 0)" } qw(regclass
		regprocedure jsonb uuid name);
	sql(join(';', @sql), 'attacker');
}
among_traps('CREATE EXTENSION mixpeek_docs');
pass('CREATE EXTENSION among traps');

# Everything that the members' definitions use; pg_depend has no rows for built-in objects.
is(sql(q{
	WITH RECURSIVE members AS (
		SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
			AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'mixpeek_docs')
		UNION
		SELECT d.classid, d.objid FROM pg_depend d JOIN members m ON d.refclassid = m.classid AND d.refobjid = m.objid
			WHERE d.deptype IN ('a', 'i'))
	SELECT string_agg(DISTINCT pg_describe_object(d.classid, d.objid,
		0) || ' uses ' || pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid), ', ')
	  FROM pg_depend d JOIN members m USING (classid, objid)
	 WHERE (d.refclassid, d.refobjid) NOT IN (SELECT classid, objid FROM members)
		AND d.refclassid <> 'pg_extension'::regclass
		AND d.refobjid >= 16384}), '', "the extension's objects depend on no trap");
is(sql(q{
	SET search_path = pg_catalog;
	SELECT string_agg(d, ' ') FROM (
		SELECT pg_get_viewdef(oid) AS d FROM pg_class WHERE relkind = 'v' AND relnamespace = 'mixpeek'::regnamespace
		UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'mixpeek'::regnamespace
		UNION ALL SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'mixpeek'::regnamespace
		UNION ALL SELECT pg_get_expr(polqual, polrelid) FROM pg_policy
		UNION ALL SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef) x
	 WHERE d ~ 'OPERATOR\(|traps\.|public\.'}), '', "the extension's definitions name no trap");

# Privileges
is(sql(q{
	SELECT string_agg(object || ' ' || privilege_type, ', ') FROM (
		SELECT c.oid::regclass::text AS object, (aclexplode(c.relacl)).* FROM pg_class c
			WHERE relnamespace = 'mixpeek'::regnamespace
		UNION ALL SELECT p.oid::regprocedure::text, (aclexplode(p.proacl)).* FROM pg_proc p
			WHERE pronamespace = 'mixpeek'::regnamespace
		UNION ALL SELECT t.oid::regtype::text, (aclexplode(t.typacl)).* FROM pg_type t
			WHERE typnamespace = 'mixpeek'::regnamespace
		UNION ALL SELECT nspname, (aclexplode(nspacl)).* FROM pg_namespace WHERE nspname = 'mixpeek'
		UNION ALL SELECT fdwname, (aclexplode(fdwacl)).* FROM pg_foreign_data_wrapper) acl
	 WHERE grantee NOT IN (0, grantor)} ), '', "default privileges give no role a right to the extension's objects");
is(sql(q{
	SELECT string_agg(object || ' ' || privilege_type, ', ' ORDER BY object COLLATE "C") FROM (
		SELECT relname::text AS object, (aclexplode(c.relacl)).* FROM pg_class c
			WHERE relnamespace = 'mixpeek'::regnamespace
		UNION ALL SELECT nspname, (aclexplode(nspacl)).* FROM pg_namespace WHERE nspname = 'mixpeek') acl
	 WHERE grantee = 0}),
		'clusters SELECT, documents SELECT, dump SELECT, forgotten SELECT, mirrors SELECT, mixpeek USAGE, '
	. 'origin SELECT, outbox SELECT, taxonomies SELECT',
	'PUBLIC has the rights that are documented');
is(sql(q{
	SELECT string_agg(proname, ' ' ORDER BY proname) FROM pg_proc
	 WHERE pronamespace = 'mixpeek'::regnamespace AND NOT has_function_privilege('attacker', oid, 'EXECUTE'::text)}),
		'adopt on_alter on_create_trigger on_ddl_start on_drop on_subscription restore_record',
	'roles may call all functions but these');
is(sql(q{SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = 'mixpeek'::regnamespace AND relkind = 'r'
	AND NOT relrowsecurity}), 'dump', 'all tables have row-level security but the one that is always empty');
foreach my $statement ('CREATE TRIGGER e BEFORE INSERT ON mixpeek.documents FOR EACH ROW
	EXECUTE FUNCTION suppress_redundant_updates_trigger()', 'TRUNCATE mixpeek.outbox',
		'INSERT INTO mixpeek.forgotten VALUES (\'\', \'\')',
	'CREATE TABLE mixpeek.x ()', 'CREATE TABLE public.x (d mixpeek.documents)', 'SELECT mixpeek.adopt()')
{
	like(refusal($statement, 'attacker'), qr/permission denied/, "refused: " . $statement =~ s{\s+}{ }gr);
}
like(sql('SELECT count(*) FROM mixpeek.origin', 'reader'), qr/^\d+$/, 'mixpeek.origin may be read');

#
# Mirroring, among the traps
#

my $api = make_mirror();
others_go_on('among traps');
my $pid = worker_pid();
among_traps("TABLE mixpeek.mirrors; TABLE mixpeek.taxonomies; TABLE mixpeek.clusters; TABLE mixpeek.documents;
	TABLE mixpeek.outbox; SELECT mixpeek.wait('1 min'), mixpeek.preview('a.t', '1'), mixpeek.retry()");
among_traps(q{SELECT *
	FROM mixpeek.enrichment_taxonomies('{"taxonomies": [{"taxonomy_id": "t", "score": 1, "path": ["x"]}],
		"taxonomy_a_label": "l", "taxonomy_a_score": 0.5}'::pg_catalog.jsonb),
	mixpeek.enrichment_clusters('{"clusters": [{"cluster_id": "c", "coordinates": [1, 2]}],
		"cluster_id": "d"}'::pg_catalog.jsonb), mixpeek.may_read('a.t')});
is(sql('SELECT count(*) FROM traps.sprung'), 0, 'no trap was sprung, whatever the search path');

#
# The extension's schema is renamed, and another schema has its name
#

like(refusal('ALTER SCHEMA mixpeek RENAME TO mixpeek_old'),
	qr/^schema "mixpeek" of extension "mixpeek_docs" cannot be renamed$/, 'ALTER SCHEMA mixpeek RENAME is refused');
sql("UPDATE pg_namespace SET nspname = 'mixpeek_old' WHERE nspname = 'mixpeek'");	# as if it had been all the same
sql(q{
	CREATE SCHEMA mixpeek;
	CREATE FUNCTION mixpeek.evil() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN INSERT INTO traps.sprung VALUES (current_user, 'evil'); ALTER ROLE attacker SUPERUSER; RETURN 1; END $$;
	CREATE VIEW mixpeek.origin AS SELECT gen_random_uuid() AS id, 1::bigint AS system_identifier, 1::oid AS database,
		'x'::text AS instance, true AS only_one FROM (SELECT mixpeek.evil()) x;
	CREATE VIEW mixpeek.documents AS SELECT d.* FROM mixpeek_old.documents d, (SELECT mixpeek.evil()) x;
	CREATE VIEW mixpeek.mirrors AS SELECT m.* FROM mixpeek_old.mirrors m, (SELECT mixpeek.evil()) x;
	CREATE VIEW mixpeek.forgotten AS SELECT ''::text AS marker_prefix, ''::text AS collection
		FROM (SELECT mixpeek.evil()) x;
	CREATE TABLE mixpeek.outbox (relation oid, operation "char", collection text, key text);
	CREATE FUNCTION mixpeek.mirror_row() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM mixpeek.evil();
		RETURN NULL; END$$;
	GRANT ALL ON ALL TABLES IN SCHEMA mixpeek TO PUBLIC; GRANT ALL ON SCHEMA mixpeek TO PUBLIC}, 'attacker');
my $log = -s $node->logfile;
sql("INSERT INTO a.t VALUES (1000, 'renamed')", 'owner_a');
my $renamed = qr/the schema of extension "mixpeek_docs" has another name than "mixpeek"/;
my $hint = qr/HINT:  Run ALTER SCHEMA mixpeek_old RENAME TO mixpeek\./;
wait_for('the worker to say so', sub { slurp_file($node->logfile, $log) =~ /$renamed.*\n.*$hint/ });
pass('schema renamed: the worker does not use another schema of the name');
foreach my $call ('adopt()', 'retry()', "preview('a.t', '1')", "refresh('a.t')", "wait('1 s')")
{
	like(refusal("SELECT mixpeek_old.$call"), qr/^(the schema of extension|)/,
		"schema renamed: $call does not use another schema of the name");
}
sql("CREATE TABLE a.late (id int PRIMARY KEY); SELECT mixpeek_old.mirror('a.late', 'late')", 'owner_a');
is(sql("SELECT DISTINCT tgfoid::regprocedure FROM pg_trigger WHERE tgrelid = 'a.late'::regclass"),
	'mixpeek_old.mirror_row()', "schema renamed: mirror() makes a trigger that calls the extension's function");
is(sql('SELECT count(*) FROM mixpeek.outbox'), 0, "schema renamed: no entry goes to another schema's outbox");
cmp_ok(sql('SELECT count(*) FROM mixpeek_old.outbox'), '>', 0, "schema renamed: entries go to the extension's outbox");
is(sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'attacker'") . sql('SELECT count(*) FROM traps.sprung'), 'f0',
	'schema renamed: no function of another schema is run');
sql('DROP SCHEMA mixpeek CASCADE', 'attacker');
sql("UPDATE pg_namespace SET nspname = 'mixpeek' WHERE nspname = 'mixpeek_old'");
others_go_on('schema renamed back');
is(sql("SELECT state FROM mixpeek.documents WHERE relation = 'a.t'::regclass AND key = '1000'"), 'mirrored',
	'schema renamed back: rows inserted meanwhile are mirrored');

# Another table has the name of one of the extension's; only a superuser can do that, and it is refused even then
sql('ALTER TABLE mixpeek.forgotten RENAME TO renamed; CREATE TABLE mixpeek.forgotten (LIKE mixpeek.renamed)');
is(refusal('SELECT mixpeek.adopt()'), 'relation "forgotten" is no member of extension "mixpeek_docs"',
	"a table with the name of an extension's table is refused");
sql('DROP TABLE mixpeek.forgotten; ALTER TABLE mixpeek.renamed RENAME TO forgotten; UPDATE pg_class
	SET relhasrules = true WHERE oid = \'mixpeek.forgotten\'::regclass');
is(refusal('SELECT mixpeek.adopt()'), 'there is a rule on table "forgotten" of extension "mixpeek_docs"',
	'a rule on a table of the extension is refused');
sql('UPDATE pg_class SET relhasrules = false WHERE oid = \'mixpeek.forgotten\'::regclass');
is(refusal('SELECT mixpeek.adopt()'), '', 'adopt() works when the tables are as they were');
others_go_on('tables as they were');
$node->stop;

done_testing();

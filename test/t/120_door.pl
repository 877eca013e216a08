# The door: what the install script makes is the extension's own (attacks 8, 8b, 107, 26), a mirror's definition harms nobody
# whatever it is and however it came (1, 16, 17, D1), and what is dropped takes only its own with it (57).
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'mixpeek_docs'
mixpeek.max_attempts = 3
mixpeek.retry_max_delay = 1
log_statement = none
});
$node->start;

sub sql
{
	my ($statement, $role, $database) = @_;
	return $node->safe_psql($database // 'postgres', (defined $role ? "SET SESSION AUTHORIZATION $role; " : '') . $statement);
}

# What a statement is refused with; '' if it is not.
sub refusal
{
	my ($statement, $role, $database) = @_;
	my (undef, undef, $stderr) = $node->psql($database // 'postgres', (defined $role ? "SET SESSION AUTHORIZATION $role; " : '') . $statement);
	return $stderr =~ /ERROR:\s+(.*)/ ? $1 : '';
}

my $worker = sub { sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker' AND datname = 'postgres'") };

#
# A database that others have prepared
#

sql(q{
	CREATE ROLE attacker LOGIN; CREATE ROLE owner_a LOGIN; CREATE ROLE reader LOGIN;
	GRANT CREATE ON DATABASE postgres TO attacker;
	GRANT CREATE ON SCHEMA public TO attacker;
	ALTER DATABASE postgres SET search_path = traps, public, pg_catalog;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO attacker WITH GRANT OPTION;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO attacker WITH GRANT OPTION;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO attacker;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO attacker;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO PUBLIC;
	ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
});

# The test itself is not to step into the traps; what is tested is run with them.
$ENV{PGOPTIONS} = '-c search_path=pg_catalog';
sub among_traps { local $ENV{PGOPTIONS} = '-c search_path=traps,public,pg_catalog'; return sql(@_); }

sql('CREATE SCHEMA traps; CREATE SCHEMA mixpeek', 'attacker');
is(refusal('CREATE EXTENSION mixpeek_docs'), 'schema "mixpeek" already exists', 'CREATE EXTENSION does not take over a schema named mixpeek');
sql('DROP SCHEMA mixpeek', 'attacker');
like(refusal('CREATE EXTENSION mixpeek_docs SCHEMA traps'), qr/must be installed in schema "pg_catalog"/, 'CREATE EXTENSION in another schema is refused');

# Each operator, function and type that the script could find by search path, with arguments that suit better than pg_catalog's.
my @operators = map { my ($name, $left, $right) = split; [ $name, $left, $right ] } (
	'& int2 int4', '& int4 int4', '= bool bool', '= oid oid', '= oid regproc', '= oid regprocedure', '= text text', '= text unknown', '= "char" unknown', '= "char" text',
	'<> "char" unknown', '<> int4 int4', '<> int2 int4', '-> jsonb text', '-> jsonb unknown', '->> jsonb text', '->> jsonb unknown', '#>> jsonb text[]', '#>> jsonb unknown',
	'|| text text', '|| unknown text', '= numeric numeric', '= numeric int4', '>= numeric numeric', '<= numeric numeric', '>= numeric float8', '= jsonb jsonb', '= jsonb unknown');
my @functions = map { my ($name, @types) = split; [ $name, @types ] } (
	'now', 'gen_random_uuid', 'coalesce bool bool', 'has_table_privilege oid text', 'has_table_privilege oid unknown', 'row_security_active oid', 'jsonb_typeof jsonb', 'abs numeric',
	'jsonb_array_elements jsonb', 'jsonb_array_elements_text jsonb', 'jsonb_each jsonb', 'regexp_match text text', 'regexp_match text unknown', 'nullif jsonb jsonb',
	'quote_ident name', 'format text text text text', 'pg_extension_config_dump regclass text', 'pg_extension_config_dump unknown unknown', 'acldefault "char" oid');
sql('CREATE TABLE traps.sprung (who text, place text); GRANT ALL ON traps.sprung TO PUBLIC; GRANT USAGE ON SCHEMA traps TO PUBLIC', 'attacker');
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
			CREATE FUNCTION $schema.operator_$n($left, $right) RETURNS @{[ $name =~ /^[<>=]/ ? 'boolean' : $name eq '&' ? 'int' : $name eq '->' ? 'jsonb' : 'text' ]} LANGUAGE plpgsql AS \$\$
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
	push @sql, map { "CREATE DOMAIN $schema.$_ AS pg_catalog.text CHECK (length(VALUE) > 0)" } qw(regclass regprocedure jsonb uuid name);
	sql(join(';', @sql), 'attacker');
}
among_traps('CREATE EXTENSION mixpeek_docs');
pass('CREATE EXTENSION among traps');

# All that the members' definitions use: what is built in has no line in pg_depend.
is(sql(q{
	WITH RECURSIVE members AS (
		SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
			AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'mixpeek_docs')
		UNION
		SELECT d.classid, d.objid FROM pg_depend d JOIN members m ON d.refclassid = m.classid AND d.refobjid = m.objid WHERE d.deptype IN ('a', 'i'))
	SELECT string_agg(DISTINCT pg_describe_object(d.classid, d.objid, 0) || ' uses ' || pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid), ', ')
	  FROM pg_depend d JOIN members m USING (classid, objid)
	 WHERE (d.refclassid, d.refobjid) NOT IN (SELECT classid, objid FROM members) AND d.refclassid <> 'pg_extension'::regclass
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
		SELECT c.oid::regclass::text AS object, (aclexplode(c.relacl)).* FROM pg_class c WHERE relnamespace = 'mixpeek'::regnamespace
		UNION ALL SELECT p.oid::regprocedure::text, (aclexplode(p.proacl)).* FROM pg_proc p WHERE pronamespace = 'mixpeek'::regnamespace
		UNION ALL SELECT t.oid::regtype::text, (aclexplode(t.typacl)).* FROM pg_type t WHERE typnamespace = 'mixpeek'::regnamespace
		UNION ALL SELECT nspname, (aclexplode(nspacl)).* FROM pg_namespace WHERE nspname = 'mixpeek'
		UNION ALL SELECT fdwname, (aclexplode(fdwacl)).* FROM pg_foreign_data_wrapper) acl
	 WHERE grantee NOT IN (0, grantor)} ), '', "default privileges give no role a right to the extension's objects");
is(sql(q{
	SELECT string_agg(object || ' ' || privilege_type, ', ' ORDER BY object COLLATE "C") FROM (
		SELECT relname::text AS object, (aclexplode(c.relacl)).* FROM pg_class c WHERE relnamespace = 'mixpeek'::regnamespace
		UNION ALL SELECT nspname, (aclexplode(nspacl)).* FROM pg_namespace WHERE nspname = 'mixpeek') acl
	 WHERE grantee = 0}), 'clusters SELECT, documents SELECT, mirrors SELECT, mixpeek USAGE, origin SELECT, outbox SELECT, taxonomies SELECT', 'PUBLIC has the rights that are documented');
is(sql(q{
	SELECT string_agg(proname, ' ' ORDER BY proname) FROM pg_proc
	 WHERE pronamespace = 'mixpeek'::regnamespace AND NOT has_function_privilege('attacker', oid, 'EXECUTE'::text)}), 'adopt on_create_trigger on_ddl_start on_drop', 'roles may call all functions but these');
is(sql(q{SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = 'mixpeek'::regnamespace AND relkind = 'r' AND NOT relrowsecurity}), '', 'all tables have row-level security');
foreach my $statement ('CREATE TRIGGER e BEFORE INSERT ON mixpeek.documents FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()', 'TRUNCATE mixpeek.outbox', 'INSERT INTO mixpeek.forgotten VALUES (\'\', \'\')',
	'CREATE TABLE mixpeek.x ()', 'CREATE TABLE public.x (d mixpeek.documents)', 'SELECT mixpeek.adopt()')
{
	like(refusal($statement, 'attacker'), qr/permission denied/, "refused: $statement");
}
like(sql('SELECT count(*) FROM mixpeek.origin', 'reader'), qr/^\d+$/, 'mixpeek.origin may be read');

#
# Mirroring, among the traps
#

my $api = MixpeekTest::Server->new(api_key => [ 'sk_root', 'sk_owner_a', 'sk_attacker' ], enrich => 'now');
$api->config;
sql(q{CREATE SCHEMA a AUTHORIZATION owner_a; CREATE SCHEMA m AUTHORIZATION attacker});
create_server($node, 'mixpeek', $api, api_key => 'sk_root', request_timeout => 5);
sql(q{
	CREATE USER MAPPING FOR owner_a SERVER mixpeek OPTIONS (api_key 'sk_owner_a');
	CREATE USER MAPPING FOR attacker SERVER mixpeek OPTIONS (api_key 'sk_attacker');
	GRANT USAGE ON FOREIGN SERVER mixpeek TO owner_a, attacker;
});
sql("CREATE TABLE a.t (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('a.t', 'a')", 'owner_a');

# owner_a's rows are mirrored: the test of whether anybody has been harmed.
my $last = 0;
sub others_go_on
{
	my ($name) = @_;

	$last++;
	sql("INSERT INTO a.t VALUES ($last, 'x')", 'owner_a');
	wait_for("owner_a's row $last", sub { sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'a.t'::regclass AND key = '$last' AND state = 'mirrored'") });
	pass("$name: owner_a's rows are mirrored");
	return;
}
others_go_on('among traps');
my $pid = $worker->();
among_traps("TABLE mixpeek.mirrors; TABLE mixpeek.taxonomies; TABLE mixpeek.clusters; TABLE mixpeek.documents; TABLE mixpeek.outbox; SELECT mixpeek.wait('1 min'), mixpeek.preview('a.t', '1'), mixpeek.retry()");
among_traps(q{SELECT * FROM mixpeek.enrichment_taxonomies('{"taxonomies": [{"taxonomy_id": "t", "score": 1, "path": ["x"]}], "taxonomy_a_label": "l", "taxonomy_a_score": 0.5}'::pg_catalog.jsonb),
	mixpeek.enrichment_clusters('{"clusters": [{"cluster_id": "c", "coordinates": [1, 2]}], "cluster_id": "d"}'::pg_catalog.jsonb), mixpeek.may_read('a.t')});
is(sql('SELECT count(*) FROM traps.sprung'), 0, 'no trap was sprung, whatever the search path');

#
# The schema's name is somebody else's (8b)
#

like(refusal('ALTER SCHEMA mixpeek RENAME TO mixpeek_old'), qr/^schema "mixpeek" of extension "mixpeek_docs" cannot be renamed$/, 'ALTER SCHEMA mixpeek RENAME is refused');
sql("UPDATE pg_namespace SET nspname = 'mixpeek_old' WHERE nspname = 'mixpeek'");	# as if it had been all the same
sql(q{
	CREATE SCHEMA mixpeek;
	CREATE FUNCTION mixpeek.evil() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN INSERT INTO traps.sprung VALUES (current_user, 'evil'); ALTER ROLE attacker SUPERUSER; RETURN 1; END $$;
	CREATE VIEW mixpeek.origin AS SELECT gen_random_uuid() AS id, 1::bigint AS system_identifier, 1::oid AS database, 'x'::text AS instance, true AS only_one FROM (SELECT mixpeek.evil()) x;
	CREATE VIEW mixpeek.documents AS SELECT d.* FROM mixpeek_old.documents d, (SELECT mixpeek.evil()) x;
	CREATE VIEW mixpeek.mirrors AS SELECT m.* FROM mixpeek_old.mirrors m, (SELECT mixpeek.evil()) x;
	CREATE VIEW mixpeek.forgotten AS SELECT ''::text AS marker_prefix, ''::text AS collection FROM (SELECT mixpeek.evil()) x;
	CREATE TABLE mixpeek.outbox (relation oid, operation "char", collection text, key text);
	CREATE FUNCTION mixpeek.mirror_row() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM mixpeek.evil(); RETURN NULL; END$$;
	GRANT ALL ON ALL TABLES IN SCHEMA mixpeek TO PUBLIC; GRANT ALL ON SCHEMA mixpeek TO PUBLIC}, 'attacker');
my $log = -s $node->logfile;
sql("INSERT INTO a.t VALUES (1000, 'renamed')", 'owner_a');
wait_for('the worker to say so', sub {
	slurp_file($node->logfile, $log) =~ /the schema of extension "mixpeek_docs" has another name than "mixpeek".*\n.*HINT:  ALTER SCHEMA mixpeek_old RENAME TO mixpeek\./ });
pass('schema renamed: the worker does not use another schema of the name');
foreach my $call ('adopt()', 'retry()', "preview('a.t', '1')", "refresh('a.t')", "wait('1 s')")
{
	like(refusal("SELECT mixpeek_old.$call"), qr/^(the schema of extension|)/, "schema renamed: $call does not use another schema of the name");
}
sql("CREATE TABLE a.late (id int PRIMARY KEY); SELECT mixpeek_old.mirror('a.late', 'late')", 'owner_a');
is(sql("SELECT DISTINCT tgfoid::regprocedure FROM pg_trigger WHERE tgrelid = 'a.late'::regclass"), 'mixpeek_old.mirror_row()', "schema renamed: mirror() makes a trigger that calls the extension's function");
is(sql('SELECT count(*) FROM mixpeek.outbox'), 0, "schema renamed: no entry goes to another schema's outbox");
cmp_ok(sql('SELECT count(*) FROM mixpeek_old.outbox'), '>', 0, "schema renamed: entries go to the extension's outbox");
is(sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'attacker'") . sql('SELECT count(*) FROM traps.sprung'), 'f0', 'schema renamed: no function of another schema is run');
sql('DROP SCHEMA mixpeek CASCADE', 'attacker');
sql("UPDATE pg_namespace SET nspname = 'mixpeek' WHERE nspname = 'mixpeek_old'");
others_go_on('schema renamed back');
is(sql("SELECT state FROM mixpeek.documents WHERE relation = 'a.t'::regclass AND key = '1000'"), 'mirrored', 'schema renamed back: rows inserted meanwhile are mirrored');

# A table's name is another table's: only a superuser can do that, and even so it is not taken for the extension's
sql('ALTER TABLE mixpeek.forgotten RENAME TO renamed; CREATE TABLE mixpeek.forgotten (LIKE mixpeek.renamed)');
is(refusal('SELECT mixpeek.adopt()'), 'relation "forgotten" is no member of extension "mixpeek_docs"', "a table with the name of an extension's table is refused");
sql('DROP TABLE mixpeek.forgotten; ALTER TABLE mixpeek.renamed RENAME TO forgotten; UPDATE pg_class SET relhasrules = true WHERE oid = \'mixpeek.forgotten\'::regclass');
is(refusal('SELECT mixpeek.adopt()'), 'there is a rule on table "forgotten" of extension "mixpeek_docs"', 'a rule on a table of the extension is refused');
sql('UPDATE pg_class SET relhasrules = false WHERE oid = \'mixpeek.forgotten\'::regclass');
is(refusal('SELECT mixpeek.adopt()'), '', 'adopt() works when the tables are as they were');
others_go_on('tables as they were');
wait_for('the worker', $worker);
$pid = $worker->();

#
# Definitions that are wrong, however they came (1, 16, 17, D1). Where the check is, none comes in; so they are put into the catalog.
#

sub with_arguments
{
	my ($table, @args) = @_;
	my $list = join(", ", map { "convert_to($_, 'UTF8') || '\\x00'::bytea" } @args);

	sql("CREATE TABLE m.$table (id int PRIMARY KEY, v text); CREATE TRIGGER m AFTER INSERT OR UPDATE OR DELETE ON m.$table FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('$table')", 'attacker');
	sql("UPDATE pg_trigger SET tgnargs = @{[ scalar @args ]}, tgargs = (SELECT string_agg(x, ''::bytea) FROM unnest(ARRAY[$list]) x) WHERE tgrelid = 'm.$table'::regclass;
		UPDATE pg_class SET reltuples = reltuples + 1 WHERE oid = 'm.$table'::regclass") if @args;
	return;
}

sql('CREATE TABLE a.secret (id int PRIMARY KEY)', 'owner_a');
my %wrong = (
	bogus => [ "'c'", "'bogus'" ],
	option_without_name => [ "'c'", "'=x'" ],
	empty_collection => [ "''" ],
	dots => [ "'..'" ],
	long_collection => [ "repeat('x', 3000)" ],
	very_long_collection => [ "repeat('x', 20000000)" ],
	no_document => [ "'c'", "'document={'" ],
	array_document => [ "'c'", "'document=[]'" ],
	deep_document => [ "'c'", "'document={\"x\":' || repeat('[', 30000) || repeat(']', 30000) || '}'" ],
	long_document => [ "'c'", "'document={\"features\":[' || repeat('{\"feature_extractor_id\":\"\$v\"},', 100000) || '{}]}'" ],
	long_numbers => [ "'c'", "'document={\"x\":[' || repeat('1e131071,', 5000) || '1]}'" ],
	long_server => [ "'c'", "'server=' || repeat('s', 1000000)" ],
	no_table => [ "'c'", "'table='" ],
	long_table => [ "'c'", "'table=' || repeat('\x01', 10000000)" ],
	others_table => [ "'c'", "'table=a.secret'" ],
	no_column => [ "'c'", "'document_id_column=nosuch'" ],
	long_column => [ "'c'", "'enrichments_column=' || repeat('x', 1000000)" ],
	twice => [ "'c'", "'server=mixpeek'", "'server=mixpeek'" ],
	many => [ "'c'", map { "'a$_=1'" } 1 .. 1000 ],
);
with_arguments($_, @{ $wrong{$_} }) foreach sort keys %wrong;
# One of a table's mirrors is wrong: that is no problem of the other's.
with_arguments('both', "'c'", "'bogus'");
sql("CREATE TRIGGER good AFTER INSERT OR UPDATE OR DELETE ON m.both FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('good')", 'attacker');

foreach my $table (sort keys %wrong, 'both')
{
	local $ENV{PGOPTIONS} = '-c search_path=pg_catalog -c statement_timeout=20s';
	sql("INSERT INTO m.$table VALUES (1, 'x'); UPDATE m.$table SET v = 'y'; DELETE FROM m.$table WHERE id = 2", 'attacker');
}
pass('wrong definitions do not disturb writers');
others_go_on('wrong definitions');
is(sql(qq{SELECT count(*) FROM mixpeek.mirrors WHERE relation IN (@{[ join(', ', map { "'m.$_'::regclass" } keys %wrong) ]}) AND problem IS NULL}), 0, 'wrong definitions: mixpeek.mirrors shows a problem for each');
is(sql("SELECT problem FROM mixpeek.mirrors WHERE relation = 'm.bogus'::regclass"), 'unknown mirror argument "bogus"', 'wrong definitions: mixpeek.mirrors says what it is');
wait_for('the good mirror', sub { sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'm.both'::regclass AND collection = 'good' AND state = 'mirrored'") });
pass('wrong definitions: a good mirror of the same table works');
wait_for('the outbox to be empty', sub { sql('SELECT count(*) FROM mixpeek.outbox') == 0 });
like(sql("SELECT min(state || ' ' || last_error) FROM mixpeek.documents WHERE relation = 'm.bogus'::regclass"), qr/^failed unknown mirror argument "bogus"$/, 'wrong definitions: last_error says what it is');
is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation IN ('m.dots'::regclass, 'm.long_collection'::regclass, 'm.empty_collection'::regclass)"), 0, 'wrong definitions: no record where there is no collection');
is($worker->(), $pid, 'wrong definitions: the worker is not replaced');
cmp_ok(sql("SELECT sum(length(collection)) FROM mixpeek.documents WHERE length(collection) > 500") || 0, '==', 0, 'wrong definitions: no long collection is stored');
sql('DROP SCHEMA m CASCADE', 'attacker');
is(sql("SELECT count(*) FROM mixpeek.mirrors WHERE problem IS NOT NULL"), 0, 'wrong definitions: none is left after DROP SCHEMA');
others_go_on('wrong definitions dropped');

# A lock that somebody holds keeps nobody from looking at the mirrors
{
	my $holder = $node->background_psql('postgres', on_error_stop => 1);
	$holder->query_safe('BEGIN; LOCK TABLE a.t');
	local $ENV{PGOPTIONS} = '-c search_path=pg_catalog -c lock_timeout=5s';
	is(sql("SELECT collection || ': ' || problem FROM mixpeek.mirrors WHERE relation = 'a.t'::regclass"), 'a: the table is locked', 'mixpeek.mirrors does not wait for a locked table');
	$holder->query_safe('ROLLBACK');
	$holder->quit;
}

# What is accepted is compiled quickly, at its largest
my $features = join(',', ('{"feature_extractor_id":"$v"}') x 990);
sql('CREATE SCHEMA big', 'attacker');
sql("CREATE TABLE big.t (id int PRIMARY KEY, v text); " . join(';', map {
	qq[CREATE TRIGGER m$_ AFTER INSERT OR UPDATE ON big.t FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('big$_', 'document={"metadata":{},"features":[$features]}')] } 1 .. 100), 'attacker');
{
	local $ENV{PGOPTIONS} = '-c search_path=pg_catalog -c statement_timeout=20s';
	is(sql("INSERT INTO big.t VALUES (1, 'x'); SELECT count(*) FROM mixpeek.mirrors WHERE relation = 'big.t'::regclass AND problem IS NULL", 'attacker'), 100,
		'a hundred mirrors with a thousand features each are compiled in time');
}
others_go_on('a hundred mirrors with a thousand features each');
is(refusal("CREATE TRIGGER m101 AFTER INSERT ON big.t FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('big101')", 'attacker'), 'table "t" has more than 100 mirrors', "a table's 101st mirror is refused");
sql('DROP TABLE big.t', 'attacker');
is($worker->(), $pid, 'a hundred mirrors with a thousand features each: the worker is not replaced');

#
# What waits to be deleted is not forgotten with something else (57)
#

sub documents { return scalar @{ $api->documents($_[0]) }; }

foreach my $how ('after it', 'in the same transaction')
{
	my $c = $how =~ s/\W+/_/gr;
	sql(qq{
		CREATE TABLE a.two (id int PRIMARY KEY, v text);
		SELECT mixpeek.mirror('a.two', '$c'), mixpeek.mirror('a.two', 'other_$c');
		CREATE TRIGGER harmless BEFORE INSERT ON a.two FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
		DROP TRIGGER harmless ON a.two;
		CREATE TRIGGER harmless BEFORE UPDATE ON a.two FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
		INSERT INTO a.two SELECT i FROM generate_series(1, 50) i}, 'owner_a');
	is(sql("SELECT mixpeek.wait('60 s')"), 't', "unmirror() with deletes, another trigger dropped $how: the rows are mirrored");
	is(documents($c), 50, "unmirror() with deletes, another trigger dropped $how: the documents are there");
	$api->faults({ kind => 'delay', when => 'before', ms => 300, method => 'DELETE', count => 50 });
	if ($how eq 'after it')
	{
		sql("SELECT mixpeek.unmirror('a.two', '$c', delete_documents => true)", 'owner_a');
		wait_for('a delete', sub { documents($c) < 50 });
		sql('DROP TRIGGER harmless ON a.two', 'owner_a');
	}
	else
	{
		sql("BEGIN; SELECT mixpeek.unmirror('a.two', '$c', delete_documents => true); DROP TRIGGER harmless ON a.two; COMMIT", 'owner_a');
	}
	is(sql("SELECT mixpeek.wait('60 s')"), 't', "unmirror() with deletes, another trigger dropped $how: wait() returns true");
	is(documents($c), 0, "unmirror() with deletes, another trigger dropped $how: all documents are deleted");
	is(documents("other_$c"), 50, "unmirror() with deletes, another trigger dropped $how: the other mirror's are not");
	sql("SELECT mixpeek.unmirror('a.two', 'other_$c')", 'owner_a');
	is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'a.two'::regclass"), 0, "unmirror() without deletes, another trigger dropped $how: no record is left");
	is(documents("other_$c"), 50, "unmirror() without deletes, another trigger dropped $how: the documents are left");
	sql('DROP TABLE a.two', 'owner_a');
}
is($worker->(), $pid, 'triggers dropped beside mirrors: the worker is not replaced');

#
# Dumps: what is stored comes back, and all who may dump know how (71)
#

my $dir = PostgreSQL::Test::Utils::tempdir();
my $count = sql('SELECT count(*) FROM mixpeek.documents');
sql('CREATE ROLE dumper LOGIN; GRANT pg_read_all_data TO dumper');
command_fails_like([ 'pg_dump', '-d', $node->connstr('postgres'), '-U', 'dumper', '-f', "$dir/dumper.sql" ], qr/row-level security/, 'pg_dump with pg_read_all_data alone fails');
command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-U', 'dumper', '--enable-row-security', '-f', "$dir/dumper.sql" ], 'pg_dump with pg_read_all_data and --enable-row-security');
command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-U', 'dumper', '--exclude-table-data=mixpeek.*', '-f', "$dir/without.sql" ], "pg_dump with pg_read_all_data, without the extension's tables");
my $lines = () = slurp_file("$dir/dumper.sql") =~ /\tmirrored\t/g;
is($lines, $count, 'pg_dump with pg_read_all_data and --enable-row-security has all records');
command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-Fc', '-f', "$dir/all.dump" ], 'pg_dump by a superuser');
sql('CREATE DATABASE restored');
command_ok([ 'pg_restore', '-d', $node->connstr('restored'), '-j', 3, '--exit-on-error', "$dir/all.dump" ], 'pg_restore with three jobs');
is(sql('SELECT count(*) FROM mixpeek.documents', undef, 'restored'), $count, 'restored: all records');
is(sql("SELECT string_agg(relation::text || ' ' || coalesce(problem, 'fine'), ', ' ORDER BY relation::text) FROM mixpeek.mirrors", undef, 'restored'), 'a.late fine, a.t fine', 'restored: all mirrors');
is(sql("SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'mixpeek_docs'", undef, 'restored'), 'pg_catalog', 'restored: the extension is in pg_catalog');
sql('DROP EXTENSION mixpeek_docs CASCADE', undef, 'restored');
is(sql("SELECT to_regnamespace('mixpeek') IS NULL", undef, 'restored'), 't', 'DROP EXTENSION drops the schema');
is($worker->(), $pid, 'dumps: the worker is not replaced');
$node->stop;

#
# Without preloading the same is refused, in sessions that have not loaded the library (3)
#

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
sql(q{GRANT USAGE, CREATE ON SCHEMA a TO attacker; GRANT TRIGGER ON a.secret TO attacker});
sql(q{
	CREATE FUNCTION a.steal() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE 'CREATE TRIGGER stolen AFTER INSERT ON a.secret FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row(''stolen'')';
		RETURN 1;
	END $$;
	CREATE MATERIALIZED VIEW a.refreshed AS SELECT a.steal() WITH NO DATA}, 'attacker');
my $stolen = "CREATE TRIGGER stolen AFTER INSERT ON a.secret FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('stolen')";
foreach my $how ($stolen, 'REFRESH MATERIALIZED VIEW a.refreshed', 'SELECT a.steal()', "DO 'BEGIN PERFORM a.steal(); END'",
	'CREATE TABLE a.stolen AS SELECT a.steal()', 'CREATE VIEW a.v AS SELECT a.steal(); COPY (TABLE a.v) TO STDOUT')
{
	is(refusal($how, 'attacker'), 'must be owner of table secret', 'not preloaded, refused: ' . substr($how, 0, 40));
}
is(refusal('REFRESH MATERIALIZED VIEW a.refreshed'), 'must be owner of table secret', 'not preloaded, refused: REFRESH MATERIALIZED VIEW by a superuser');
is(refusal(q{CREATE SCHEMA made CREATE TABLE t (id int PRIMARY KEY) CREATE TRIGGER x AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c', 'foo=bar')}, 'attacker'),
	'unknown mirror argument "foo=bar"', 'not preloaded, refused: CREATE SCHEMA with a wrong mirror');
is(refusal('ALTER SCHEMA mixpeek RENAME TO other'), 'schema "mixpeek" of extension "mixpeek_docs" cannot be renamed', 'not preloaded, refused: ALTER SCHEMA mixpeek RENAME');
like(refusal('CREATE RULE r AS ON INSERT TO mixpeek.outbox DO NOTHING'), qr/cannot have rules/, 'not preloaded, refused: CREATE RULE on a table of the extension');
like(refusal('CREATE TRIGGER t AFTER INSERT ON mixpeek.outbox EXECUTE FUNCTION suppress_redundant_updates_trigger()'), qr/cannot have triggers/, 'not preloaded, refused: CREATE TRIGGER on a table of the extension');
is(sql("SELECT count(*) FROM mixpeek.mirrors WHERE collection = 'stolen'"), 0, 'not preloaded: no mirror was made');

#
# pg_upgrade
#

sql('REVOKE pg_read_all_data FROM dumper; DROP DATABASE restored; ALTER DATABASE postgres RESET search_path');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'mixpeek_docs'");
$node->stop;
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$new->append_conf('postgresql.conf', "shared_preload_libraries = 'mixpeek_docs'");
chdir($dir) or die "chdir: $!";
my $bindir = $node->config_data('--bindir');
command_ok([ 'pg_upgrade', '-b', $bindir, '-B', $bindir, '-d', $node->data_dir, '-D', $new->data_dir, '-p', $node->port, '-P', $new->port,
	'-s', $node->host ], 'pg_upgrade');
$new->start;
$node = $new;
is(sql('SELECT count(*) FROM mixpeek.documents'), $count, 'pg_upgrade keeps all records');
is(sql("SELECT string_agg(relation::text || ' ' || coalesce(problem, 'fine'), ', ' ORDER BY relation::text) FROM mixpeek.mirrors"), 'a.late fine, a.t fine', 'pg_upgrade keeps all mirrors');
is(sql(q{SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid = 'pg_namespace'::regclass
	AND objid = 'mixpeek'::regnamespace}), 1, 'pg_upgrade: the schema is a member of the extension');
is(refusal('SELECT mixpeek.adopt()'), '', 'pg_upgrade: adopt() works');
$node->stop;

done_testing();

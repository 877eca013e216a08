# Mirrors with a wrong definition, and triggers that are dropped beside mirrors: no other mirror is harmed. And what is
# refused without preloading.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Roles;

my $node = roles_node();
sql('CREATE EXTENSION mixpeek_docs');
my $api = make_mirror();
others_go_on('at first');
my $pid = wait_for('the worker', \&worker_pid);

#
# Wrong definitions. CREATE TRIGGER refuses them, so they are written into the catalog.
#

sub with_arguments
{
	my ($table, @args) = @_;
	my $list = join(", ", map { "convert_to($_, 'UTF8') || '\\x00'::bytea" } @args);

	sql("CREATE TABLE m.$table (id int PRIMARY KEY, v text); CREATE TRIGGER m AFTER INSERT OR UPDATE OR
		DELETE ON m.$table FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('$table')", 'attacker');
	sql("UPDATE pg_trigger SET tgnargs = @{[ scalar @args ]}, tgargs = (SELECT string_agg(x, ''::bytea)
		FROM unnest(ARRAY[$list]) x) WHERE tgrelid = 'm.$table'::regclass;
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
	long_document => [ "'c'",
		"'document={\"features\":[' || repeat('{\"feature_extractor_id\":\"\$v\"},', 100000) || '{}]}'" ],
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
# A table with a wrong mirror and a good one.
with_arguments('both', "'c'", "'bogus'");
sql("CREATE TRIGGER good AFTER INSERT OR UPDATE OR DELETE ON m.both FOR EACH ROW
	EXECUTE FUNCTION mixpeek.mirror_row('good')", 'attacker');

foreach my $table (sort keys %wrong, 'both')
{
	local $ENV{PGOPTIONS} = '-c search_path=pg_catalog -c statement_timeout=20s';
	sql("INSERT INTO m.$table VALUES (1, 'x'); UPDATE m.$table SET v = 'y'; DELETE FROM m.$table WHERE id = 2",
		'attacker');
}
pass('wrong definitions do not disturb writers');
others_go_on('wrong definitions');
is(sql(qq{SELECT count(*) FROM mixpeek.mirrors WHERE relation IN (@{[ join(', ',
	map { "'m.$_'::regclass" } keys %wrong) ]}) AND problem IS NULL}), 0,
		'wrong definitions: mixpeek.mirrors shows a problem for each');
is(sql("SELECT problem FROM mixpeek.mirrors WHERE relation = 'm.bogus'::regclass"), 'unknown mirror argument "bogus"',
	'wrong definitions: mixpeek.mirrors says what it is');
wait_for('the good mirror', sub {
	sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'm.both'::regclass AND collection = 'good'
		AND state = 'mirrored'");
});
pass('wrong definitions: a good mirror of the same table works');
wait_for('the outbox to be empty', sub { sql('SELECT count(*) FROM mixpeek.outbox') == 0 });
like(sql("SELECT min(state || ' ' || last_error) FROM mixpeek.documents WHERE relation = 'm.bogus'::regclass"),
	qr/^failed unknown mirror argument "bogus"$/, 'wrong definitions: last_error says what it is');
is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation IN ('m.dots'::regclass, 'm.long_collection'::regclass,
	'm.empty_collection'::regclass)"), 0, 'wrong definitions: no record where there is no collection');
is(worker_pid(), $pid, 'wrong definitions: the worker is not replaced');
cmp_ok(sql("SELECT sum(length(collection)) FROM mixpeek.documents WHERE length(collection) > 500") || 0, '==', 0,
	'wrong definitions: no long collection is stored');
sql('DROP SCHEMA m CASCADE', 'attacker');
is(sql("SELECT count(*) FROM mixpeek.mirrors WHERE problem IS NOT NULL"), 0,
	'wrong definitions: none is left after DROP SCHEMA');
others_go_on('wrong definitions dropped');

# mixpeek.mirrors can be read while a table is locked
{
	my $holder = $node->background_psql('postgres', on_error_stop => 1);
	$holder->query_safe('BEGIN; LOCK TABLE a.t');
	local $ENV{PGOPTIONS} = '-c search_path=pg_catalog -c lock_timeout=5s';
	is(sql("SELECT collection || ': ' || problem FROM mixpeek.mirrors WHERE relation = 'a.t'::regclass"),
		'a: the table is locked', 'mixpeek.mirrors does not wait for a locked table');
	$holder->query_safe('ROLLBACK');
	$holder->quit;
}

# The largest definitions that are accepted are compiled quickly
my $features = join(',', ('{"feature_extractor_id":"$v"}') x 990);
sql('CREATE SCHEMA big', 'attacker');
sql("CREATE TABLE big.t (id int PRIMARY KEY, v text); " . join(';', map {
	qq[CREATE TRIGGER m$_ AFTER INSERT OR UPDATE ON big.t FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('big$_',
		'document={"metadata":{},"features":[$features]}')] } 1 .. 100), 'attacker');
{
	local $ENV{PGOPTIONS} = '-c search_path=pg_catalog -c statement_timeout=20s';
	is(sql("INSERT INTO big.t VALUES (1, 'x'); SELECT count(*) FROM mixpeek.mirrors WHERE relation = 'big.t'::regclass
		AND problem IS NULL", 'attacker'), 100,
		'a hundred mirrors with a thousand features each are compiled in time');
}
others_go_on('a hundred mirrors with a thousand features each');
is(refusal("CREATE TRIGGER m101 AFTER INSERT ON big.t FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('big101')",
	'attacker'), 'table "t" has more than 100 mirrors', "a table's 101st mirror is refused");
sql('DROP TABLE big.t', 'attacker');
is(worker_pid(), $pid, 'a hundred mirrors with a thousand features each: the worker is not replaced');

#
# Documents that wait to be deleted are not forgotten when another trigger is dropped
#

sub documents { return scalar @{ $api->documents($_[0]) }; }

foreach my $how ('after it', 'in the same transaction')
{
	my $c = $how =~ s/\W+/_/gr;
	sql(qq{
		CREATE TABLE a.two (id int PRIMARY KEY, v text);
		SELECT mixpeek.mirror('a.two', '$c'), mixpeek.mirror('a.two', 'other_$c');
		CREATE TRIGGER harmless BEFORE INSERT ON a.two FOR EACH ROW
			EXECUTE FUNCTION suppress_redundant_updates_trigger();
		DROP TRIGGER harmless ON a.two;
		CREATE TRIGGER harmless BEFORE UPDATE ON a.two FOR EACH ROW
			EXECUTE FUNCTION suppress_redundant_updates_trigger();
		INSERT INTO a.two SELECT i FROM generate_series(1, 50) i}, 'owner_a');
	is(sql("SELECT mixpeek.wait('60 s')"), 't',
		"unmirror() with deletes, another trigger dropped $how: the rows are mirrored");
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
		sql("BEGIN; SELECT mixpeek.unmirror('a.two', '$c', delete_documents => true); DROP TRIGGER harmless ON a.two;
			COMMIT", 'owner_a');
	}
	is(sql("SELECT mixpeek.wait('60 s')"), 't',
		"unmirror() with deletes, another trigger dropped $how: wait() returns true");
	is(documents($c), 0, "unmirror() with deletes, another trigger dropped $how: all documents are deleted");
	is(documents("other_$c"), 50, "unmirror() with deletes, another trigger dropped $how: the other mirror's are not");
	sql("SELECT mixpeek.unmirror('a.two', 'other_$c')", 'owner_a');
	is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'a.two'::regclass"), 0,
		"unmirror() without deletes, another trigger dropped $how: no record is left");
	is(documents("other_$c"), 50, "unmirror() without deletes, another trigger dropped $how: the documents are left");
	sql('DROP TABLE a.two', 'owner_a');
}
is(worker_pid(), $pid, 'triggers dropped beside mirrors: the worker is not replaced');
$node->stop;

#
# Without preloading the same is refused, also in sessions that have not loaded the library
#

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
sql(q{GRANT USAGE, CREATE ON SCHEMA a TO attacker; GRANT TRIGGER ON a.secret TO attacker});
sql(q{
	CREATE FUNCTION a.steal() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE 'CREATE TRIGGER stolen AFTER INSERT ON a.secret FOR EACH ROW
			EXECUTE FUNCTION mixpeek.mirror_row(''stolen'')';
		RETURN 1;
	END $$;
	CREATE MATERIALIZED VIEW a.refreshed AS SELECT a.steal() WITH NO DATA}, 'attacker');
my $stolen = "CREATE TRIGGER stolen AFTER INSERT ON a.secret FOR EACH ROW
	EXECUTE FUNCTION mixpeek.mirror_row('stolen')";
foreach my $how ($stolen, 'REFRESH MATERIALIZED VIEW a.refreshed', 'SELECT a.steal()',
	"DO 'BEGIN PERFORM a.steal(); END'",
	'CREATE TABLE a.stolen AS SELECT a.steal()', 'CREATE VIEW a.v AS SELECT a.steal(); COPY (TABLE a.v) TO STDOUT')
{
	is(refusal($how, 'attacker'), 'must be owner of table secret', 'not preloaded, refused: ' . substr($how, 0, 40));
}
is(refusal('REFRESH MATERIALIZED VIEW a.refreshed'), 'must be owner of table secret',
	'not preloaded, refused: REFRESH MATERIALIZED VIEW by a superuser');
is(refusal(q{CREATE SCHEMA made CREATE TABLE t (id int PRIMARY KEY) CREATE TRIGGER x AFTER INSERT ON t FOR EACH ROW
	EXECUTE FUNCTION mixpeek.mirror_row('c', 'foo=bar')}, 'attacker'),
	'unknown mirror argument "foo=bar"', 'not preloaded, refused: CREATE SCHEMA with a wrong mirror');
is(refusal('ALTER SCHEMA mixpeek RENAME TO other'), 'schema "mixpeek" of extension "mixpeek_docs" cannot be renamed',
	'not preloaded, refused: ALTER SCHEMA mixpeek RENAME');
like(refusal('CREATE RULE r AS ON INSERT TO mixpeek.outbox DO NOTHING'), qr/cannot have rules/,
	'not preloaded, refused: CREATE RULE on a table of the extension');
like(refusal('CREATE TRIGGER t AFTER INSERT ON mixpeek.outbox EXECUTE FUNCTION suppress_redundant_updates_trigger()'),
	qr/cannot have triggers/, 'not preloaded, refused: CREATE TRIGGER on a table of the extension');
is(sql("SELECT count(*) FROM mixpeek.mirrors WHERE collection = 'stolen'"), 0, 'not preloaded: no mirror was made');
$node->stop;

done_testing();

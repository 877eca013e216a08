# Definitions that change, and filters: documents are those of the rows that match, whatever changes; what mirror() does
# not name stays; resync() repairs; a dump of a partitioned mirrored table restores in parallel.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;

my ($node, $api) = mirror_node();

# A test: after the statement the collection's documents are those of the rows that match the condition.
sub matches
{
	my ($name, $table, $condition, $statement) = @_;

	sql($statement);
	settle();
	my $there = join(' ', sort map { "$_->{metadata}{id}:" . ($_->{metadata}{v} // '') } @{ $api->documents($table) });
	is($there, sql(qq{SELECT coalesce(string_agg(id || ':' || coalesce(v, ''), ' '
		ORDER BY (id || ':' || coalesce(v, '')) COLLATE "C"), '') FROM $table WHERE $condition}), $name);
	is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = '$table'::regclass AND state <> 'mirrored'"), 0,
		"$name: no record is left over");
	return;
}

#
# Filters
#

my $published = 'published AND deleted_at IS NULL';
sql(q{
	CREATE TABLE posts (id int PRIMARY KEY, v text, published boolean, deleted_at timestamptz, n int DEFAULT 1,
		doc_id text, found jsonb);
	INSERT INTO posts VALUES (1, 'a', true), (2, 'b', false), (3, 'c', NULL), (4, 'd', true), (5, 'e', true);
	UPDATE posts SET deleted_at = now() WHERE id = 4;
});
matches('backfill: rows that match', 'posts', $published, q{SELECT mixpeek.mirror('posts', 'posts',
	'{"metadata": {"id": "$id", "v": "$v"}}', filter => 'published and deleted_at is null')});
matches('INSERT: rows that match', 'posts', $published,
	"INSERT INTO posts VALUES (6, 'f', true), (7, 'g', false), (8, 'h', NULL)");
matches('UPDATE of columns that only the filter names', 'posts', $published,
	'UPDATE posts SET published = NOT published WHERE id IN (1, 2, 6)');
matches('UPDATE to NULL: the row does not match', 'posts', $published,
	'UPDATE posts SET published = NULL WHERE id = 5');
matches('UPDATE back', 'posts', $published, 'UPDATE posts SET published = true WHERE id IN (1, 3, 5)');
is(costs("UPDATE posts SET v = 'hidden' WHERE id IN (7, 8)"), '', 'UPDATE of hidden rows sends nothing');
is(costs("INSERT INTO posts VALUES (20, 'x', false); DELETE FROM posts WHERE id = 20"), '',
	'INSERT and DELETE of a hidden row send nothing');
is(costs('UPDATE posts SET n = 2'), '', 'UPDATE of columns that neither document nor filter name sends nothing');
is(costs("UPDATE posts SET published = false, v = 'gone' WHERE id = 1"), 'deletes=1',
	'a row that ceases to match costs one delete');
matches('UPDATE of the key of hidden and shown rows', 'posts', $published,
	'UPDATE posts SET id = id + 100 WHERE id IN (2, 7)');
matches('DELETE', 'posts', $published, 'DELETE FROM posts WHERE id IN (102, 107)');
matches('another filter: rows that begin and cease to match', 'posts', 'id > 4',
	"SELECT mixpeek.mirror('posts', 'posts', filter => 'id > 4')");
matches('mirror() keeps the filter', 'posts', 'id > 4',
	"SELECT mixpeek.mirror('posts', 'posts', document_id_column => 'doc_id', enrichments_column => 'found')");
my $written = q{SELECT count(*) FROM posts t LEFT JOIN mixpeek.documents d ON d.relation = 'posts'::regclass
	AND d.key = t.id::text WHERE t.doc_id IS DISTINCT FROM d.document_id OR (t.found IS NULL) <> (d.key IS NULL)};
is(sql($written), 0, 'write-back columns that mirror() names later are set');
matches('a row that ceases to match, with write-back columns', 'posts', 'id > 4 AND n < 10', "SELECT
	mixpeek.mirror('posts', 'posts', filter => 'id > 4 AND n < 10'); UPDATE posts SET n = 11 WHERE id IN (5, 6)");
is(sql($written), 0, 'write-back columns of a row that ceased to match are cleared');
matches('no filter: all rows', 'posts', 'true', "SELECT mixpeek.mirror('posts', 'posts', filter => '')");
matches('a filter after unmirror(): documents of rows that do not match are found', 'posts', 'id > 4', q{
	SELECT mixpeek.unmirror('posts');
	SELECT mixpeek.mirror('posts', 'posts', '{"metadata": {"id": "$id", "v": "$v"}}', filter => 'id > 4')});
matches('TRUNCATE', 'posts', 'true', 'TRUNCATE posts');

# A filter that fails for one row
sql('CREATE TABLE odd (id int PRIMARY KEY, v text, n int)');
sql("INSERT INTO odd SELECT g, 'v', g FROM generate_series(0, 5) g;
	SELECT mixpeek.mirror('odd', 'odd', filter => '10 / n > 2')");
settle();
is(sql("SELECT key || ' ' || state || ' ' || last_error FROM mixpeek.documents WHERE relation = 'odd'::regclass
	AND state <> 'mirrored'"), '0 failed division by zero', 'a filter that fails for one row: only that row fails');
is(scalar(@{ $api->documents('odd') }), 3, 'a filter that fails for one row: the others are mirrored');
sql('UPDATE odd SET n = 1 WHERE id = 0');
settle();
is(scalar(@{ $api->documents('odd') }), 4, 'a filter that failed for one row: it is mirrored once it does not');

# Names: the key's columns, functions and types of the owner, a citext key, partitions
sql(q{
	CREATE SCHEMA app;
	CREATE FUNCTION app.wanted(v text) RETURNS boolean LANGUAGE plpgsql STABLE AS
		$$ BEGIN RETURN current_user = 'shop' AND v LIKE 'w%'; END $$;
	CREATE ROLE shop;
	GRANT USAGE, CREATE ON SCHEMA app TO shop;
	GRANT USAGE ON FOREIGN SERVER mixpeek TO shop;
	CREATE USER MAPPING FOR shop SERVER mixpeek OPTIONS (api_key 'sk_test');
	CREATE TABLE app.c0 (id int, c0 int, c1 int, v text, t text, PRIMARY KEY (id, c0)) PARTITION BY RANGE (id);
	CREATE TABLE app.low PARTITION OF app.c0 FOR VALUES FROM (0) TO (10);
	CREATE TABLE app.high (v text, t text, id int NOT NULL, c1 int, c0 int NOT NULL);
	ALTER TABLE app.c0 ATTACH PARTITION app.high FOR VALUES FROM (10) TO (20);
	ALTER TABLE app.c0 OWNER TO shop;
	ALTER TABLE app.low OWNER TO shop;
	ALTER TABLE app.high OWNER TO shop;
	SET search_path = app;
	SET ROLE shop;
	SELECT mixpeek.mirror('c0', 'c0', '{"metadata": {"id": "$id"}}', filter => 'wanted(v) AND c0 + c1 > 1 AND t = ''x''');
	INSERT INTO app.c0 VALUES (1, 1, 1, 'w', 'x'), (2, 1, 1, 'no', 'x'), (11, 1, 1, 'w', 'x'), (12, 0, 0, 'w', 'x'),
		(13, 1, 1, 'w', 'y');
});
settle();
is(join(' ', sort map { $_->{metadata}{id} } @{ $api->documents('c0') }), '1 11',
	"a filter with the owner's function, names of columns like aliases, and partitions runs as the owner");
is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'app.c0'::regclass"), 2,
	'partitions: no record of hidden rows');

#
# What mirror() does not name stays, and resync() repairs
#

sql(q{
	CREATE TABLE kept (id int PRIMARY KEY, v text, secret text);
	CREATE TRIGGER mine AFTER INSERT OR DELETE OR UPDATE OF id, v ON kept FOR EACH ROW
		EXECUTE FUNCTION mixpeek.mirror_row('kept', 'document={"metadata": {"id": "$id", "v": "$v"}}');
	ALTER TABLE kept ENABLE ALWAYS TRIGGER mine;
	INSERT INTO kept VALUES (1, 'a', 's'), (2, 'b', 's');
});
matches('mirror() of a mirror made by hand', 'kept', 'true', "SELECT mixpeek.mirror('kept', 'kept')");
is((grep { exists $_->{metadata}{secret} } @{ $api->documents('kept') }), 0, 'mirror() keeps the template');
matches('mirror() keeps ENABLE ALWAYS', 'kept', 'true', "SELECT mixpeek.mirror('kept', 'kept', filter => 'true');
	SET session_replication_role = replica; INSERT INTO kept VALUES (3, 'c', 's'); RESET session_replication_role");
sql('ALTER TABLE kept DISABLE TRIGGER USER');
sql("SELECT mixpeek.mirror('kept', 'kept', filter => 'id > 0', backfill => false);
	INSERT INTO kept VALUES (4, 'd', 's'); DELETE FROM kept WHERE id = 1; UPDATE kept SET v = 'B' WHERE id = 2");
settle();
is(scalar(@{ $api->documents('kept') }), 3, 'mirror() keeps a trigger disabled');
sql('ALTER TABLE kept ENABLE ALWAYS TRIGGER mine');
my $definition = sql("SELECT string_agg(pg_get_triggerdef(oid) || tgenabled::text, ' ') FROM pg_trigger
	WHERE tgrelid = 'kept'::regclass");
matches('resync() after changes while triggers were disabled', 'kept', 'true', "SELECT mixpeek.resync('kept')");
is(sql("SELECT string_agg(pg_get_triggerdef(oid) || tgenabled::text, ' ') FROM pg_trigger
	WHERE tgrelid = 'kept'::regclass"), $definition, 'resync() changes no definition');
is(costs("SELECT mixpeek.resync('kept')"), '', 'resync() of what does not differ sends nothing');

#
# Dumps
#

sql(q{
	CREATE TABLE parted (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
	DO $$ BEGIN FOR i IN 0..19 LOOP
		EXECUTE format('CREATE TABLE parted_%s PARTITION OF parted FOR VALUES FROM (%s) TO (%s)', i, i * 10, i * 10 + 10);
	END LOOP; END $$;
	SELECT mixpeek.mirror('parted', 'parted', filter => 'app.wanted(v) IS NOT NULL');
	INSERT INTO parted SELECT g, 'v' FROM generate_series(0, 199) g;
});
settle();
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-Fd', '-f', $dump ],
	'pg_dump of partitioned mirrored tables');
foreach my $database ('restored_1', 'restored_2', 'restored_3')
{
	sql("CREATE DATABASE $database");
	command_ok([ 'pg_restore', '-d', $node->connstr($database), '-j', 8, '--exit-on-error', $dump ],
		"pg_restore -j 8 into $database");
	is(sql("SELECT string_agg(relation || ' ' || coalesce(problem, 'fine'), ', ' ORDER BY relation::text)
		FROM mixpeek.mirrors", $database), sql("SELECT string_agg(relation || ' fine', ', ' ORDER BY relation::text)
		FROM mixpeek.mirrors"), "pg_restore -j 8 into $database: all mirrors are there and work");
}
# The worst order: the trigger comes before the key is valid
sql(q{
	CREATE TABLE late (id int NOT NULL, v text) PARTITION BY RANGE (id);
	CREATE TABLE late_1 PARTITION OF late FOR VALUES FROM (0) TO (100);
	ALTER TABLE ONLY late ADD PRIMARY KEY (id);
	CREATE TRIGGER mixpeek AFTER INSERT OR DELETE OR UPDATE ON late FOR EACH ROW
		EXECUTE FUNCTION mixpeek.mirror_row('late');
	INSERT INTO late VALUES (1, 'before');
});
isnt(sql("SELECT problem FROM mixpeek.mirrors WHERE relation = 'late'::regclass"), '',
	'a key that is not valid yet is a problem of the mirror');
my (undef, undef, $stderr) = $node->psql('postgres', "SELECT mixpeek.mirror('late', 'late')");
like($stderr, qr/ERROR:.*late/, 'a key that is not valid yet is an error of mirror()');
follows('the key becomes valid', 'late', q{ALTER TABLE late_1 ADD PRIMARY KEY (id);
	ALTER INDEX late_pkey ATTACH PARTITION late_1_pkey; SELECT mixpeek.mirror('late', 'late')});

done_testing();

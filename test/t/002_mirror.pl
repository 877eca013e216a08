# The mirror from the statement to the document, with the worker preloaded: after whatever was done to
# a table, the server has exactly one document a row, with exactly the row's content.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;

my $node = mixpeek_node('main', q{
shared_preload_libraries = 'mixpeek_docs'
max_prepared_transactions = 5
max_worker_processes = 20
jit = off
});
my $journal = PostgreSQL::Test::Utils::tempdir() . '/journal';
my $api = MixpeekTest::Server->new(record => 1, enrich => 'now', journal => $journal);
create_server($node, 'mixpeek', $api);

sub sql
{
	my ($statement, $database, $on) = @_;
	return ($on // $node)->safe_psql($database // 'postgres', $statement);
}

sub settle
{
	my ($database, $on) = @_;
	sql("SELECT mixpeek.wait('3 min')", $database, $on) eq 't' or die 'the mirror did not settle';
	return;
}

# The collection's documents as the server has them, as a literal. It stays the text that came, for
# Perl's numbers are not PostgreSQL's.
sub there
{
	my ($collection, $from) = @_;
	my $json = MixpeekTest::Server::fetch('GET', ($from // $api)->url . "/_control/documents?collection=$collection");
	return "\$there\$$json\$there\$::jsonb";
}

# Where the table's rows and the collection's documents differ: one line each, so '' is what it should be.
# The options: what the metadata should be (row), the key's text (key), database, node, server.
sub differences
{
	my ($table, $collection, %option) = @_;
	my $row = $option{row} // 'to_jsonb(t)';
	my $key = $option{key} // 't.id::text';
	my @where = ($option{database}, $option{node});

	settle(@where);
	return sql(qq{
		WITH here AS (
			SELECT o.id || ':public.$table:' || $key AS marker, d.document_id, ($row)::text AS metadata
			  FROM $table t CROSS JOIN mixpeek.origin o
			  LEFT JOIN mixpeek.documents d
			    ON d.relation = '$table'::regclass AND d.collection = '$collection' AND d.key = $key AND d.state = 'mirrored'
			       AND NOT d.in_doubt AND d.last_error IS NULL AND d.attempts = 0),
		there AS (
			SELECT x #>> '{metadata,mixpeek_docs}', x ->> 'document_id', ((x -> 'metadata') - 'mixpeek_docs')::text
			  FROM jsonb_array_elements(@{[ there($collection, $option{server}) ]}) x)
		SELECT 'here: ' || x FROM (TABLE here EXCEPT ALL TABLE there) x
		UNION ALL
		SELECT 'there: ' || x FROM (TABLE there EXCEPT ALL TABLE here) x
		UNION ALL
		SELECT 'line: ' || d FROM mixpeek.documents d
		 WHERE relation = '$table'::regclass AND collection = '$collection' AND document_id NOT IN (SELECT document_id FROM here WHERE document_id IS NOT NULL)},
		@where);
}

# Does something to a table, and says whether its documents followed.
sub follows
{
	my ($name, $table, $statement, %option) = @_;
	sql($statement, $option{database});
	is(differences($table, $table, %option), '', $name);
	return;
}

# How many documents the server created, updated and deleted for a statement, and how many requests it took.
sub costs
{
	my ($statement) = @_;
	settle();
	$api->reset;
	sql($statement);
	settle();
	my $stats = $api->stats;
	return join(' ', map { "$_=$stats->{$_}" } grep { $stats->{$_} } qw(creates updates deletes lists gets));
}

# Statements

sql(q{
	CREATE TABLE plain (id int PRIMARY KEY, v text);
	INSERT INTO plain SELECT g, 'before ' || g FROM generate_series(1, 2500) g;
});
follows('rows that were there before', 'plain', "SELECT mixpeek.mirror('plain', 'plain')");
is($api->stats->{duplicates}, 0, '... have a document each');
follows('DELETE of many', 'plain', 'DELETE FROM plain WHERE id > 5');
follows('INSERT', 'plain', "INSERT INTO plain VALUES (101, 'x'), (102, 'y'), (103, NULL)");
follows('UPDATE', 'plain', "UPDATE plain SET v = v || '!' WHERE id <> 1");
follows('UPDATE to null', 'plain', "UPDATE plain SET v = NULL WHERE id = 2");
follows('a key that changes', 'plain', 'UPDATE plain SET id = 201 WHERE id = 101');
follows('... back', 'plain', 'UPDATE plain SET id = 101 WHERE id = 201');
follows('... and all at once', 'plain', 'UPDATE plain SET id = id + 1000');
follows('keys that are exchanged', 'plain', q{
	BEGIN;
	UPDATE plain SET id = -1 WHERE id = 1101;
	UPDATE plain SET id = 1101 WHERE id = 1102;
	UPDATE plain SET id = 1102 WHERE id = -1;
	COMMIT});
follows('DELETE', 'plain', 'DELETE FROM plain WHERE id = 1001');
follows('a row deleted and inserted again', 'plain', "BEGIN; DELETE FROM plain WHERE id = 1002; INSERT INTO plain VALUES (1002, 'again'); COMMIT");
follows('COPY', 'plain', "COPY plain FROM STDIN;\n1\tcopied\n2\t\\N\n3\ttab\\tand \"quotes\"\n\\.\n");
follows('ON CONFLICT', 'plain', q{
	INSERT INTO plain VALUES (1, 'upsert'), (7, 'inserted') ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v;
	INSERT INTO plain VALUES (1, 'nothing') ON CONFLICT DO NOTHING});
follows('MERGE', 'plain', q{
	MERGE INTO plain p USING (VALUES (1, 'merged'), (2, NULL), (8, 'new')) AS n (id, v) ON p.id = n.id
	 WHEN MATCHED AND n.v IS NULL THEN DELETE
	 WHEN MATCHED THEN UPDATE SET v = n.v
	 WHEN NOT MATCHED THEN INSERT VALUES (n.id, n.v)}) if $node->pg_version >= 15;
follows('WITH', 'plain', q{
	WITH gone AS (DELETE FROM plain WHERE id = 7 RETURNING *) INSERT INTO plain SELECT id + 10, v FROM gone});
follows('savepoints', 'plain', q{
	BEGIN;
	INSERT INTO plain VALUES (301, 'stays');
	SAVEPOINT a;
	INSERT INTO plain VALUES (302, 'goes');
	UPDATE plain SET v = 'goes' WHERE id = 301;
	SAVEPOINT b;
	DELETE FROM plain WHERE id = 301;
	RELEASE b;
	ROLLBACK TO a;
	INSERT INTO plain VALUES (303, 'stays');
	SAVEPOINT c;
	UPDATE plain SET v = 'stays, too' WHERE id = 303;
	RELEASE c;
	COMMIT});
follows('errors that are caught', 'plain', q{
	DO $$
	BEGIN
		FOR i IN 401 .. 410 LOOP
			BEGIN
				INSERT INTO plain VALUES (i, 'even numbers stay');
				PERFORM 1 / (1 - i % 2);
			EXCEPTION WHEN division_by_zero THEN
				NULL;
			END;
		END LOOP;
	END $$});
is(sql('SELECT count(*) FROM plain WHERE id BETWEEN 401 AND 410'), '5', '... half of them');
is(costs("BEGIN; INSERT INTO plain VALUES (501, 'x'); UPDATE plain SET v = 'x'; DELETE FROM plain WHERE id = 1; ROLLBACK"), '',
	'what is rolled back sends nothing');
is(sql('SELECT count(*) FROM mixpeek.outbox'), '0', '... and leaves nothing');
follows('... or changes anything', 'plain', '');
is(costs("BEGIN; INSERT INTO plain VALUES (501, 'x'); UPDATE plain SET v = 'y' WHERE id = 501; DELETE FROM plain WHERE id = 501; COMMIT"), '',
	'a row that came and went sends nothing');

# Prepared transactions

sql("BEGIN; INSERT INTO plain VALUES (601, 'prepared'); UPDATE plain SET v = 'prepared' WHERE id = 3; PREPARE TRANSACTION 'one'");
sql("BEGIN; INSERT INTO plain VALUES (602, 'prepared'); DELETE FROM plain WHERE id = 8; PREPARE TRANSACTION 'two'");
follows('what is prepared is not there yet', 'plain', '');
$node->restart;
follows('... nor after a restart', 'plain', '');
follows('COMMIT PREPARED', 'plain', "COMMIT PREPARED 'one'");
is(sql('SELECT v FROM plain WHERE id = 601'), 'prepared', '... brings the rows');
is(costs("ROLLBACK PREPARED 'two'"), '', 'ROLLBACK PREPARED sends nothing');
follows('... and changes nothing', 'plain', '');

# TRUNCATE

follows('TRUNCATE that is rolled back', 'plain', 'BEGIN; TRUNCATE plain; ROLLBACK');
follows('TRUNCATE, and rows that come with it', 'plain', q{
	BEGIN; INSERT INTO plain VALUES (701, 'goes'); TRUNCATE plain; INSERT INTO plain VALUES (1002, 'comes back'), (702, 'new'); COMMIT});
is(@{ $api->documents('plain') }, 2, '... are two documents');
follows('TRUNCATE', 'plain', 'TRUNCATE plain');
is(@{ $api->documents('plain') }, 0, '... leaves none');
sql("INSERT INTO plain SELECT g, 'again ' || g FROM generate_series(1, 5) g");

# Keys

my @texts = ('', ' ', 'a,b', '(x)', '"q"', "it''s", '\\', 'ü/?#%2F', 'x:y:z', 'NULL', '{}', "tab\tnew\nline", 'k' x 1500);
sql(q{
	CREATE TABLE composite (a int, b text, c date, v text, PRIMARY KEY (b, a, c));
	CREATE TABLE uuids (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), v text);
	CREATE TABLE texts (id text PRIMARY KEY, v text);
	CREATE TABLE identity (a int NOT NULL, b timestamptz NOT NULL, v text);
	CREATE UNIQUE INDEX identity_key ON identity (b, a);
	ALTER TABLE identity REPLICA IDENTITY USING INDEX identity_key;
	SELECT mixpeek.mirror(t::regclass, t) FROM unnest(ARRAY['composite', 'uuids', 'texts', 'identity']) t;
});
my %composite = (key => 'ROW(t.b, t.a, t.c)::text');
my %identity = (key => 'ROW(t.b, t.a)::text');
my $values = join(', ', map { "('$_', 'v')" } @texts);
follows('text keys', 'texts', "INSERT INTO texts VALUES $values");
follows('... and their updates', 'texts', "UPDATE texts SET v = 'new'");
follows('... and other keys', 'texts', "UPDATE texts SET id = id || '~'");
follows('uuid keys', 'uuids', "INSERT INTO uuids (v) SELECT g FROM generate_series(1, 20) g");
follows('... and updates', 'uuids', "UPDATE uuids SET v = v || '!' WHERE v::int % 2 = 0");
my $number = 0;
$values = join(', ', map { $number++; "($number, '$_', '2025-01-01'), ($number, '$_', 'infinity')" } @texts);
follows('composite keys', 'composite', "SET DateStyle = German; INSERT INTO composite VALUES $values", %composite);
follows('... and updates', 'composite', "SET DateStyle = SQL; UPDATE composite SET v = 'new' WHERE a % 2 = 0", %composite);
follows('... and a part that changes', 'composite', "SET DateStyle = German; UPDATE composite SET c = c + 1 WHERE a < 5", %composite);
follows('... and deletes', 'composite', "DELETE FROM composite WHERE a > 7", %composite);
follows('a replica identity index', 'identity', q{
	SET TimeZone = 'Asia/Kathmandu'; INSERT INTO identity SELECT g, timestamptz '2025-01-01 UTC' + g * interval '1 h', 'x' FROM generate_series(1, 5) g}, %identity);
follows('... and what changes', 'identity', q{
	SET TimeZone = 'America/New_York'; UPDATE identity SET v = 'y' WHERE a = 1; UPDATE identity SET b = b + '1 day' WHERE a = 2;
	DELETE FROM identity WHERE a = 3}, %identity);

# Types

# A server that was built without libxml knows the type, but reads no values of it.
sql(q{
	CREATE FUNCTION an_xml() RETURNS xml LANGUAGE plpgsql AS $$ BEGIN
		RETURN xml '<a b="c">d</a>'; EXCEPTION WHEN feature_not_supported THEN RETURN NULL; END $$;
});
sql(q{
	CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"');
	CREATE TYPE pair AS (a int, b text);
	CREATE DOMAIN percent AS numeric CHECK (VALUE BETWEEN 0 AND 100);
	CREATE DOMAIN vector AS real[];
	CREATE TABLE types (
		id int PRIMARY KEY, "Qüoted ""name""" text,
		i2 int2, i8 int8, f4 float4, f8 float8, n numeric, b bool, c char(5), vc varchar(5), nm name,
		d date, tm time, tz timetz, ts timestamp, tstz timestamptz, iv interval,
		bin bytea, u uuid, bits varbit(9), mac macaddr, ip inet, r int4range, mr datemultirange, pt point, x xml, o oid, m money,
		e mood, es mood[], p percent, v vector, pr pair, prs pair[],
		ints int[], texts text[], two float8[], stamps timestamptz[],
		j json, jb jsonb, js jsonb[], ts_v tsvector,
		sum numeric GENERATED ALWAYS AS (n * 2) STORED, up text GENERATED ALWAYS AS (upper(vc)) STORED);
	SELECT mixpeek.mirror('types', 'types');
	INSERT INTO types VALUES (1,  E'\u00fc \U0001f600 \t \u0001 \\\\ "',
		-32768, 9223372036854775807, 'NaN', 'Infinity', 'NaN', true, 'ab', 'ünïcö', 'name',
		'infinity', '24:00', '12:00+05:45', '-infinity', '2025-07-01 12:00:00.123456+02', '1 year -2 days 03:04:05.6',
		'\x00ff5c22', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '101', '08:00:2b:01:02:03', '::1/64', '[1,5)', '{[2025-01-01,2025-02-01)}', '(1,2)', an_xml(), 4294967295, '1.5',
		'it''s "ok"', '{sad,NULL}', 99.90, '{1,2.5,-3e-20}', '(1,"a, b")', '{"(1,x)","(,)"}',
		'{1,NULL,3}', '{"",NULL,"a,b","\""}', '{{1,2},{3,4}}', '{"2025-01-01 00:00+00",infinity}',
		'{"b": 1, "a": [1.10, {"deep": [[[]]]}], "b": 2}', '{"x": {"y": [null, true, 1e400, -0.0, "\u00fc"]}, "mixpeek_docs": 1}', '{"{}","[1]"}', 'a:1 b:2'),
	  (2, '', 0, 0, '-0', '-Infinity', 123456789012345678901234567890.123456789000, false, '', '', '',
		'0044-03-15 BC', '00:00', '00:00+00', '294276-12-31', '4713-01-01 BC', '0', '', '00000000-0000-0000-0000-000000000000', '', NULL, '0.0.0.0/0', 'empty', '{}', NULL, NULL, 0, 0,
		'sad', '{}', 0, '{}', '(,)', '{}', '{}', '{}', '{}', '{}', 'null', 'null', '{}', '');
	INSERT INTO types VALUES
	  (3, NULL, NULL, -1, '1e-45', '2.2250738585072014e-308', 1e-100),
	  (4, NULL, NULL, NULL, '3.4028235e38', '0.1', 'Infinity'),
	  (5, NULL, 1, 9007199254740993, '0.1', '1e23', 1.50);
});
is(differences('types', 'types'), '', 'every type');
is(sql(qq{
	SELECT x -> 'metadata' ->> 'f4', jsonb_typeof(x -> 'metadata' -> 'f4'), x -> 'metadata' ->> 'd', x -> 'metadata' -> 'v', x -> 'metadata' -> 'es', x -> 'metadata' ->> 'bin'
	  FROM jsonb_array_elements(@{[ there('types') ]}) x WHERE x -> 'metadata' ->> 'id' = '1'}),
	'NaN|string|infinity|[1, 2.5, -0.00000000000000000003]|["sad", null]|\x00ff5c22', '... as JSON has it');
follows('generated columns follow', 'types', "UPDATE types SET n = 7, vc = 'abc' WHERE id = 5");
is(sql(qq{SELECT x -> 'metadata' ->> 'sum', x -> 'metadata' ->> 'up'
	FROM jsonb_array_elements(@{[ there('types') ]}) x WHERE x -> 'metadata' ->> 'id' = '5'}), '14|ABC', '... with their values');
follows('every type, updated', 'types', "UPDATE types SET j = '[]', f8 = 'NaN', ts = now(), js = NULL");

sql(q{
	CREATE TABLE toasted (id int PRIMARY KEY, a text, b text, c jsonb);
	ALTER TABLE toasted ALTER a SET STORAGE EXTERNAL;
	SELECT mixpeek.mirror('toasted', 'toasted');
	INSERT INTO toasted SELECT g, repeat('€' || g, 20000), repeat(md5(g::text), 10000), jsonb_build_object('k', repeat(g::text, 50000)) FROM generate_series(1, 3) g;
});
is(differences('toasted', 'toasted'), '', 'TOASTed values');
follows('... that are not touched by an update', 'toasted', "UPDATE toasted SET b = 'short' WHERE id = 1");
follows('... and that are', 'toasted', "UPDATE toasted SET a = a || '.' WHERE id = 2");
is(costs('UPDATE toasted SET a = a, c = c'), '', '... and a value written anew sends nothing');

# Partitions

sql(q{
	CREATE TABLE parted (region text, id int, v text, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
	CREATE TABLE parted_eu PARTITION OF parted FOR VALUES IN ('eu') PARTITION BY RANGE (id);
	CREATE TABLE parted_eu_1 PARTITION OF parted_eu FOR VALUES FROM (0) TO (100);
	CREATE TABLE parted_eu_2 PARTITION OF parted_eu FOR VALUES FROM (100) TO (200);
	CREATE TABLE parted_us (v text, id int NOT NULL, gone int, region text NOT NULL);
	ALTER TABLE parted_us DROP gone;
	INSERT INTO parted VALUES ('eu', 1, 'a');
	SELECT mixpeek.mirror('parted', 'parted');
	ALTER TABLE parted ATTACH PARTITION parted_us FOR VALUES IN ('us');
});
my %parted = (key => 'ROW(t.region, t.id)::text');
follows('rows of partitions', 'parted', "INSERT INTO parted VALUES ('eu', 2, 'b'), ('eu', 150, 'c'), ('us', 1, 'd'), ('us', 5, 'e')", %parted);
follows('... written to directly', 'parted', "INSERT INTO parted_us VALUES ('f', 3, 'us'); UPDATE parted_eu_1 SET v = 'g' WHERE id = 2", %parted);
follows('... that move', 'parted', "UPDATE parted SET region = 'us' WHERE id = 2; UPDATE parted SET id = 120 WHERE id = 1 AND region = 'eu'; UPDATE parted SET region = 'eu' WHERE id = 3", %parted);
follows('... that move and come back', 'parted', "BEGIN; UPDATE parted SET region = 'us' WHERE id = 3; UPDATE parted SET region = 'eu' WHERE id = 3; COMMIT", %parted);
follows('... of a new partition', 'parted', "CREATE TABLE parted_as PARTITION OF parted FOR VALUES IN ('as'); INSERT INTO parted VALUES ('as', 1, 'h')", %parted);
follows('... and go', 'parted', "DELETE FROM parted WHERE id = 5; DELETE FROM parted_eu WHERE id = 150", %parted);
is(sql("SELECT DISTINCT relation FROM mixpeek.documents WHERE collection = 'parted'"), 'parted', '... are documents of the topmost table');
sql(q{
	CREATE TABLE moving (id int, region text, v text, UNIQUE (id, region)) PARTITION BY LIST (region);
	CREATE TABLE moving_a PARTITION OF moving (id PRIMARY KEY) FOR VALUES IN ('a');
	CREATE TABLE moving_b PARTITION OF moving (id PRIMARY KEY) FOR VALUES IN ('b');
	CREATE TABLE hashed (id int PRIMARY KEY, v text) PARTITION BY HASH (id);
	CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
	CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
	SELECT mixpeek.mirror('hashed', 'hashed');
	INSERT INTO hashed SELECT g, g FROM generate_series(1, 20) g;
});
follows('a key that moves its row', 'hashed', 'UPDATE hashed SET id = id + 1000 WHERE id % 3 = 0', key => 't.id::text');
follows('TRUNCATE of a partitioned table', 'parted', 'TRUNCATE parted', %parted);
is(@{ $api->documents('parted') }, 0, '... leaves no document');

# What a change costs

is(costs("UPDATE plain SET v = v"), '', 'an UPDATE that changes nothing sends nothing');
is(costs("UPDATE plain SET v = 'x' WHERE id = 1"), 'updates=1', 'one that changes something is a request');
is(costs("BEGIN; UPDATE plain SET v = 'y' WHERE id = 1; UPDATE plain SET v = 'x' WHERE id = 1; COMMIT"), '', 'one there and back sends nothing');
is(costs("INSERT INTO plain VALUES (801, 'x')"), 'creates=1', 'a new row is a request');
is(costs("DELETE FROM plain WHERE id = 801"), 'deletes=1', 'and so is its end');
sql(q{
	CREATE TABLE partly (id int PRIMARY KEY, a text, b text);
	SELECT mixpeek.mirror('partly', 'partly', '{"metadata": {"a": "$a"}}');
	INSERT INTO partly SELECT g, 'a', 'b' FROM generate_series(1, 10) g;
});
is(differences('partly', 'partly', row => q{jsonb_build_object('a', t.a)}), '', 'a template with one column');
is(costs("UPDATE partly SET b = 'c'"), '', 'an UPDATE of what is not mirrored sends nothing');
is(costs("UPDATE partly SET a = 'c', b = 'd' WHERE id <= 3"), 'updates=3', '... and of what is');

settle();
$api->stop;
sql(join(';', map { "UPDATE plain SET v = 'update $_' WHERE id = 1" } 1 .. 10));
wait_for('the worker to have tried', sub { sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'plain'::regclass AND state = 'pending'") });
sql(join(';', map { "UPDATE plain SET v = 'later update $_' WHERE id = 1" } 1 .. 10));
$api->start;
is(differences('plain', 'plain'), '', 'updates while the server is down');
is($api->stats->{updates}, 1, '... are one request when it is back');

# Templates

sql(q{
	CREATE TABLE shaped (id int PRIMARY KEY, name text, price numeric, photo text, nothing text, vec float8[]);
	INSERT INTO shaped VALUES (1, 'phone $x', 9.50, 'https://x/1.jpg', NULL, '{1,2.5}'), (2, '"', 'NaN', NULL, NULL, NULL);
	SELECT mixpeek.mirror('shaped', 'shaped', '{
		"source_details": [{"type": "bucket", "source_id": "shop", "object_id": "$id", "feature_extractor_task_id": "none", "object_task_id": "none",
			"feature_extractor_id": "shop", "source_blobs": [{"property": "photo", "type": "image", "data": "$photo"}]}],
		"metadata": {"name": "$name", "price": "$price", "money": "$$price", "all": ["$*", {"nested": "$id"}], "null": "$nothing", "text": "a $name"},
		"features": [{"feature_extractor_id": "text", "payload": {"id": "$id"}, "vectors": {"embedding": "$vec"}}],
		"shop_id": "$id"}');
});
is(differences('shaped', 'shaped', row => q{jsonb_build_object('name', t.name, 'price', t.price, 'money', '$price', 'all', jsonb_build_array(to_jsonb(t), jsonb_build_object('nested', t.id)), 'null', t.nothing, 'text', 'a $name')}),
	'', 'metadata of a template');
is(sql(qq{SELECT x -> 'source_details' -> 0 ->> 'object_id', jsonb_typeof(x -> 'source_details' -> 0 -> 'object_id'), x #> '{source_details,0,source_blobs,0,data}',
	x -> 'features' -> 0 -> 'vectors', x -> 'features' -> 0 -> 'payload', x -> 'shop_id'
	FROM jsonb_array_elements(@{[ there('shaped') ]}) x ORDER BY x -> 'shop_id'}),
	qq{1|string|"https://x/1.jpg"|{"embedding": [1, 2.5]}|{"id": 1}|1\n2|string|null|||2}, '... and what else it has');
my $ids = q{SELECT string_agg(document_id, ' ' ORDER BY key) FROM mixpeek.documents WHERE relation = 'shaped'::regclass};
my @before = split(/ /, sql($ids));
is(costs("UPDATE shaped SET name = 'tablet' WHERE id = 1"), 'updates=1', 'a change beside the features updates the document');
is(sql($ids), "@before", '... which stays the same');
is(costs("UPDATE shaped SET vec = '{1,2.5,3}' WHERE id = 1"), 'creates=1 deletes=1', 'a change of the features replaces it');
my @after = split(/ /, sql($ids));
isnt($after[0], $before[0], '... and the stored id follows');
is($after[1], $before[1], '... of no other row');
is(sql(qq{SELECT x ->> 'document_id', x #> '{features,0,vectors,embedding}', x -> 'metadata' ->> 'name' FROM jsonb_array_elements(@{[ there('shaped') ]}) x WHERE x -> 'shop_id' = '1'}),
	"$after[0]|[1, 2.5, 3]|tablet", '... with the new vector');
is(costs("UPDATE shaped SET vec = '{7}' WHERE id = 2"), 'creates=1 deletes=1', 'features that come later');

# A template that breaks later

sql(q{
	CREATE TABLE broken (id int PRIMARY KEY, a text, b text);
	INSERT INTO broken VALUES (1, 'a', 'b'), (2, 'c', 'd');
	SELECT mixpeek.mirror('broken', 'broken', '{"metadata": {"a": "$a", "b": "$b"}}');
});
settle();
$api->reset;
sql(q{
	ALTER TABLE broken DROP b;
	INSERT INTO broken VALUES (3, 'x');
	UPDATE broken SET a = 'y' WHERE id = 1;
	INSERT INTO plain VALUES (901, 'beside it');
});
is(differences('plain', 'plain'), '', 'a broken template beside it is nothing to another table');
my @failed = split(/\n/, sql("SELECT key, state, last_error FROM mixpeek.documents WHERE relation = 'broken'::regclass ORDER BY key"));
like($failed[0], qr/^1\|failed\|.*column "b"/, 'its rows are failed, with the reason');
like($failed[1], qr/^2\|mirrored\|$/, '... but those that did not change');
like($failed[2], qr/^3\|failed\|.*column "b"/, '... and new ones are failed, too');
like(sql("SELECT problem FROM mixpeek.mirrors WHERE relation = 'broken'::regclass"), qr/column "b"/, '... and mixpeek.mirrors says it');
is($api->stats->{creates}, 1, '... and nothing is sent for them');
my $wanted = q{jsonb_build_object('a', t.a)};
follows('a new template makes them good', 'broken', q{SELECT mixpeek.mirror('broken', 'broken', '{"metadata": {"a": "$a"}}')}, row => $wanted);
sql('DROP TABLE broken');
is(sql(q{SELECT (SELECT count(*) FROM mixpeek.documents WHERE collection = 'broken') + (SELECT count(*) FROM mixpeek.outbox) + (SELECT count(*) FROM mixpeek.mirrors WHERE collection = 'broken')}),
	'0', 'DROP TABLE leaves nothing');

# Write-back

sql(q{
	CREATE TABLE told (id int PRIMARY KEY, section text, doc_id text, came_back jsonb);
	CREATE TABLE audit (what text);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.audit VALUES (tg_op); RETURN NULL; END';
	CREATE TRIGGER note AFTER UPDATE ON told FOR EACH ROW EXECUTE FUNCTION note();
	INSERT INTO told VALUES (1, 'libs'), (2, 'web');
	SELECT mixpeek.mirror('told', 'told', document_id_column => 'doc_id', enrichments_column => 'came_back');
});
$wanted = q{jsonb_build_object('id', t.id, 'section', t.section)};
is(differences('told', 'told', row => $wanted), '', 'columns that are written back are not mirrored');
my $back = q{SELECT count(*) FROM told t JOIN mixpeek.documents d ON d.relation = 'told'::regclass AND d.key = t.id::text
	WHERE t.doc_id = d.document_id AND t.came_back = d.enrichments AND d.enrichments #>> '{taxonomies,0,label}' = t.section};
is(sql($back), '2', '... and have what the documents have');
is(sql('SELECT count(*) FROM audit'), '2', '... after one update a row');
is(costs("INSERT INTO told VALUES (3, 'misc')"), 'creates=1', 'a row written back is not sent again');
is(costs("UPDATE told SET section = 'games' WHERE id = 1"), 'updates=1', '... nor is one that changed');
is(sql($back), '3', '... and all are up to date');
is(costs("UPDATE told SET doc_id = 'mine', came_back = NULL WHERE id = 2"), '', 'what a user writes there is not sent');

# What came back, in both contracts

foreach my $contract ('2025-09', '2026-02')
{
	foreach my $enrich ('now', 'later:1')
	{
		subtest "contract of $contract, enrichments $enrich" => sub { comes_back($contract, $enrich) };
	}
}

sub comes_back
{
	my ($contract, $enrich) = @_;
	my $other = MixpeekTest::Server->new(contract => $contract, enrich => $enrich, record => 1);
	my $table = "back_${contract}_$enrich" =~ tr/-:/_/r;
	my $flat = $contract eq '2026-02';

	create_server($node, "server_$table", $other);
	sql(qq{
		CREATE TABLE $table (id int PRIMARY KEY, section text, doc_id text, came_back jsonb);
		INSERT INTO $table VALUES (1, 'libs'), (2, 'web');
		SELECT mixpeek.mirror('$table', '$table', server => 'server_$table', document_id_column => 'doc_id', enrichments_column => 'came_back');
	});
	my %option = (server => $other, row => q{jsonb_build_object('id', t.id, 'section', t.section)});
	is(differences($table, $table, %option), '', 'the rows are there');
	my $labels = qq{SELECT string_agg(key || ' ' || taxonomy_id || ' ' || label || ' ' || (score BETWEEN 0.5 AND 1), ',' ORDER BY key) FROM mixpeek.taxonomies WHERE relation = '$table'::regclass};
	my $taxonomy = $flat ? 'debian' : 'tax_debian';
	wait_for('the enrichments', sub { sql($labels) eq "1 $taxonomy libs true,2 $taxonomy web true" });
	pass('their labels come back');

	# Each field as the document has it.
	is(sql(qq{
		SELECT count(*) FROM mixpeek.taxonomies t JOIN mixpeek.documents d USING (relation, collection, key, document_id),
		       LATERAL mixpeek.get_document(d.collection, d.document_id, server => 'server_$table') a
		 WHERE relation = '$table'::regclass AND (} . ($flat ?
			q{a ->> 'taxonomy_debian_label' = t.label AND (a -> 'taxonomy_debian_score')::float8 = t.score AND node_id IS NULL AND path IS NULL} :
			q{a #> '{enrichments,taxonomies,0}' = to_jsonb(t) - '{relation,collection,key,document_id}'::text[]}) . ')'),
		'2', 'taxonomies have every field');
	is(sql(qq{
		SELECT count(*) FROM mixpeek.clusters c JOIN mixpeek.documents d USING (relation, collection, key, document_id),
		       LATERAL mixpeek.get_document(d.collection, d.document_id, server => 'server_$table') a
		 WHERE relation = '$table'::regclass AND (} . ($flat ?
			q{a ->> 'cluster_id' = c.cluster_id AND (a -> 'cluster_distance')::float8 = c.distance_to_centroid AND coordinates IS NULL} :
			q{a #> '{enrichments,clusters,0}' = jsonb_build_object('cluster_id', c.cluster_id, 'document_id', c.member_document_id, 'coordinates', to_jsonb(c.coordinates),
				'distance_to_centroid', c.distance_to_centroid, 'features', c.features, 'source_details', jsonb_build_object('type', source_type, 'source_id', source_id))}) . ')'),
		'2', 'clusters have every field');
	wait_for('the columns', sub {
		sql(qq{SELECT count(*) FROM $table t JOIN mixpeek.documents d ON d.relation = '$table'::regclass AND d.key = t.id::text
			WHERE t.doc_id = d.document_id AND t.came_back = d.enrichments}) == 2 });
	pass('they are written back');

	sql("UPDATE $table SET section = 'games' WHERE id = 1; DELETE FROM $table WHERE id = 2; INSERT INTO $table VALUES (3, 'net')");
	is(differences($table, $table, %option), '', 'changes are mirrored');
	wait_for('the new labels', sub { sql($labels) eq "1 $taxonomy games true,3 $taxonomy net true" });
	pass('their labels come back, and no others');
	my $stats = $other->stats;
	is_deeply([ @$stats{qw(creates updates deletes documents duplicates)} ], [ 3, 1, 1, 2, 0 ], 'nothing was sent twice');
	is(sql(qq{SELECT key FROM mixpeek.documents WHERE relation = '$table'::regclass AND enrichments @> '} .
		($flat ? '{"taxonomy_debian_label": "net"}' : '{"taxonomies": [{"label": "net"}]}') . q{'}), '3', 'a document is found by what it contains');
	is(sql("SELECT mixpeek.refresh('$table')"), '2', 'refresh()');
	settle();
	sql("SELECT mixpeek.unmirror('$table', delete_documents => true)");
	settle();
	is($other->stats->{documents}, 0, 'and all are deleted');
	$other->stop;
	return;
}

# Mirroring again

is(costs("SELECT mixpeek.mirror('plain', 'plain')"), '', 'a second backfill sends nothing');
is(costs("SELECT mixpeek.unmirror('plain')"), '', 'unmirror() leaves the documents');
is(sql("SELECT count(*) FROM mixpeek.documents WHERE collection = 'plain'"), '0', '... and forgets them');
my $count = @{ $api->documents('plain') };
sql("INSERT INTO plain VALUES (951, 'while it was not mirrored'); UPDATE plain SET v = 'so was this' WHERE id = 2");
unlike(costs("SELECT mixpeek.mirror('plain', 'plain')"), qr/deletes|creates=(?!1\b)/, 'what is mirrored again is looked up');
is(differences('plain', 'plain'), '', '... and doubles nothing');
is(@{ $api->documents('plain') }, $count + 1, '... but what came meanwhile is there');
sql("INSERT INTO plain SELECT g, 'two collections' FROM generate_series(2001, 2005) g; SELECT mixpeek.mirror('plain', 'second', backfill => true)");
is(differences('plain', 'plain'), '', 'a table with two mirrors');
is(differences('plain', 'second'), '', '... has both');
sql("UPDATE plain SET v = 'both' WHERE id > 2003; DELETE FROM plain WHERE id = 2001");
is(differences('plain', 'plain') . differences('plain', 'second'), '', '... that follow its changes');
sql("SELECT mixpeek.unmirror('plain', 'second', delete_documents => true)");
settle();
is(@{ $api->documents('second') }, 0, "unmirror() with delete_documents deletes the collection's");
is(differences('plain', 'plain'), '', '... and not the other one');
sql('ALTER TABLE plain DISABLE TRIGGER USER; UPDATE plain SET v = $$unseen$$ WHERE id = 3; DELETE FROM plain WHERE id = 4; ALTER TABLE plain ENABLE TRIGGER USER');
isnt(differences('plain', 'plain'), '', 'what a disabled trigger did not see');
follows('... a backfill repairs', 'plain', "SELECT mixpeek.mirror('plain', 'plain')");

# A hand-written trigger

sql(q{
	CREATE TABLE hand (id int PRIMARY KEY, v text);
	CREATE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON hand FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('hand', 'server=mixpeek');
	INSERT INTO hand VALUES (1, 'x'), (2, 'y');
});
follows('a hand-written trigger', 'hand', "UPDATE hand SET v = 'z' WHERE id = 1");
follows('... and its key changes', 'hand', "UPDATE hand SET id = 7 WHERE id = 1");

# mixpeek.wait()

$api->faults({ kind => 'delay', body => 'slow', ms => 2000, when => 'before' });
sql("INSERT INTO hand VALUES (9, 'slow')");
is(sql("SELECT mixpeek.wait('0')"), 'f', 'wait() says what is not done');
is(sql("SELECT mixpeek.wait(NULL)"), 't', '... and without a limit waits for it');
is(sql("SELECT state FROM mixpeek.documents WHERE relation = 'hand'::regclass AND key = '9'"), 'mirrored', '... until it is mirrored');
$api->faults({ kind => 'status', status => 422, body => 'refused' });
sql("INSERT INTO hand VALUES (10, 'refused')");
is(sql("SELECT mixpeek.wait('3 min')"), 't', '... or failed');
is(sql("SELECT state FROM mixpeek.documents WHERE relation = 'hand'::regclass AND key = '10'"), 'failed', '... which it is');
$api->faults();
follows('retry()', 'hand', "SELECT mixpeek.retry('hand')");

# A dump that is restored has taken the original's place once somebody says so.

my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
settle();
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'pg_dump');
sql('CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], '... is restored');
$api->reset;
my $log_offset = -s $node->logfile;
sql("INSERT INTO hand VALUES (20, 'only in the copy'); UPDATE hand SET v = 'changed in the copy' WHERE id = 7", 'restored');
wait_for('the worker to see the copy', sub { slurp_file($node->logfile) =~ /nothing is mirrored: this database is a copy/ });
my ($rc, $out, $err) = $node->psql('restored', "\\set VERBOSITY verbose\nSELECT mixpeek.wait('1 s')");
like($err, qr/55000: nothing is mirrored: this database is a copy.*adopt/s, 'a copy says that it mirrors nothing');
is($api->stats->{requests}, 0, '... and sends nothing');
sql('SELECT mixpeek.adopt()', 'restored');
is(differences('hand', 'hand', database => 'restored'), '', "adopt(): the dump goes on with the original's documents");
is(differences('plain', 'plain', database => 'restored'), '', '... of all tables');
is(differences('composite', 'composite', database => 'restored', %composite), '', '... and keys');
is(join(' ', @{ $api->stats }{qw(creates updates deletes duplicates)}), '1 1 0 0', '... and doubles nothing');
is(sql('SELECT id FROM mixpeek.origin', 'restored'), sql('SELECT id FROM mixpeek.origin'), '... under the same origin');
($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT mixpeek.adopt(as_copy => true)");
like($err, qr/55000: this database is not a copy/, 'the original is no copy');
follows('DELETE in the restored one', 'hand', 'DELETE FROM hand WHERE id = 20', database => 'restored');
is(sql("SELECT mixpeek.wait('3 min'), (SELECT count(*) FROM mixpeek.documents WHERE state <> 'mirrored')", 'restored'), 't|0', 'it has settled');

# An older dump knows less than the server does: its tables are mirrored anew, and what they have there is
# found by its marker.

sql('DROP DATABASE restored');
sql("UPDATE hand SET v = v || ' by the original'; INSERT INTO hand VALUES (30, 'after the dump'); DELETE FROM hand WHERE id = 2");
settle();
sql('CREATE DATABASE older TEMPLATE template0');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('older') ], 'an older dump');
sql("SELECT mixpeek.adopt(); INSERT INTO hand VALUES (30, 'of the older one')", 'older');
settle('older');
is($api->stats->{duplicates}, 0, '... doubles nothing, though the original went on');
sql("SELECT mixpeek.unmirror('hand'); SELECT mixpeek.mirror('hand', 'hand')", 'older');
is(differences('hand', 'hand', database => 'older'), '', '... and is mirrored anew');
is($api->stats->{duplicates}, 0, '... without doubles');
follows('... whose changes count', 'hand', 'DELETE FROM hand WHERE id = 2', database => 'older');
sql('DROP DATABASE older');
sql("SELECT mixpeek.unmirror('hand')");
follows('and so is the original', 'hand', "SELECT mixpeek.mirror('hand', 'hand')");

# CREATE DATABASE ... TEMPLATE is a copy with documents of its own.

my $own = MixpeekTest::Server->new(enrich => 'now');
$api->reset;
sql('CREATE DATABASE staging TEMPLATE postgres');
sql("UPDATE hand SET v = 'staging'; DELETE FROM hand WHERE id = 9; TRUNCATE plain; INSERT INTO plain VALUES (1, 'staging')", 'staging');
wait_for('the worker to see the copy', sub { slurp_file($node->logfile, $log_offset) =~ /nothing is mirrored: this database is a copy/ });
($rc, $out, $err) = $node->psql('staging', 'CALL mixpeek.sync()');
like($err, qr/a worker mirrors this database|nothing is mirrored: this database is a copy/, 'nor does sync() work on a copy');
is($api->stats->{requests}, 0, '... and nothing is sent');
sql("ALTER SERVER mixpeek OPTIONS (SET base_url '@{[ $own->url ]}'); SELECT mixpeek.adopt(as_copy => true)", 'staging');
is(differences('hand', 'hand', database => 'staging', server => $own), '', 'adopt(as_copy => true) makes documents of its own');
is(differences('plain', 'plain', database => 'staging', server => $own), '', '... of all tables');
is($api->stats->{requests}, 0, "... and does not touch the original's");
isnt(sql('SELECT id FROM mixpeek.origin', 'staging'), sql('SELECT id FROM mixpeek.origin'), '... under another origin');
sql('DROP DATABASE staging');
is(differences('hand', 'hand'), '', 'the original is as it was');
is($api->stats->{duplicates}, 0, 'and in all that nothing was doubled');

# A server where the library is not preloaded

my $bare = mixpeek_node('bare', 'jit = off');
create_server($bare, 'mixpeek', $own);
sql(q{
	CREATE TABLE synced (id int PRIMARY KEY, v text);
	INSERT INTO synced SELECT g, 'v' || g FROM generate_series(1, 1500) g;
	SELECT mixpeek.mirror('synced', 'synced');
}, 'postgres', $bare);
$own->reset;
($rc, $out, $err) = $bare->psql('postgres', "\\set VERBOSITY verbose\nSELECT mixpeek.wait()");
like($err, qr/55000: no worker mirrors this database.*shared_preload_libraries/s, 'without a worker, wait() says so');
is($own->stats->{requests}, 0, '... and nothing is sent');
sql('CALL mixpeek.sync()', 'postgres', $bare);
is(sql("SELECT count(*) FROM mixpeek.outbox", 'postgres', $bare), '0', 'CALL mixpeek.sync() does the work');
is(differences('synced', 'synced', node => $bare, server => $own), '', '... as a worker does');
sql("UPDATE synced SET v = 'w' WHERE id <= 10; DELETE FROM synced WHERE id > 1000; INSERT INTO synced VALUES (9000, 'new'); CALL mixpeek.sync()", 'postgres', $bare);
is(differences('synced', 'synced', node => $bare, server => $own), '', '... again and again');
is($own->stats->{duplicates}, 0, '... and doubles nothing');
$own->reset;
sql('CALL mixpeek.sync()', 'postgres', $bare);
is($own->stats->{requests}, 0, 'with nothing to do it sends nothing');
($rc, $out, $err) = $bare->psql('postgres', "\\set VERBOSITY verbose\nBEGIN; CALL mixpeek.sync()");
like($err, qr/2D000: mixpeek.sync\(\) cannot run inside a transaction block/, 'it is no part of a transaction');

done_testing();

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
	is(differences($table, $table, %option), '', "$name: the documents equal the rows");
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
follows('mirror() of a table with 2,500 rows', 'plain', "SELECT mixpeek.mirror('plain', 'plain')");
is($api->stats->{duplicates}, 0, 'mirror() of a table with 2,500 rows: no duplicates');
follows('DELETE of many rows', 'plain', 'DELETE FROM plain WHERE id > 5');
follows('INSERT', 'plain', "INSERT INTO plain VALUES (101, 'x'), (102, 'y'), (103, NULL)");
follows('UPDATE', 'plain', "UPDATE plain SET v = v || '!' WHERE id <> 1");
follows('UPDATE to null', 'plain', "UPDATE plain SET v = NULL WHERE id = 2");
follows('UPDATE of one key', 'plain', 'UPDATE plain SET id = 201 WHERE id = 101');
follows('UPDATE of one key, back to what it was', 'plain', 'UPDATE plain SET id = 101 WHERE id = 201');
follows('UPDATE of all keys', 'plain', 'UPDATE plain SET id = id + 1000');
follows('two rows that exchange their keys', 'plain', q{
	BEGIN;
	UPDATE plain SET id = -1 WHERE id = 1101;
	UPDATE plain SET id = 1101 WHERE id = 1102;
	UPDATE plain SET id = 1102 WHERE id = -1;
	COMMIT});
follows('DELETE of one row', 'plain', 'DELETE FROM plain WHERE id = 1001');
follows('a row deleted and inserted again in one transaction', 'plain', "BEGIN; DELETE FROM plain WHERE id = 1002; INSERT INTO plain VALUES (1002, 'again'); COMMIT");
follows('COPY', 'plain', "COPY plain FROM STDIN;\n1\tcopied\n2\t\\N\n3\ttab\\tand \"quotes\"\n\\.\n");
follows('ON CONFLICT', 'plain', q{
	INSERT INTO plain VALUES (1, 'upsert'), (7, 'inserted') ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v;
	INSERT INTO plain VALUES (1, 'nothing') ON CONFLICT DO NOTHING});
follows('MERGE', 'plain', q{
	MERGE INTO plain p USING (VALUES (1, 'merged'), (2, NULL), (8, 'new')) AS n (id, v) ON p.id = n.id
	 WHEN MATCHED AND n.v IS NULL THEN DELETE
	 WHEN MATCHED THEN UPDATE SET v = n.v
	 WHEN NOT MATCHED THEN INSERT VALUES (n.id, n.v)}) if $node->pg_version >= 15;
follows('a data-modifying WITH', 'plain', q{
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
is(sql('SELECT count(*) FROM plain WHERE id BETWEEN 401 AND 410'), '5', 'errors that are caught: half of the rows stay');
is(costs("BEGIN; INSERT INTO plain VALUES (501, 'x'); UPDATE plain SET v = 'x'; DELETE FROM plain WHERE id = 1; ROLLBACK"), '',
	'a rolled back transaction sends nothing');
is(sql('SELECT count(*) FROM mixpeek.outbox'), '0', 'a rolled back transaction leaves no entry in the outbox');
follows('a rolled back transaction', 'plain', '');
is(costs("BEGIN; INSERT INTO plain VALUES (501, 'x'); UPDATE plain SET v = 'y' WHERE id = 501; DELETE FROM plain WHERE id = 501; COMMIT"), '',
	'a row inserted and deleted in one transaction sends nothing');

# Prepared transactions

sql("BEGIN; INSERT INTO plain VALUES (601, 'prepared'); UPDATE plain SET v = 'prepared' WHERE id = 3; PREPARE TRANSACTION 'one'");
sql("BEGIN; INSERT INTO plain VALUES (602, 'prepared'); DELETE FROM plain WHERE id = 8; PREPARE TRANSACTION 'two'");
follows('a prepared transaction before COMMIT PREPARED', 'plain', '');
$node->restart;
follows('a prepared transaction after a restart of the server', 'plain', '');
follows('COMMIT PREPARED', 'plain', "COMMIT PREPARED 'one'");
is(sql('SELECT v FROM plain WHERE id = 601'), 'prepared', 'COMMIT PREPARED: the row is there');
is(costs("ROLLBACK PREPARED 'two'"), '', 'ROLLBACK PREPARED sends nothing');
follows('ROLLBACK PREPARED', 'plain', '');

# TRUNCATE

follows('TRUNCATE that is rolled back', 'plain', 'BEGIN; TRUNCATE plain; ROLLBACK');
follows('TRUNCATE and INSERT in one transaction', 'plain', q{
	BEGIN; INSERT INTO plain VALUES (701, 'goes'); TRUNCATE plain; INSERT INTO plain VALUES (1002, 'comes back'), (702, 'new'); COMMIT});
is(@{ $api->documents('plain') }, 2, 'TRUNCATE and INSERT in one transaction: two documents are left');
follows('TRUNCATE', 'plain', 'TRUNCATE plain');
is(@{ $api->documents('plain') }, 0, 'TRUNCATE leaves no document');
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
follows('INSERT with text keys', 'texts', "INSERT INTO texts VALUES $values");
follows('UPDATE with text keys', 'texts', "UPDATE texts SET v = 'new'");
follows('UPDATE of text keys', 'texts', "UPDATE texts SET id = id || '~'");
follows('INSERT with uuid keys', 'uuids', "INSERT INTO uuids (v) SELECT g FROM generate_series(1, 20) g");
follows('UPDATE with uuid keys', 'uuids', "UPDATE uuids SET v = v || '!' WHERE v::int % 2 = 0");
my $number = 0;
$values = join(', ', map { $number++; "($number, '$_', '2025-01-01'), ($number, '$_', 'infinity')" } @texts);
follows('INSERT with composite keys', 'composite', "SET DateStyle = German; INSERT INTO composite VALUES $values", %composite);
follows('UPDATE with composite keys', 'composite', "SET DateStyle = SQL; UPDATE composite SET v = 'new' WHERE a % 2 = 0", %composite);
follows('UPDATE of a part of composite keys', 'composite', "SET DateStyle = German; UPDATE composite SET c = c + 1 WHERE a < 5", %composite);
follows('DELETE with composite keys', 'composite', "DELETE FROM composite WHERE a > 7", %composite);
follows('INSERT with a replica identity index', 'identity', q{
	SET TimeZone = 'Asia/Kathmandu'; INSERT INTO identity SELECT g, timestamptz '2025-01-01 UTC' + g * interval '1 h', 'x' FROM generate_series(1, 5) g}, %identity);
follows('UPDATE and DELETE with a replica identity index', 'identity', q{
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
is(differences('types', 'types'), '', 'every type: the documents equal the rows');
is(sql(qq{
	SELECT x -> 'metadata' ->> 'f4', jsonb_typeof(x -> 'metadata' -> 'f4'), x -> 'metadata' ->> 'd', x -> 'metadata' -> 'v', x -> 'metadata' -> 'es', x -> 'metadata' ->> 'bin'
	  FROM jsonb_array_elements(@{[ there('types') ]}) x WHERE x -> 'metadata' ->> 'id' = '1'}),
	'NaN|string|infinity|[1, 2.5, -0.00000000000000000003]|["sad", null]|\x00ff5c22', 'every type: JSON of some values');
follows('UPDATE of what generated columns are made of', 'types', "UPDATE types SET n = 7, vc = 'abc' WHERE id = 5");
is(sql(qq{SELECT x -> 'metadata' ->> 'sum', x -> 'metadata' ->> 'up'
	FROM jsonb_array_elements(@{[ there('types') ]}) x WHERE x -> 'metadata' ->> 'id' = '5'}), '14|ABC', 'generated columns: their values are in the document');
follows('UPDATE of a table with every type', 'types', "UPDATE types SET j = '[]', f8 = 'NaN', ts = now(), js = NULL");

sql(q{
	CREATE TABLE toasted (id int PRIMARY KEY, a text, b text, c jsonb);
	ALTER TABLE toasted ALTER a SET STORAGE EXTERNAL;
	SELECT mixpeek.mirror('toasted', 'toasted');
	INSERT INTO toasted SELECT g, repeat('€' || g, 20000), repeat(md5(g::text), 10000), jsonb_build_object('k', repeat(g::text, 50000)) FROM generate_series(1, 3) g;
});
is(differences('toasted', 'toasted'), '', 'TOASTed values: the documents equal the rows');
follows('UPDATE that does not touch a TOASTed value', 'toasted', "UPDATE toasted SET b = 'short' WHERE id = 1");
follows('UPDATE that changes a TOASTed value', 'toasted', "UPDATE toasted SET a = a || '.' WHERE id = 2");
is(costs('UPDATE toasted SET a = a, c = c'), '', 'an UPDATE that writes the same TOASTed values sends nothing');

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
follows('INSERT into a partitioned table', 'parted', "INSERT INTO parted VALUES ('eu', 2, 'b'), ('eu', 150, 'c'), ('us', 1, 'd'), ('us', 5, 'e')", %parted);
follows('INSERT into and UPDATE of partitions directly', 'parted', "INSERT INTO parted_us VALUES ('f', 3, 'us'); UPDATE parted_eu_1 SET v = 'g' WHERE id = 2", %parted);
follows('rows that move to other partitions', 'parted', "UPDATE parted SET region = 'us' WHERE id = 2; UPDATE parted SET id = 120 WHERE id = 1 AND region = 'eu'; UPDATE parted SET region = 'eu' WHERE id = 3", %parted);
follows('a row that moves to another partition and back in one transaction', 'parted', "BEGIN; UPDATE parted SET region = 'us' WHERE id = 3; UPDATE parted SET region = 'eu' WHERE id = 3; COMMIT", %parted);
follows('INSERT into a new partition', 'parted', "CREATE TABLE parted_as PARTITION OF parted FOR VALUES IN ('as'); INSERT INTO parted VALUES ('as', 1, 'h')", %parted);
follows('DELETE from a partitioned table and from a partition', 'parted', "DELETE FROM parted WHERE id = 5; DELETE FROM parted_eu WHERE id = 150", %parted);
is(sql("SELECT DISTINCT relation FROM mixpeek.documents WHERE collection = 'parted'"), 'parted', 'records of partitions belong to the topmost table');
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
follows('UPDATE of a key that moves its row to another partition', 'hashed', 'UPDATE hashed SET id = id + 1000 WHERE id % 3 = 0', key => 't.id::text');
follows('TRUNCATE of a partitioned table', 'parted', 'TRUNCATE parted', %parted);
is(@{ $api->documents('parted') }, 0, 'TRUNCATE of a partitioned table leaves no document');

# What a change costs

is(costs("UPDATE plain SET v = v"), '', 'an UPDATE that changes nothing sends nothing');
is(costs("UPDATE plain SET v = 'x' WHERE id = 1"), 'updates=1', 'an UPDATE that changes a row is one request');
is(costs("BEGIN; UPDATE plain SET v = 'y' WHERE id = 1; UPDATE plain SET v = 'x' WHERE id = 1; COMMIT"), '', 'a row changed and changed back in one transaction sends nothing');
is(costs("INSERT INTO plain VALUES (801, 'x')"), 'creates=1', 'an INSERT is one request');
is(costs("DELETE FROM plain WHERE id = 801"), 'deletes=1', 'a DELETE is one request');
sql(q{
	CREATE TABLE partly (id int PRIMARY KEY, a text, b text);
	SELECT mixpeek.mirror('partly', 'partly', '{"metadata": {"a": "$a"}}');
	INSERT INTO partly SELECT g, 'a', 'b' FROM generate_series(1, 10) g;
});
is(differences('partly', 'partly', row => q{jsonb_build_object('a', t.a)}), '', 'a template with one column: the documents have that column');
is(costs("UPDATE partly SET b = 'c'"), '', 'an UPDATE of a column that is not in the template sends nothing');
is(costs("UPDATE partly SET a = 'c', b = 'd' WHERE id <= 3"), 'updates=3', 'an UPDATE of a column in the template is a request a row');

settle();
$api->stop;
sql(join(';', map { "UPDATE plain SET v = 'update $_' WHERE id = 1" } 1 .. 10));
wait_for('the worker to have tried', sub { sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'plain'::regclass AND state = 'pending'") });
sql(join(';', map { "UPDATE plain SET v = 'later update $_' WHERE id = 1" } 1 .. 10));
$api->start;
is(differences('plain', 'plain'), '', 'updates while the API is down: the documents equal the rows in the end');
is($api->stats->{updates}, 1, 'twenty updates of a row while the API is down are one request when it is back');

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
	'', 'a template: metadata');
is(sql(qq{SELECT x -> 'source_details' -> 0 ->> 'object_id', jsonb_typeof(x -> 'source_details' -> 0 -> 'object_id'), x #> '{source_details,0,source_blobs,0,data}',
	x -> 'features' -> 0 -> 'vectors', x -> 'features' -> 0 -> 'payload', x -> 'shop_id'
	FROM jsonb_array_elements(@{[ there('shaped') ]}) x ORDER BY x -> 'shop_id'}),
	qq{1|string|"https://x/1.jpg"|{"embedding": [1, 2.5]}|{"id": 1}|1\n2|string|null|||2}, 'a template: source_details, features, and a field at the root');
my $ids = q{SELECT string_agg(document_id, ' ' ORDER BY key) FROM mixpeek.documents WHERE relation = 'shaped'::regclass};
my @before = split(/ /, sql($ids));
is(costs("UPDATE shaped SET name = 'tablet' WHERE id = 1"), 'updates=1', 'a change outside the features updates the document');
is(sql($ids), "@before", "a change outside the features keeps the document's id");
is(costs("UPDATE shaped SET vec = '{1,2.5,3}' WHERE id = 1"), 'creates=1 deletes=1', 'a change of the features replaces the document');
my @after = split(/ /, sql($ids));
isnt($after[0], $before[0], 'a replaced document: its record has the new id');
is($after[1], $before[1], 'a replaced document: other records keep their ids');
is(sql(qq{SELECT x ->> 'document_id', x #> '{features,0,vectors,embedding}', x -> 'metadata' ->> 'name' FROM jsonb_array_elements(@{[ there('shaped') ]}) x WHERE x -> 'shop_id' = '1'}),
	"$after[0]|[1, 2.5, 3]|tablet", 'a replaced document has the new vector');
is(costs("UPDATE shaped SET vec = '{7}' WHERE id = 2"), 'creates=1 deletes=1', 'a vector where there was none replaces the document');

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
is(differences('plain', 'plain'), '', 'a template with a dropped column: other tables are not affected');
my @failed = split(/\n/, sql("SELECT key, state, last_error FROM mixpeek.documents WHERE relation = 'broken'::regclass ORDER BY key"));
like($failed[0], qr/^1\|failed\|.*column "b"/, 'a template with a dropped column: a changed row fails, with the reason');
like($failed[1], qr/^2\|mirrored\|$/, 'a template with a dropped column: an unchanged row stays mirrored');
like($failed[2], qr/^3\|failed\|.*column "b"/, 'a template with a dropped column: a new row fails, with the reason');
like(sql("SELECT problem FROM mixpeek.mirrors WHERE relation = 'broken'::regclass"), qr/column "b"/, 'a template with a dropped column: mixpeek.mirrors says it');
is($api->stats->{creates}, 1, 'a template with a dropped column: nothing is sent for its rows');
my $wanted = q{jsonb_build_object('a', t.a)};
follows('mirror() with a new template after failures', 'broken', q{SELECT mixpeek.mirror('broken', 'broken', '{"metadata": {"a": "$a"}}')}, row => $wanted);
sql('DROP TABLE broken');
is(sql(q{SELECT (SELECT count(*) FROM mixpeek.documents WHERE collection = 'broken') + (SELECT count(*) FROM mixpeek.outbox) + (SELECT count(*) FROM mixpeek.mirrors WHERE collection = 'broken')}),
	'0', 'DROP TABLE leaves no record, no entry and no mirror');

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
is(differences('told', 'told', row => $wanted), '', 'write-back columns are not mirrored');
my $back = q{SELECT count(*) FROM told t JOIN mixpeek.documents d ON d.relation = 'told'::regclass AND d.key = t.id::text
	WHERE t.doc_id = d.document_id AND t.came_back = d.enrichments AND d.enrichments #>> '{taxonomies,0,label}' = t.section};
is(sql($back), '2', "write-back columns have the documents' ids and enrichments");
is(sql('SELECT count(*) FROM audit'), '2', 'a write-back is one UPDATE a row');
is(costs("INSERT INTO told VALUES (3, 'misc')"), 'creates=1', 'an INSERT that is written back is not sent again');
is(costs("UPDATE told SET section = 'games' WHERE id = 1"), 'updates=1', 'an UPDATE that is written back is not sent again');
is(sql($back), '3', 'write-back columns are up to date in all rows');
is(costs("UPDATE told SET doc_id = 'mine', came_back = NULL WHERE id = 2"), '', "a user's UPDATE of write-back columns is not sent");

# What came back, in both contracts

foreach my $contract ('2025-09', '2026-02')
{
	foreach my $enrich ('now', 'later:1')
	{
		subtest "enrichments in the contract of $contract, which come $enrich" => sub { comes_back($contract, $enrich) };
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
	is(differences($table, $table, %option), '', 'INSERT: the documents equal the rows');
	my $labels = qq{SELECT string_agg(key || ' ' || taxonomy_id || ' ' || label || ' ' || (score BETWEEN 0.5 AND 1), ',' ORDER BY key) FROM mixpeek.taxonomies WHERE relation = '$table'::regclass};
	my $taxonomy = $flat ? 'debian' : 'tax_debian';
	wait_for('the enrichments', sub { sql($labels) eq "1 $taxonomy libs true,2 $taxonomy web true" });
	pass('INSERT: labels are in mixpeek.taxonomies');

	# Each field as the document has it.
	is(sql(qq{
		SELECT count(*) FROM mixpeek.taxonomies t JOIN mixpeek.documents d USING (relation, collection, key, document_id),
		       LATERAL mixpeek.get_document(d.collection, d.document_id, server => 'server_$table') a
		 WHERE relation = '$table'::regclass AND (} . ($flat ?
			q{a ->> 'taxonomy_debian_label' = t.label AND (a -> 'taxonomy_debian_score')::float8 = t.score AND node_id IS NULL AND path IS NULL} :
			q{a #> '{enrichments,taxonomies,0}' = to_jsonb(t) - '{relation,collection,key,document_id}'::text[]}) . ')'),
		'2', 'mixpeek.taxonomies has every field');
	is(sql(qq{
		SELECT count(*) FROM mixpeek.clusters c JOIN mixpeek.documents d USING (relation, collection, key, document_id),
		       LATERAL mixpeek.get_document(d.collection, d.document_id, server => 'server_$table') a
		 WHERE relation = '$table'::regclass AND (} . ($flat ?
			q{a ->> 'cluster_id' = c.cluster_id AND (a -> 'cluster_distance')::float8 = c.distance_to_centroid AND coordinates IS NULL} :
			q{a #> '{enrichments,clusters,0}' = jsonb_build_object('cluster_id', c.cluster_id, 'document_id', c.member_document_id, 'coordinates', to_jsonb(c.coordinates),
				'distance_to_centroid', c.distance_to_centroid, 'features', c.features, 'source_details', jsonb_build_object('type', source_type, 'source_id', source_id))}) . ')'),
		'2', 'mixpeek.clusters has every field');
	wait_for('the columns', sub {
		sql(qq{SELECT count(*) FROM $table t JOIN mixpeek.documents d ON d.relation = '$table'::regclass AND d.key = t.id::text
			WHERE t.doc_id = d.document_id AND t.came_back = d.enrichments}) == 2 });
	pass('ids and enrichments are written back');

	sql("UPDATE $table SET section = 'games' WHERE id = 1; DELETE FROM $table WHERE id = 2; INSERT INTO $table VALUES (3, 'net')");
	is(differences($table, $table, %option), '', 'changes: the documents equal the rows');
	wait_for('the new labels', sub { sql($labels) eq "1 $taxonomy games true,3 $taxonomy net true" });
	pass('changes: mixpeek.taxonomies has the new labels and no others');
	my $stats = $other->stats;
	is_deeply([ @$stats{qw(creates updates deletes documents duplicates)} ], [ 3, 1, 1, 2, 0 ], 'no request was sent twice');
	is(sql(qq{SELECT key FROM mixpeek.documents WHERE relation = '$table'::regclass AND enrichments @> '} .
		($flat ? '{"taxonomy_debian_label": "net"}' : '{"taxonomies": [{"label": "net"}]}') . q{'}), '3', 'a record is found by what its enrichments contain');
	is(sql("SELECT mixpeek.refresh('$table')"), '2', 'refresh() returns the number of documents');
	settle();
	sql("SELECT mixpeek.unmirror('$table', delete_documents => true)");
	settle();
	is($other->stats->{documents}, 0, 'unmirror() with delete_documents deletes all documents');
	$other->stop;
	return;
}

# Mirroring again

is(costs("SELECT mixpeek.mirror('plain', 'plain')"), '', 'mirror() of a mirrored table sends nothing');
is(costs("SELECT mixpeek.unmirror('plain')"), '', 'unmirror() sends nothing');
is(sql("SELECT count(*) FROM mixpeek.documents WHERE collection = 'plain'"), '0', 'unmirror() removes the records');
my $count = @{ $api->documents('plain') };
sql("INSERT INTO plain VALUES (951, 'while it was not mirrored'); UPDATE plain SET v = 'so was this' WHERE id = 2");
unlike(costs("SELECT mixpeek.mirror('plain', 'plain')"), qr/deletes|creates=(?!1\b)/, 'mirror() after unmirror() looks up the documents');
is(differences('plain', 'plain'), '', 'mirror() after unmirror(): the documents equal the rows');
is(@{ $api->documents('plain') }, $count + 1, 'mirror() after unmirror() creates the document of the new row only');
sql("INSERT INTO plain SELECT g, 'two collections' FROM generate_series(2001, 2005) g; SELECT mixpeek.mirror('plain', 'second', backfill => true)");
is(differences('plain', 'plain'), '', "two mirrors of a table: the first one's documents equal the rows");
is(differences('plain', 'second'), '', "two mirrors of a table: the second one's documents equal the rows");
sql("UPDATE plain SET v = 'both' WHERE id > 2003; DELETE FROM plain WHERE id = 2001");
is(differences('plain', 'plain') . differences('plain', 'second'), '', 'two mirrors of a table: the documents of both follow changes');
sql("SELECT mixpeek.unmirror('plain', 'second', delete_documents => true)");
settle();
is(@{ $api->documents('second') }, 0, 'unmirror() with delete_documents deletes the documents of its collection');
is(differences('plain', 'plain'), '', "unmirror() with delete_documents keeps those of the table's other collection");
sql('ALTER TABLE plain DISABLE TRIGGER USER; UPDATE plain SET v = $$unseen$$ WHERE id = 3; DELETE FROM plain WHERE id = 4; ALTER TABLE plain ENABLE TRIGGER USER');
isnt(differences('plain', 'plain'), '', 'changes while triggers are disabled are not mirrored');
follows('mirror() after changes while triggers were disabled', 'plain', "SELECT mixpeek.mirror('plain', 'plain')");

# A hand-written trigger

sql(q{
	CREATE TABLE hand (id int PRIMARY KEY, v text);
	CREATE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON hand FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('hand', 'server=mixpeek');
	INSERT INTO hand VALUES (1, 'x'), (2, 'y');
});
follows('UPDATE of a table with a hand-written mirror trigger', 'hand', "UPDATE hand SET v = 'z' WHERE id = 1");
follows('UPDATE of a key of a table with a hand-written mirror trigger', 'hand', "UPDATE hand SET id = 7 WHERE id = 1");

# mixpeek.wait()

$api->faults({ kind => 'delay', body => 'slow', ms => 2000, when => 'before' });
sql("INSERT INTO hand VALUES (9, 'slow')");
is(sql("SELECT mixpeek.wait('0')"), 'f', "wait('0') returns false when there is something to do");
is(sql("SELECT mixpeek.wait(NULL)"), 't', 'wait(NULL) returns true');
is(sql("SELECT state FROM mixpeek.documents WHERE relation = 'hand'::regclass AND key = '9'"), 'mirrored', 'wait(NULL) returns when the row is mirrored');
$api->faults({ kind => 'status', status => 422, body => 'refused' });
sql("INSERT INTO hand VALUES (10, 'refused')");
is(sql("SELECT mixpeek.wait('3 min')"), 't', 'wait() returns true when the row has failed');
is(sql("SELECT state FROM mixpeek.documents WHERE relation = 'hand'::regclass AND key = '10'"), 'failed', 'a row that the API refuses has failed');
$api->faults();
follows('retry() of a failed row', 'hand', "SELECT mixpeek.retry('hand')");

# A dump that is restored has taken the original's place once somebody says so.

my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
settle();
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'pg_dump of a database with mirrors');
sql('CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], 'the dump is restored');
$api->reset;
my $log_offset = -s $node->logfile;
sql("INSERT INTO hand VALUES (20, 'only in the copy'); UPDATE hand SET v = 'changed in the copy' WHERE id = 7", 'restored');
wait_for('the worker to see the copy', sub { slurp_file($node->logfile) =~ /nothing is mirrored: this database is a copy/ });
my ($rc, $out, $err) = $node->psql('restored', "\\set VERBOSITY verbose\nSELECT mixpeek.wait('1 s')");
like($err, qr/55000: nothing is mirrored: this database is a copy.*adopt/s, 'wait() in a restored dump fails, and names adopt()');
is($api->stats->{requests}, 0, 'a restored dump sends nothing before adopt()');
sql('SELECT mixpeek.adopt()', 'restored');
is(differences('hand', 'hand', database => 'restored'), '', 'adopt() in a restored dump: the documents of table hand equal its rows');
is(differences('plain', 'plain', database => 'restored'), '', 'adopt() in a restored dump: the documents of table plain equal its rows');
is(differences('composite', 'composite', database => 'restored', %composite), '', 'adopt() in a restored dump: the documents of table composite equal its rows');
is(join(' ', @{ $api->stats }{qw(creates updates deletes duplicates)}), '1 1 0 0', 'adopt() in a restored dump: one create, one update, no duplicates');
is(sql('SELECT id FROM mixpeek.origin', 'restored'), sql('SELECT id FROM mixpeek.origin'), 'adopt() in a restored dump keeps the origin');
($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT mixpeek.adopt(as_copy => true)");
like($err, qr/55000: this database is not a copy/, 'adopt(as_copy) in the original fails');
follows('DELETE in a restored dump after adopt()', 'hand', 'DELETE FROM hand WHERE id = 20', database => 'restored');
is(sql("SELECT mixpeek.wait('3 min'), (SELECT count(*) FROM mixpeek.documents WHERE state <> 'mirrored')", 'restored'), 't|0', 'a restored dump after adopt(): all records are mirrored');

# An older dump knows less than the server does: its tables are mirrored anew, and what they have there is
# found by its marker.

sql('DROP DATABASE restored');
sql("UPDATE hand SET v = v || ' by the original'; INSERT INTO hand VALUES (30, 'after the dump'); DELETE FROM hand WHERE id = 2");
settle();
sql('CREATE DATABASE older TEMPLATE template0');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('older') ], 'an older dump is restored');
sql("SELECT mixpeek.adopt(); INSERT INTO hand VALUES (30, 'of the older one')", 'older');
settle('older');
is($api->stats->{duplicates}, 0, 'an older dump after adopt(): no duplicates, though the original went on');
sql("SELECT mixpeek.unmirror('hand'); SELECT mixpeek.mirror('hand', 'hand')", 'older');
is(differences('hand', 'hand', database => 'older'), '', 'an older dump, mirrored anew: the documents equal the rows');
is($api->stats->{duplicates}, 0, 'an older dump, mirrored anew: no duplicates');
follows('DELETE in an older dump', 'hand', 'DELETE FROM hand WHERE id = 2', database => 'older');
sql('DROP DATABASE older');
sql("SELECT mixpeek.unmirror('hand')");
follows('mirror() anew in the original', 'hand', "SELECT mixpeek.mirror('hand', 'hand')");

# CREATE DATABASE ... TEMPLATE is a copy with documents of its own.

my $own = MixpeekTest::Server->new(enrich => 'now');
$api->reset;
sql('CREATE DATABASE staging TEMPLATE postgres');
sql("UPDATE hand SET v = 'staging'; DELETE FROM hand WHERE id = 9; TRUNCATE plain; INSERT INTO plain VALUES (1, 'staging')", 'staging');
wait_for('the worker to see the copy', sub { slurp_file($node->logfile, $log_offset) =~ /nothing is mirrored: this database is a copy/ });
($rc, $out, $err) = $node->psql('staging', 'CALL mixpeek.sync()');
like($err, qr/a worker mirrors this database|nothing is mirrored: this database is a copy/, 'sync() in a copy by CREATE DATABASE ... TEMPLATE fails');
is($api->stats->{requests}, 0, 'a copy by CREATE DATABASE ... TEMPLATE sends nothing');
sql("ALTER SERVER mixpeek OPTIONS (SET base_url '@{[ $own->url ]}'); SELECT mixpeek.adopt(as_copy => true)", 'staging');
is(differences('hand', 'hand', database => 'staging', server => $own), '', 'adopt(as_copy): the copy has documents of its own for table hand');
is(differences('plain', 'plain', database => 'staging', server => $own), '', 'adopt(as_copy): the copy has documents of its own for table plain');
is($api->stats->{requests}, 0, "adopt(as_copy) sends nothing to the original's API");
isnt(sql('SELECT id FROM mixpeek.origin', 'staging'), sql('SELECT id FROM mixpeek.origin'), 'adopt(as_copy) makes a new origin');
sql('DROP DATABASE staging');
is(differences('hand', 'hand'), '', 'the original after its copy was adopted: the documents equal the rows');
is($api->stats->{duplicates}, 0, 'the original after its copies were adopted: no duplicates');

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
like($err, qr/55000: no worker mirrors this database.*shared_preload_libraries/s, 'wait() without a worker fails, and names shared_preload_libraries');
is($own->stats->{requests}, 0, 'wait() without a worker sends nothing');
sql('CALL mixpeek.sync()', 'postgres', $bare);
is(sql("SELECT count(*) FROM mixpeek.outbox", 'postgres', $bare), '0', 'sync() without a worker empties the outbox');
is(differences('synced', 'synced', node => $bare, server => $own), '', 'sync() without a worker: the documents equal the rows');
sql("UPDATE synced SET v = 'w' WHERE id <= 10; DELETE FROM synced WHERE id > 1000; INSERT INTO synced VALUES (9000, 'new'); CALL mixpeek.sync()", 'postgres', $bare);
is(differences('synced', 'synced', node => $bare, server => $own), '', 'a second sync() without a worker: the documents equal the rows');
is($own->stats->{duplicates}, 0, 'sync() without a worker: no duplicates');
$own->reset;
sql('CALL mixpeek.sync()', 'postgres', $bare);
is($own->stats->{requests}, 0, 'sync() with nothing to do sends nothing');
($rc, $out, $err) = $bare->psql('postgres', "\\set VERBOSITY verbose\nBEGIN; CALL mixpeek.sync()");
like($err, qr/2D000: mixpeek.sync\(\) cannot run inside a transaction block/, 'sync() fails in a transaction block');

done_testing();

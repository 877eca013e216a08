# Keys of one and several columns, values of every type, values that are TOASTed.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;

my (undef, $api) = mirror_node();

# Keys

my @texts = ('', ' ', 'a,b', '(x)', '"q"', "it''s", '\\', 'ü/?#%2F', 'x:y:z', 'NULL', '{}', "tab\tnew\nline",
	'k' x 1500);
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
follows('INSERT with composite keys', 'composite', "SET DateStyle = German; INSERT INTO composite VALUES $values",
	%composite);
follows('UPDATE with composite keys', 'composite',
	"SET DateStyle = SQL; UPDATE composite SET v = 'new' WHERE a % 2 = 0", %composite);
follows('UPDATE of a part of composite keys', 'composite',
	"SET DateStyle = German; UPDATE composite SET c = c + 1 WHERE a < 5", %composite);
follows('DELETE with composite keys', 'composite', "DELETE FROM composite WHERE a > 7", %composite);
follows('INSERT with a replica identity index', 'identity', q{
	SET TimeZone = 'Asia/Kathmandu'; INSERT INTO identity SELECT g, timestamptz '2025-01-01 UTC' + g * interval '1 h',
		'x' FROM generate_series(1, 5) g}, %identity);
follows('UPDATE and DELETE with a replica identity index', 'identity', q{
	SET TimeZone = 'America/New_York'; UPDATE identity SET v = 'y' WHERE a = 1; UPDATE identity SET b = b + '1 day'
		WHERE a = 2;
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
		bin bytea, u uuid, bits varbit(9), mac macaddr, ip inet, r int4range, mr datemultirange, pt point, x xml,
			o oid, m money,
		e mood, es mood[], p percent, v vector, pr pair, prs pair[],
		ints int[], texts text[], two float8[], stamps timestamptz[],
		j json, jb jsonb, js jsonb[], ts_v tsvector,
		sum numeric GENERATED ALWAYS AS (n * 2) STORED, up text GENERATED ALWAYS AS (upper(vc)) STORED);
	SELECT mixpeek.mirror('types', 'types');
	INSERT INTO types VALUES (1,  E'\u00fc \U0001f600 \t \u0001 \\\\ "',
		-32768, 9223372036854775807, 'NaN', 'Infinity', 'NaN', true, 'ab', 'ünïcö', 'name',
		'infinity', '24:00', '12:00+05:45', '-infinity', '2025-07-01 12:00:00.123456+02', '1 year -2 days 03:04:05.6',
		'\x00ff5c22', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '101', '08:00:2b:01:02:03', '::1/64', '[1,5)',
			'{[2025-01-01,2025-02-01)}', '(1,2)', an_xml(), 4294967295, '1.5',
		'it''s "ok"', '{sad,NULL}', 99.90, '{1,2.5,-3e-20}', '(1,"a, b")', '{"(1,x)","(,)"}',
		'{1,NULL,3}', '{"",NULL,"a,b","\""}', '{{1,2},{3,4}}', '{"2025-01-01 00:00+00",infinity}',
		'{"b": 1, "a": [1.10, {"deep": [[[]]]}], "b": 2}',
			'{"x": {"y": [null, true, 1e400, -0.0, "\u00fc"]}, "mixpeek_docs": 1}', '{"{}","[1]"}', 'a:1 b:2'),
	  (2, '', 0, 0, '-0', '-Infinity', 123456789012345678901234567890.123456789000, false, '', '', '',
		'0044-03-15 BC', '00:00', '00:00+00', '294276-12-31', '4713-01-01 BC', '0', '',
		'00000000-0000-0000-0000-000000000000', '', NULL, '0.0.0.0/0', 'empty', '{}', NULL, NULL, 0, 0,
		'sad', '{}', 0, '{}', '(,)', '{}', '{}', '{}', '{}', '{}', 'null', 'null', '{}', '');
	INSERT INTO types VALUES
	  (3, NULL, NULL, -1, '1e-45', '2.2250738585072014e-308', 1e-100),
	  (4, NULL, NULL, NULL, '3.4028235e38', '0.1', 'Infinity'),
	  (5, NULL, 1, 9007199254740993, '0.1', '1e23', 1.50);
});
is(differences('types', 'types'), '', 'every type: the documents equal the rows');
is(sql(qq{
	SELECT x -> 'metadata' ->> 'f4', jsonb_typeof(x -> 'metadata' -> 'f4'), x -> 'metadata' ->> 'd',
		x -> 'metadata' -> 'v', x -> 'metadata' -> 'es', x -> 'metadata' ->> 'bin'
	  FROM jsonb_array_elements(@{[ stored('types') ]}) x WHERE x -> 'metadata' ->> 'id' = '1'}),
	'NaN|string|infinity|[1, 2.5, -0.00000000000000000003]|["sad", null]|\x00ff5c22',
		'every type: JSON of some values');
follows('UPDATE of what generated columns are made of', 'types', "UPDATE types SET n = 7, vc = 'abc' WHERE id = 5");
is(sql(qq{SELECT x -> 'metadata' ->> 'sum', x -> 'metadata' ->> 'up'
	FROM jsonb_array_elements(@{[ stored('types') ]}) x WHERE x -> 'metadata' ->> 'id' = '5'}), '14|ABC',
		'generated columns: their values are in the document');
follows('UPDATE of a table with every type', 'types', "UPDATE types SET j = '[]', f8 = 'NaN', ts = now(), js = NULL");

sql(q{
	CREATE TABLE toasted (id int PRIMARY KEY, a text, b text, c jsonb);
	ALTER TABLE toasted ALTER a SET STORAGE EXTERNAL;
	SELECT mixpeek.mirror('toasted', 'toasted');
	INSERT INTO toasted SELECT g, repeat('€' || g, 20000), repeat(md5(g::text), 10000), jsonb_build_object('k',
		repeat(g::text, 50000)) FROM generate_series(1, 3) g;
});
is(differences('toasted', 'toasted'), '', 'TOASTed values: the documents equal the rows');
follows('UPDATE that does not touch a TOASTed value', 'toasted', "UPDATE toasted SET b = 'short' WHERE id = 1");
follows('UPDATE that changes a TOASTed value', 'toasted', "UPDATE toasted SET a = a || '.' WHERE id = 2");
is(costs('UPDATE toasted SET a = a, c = c'), '', 'an UPDATE that writes the same TOASTed values sends nothing');

done_testing();

# Tables that the worker reads by itself, with many rows, with partitions, and locked ones; and tables that it must not
# read, since a user's function could be called.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;
use MixpeekTest::Native;

my ($node, $api) = native_node();
sql(q{CREATE TYPE color AS ENUM ('red', 'Dark "blue"')});

# Keys are listed in their order, some at a time, and none is left out.
{
	sql(q{CREATE TABLE many (a text COLLATE "C", b int, c date, PRIMARY KEY (a, b, c));
		INSERT INTO many SELECT chr(65 + i % 3), i / 30, date '2024-01-01' + i FROM generate_series(0, 4499) i;
		CREATE TABLE falling (a int NOT NULL, b int NOT NULL);
		CREATE UNIQUE INDEX falling_key ON falling (a DESC, b); ALTER TABLE falling REPLICA IDENTITY
			USING INDEX falling_key;
		INSERT INTO falling SELECT i % 2, i FROM generate_series(0, 2999) i});
	mirror('many'); mirror('falling');
	settle();
	is(mirrored('many'), '4500|', 'key of three columns: 4,500 rows are mirrored');
	is(mirrored('falling'), '3000|', 'replica identity with a descending column: 3,000 rows are mirrored');
	is(reader('falling'), 'owner', 'replica identity with a descending column: read as the owner');
	read_the_same('many', 'many rows');
}

# Partitions: by range, list and hash, of their own column order, below each other, and one that comes later.
{
	sql(q{CREATE TABLE parts (d date, n int, gone int, v text, e color DEFAULT 'red', PRIMARY KEY (n,
		d)) PARTITION BY RANGE (d);
		ALTER TABLE parts DROP COLUMN gone;
		CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
		CREATE TABLE parts_2 (v text, x int, e color, n int NOT NULL, d date NOT NULL);
		ALTER TABLE parts_2 DROP COLUMN x; ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES
			FROM ('2024-02-01') TO ('2024-03-01');
		CREATE TABLE parts_3 PARTITION OF parts FOR VALUES FROM ('2024-03-01') TO ('2024-04-01') PARTITION BY HASH (n);
		CREATE TABLE parts_3_0 PARTITION OF parts_3 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
		CREATE TABLE parts_3_1 PARTITION OF parts_3 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
		CREATE TABLE parts_default PARTITION OF parts DEFAULT;
		CREATE TABLE lists (k text PRIMARY KEY, v int) PARTITION BY LIST (k);
		CREATE TABLE lists_a PARTITION OF lists FOR VALUES IN ('a', 'b');
			CREATE TABLE lists_b PARTITION OF lists DEFAULT;
		CREATE TABLE empty (k int PRIMARY KEY) PARTITION BY HASH (k);
		INSERT INTO parts SELECT date '2023-12-20' + i % 120, i, 'v' || i FROM generate_series(1, 3500) i;
		INSERT INTO lists VALUES ('a', 1), ('b', 2), ('c', 3)});
	mirror($_) foreach qw(parts lists empty);
	settle();
	is(mirrored('parts'), '3500|', 'partitions by range and hash: rows are mirrored');
	is(mirrored('lists'), '3|', 'partitions by list: rows are mirrored');
	sql(q{CREATE TABLE parts_4 (LIKE parts); INSERT INTO parts_4 VALUES ('2025-01-01', -1, 'late');
		ALTER TABLE parts ATTACH PARTITION parts_4 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
		UPDATE parts SET v = v || '!'; UPDATE parts SET d = '2025-02-01' WHERE n = 5; DELETE FROM parts WHERE n = 7;
			ALTER TABLE parts DETACH PARTITION parts_1;
		INSERT INTO empty SELECT 1 WHERE false; UPDATE lists SET k = 'd' WHERE k = 'a'});
	settle();
	is(sql(q{SELECT count(*) FROM parts p JOIN mixpeek.documents d ON d.key = format('(%s,%s)', n, p.d)
		AND d.collection = 'parts' AND state = 'mirrored'}),
		sql('SELECT count(*) FROM parts'), 'partitions attached and detached, and rows that move: rows are mirrored');
	is(sql(q{SELECT string_agg(key, ' ' ORDER BY key) FROM mixpeek.documents WHERE collection = 'lists'}), 'b c d',
		'partitions by list: a key that moves its row');
	sql(q{DELETE FROM mixpeek.documents WHERE collection = 'parts' AND NOT EXISTS (SELECT FROM parts p
		WHERE key = format('(%s,%s)', n, p.d))});
	read_the_same('parts', 'partitions');
	read_the_same('lists', 'partitions of a single column');

	sql(q{CREATE TABLE foreigners (k int, v text) PARTITION BY LIST (k);
		CREATE TABLE foreigners_1 PARTITION OF foreigners FOR VALUES IN (1);
		CREATE UNIQUE INDEX foreigners_key ON foreigners (k); ALTER TABLE foreigners ALTER k SET NOT NULL;
			ALTER TABLE foreigners REPLICA IDENTITY USING INDEX foreigners_key});
	mirror('foreigners');
	sql(q{INSERT INTO foreigners VALUES (1)});
	settle();
	is(reader('foreigners'), 'native', 'replica identity of partitions: read by the worker itself');
}

# A locked partition holds up its table, and nothing else.
{
	sql('CREATE TABLE locked (k int PRIMARY KEY) PARTITION BY LIST (k); CREATE TABLE locked_1 PARTITION OF locked FOR
		VALUES IN (1);
		CREATE TABLE locked_2 PARTITION OF locked DEFAULT; CREATE TABLE beside (k int PRIMARY KEY);
			CREATE TABLE moved (k int PRIMARY KEY)');
	mirror($_) foreach qw(locked beside moved);
	sql('INSERT INTO moved VALUES (1)');
	settle();
	my $session = $node->background_psql('postgres', on_error_stop => 1);
	$session->query_safe('BEGIN; LOCK TABLE ONLY locked_1; ALTER INDEX moved_pkey SET TABLESPACE pg_default');
	sql(q{INSERT INTO mixpeek.outbox (relation, operation, collection, key) VALUES ('moved'::regclass, 'K', 'moved',
		'1');
		GRANT SELECT ON moved TO PUBLIC; INSERT INTO locked VALUES (2); INSERT INTO beside VALUES (1)});
	wait_for('the table beside', sub { mirrored('beside') eq '1|' });
	is(mirrored('locked'), '0|', 'a table with a locked partition waits');
	is(sql(q{SELECT count(*) FROM mixpeek.outbox WHERE collection = 'moved'}), 1, 'a table whose index is moved waits');
	$session->query_safe('COMMIT');
	$session->quit;
	settle();
	is(mirrored('locked'), '1|', 'a table with a locked partition is mirrored when the lock is released');
}

# The worker does not read by itself what a user's function could be called for.
{
	my %table = (
		composite => 'k int PRIMARY KEY, v pair',
		composites => 'k int PRIMARY KEY, v pair[]',
		composite_key => 'k pair PRIMARY KEY',
		composite_keys => 'n int, k pair, PRIMARY KEY (n, k)',
		domain_of_composite => 'k int PRIMARY KEY, v pair_domain',
		range => 'k int PRIMARY KEY, v own_range',
		range_key => 'k own_range PRIMARY KEY',
		cast_enum => 'k int PRIMARY KEY, v own_enum',
		cast_enums => 'k int PRIMARY KEY, v own_enum[]',
		domain_elements_key => 'k domain_elements PRIMARY KEY',
		catalog_row => 'k int PRIMARY KEY, v pg_catalog.pg_am',
		no_privilege => 'k int PRIMARY KEY',
		policy => 'k int PRIMARY KEY',
	);
	my %value = (composite => q{1, '(1,a)'}, composites => q{1, '{"(1,a)"}'}, composite_key => q{'(1,"a b")'},
		composite_keys => q{1, '(1,"a b")'}, domain_of_composite => q{1, '(1,a)'}, range => q{1, '[1,2]'},
		range_key => q{'[1,2]'}, cast_enum => q{1, 'x'}, cast_enums => q{1, '{x}'}, catalog_row => q{1, NULL},
		no_privilege => '1', policy => '1', domain_elements_key => q{'{1}'});

	sql(q{CREATE TYPE pair AS (a int, b text); CREATE DOMAIN pair_domain AS pair CHECK ((VALUE).a > 0);
		CREATE DOMAIN element AS int CHECK (VALUE > 0); CREATE DOMAIN domain_elements AS element[];
			CREATE TYPE own_range AS RANGE (subtype = float8); CREATE TYPE own_enum AS ENUM ('x');
		CREATE FUNCTION enum_json(own_enum) RETURNS json LANGUAGE sql AS $$ SELECT json_build_object('cast',
			$1::text) $$;
		CREATE CAST (own_enum AS json) WITH FUNCTION enum_json(own_enum);
		CREATE ROLE poor; GRANT CREATE, USAGE ON SCHEMA public TO poor; GRANT USAGE ON FOREIGN SERVER mixpeek TO poor;
		CREATE USER MAPPING FOR poor SERVER mixpeek OPTIONS (api_key 'sk_test')});
	foreach my $table (sort keys %table)
	{
		sql("CREATE TABLE $table ($table{$table})");
		sql("ALTER TABLE $table OWNER TO poor; REVOKE SELECT ON $table FROM poor") if $table eq 'no_privilege';
		sql("ALTER TABLE $table ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY") if $table eq 'policy';
		sql("SELECT mixpeek.mirror('$table', '$table', backfill => false)");
		sql("INSERT INTO $table VALUES ($value{$table})");
	}
	settle();
	is(reader($_), 'owner', "$_: not read by the worker itself") foreach sort keys %table;
	foreach my $table (grep { $_ ne 'no_privilege' } sort keys %table)
	{
		is(mirrored($table), '1|', "$table: mirrored");
	}
	like(mirrored('no_privilege'), qr/permission denied/, 'an owner without SELECT: the row fails');
}

# Who reads a table is decided again when a cast or a type changes.
{
	sql(q{CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE moods (k int PRIMARY KEY, v mood)});
	mirror('moods');
	sql(q{INSERT INTO moods VALUES (1, 'good')});
	settle();
	is(reader('moods'), 'native', 'enum without a cast: read by the worker itself');
	sql(q{CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE sql AS $$ SELECT '"cast"'::json $$;
		CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood); UPDATE moods SET v = 'bad'});
	settle();
	is(reader('moods'), 'owner', 'enum with a new cast: read as the owner');
	is($api->documents('moods')->[0]{metadata}{v}, 'cast', 'enum with a new cast: the cast is used');
	sql(q{DROP CAST (mood AS json); ALTER TYPE mood ADD VALUE 'new'});
	sql(q{UPDATE moods SET v = 'new'});
	settle();
	is(reader('moods'), 'native', 'enum whose cast was dropped: read by the worker itself');
	is($api->documents('moods')->[0]{metadata}{v}, 'new', 'enum with a new label: the label is sent');
}

$node->stop;
done_testing();

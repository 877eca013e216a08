# Rows that the worker reads by itself: the same documents as a statement of the owner's gives, for every type
# and every kind of key, and never with a function that somebody has made.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;

my $node = mixpeek_node('native', q{
shared_preload_libraries = 'mixpeek_docs'
log_min_messages = debug1
max_worker_processes = 20
jit = off
});
my $api = MixpeekTest::Server->new(enrich => 'now');
create_server($node, 'mixpeek', $api);

sub sql
{
	my ($statement) = @_;
	return $node->safe_psql('postgres', $statement);
}

sub literal { return MixpeekTest::quote($_[0]); }

sub settle
{
	sql("SELECT mixpeek.wait('3 min')") eq 't' or die 'the mirror did not settle';
	return;
}

# What does not stand as mirrored among a table's lines, and how many do.
sub lines
{
	my ($table) = @_;
	return sql("SELECT count(*) FILTER (WHERE state = 'mirrored'), string_agg(DISTINCT last_error, '; ')
		FROM mixpeek.documents WHERE relation = '$table'::regclass");
}

# Who reads the table's rows, as the worker last said: 'native' or 'owner'.
sub reader
{
	my ($table) = @_;
	my @said = PostgreSQL::Test::Utils::slurp_file($node->logfile) =~
	  /rows of "\Q$table\E" are read by (PostgreSQL's own code|statements of their owner)/g;

	return !@said ? 'nobody' : $said[-1] =~ /own code/ ? 'native' : 'owner';
}

# The mirror's arguments as it is made.
sub mirror
{
	my ($table, $document, $collection) = @_;
	sql("SELECT mixpeek.mirror('$table', '" . ($collection // $table) . "'"
		  . (defined $document ? ', ' . literal($document) : '') . ')');
	return;
}

sub changes
{
	my $stats = $api->stats;
	return join(' ', map { "$_ $stats->{$_}" } qw(creates updates patches deletes));
}

# Whether all rows, once more looked at and read as their owner, are what has been sent: the content's
# hash says so. A policy that applies to the owner makes the worker keep its hands off.
sub read_the_same
{
	my ($table, $name, $document) = @_;
	my $before = changes();

	is(reader($table), 'native', "$name: read by the worker itself");
	sql("CREATE POLICY all_rows ON \"$table\" USING (true);
		 ALTER TABLE \"$table\" ENABLE ROW LEVEL SECURITY;
		 ALTER TABLE \"$table\" FORCE ROW LEVEL SECURITY");
	mirror($table, $document);
	settle();
	is(reader($table), 'owner', "$name: read as the owner");
	is(changes(), $before, "$name: both give the same documents");
	return;
}

# Values to be tried of each type: odd ones, those at the limits, those that settings change.
my %values = (
	bool => [qw(t f)],
	bytea => [ '', '\x', '\x00ff5c27', 'abc\\\\' ],
	char => [ 'a', '', '\377' ],
	name => [ 'n', '', 'with "quotes" \\ and ü' ],
	int2 => [qw(0 -32768 32767)],
	int4 => [qw(0 -2147483648 2147483647)],
	int8 => [qw(0 -9223372036854775808 9223372036854775807)],
	int2vector => [ '', '1 2 3', '-1' ],
	oidvector => [ '', '1 2 4294967295' ],
	oid => [qw(0 4294967295)],
	tid => ['(0,1)'], xid => ['3'], cid => ['4'], xid8 => ['18446744073709551615'],
	text => [ '', "a\tb\nc\r\"\\/", 'ü€😀', '{"a": 1}', "\x01\x1f\x7f", 'null', '$x' ],
	varchar => [ 'v', ' v ', '' ],
	bpchar => [ 'b', 'b   ', '' ],
	json => [ '{"a" : [1, 2.50, null],  "a":"b\u00e9"}', '3', '"x"', 'null', '[]' ],
	jsonb => [ '{"a": [1, 2.50, null], "b": {"c": "d"}}', '3', '"x"', 'null', '[]', '1e400' ],
	jsonpath => ['$.a[*] ? (@ > 1)'],
	xml => [ '<a b="c">d &amp; e</a>', '' ],
	point => ['(1.1,-2e300)'], lseg => ['[(0,0),(1,1)]'], path => [ '((0,0),(1,1))', '[(0,0)]' ],
	box => ['(1,1),(0,0)'], polygon => ['((0,0),(1,1),(1,0))'], line => ['{1,-1,0}'], circle => ['<(0,0),1.5>'],
	float4 => [qw(0 -0 0.1 1e38 NaN Infinity -Infinity 3.4028235e38)],
	float8 => [qw(0 -0 0.1 0.30000000000000004 1e-310 NaN Infinity -Infinity)],
	numeric => [qw(0 0.00 -1.50 1e100 NaN Infinity -Infinity 123456789012345678901234567890.123)],
	money => [qw(0 12345.67 -1)],
	macaddr => ['08:00:2b:01:02:03'], macaddr8 => ['08:00:2b:01:02:03:04:05'],
	inet => [ '10.1.2.3/8', '::1' ], cidr => [ '10.0.0.0/8', '::/0' ],
	aclitem => ['=r/' . 'pg_read_all_data'],
	date => [ '2024-02-29', 'infinity', '-infinity', '0044-03-15 BC', '5874897-12-31' ],
	time => [ '24:00', '00:00:00.000001' ], timetz => [ '12:00+15:59', '00:00-03' ],
	timestamp => [ '2024-02-29 12:00:00.5', 'infinity', '-infinity', '0044-03-15 BC', '294276-12-31' ],
	timestamptz => [ '2024-02-29 12:00:00.5+02', 'infinity', '-infinity', '0044-03-15 00:00+00 BC' ],
	interval => [ '1 mon -2 days 03:04:05.6', '-1 year', '0' ],
	bit => ['1'], varbit => [ '', '10101' ],
	refcursor => ['c'], uuid => ['00000000-0000-0000-0000-0000000000ff'], pg_lsn => ['FFFFFFFF/FFFFFFFF'],
	tsvector => ["'a':1 'b\"c':2A"], tsquery => ["'a' & !'b'"],
	regproc => ['now'], regprocedure => ['lower(text)'], regoper => ['||/'], regoperator => ['+(int4,int4)'],
	regclass => [ 'public.odd', 'pg_class', '4000000000' ], regtype => [ 'int4', 'numeric(3)', 'public.color' ],
	regrole => ['pg_monitor'], regnamespace => ['public'], regcollation => ['"C"'],
	regconfig => ['english'], regdictionary => ['simple'], regdatabase => ['postgres'],
	txid_snapshot => ['10:20:10,14'], pg_snapshot => ['10:20:10,14'],
	int4range => [ 'empty', '[1,10)', '(,)', '[,5)' ], int8range => ['[1,10)'], numrange => ['(1.50,2.5]'],
	daterange => ['[2024-01-01,infinity)'], tsrange => ['["2024-01-01 00:00",)'],
	tstzrange => ['["2024-01-01 00:00+03",)'],
	int4multirange => [ '{}', '{[1,2),[5,)}' ], int8multirange => ['{[1,2)}'], nummultirange => ['{(1.50,2.5]}'],
	datemultirange => ['{[2024-01-01,)}'], tsmultirange => ['{["2024-01-01 00:00",)}'],
	tstzmultirange => ['{["2024-01-01 00:00+03",)}'],
	oid8 => ['1'],
);
sql(q{CREATE TYPE public.color AS ENUM ('red', 'Dark "blue"', 'a,b', 'NULL', ''); CREATE TABLE public.odd (id int PRIMARY KEY)});

# A session whose settings are all other ones.
my $odd_session = q{SET datestyle = 'German'; SET intervalstyle = 'sql_standard'; SET timezone = 'Asia/Kathmandu';
	SET extra_float_digits = -10; SET bytea_output = 'escape'; SET xmlbinary = 'hex'; SET search_path = public;
	SET quote_all_identifiers = on; SET lc_monetary = 'C.UTF-8';};

# Types of columns: all that initdb makes, as they are and as an array.
{
	my @types = split(/\n/, sql(q{SELECT typname FROM pg_type WHERE oid < 12000 AND typtype IN ('b', 'r', 'm')
		AND typcategory <> 'A' ORDER BY oid}));
	my %unreadable = map { $_ => 1 } qw(pg_node_tree pg_ndistinct pg_dependencies pg_mcv_list gtsvector
	  pg_brin_bloom_summary pg_brin_minmax_multi_summary);
	my @columns;
	my $xml = eval { sql(q{SELECT '<a/>'::xml}); 1 };

	is_deeply([ grep { !$values{$_} && !$unreadable{$_} } @types ], [], 'there are values of every type');
	sql('DROP TABLE odd; CREATE TABLE odd (id int PRIMARY KEY, ' . join(', ', map {
		my $array = sql("SELECT typarray <> 0 FROM pg_type WHERE typname = '$_' AND oid < 12000") eq 't';
		push @columns, [ "v_$_", "pg_catalog.\"$_\"", 0, $values{$_} ];
		push @columns, [ "a_$_", "pg_catalog.\"$_\"\[\]", 1, $values{$_} ] if $array;
		"v_$_ pg_catalog.\"$_\"" . ($array ? ", a_$_ pg_catalog.\"$_\"\[\]" : '')
	} @types) . ')');
	foreach my $i (0 .. 8)
	{
		my @values = map {
			my ($name, $type, $is_array, $list) = @$_;
			my @list = $list && ($name !~ /_xml$/ || $xml) ? @$list : ();
			!@list || $i == 8 ? 'NULL'
			  : !$is_array ? literal($list[ $i % @list ]) . "::$type"
			  : $i == 7 ? "'{}'"
			  : "ARRAY[[" . join(', ', 'NULL', map { literal($_) } @list) . "]]::$type"
		} @columns;
		sql("$odd_session INSERT INTO odd VALUES ($i, " . join(', ', @values) . ')');
	}
	mirror('odd');
	settle();
	is(lines('odd'), '9|', 'all types: rows are mirrored');
	read_the_same('odd', 'all types');
}

# The same as texts of a place where the contract wants one; and what domains and enums give.
{
	my $document = '{"metadata": {"e": "$e", "es": "$es", "d": "$d", "ds": "$ds", "stored": "$stored", "old": "$old"},
		"source_details": [{"type": "bucket", "source_id": "$d", "object_id": "$m", "feature_extractor_task_id": "$es",
		"object_task_id": "$r", "feature_extractor_id": "$ds"}]}';

	sql(q{CREATE FUNCTION not_here() RETURNS bool LANGUAGE plpgsql AS $$
		BEGIN
			IF (SELECT backend_type LIKE 'mixpeek%' FROM pg_stat_activity WHERE pid = pg_backend_pid()) THEN
				RAISE 'somebody''s function ran in the worker';
			END IF;
			RETURN true;
		END $$;
		CREATE DOMAIN short AS varchar(5) CHECK (not_here());
		CREATE DOMAIN shorts AS short[] CHECK (not_here());
		CREATE TABLE texts (id short PRIMARY KEY CHECK (not_here()), gone int DEFAULT 7, e color DEFAULT 'Dark "blue"', es color[], d short, ds shorts,
			m timestamptz[], r int4range, stored text GENERATED ALWAYS AS (upper(d)) STORED);
		INSERT INTO texts (id, es, d, ds, m, r) VALUES
			('a', '{NULL,"Dark \"blue\"","a,b","NULL",""}', 'x"y', '{a,"b,c",NULL}', '{2024-01-01 00:00+05}', '[1,2)'),
			('b ', '[2:3][1:1]={{red},{""}}', '', '{}', '{}', 'empty'), ('c', '{}', NULL, NULL, '{}', '(,)');
		ALTER TABLE texts DROP COLUMN gone;
		ALTER TABLE texts ADD COLUMN old numeric(6, 2) DEFAULT 1.5});
	sql(q{UPDATE texts SET d = 'z', ds = '{}' WHERE id = 'c'});
	mirror('texts', $document);
	settle();
	is(lines('texts'), '3|', 'domains, enums, generated and added columns: rows are mirrored');
	read_the_same('texts', 'domains and enums', $document);
}

# Keys of every type that has an order, alone and as the second of two columns.
{
	my @types = split(/\n/, sql(q{SELECT typname FROM pg_type t WHERE oid < 12000 AND typtype IN ('b', 'r', 'm')
		AND typcategory <> 'A' AND (typtype <> 'b' OR EXISTS (SELECT FROM pg_opclass c JOIN pg_am a ON a.oid = c.opcmethod
			WHERE amname = 'btree' AND opcdefault AND (opcintype = t.oid OR typname IN ('varchar', 'cidr')
				OR (typname LIKE 'reg%' AND opcintype = 'oid'::regtype)))) ORDER BY oid}));
	my %types = map { $_ => [ "pg_catalog.\"$_\"", $values{$_} ] } @types;
	my ($one, $two) = ('', '');
	my @tables;

	$types{color} = [ 'color', [ 'red', 'Dark "blue"', 'a,b', 'NULL', '' ] ];
	$types{short} = [ 'short', [ 'a', ' ', '', '(a,b)' ] ];
	$types{texts} = [ 'text[]', [ '{}', '{a,"b c",NULL}', '{{1},{2}}' ] ];
	$types{colors} = [ 'color[]', [ '{}', '{red,"a,b"}' ] ];
	$types{plain_domain} = [ 'texts_domain', [ '{}', '{a,"b c"}' ] ];
	$types{collated} = [ 'text COLLATE "C"', [ 'ü', 'U', '' ] ];
	sql('CREATE DOMAIN texts_domain AS text[] CHECK (not_here())');
	foreach my $type (sort keys %types)
	{
		my ($name, $list) = @{ $types{$type} };
		my $cast = $name =~ s/ COLLATE.*//r;
		my @list = map { literal($_) . "::$cast" } @$list;

		sql("$odd_session CREATE TABLE one_$type (k $name PRIMARY KEY); CREATE TABLE two_$type (n int, k $name, PRIMARY KEY (n, k));");
		mirror("one_$type"); mirror("two_$type");
		sql("$odd_session INSERT INTO one_$type SELECT DISTINCT v FROM unnest(ARRAY[" . join(', ', @list) . "]) v;
			INSERT INTO two_$type SELECT n, k FROM one_$type, generate_series(1, 3) n") unless $type =~ /texts|colors|plain_domain/;
		sql("$odd_session " . join('', map { "INSERT INTO one_$type VALUES ($_); INSERT INTO two_$type VALUES (1, $_);" } @list))
		  if $type =~ /texts|colors|plain_domain/;
		push @tables, "one_$type", "two_$type";
	}
	settle();
	foreach my $table (@tables)
	{
		is(reader($table), 'native', "$table: read by the worker itself");
		is(lines($table), sql("SELECT count(*) FROM $table") . '|', "$table: all rows are mirrored");
	}
	my $before = changes();
	sql("CREATE POLICY all_rows ON $_ USING (true); ALTER TABLE $_ ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
	  foreach @tables;
	mirror($_) foreach @tables;
	settle();
	is(join(' ', grep { reader($_) ne 'owner' } @tables), '', 'keys of all types: all tables are read as the owner under a policy');
	is(changes(), $before, 'keys of all types: statements find and list the same');
	is(join(' ', grep { lines($_) ne sql("SELECT count(*) FROM $_") . '|' } @tables), '', 'keys of all types: no row is missing');
	sql("$odd_session DELETE FROM $_") foreach @tables;
	settle();
	is(join(' ', grep { lines($_) ne '0|' } @tables), '', 'keys of all types: deleted rows have no record');
}

# Keys are listed in their order, some at a time, and none is left out.
{
	sql(q{CREATE TABLE many (a text COLLATE "C", b int, c date, PRIMARY KEY (a, b, c));
		INSERT INTO many SELECT chr(65 + i % 3), i / 30, date '2024-01-01' + i FROM generate_series(0, 4499) i;
		CREATE TABLE falling (a int NOT NULL, b int NOT NULL);
		CREATE UNIQUE INDEX falling_key ON falling (a DESC, b); ALTER TABLE falling REPLICA IDENTITY USING INDEX falling_key;
		INSERT INTO falling SELECT i % 2, i FROM generate_series(0, 2999) i});
	mirror('many'); mirror('falling');
	settle();
	is(lines('many'), '4500|', 'key of three columns: 4,500 rows are mirrored');
	is(lines('falling'), '3000|', 'replica identity with a descending column: 3,000 rows are mirrored');
	is(reader('falling'), 'owner', 'replica identity with a descending column: read as the owner');
	read_the_same('many', 'many rows');
}

# Partitions: by range, list and hash, of their own column order, below each other, and one that comes later.
{
	sql(q{CREATE TABLE parts (d date, n int, gone int, v text, e color DEFAULT 'red', PRIMARY KEY (n, d)) PARTITION BY RANGE (d);
		ALTER TABLE parts DROP COLUMN gone;
		CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
		CREATE TABLE parts_2 (v text, x int, e color, n int NOT NULL, d date NOT NULL);
		ALTER TABLE parts_2 DROP COLUMN x; ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
		CREATE TABLE parts_3 PARTITION OF parts FOR VALUES FROM ('2024-03-01') TO ('2024-04-01') PARTITION BY HASH (n);
		CREATE TABLE parts_3_0 PARTITION OF parts_3 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
		CREATE TABLE parts_3_1 PARTITION OF parts_3 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
		CREATE TABLE parts_default PARTITION OF parts DEFAULT;
		CREATE TABLE lists (k text PRIMARY KEY, v int) PARTITION BY LIST (k);
		CREATE TABLE lists_a PARTITION OF lists FOR VALUES IN ('a', 'b'); CREATE TABLE lists_b PARTITION OF lists DEFAULT;
		CREATE TABLE empty (k int PRIMARY KEY) PARTITION BY HASH (k);
		INSERT INTO parts SELECT date '2023-12-20' + i % 120, i, 'v' || i FROM generate_series(1, 3500) i;
		INSERT INTO lists VALUES ('a', 1), ('b', 2), ('c', 3)});
	mirror($_) foreach qw(parts lists empty);
	settle();
	is(lines('parts'), '3500|', 'partitions by range and hash: rows are mirrored');
	is(lines('lists'), '3|', 'partitions by list: rows are mirrored');
	sql(q{CREATE TABLE parts_4 (LIKE parts); INSERT INTO parts_4 VALUES ('2025-01-01', -1, 'late'); ALTER TABLE parts ATTACH PARTITION parts_4 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
		UPDATE parts SET v = v || '!'; UPDATE parts SET d = '2025-02-01' WHERE n = 5; DELETE FROM parts WHERE n = 7; ALTER TABLE parts DETACH PARTITION parts_1;
		INSERT INTO empty SELECT 1 WHERE false; UPDATE lists SET k = 'd' WHERE k = 'a'});
	settle();
	is(sql(q{SELECT count(*) FROM parts p JOIN mixpeek.documents d ON d.key = format('(%s,%s)', n, p.d) AND d.collection = 'parts' AND state = 'mirrored'}),
		sql('SELECT count(*) FROM parts'), 'partitions attached and detached, and rows that move: rows are mirrored');
	is(sql(q{SELECT string_agg(key, ' ' ORDER BY key) FROM mixpeek.documents WHERE collection = 'lists'}), 'b c d', 'partitions by list: a key that moves its row');
	sql(q{DELETE FROM mixpeek.documents WHERE collection = 'parts' AND NOT EXISTS (SELECT FROM parts p WHERE key = format('(%s,%s)', n, p.d))});
	read_the_same('parts', 'partitions');
	read_the_same('lists', 'partitions of a single column');

	sql(q{CREATE TABLE foreigners (k int, v text) PARTITION BY LIST (k); CREATE TABLE foreigners_1 PARTITION OF foreigners FOR VALUES IN (1);
		CREATE UNIQUE INDEX foreigners_key ON foreigners (k); ALTER TABLE foreigners ALTER k SET NOT NULL; ALTER TABLE foreigners REPLICA IDENTITY USING INDEX foreigners_key});
	mirror('foreigners');
	sql(q{INSERT INTO foreigners VALUES (1)});
	settle();
	is(reader('foreigners'), 'native', 'replica identity of partitions: read by the worker itself');
}

# A partition that somebody has locked holds up its table, and nothing else.
{
	sql('CREATE TABLE locked (k int PRIMARY KEY) PARTITION BY LIST (k); CREATE TABLE locked_1 PARTITION OF locked FOR VALUES IN (1);
		CREATE TABLE locked_2 PARTITION OF locked DEFAULT; CREATE TABLE beside (k int PRIMARY KEY); CREATE TABLE moved (k int PRIMARY KEY)');
	mirror($_) foreach qw(locked beside moved);
	sql('INSERT INTO moved VALUES (1)');
	settle();
	my $session = $node->background_psql('postgres', on_error_stop => 1);
	$session->query_safe('BEGIN; LOCK TABLE ONLY locked_1; ALTER INDEX moved_pkey SET TABLESPACE pg_default');
	sql(q{INSERT INTO mixpeek.outbox (relation, operation, collection, key) VALUES ('moved'::regclass, 'K', 'moved', '1');
		GRANT SELECT ON moved TO PUBLIC; INSERT INTO locked VALUES (2); INSERT INTO beside VALUES (1)});
	wait_for('the table beside', sub { lines('beside') eq '1|' });
	is(lines('locked'), '0|', 'a table with a locked partition waits');
	is(sql(q{SELECT count(*) FROM mixpeek.outbox WHERE collection = 'moved'}), 1, 'a table whose index is moved waits');
	$session->query_safe('COMMIT');
	$session->quit;
	settle();
	is(lines('locked'), '1|', 'a table with a locked partition is mirrored when the lock is released');
}

# What somebody's function could be called for is not the worker's to read.
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
		CREATE DOMAIN element AS int CHECK (VALUE > 0); CREATE DOMAIN domain_elements AS element[]; CREATE TYPE own_range AS RANGE (subtype = float8); CREATE TYPE own_enum AS ENUM ('x');
		CREATE FUNCTION enum_json(own_enum) RETURNS json LANGUAGE sql AS $$ SELECT json_build_object('cast', $1::text) $$;
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
		is(lines($table), '1|', "$table: mirrored");
	}
	like(lines('no_privilege'), qr/permission denied/, 'an owner without SELECT: the row fails');
}

# What decides changes under a mirror that is in use.
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

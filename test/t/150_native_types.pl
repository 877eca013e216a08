# Values and keys of every type: the worker reads them by itself, and sends the same documents as a statement of the
# owner's gives.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;
use MixpeekTest::Native;

my ($node, $api) = native_node();

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
sql(q{CREATE TYPE public.color AS ENUM ('red', 'Dark "blue"', 'a,b', 'NULL', '');
	CREATE TABLE public.odd (id int PRIMARY KEY)});

# Settings of a session that change how values are written.
my $odd_session = q{SET datestyle = 'German'; SET intervalstyle = 'sql_standard'; SET timezone = 'Asia/Kathmandu';
	SET extra_float_digits = -10; SET bytea_output = 'escape'; SET xmlbinary = 'hex'; SET search_path = public;
	SET quote_all_identifiers = on; SET lc_monetary = 'C.UTF-8';};

# Columns of all types that initdb makes, and of their arrays.
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
	is(mirrored('odd'), '9|', 'all types: rows are mirrored');
	read_the_same('odd', 'all types');
}

# Values in places where the contract wants a string; domains and enums.
{
	my $document = '{"metadata": {"e": "$e", "es": "$es", "d": "$d", "ds": "$ds", "stored": "$stored", "old": "$old"},
		"source_details": [{"type": "bucket", "source_id": "$d", "object_id": "$m", "feature_extractor_task_id": "$es",
		"object_task_id": "$r", "feature_extractor_id": "$ds"}]}';

	sql(q{CREATE FUNCTION not_here() RETURNS bool LANGUAGE plpgsql AS $$
		BEGIN
			IF (SELECT backend_type LIKE 'mixpeek%' FROM pg_stat_activity WHERE pid = pg_backend_pid()) THEN
				RAISE 'a user''s function ran in the worker';
			END IF;
			RETURN true;
		END $$;
		CREATE DOMAIN short AS varchar(5) CHECK (not_here());
		CREATE DOMAIN shorts AS short[] CHECK (not_here());
		CREATE TABLE texts (id short PRIMARY KEY CHECK (not_here()), gone int DEFAULT 7,
			e color DEFAULT 'Dark "blue"', es color[], d short, ds shorts,
			m timestamptz[], r int4range, stored text GENERATED ALWAYS AS (upper(d)) STORED);
		INSERT INTO texts (id, es, d, ds, m, r) VALUES
			('a', '{NULL,"Dark \"blue\"","a,b","NULL",""}', 'x"y', '{a,"b,c",NULL}', '{2024-01-01 00:00+05}', '[1,2)'),
			('b ', '[2:3][1:1]={{red},{""}}', '', '{}', '{}', 'empty'), ('c', '{}', NULL, NULL, '{}', '(,)');
		ALTER TABLE texts DROP COLUMN gone;
		ALTER TABLE texts ADD COLUMN old numeric(6, 2) DEFAULT 1.5});
	sql(q{UPDATE texts SET d = 'z', ds = '{}' WHERE id = 'c'});
	mirror('texts', $document);
	settle();
	is(mirrored('texts'), '3|', 'domains, enums, generated and added columns: rows are mirrored');
	read_the_same('texts', 'domains and enums', $document);
}

# Keys of every type that has an order, alone and as the second of two columns.
{
	my @types = split(/\n/, sql(q{SELECT typname FROM pg_type t WHERE oid < 12000 AND typtype IN ('b', 'r', 'm')
		AND typcategory <> 'A' AND (typtype <> 'b' OR EXISTS (SELECT FROM pg_opclass c
		JOIN pg_am a ON a.oid = c.opcmethod
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

		sql("$odd_session CREATE TABLE one_$type (k $name PRIMARY KEY);
			CREATE TABLE two_$type (n int, k $name, PRIMARY KEY (n, k));");
		mirror("one_$type"); mirror("two_$type");
		sql("$odd_session INSERT INTO one_$type SELECT DISTINCT v FROM unnest(ARRAY[" . join(', ', @list) . "]) v;
			INSERT INTO two_$type SELECT n, k FROM one_$type, generate_series(1, 3) n")
				unless $type =~ /texts|colors|plain_domain/;
		sql("$odd_session " . join('', map { "INSERT INTO one_$type VALUES ($_); INSERT INTO two_$type
			VALUES (1, $_);" } @list))
		  if $type =~ /texts|colors|plain_domain/;
		push @tables, "one_$type", "two_$type";
	}
	settle();
	foreach my $table (@tables)
	{
		is(reader($table), 'native', "$table: read by the worker itself");
		is(mirrored($table), sql("SELECT count(*) FROM $table") . '|', "$table: all rows are mirrored");
	}
	my $before = changes();
	sql("CREATE POLICY all_rows ON $_ USING (true); ALTER TABLE $_ ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
	  foreach @tables;
	mirror($_) foreach @tables;
	settle();
	is(join(' ', grep { reader($_) ne 'owner' } @tables), '',
		'keys of all types: all tables are read as the owner under a policy');
	is(changes(), $before, 'keys of all types: statements find and list the same');
	is(join(' ', grep { mirrored($_) ne sql("SELECT count(*) FROM $_") . '|' } @tables), '',
		'keys of all types: no row is missing');
	sql("$odd_session DELETE FROM $_") foreach @tables;
	settle();
	is(join(' ', grep { mirrored($_) ne '0|' } @tables), '', 'keys of all types: deleted rows have no record');
}

$node->stop;
done_testing();

# Keys: the order in which they are listed is that of the key's index, whatever its types, collations and directions;
# their texts; and what may be a key, or a vector.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;

my ($node, $api) = mirror_node();

sql(q{
	CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext;
	DO $$ BEGIN CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
		EXCEPTION WHEN feature_not_supported THEN NULL; END $$;
	CREATE TYPE mood AS ENUM ('zz', 'a', 'M');
	CREATE TYPE pair AS (a int, b text);
	CREATE DOMAIN slug AS ext.citext CHECK (VALUE <> '');
	CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0);
	CREATE SCHEMA ty; CREATE DOMAIN ty.feeling AS mood; CREATE DOMAIN ty.deep AS ty.feeling CHECK (VALUE::mood <> 'zz');
	CREATE DOMAIN ty.code AS char(6); CREATE DOMAIN ty.bits AS bit(12); CREATE DOMAIN ty.folded AS text COLLATE "C";
	CREATE DOMAIN ty.span AS int4range; CREATE DOMAIN ty.list AS int[]; CREATE DOMAIN ty.couple AS pair;
});

# The message of the error that a statement ends with.
sub refusal
{
	my ($statement) = @_;
	my (undef, undef, $stderr) = $node->psql('postgres', $statement);
	return $stderr =~ /ERROR:  (.*)/ ? $1 : '';
}

# Rows by a number i, in more than two pages: the table's columns, its key, and the values.
my $cased = "chr(CASE WHEN i % 2 = 0 THEN 97 ELSE 66 END) || i";
my $n = 2300;
my %table = (
	int_citext => [ 'a int, b ext.citext', 'PRIMARY KEY (a, b)', "1, $cased" ],
	citext_int => [ 'a ext.citext, b int', 'PRIMARY KEY (a, b)', "chr(CASE WHEN i % 2 = 0 THEN 97 ELSE 65 END), i" ],
	citext => [ 'a ext.citext', 'PRIMARY KEY (a)', $cased ],
	citext_domain => [ 'a slug, b smallint', 'PRIMARY KEY (a, b)', "$cased, i" ],
	citext_array => [ 'a ext.citext[]', 'PRIMARY KEY (a)', "ARRAY[$cased, NULL]::ext.citext[]" ],
	bigint_int_text => [ 'a bigint, b int, c text', 'PRIMARY KEY (b, a, c)', "i / 7, i / 1200, 'x' || i" ],
	char_n => [ 'a char(6), b int', 'PRIMARY KEY (a, b)', 'i / 3, i' ],
	varchar => [ 'a varchar(9)', 'PRIMARY KEY (a)', $cased ],
	name => [ 'a name, b char', 'PRIMARY KEY (a, b)', "$cased, 'x'" ],
	collated => [ 'a text COLLATE "C", b text COLLATE ci', 'PRIMARY KEY (b, a)', "i % 2, $cased" ],
	nondeterministic => [ 'a text COLLATE ci, b int', 'PRIMARY KEY (a, b)', "$cased, i" ],
	numeric => [ 'a numeric', 'PRIMARY KEY (a)', "(CASE i WHEN 1 THEN 'NaN' WHEN 2 THEN 'Infinity' ELSE i::text END)::numeric / 3" ],
	float => [ 'a float8, b float4', 'PRIMARY KEY (a, b)',
		"(CASE i WHEN 1 THEN 'NaN' WHEN 2 THEN '-Infinity' ELSE (-i)::text END)::float8 / 7, 'NaN'" ],
	enum => [ 'a mood, b int', 'PRIMARY KEY (a, b)', "(ARRAY['M', 'a', 'zz'])[1 + i % 3]::mood, i" ],
	enum_domain => [ 'a even, b mood', 'PRIMARY KEY (b, a)', "2 * i, 'a'" ],
	domain_of_enum => [ 'a ty.feeling, b int', 'PRIMARY KEY (a, b)', "(ARRAY['M', 'a', 'zz'])[1 + i % 3]::mood, i" ],
	domain_of_domain => [ 'a int NOT NULL, b ty.deep NOT NULL', '(b DESC, a)', "i, (ARRAY['M', 'a'])[1 + i % 2]::mood" ],
	domain_array => [ 'a ty.feeling[], b int', 'PRIMARY KEY (a, b)', "ARRAY['M', 'a']::ty.feeling[], i" ],
	domain_of_char_n => [ 'a ty.code, b ty.bits', 'PRIMARY KEY (b, a)', 'i / 3, i::bit(12)' ],
	domain_of_collated => [ 'a ty.folded, b int', 'PRIMARY KEY (a, b)', "$cased, i" ],
	domain_of_range => [ 'a ty.span, b int', 'PRIMARY KEY (a, b)', 'int4range(i / 5, NULL), i' ],
	domain_of_array => [ 'a ty.list', 'PRIMARY KEY (a)', 'ARRAY[i, NULL]' ],
	domain_of_pair => [ 'a ty.couple, b int', 'PRIMARY KEY (b, a)', "ROW(i, $cased)::pair, i / 1000" ],
	boolean => [ 'a boolean, b int', 'PRIMARY KEY (a, b)', 'i % 2 = 0, i' ],
	inet => [ 'a inet', 'PRIMARY KEY (a)', "('10.0.' || i / 250 || '.' || i % 250 || '/' || (24 + i % 9))::inet" ],
	bytea => [ 'a bytea', 'PRIMARY KEY (a)', "decode(md5(i::text), 'hex')" ],
	uuid => [ 'a uuid, b date', 'PRIMARY KEY (a, b)', "md5((i / 2)::text)::uuid, date '2000-01-01' + i % 2" ],
	timestamptz => [ 'a timestamptz, b interval', 'PRIMARY KEY (a, b)', "timestamptz '2000-01-01' + i / 9 * interval '1 h', i * interval '7 d'" ],
	range => [ 'a int4range, b int', 'PRIMARY KEY (a, b)', "int4range(CASE WHEN i % 5 > 0 THEN i / 5 END, NULL), i" ],
	array => [ 'a int[], b text[]', 'PRIMARY KEY (a, b)', "ARRAY[i / 9, NULL], ARRAY[$cased]" ],
	jsonb => [ 'a jsonb', 'PRIMARY KEY (a)', "jsonb_build_object('i', i)" ],
	pair => [ 'a pair, b int', 'PRIMARY KEY (b, a)', "ROW(i, $cased)::pair, i / 1000" ],
	descending => [ 'a int NOT NULL, b text NOT NULL', '(a DESC, b)', "i / 1150, $cased" ],
	descending_twice => [ 'a ext.citext NOT NULL, b int NOT NULL', '(a DESC NULLS LAST, b DESC)', "$cased, i" ],
	other_collation => [ 'a text NOT NULL, b int NOT NULL', '(a COLLATE ci, b)', "$cased, i" ],
	other_operators => [ 'a text NOT NULL, b ext.citext NOT NULL',
		'(a text_pattern_ops, b ext.citext_pattern_ops DESC NULLS FIRST)', "$cased, 'b'" ],
);
# A server that was built without ICU has no such collations.
if (sql("SELECT count(*) FROM pg_collation WHERE collname = 'ci'") == 0)
{
	delete @table{ grep { "@{ $table{$_} }" =~ /\bci\b/ } keys %table };
}
foreach my $name (sort keys %table)
{
	my ($columns, $key, $values) = @{ $table{$name} };
	my $index = $key =~ /^PRIMARY/ ? '' : "CREATE UNIQUE INDEX ${name}_key ON k_$name $key;
		ALTER TABLE k_$name REPLICA IDENTITY USING INDEX ${name}_key;";
	my $primary = $index ? '' : ", $key";
	my $filter = $name =~ /^domain/ ? ", filter => 'a IS NOT NULL'" : '';    # an agent reads the rows
	sql(qq{CREATE TABLE k_$name ($columns $primary); $index
		INSERT INTO k_$name SELECT $values FROM generate_series(1, $n) i;
		SELECT mixpeek.mirror('k_$name', '$name'$filter)});
}
settle();
foreach my $name (sort keys %table)
{
	is(sql(qq{SELECT count(*), count(DISTINCT document_id) FROM mixpeek.documents
		WHERE collection = '$name' AND state = 'mirrored'}), "$n|$n", "keys of $name: all rows are mirrored");
	is(sql(qq{SELECT count(*) FROM k_$name t JOIN mixpeek.documents d
		ON d.relation = 'k_$name'::regclass AND d.key = mixpeek.document_key(t)}), $n,
		"keys of $name: document_key() of a row is the key of its record");
}

# The text of keys

sql(q{
	CREATE TABLE chars (id char(5) PRIMARY KEY, v text); CREATE TABLE booleans (id boolean PRIMARY KEY, v text);
	CREATE TABLE addresses (id inet PRIMARY KEY, v text); CREATE TABLE times (id timestamptz PRIMARY KEY, v text);
	CREATE TABLE pairs (v text, a date, b text, id pair, PRIMARY KEY (b, a, id)) PARTITION BY LIST (b);
	CREATE TABLE pairs_1 (b text NOT NULL, id pair NOT NULL, v text, a date NOT NULL);
	ALTER TABLE pairs ATTACH PARTITION pairs_1 DEFAULT;
	CREATE TABLE classes (id regclass PRIMARY KEY, v text); CREATE TABLE renamed ();
	CREATE TABLE keyless (v text); CREATE TABLE citexts (id ext.citext PRIMARY KEY, v text);
	INSERT INTO chars VALUES ('ab', 'v'); INSERT INTO booleans VALUES (true, 'v');
	INSERT INTO addresses VALUES ('10.0.0.1', 'v'); INSERT INTO times VALUES ('2025-01-01 12:00+02', 'v');
	INSERT INTO pairs VALUES ('v', '2025-01-02', 'x, "y"', '(1,"a b")'); INSERT INTO classes VALUES ('renamed');
	INSERT INTO citexts VALUES ('Ab', 'v');
	SELECT mixpeek.mirror(t::regclass, t)
	  FROM unnest('{chars,booleans,addresses,times,pairs,classes,citexts}'::text[]) t});
settle();
my @of_table = (
	[ chars => 'id', 'ab' ], [ booleans => 'id', 'yes' ], [ addresses => 'id', '10.0.0.1/32' ],
	[ times => 'id', '2025-01-01 05:00:00-05' ], [ pairs => 'ROW(b, a, id)', '("x, ""y""","20250102","(1,""a b"")")' ],
	[ citexts => 'id', 'aB' ],
);
foreach (@of_table)
{
	my ($name, $columns, $written) = @$_;
	foreach my $value ('t', $columns)
	{
		is(sql(qq{SET DateStyle = German; SET TimeZone = 'Asia/Kathmandu'; SET search_path = public, ext;
			SELECT count(*) FROM $name t JOIN mixpeek.documents d
			ON d.relation = '$name'::regclass AND d.key = mixpeek.document_key($value)}), 1,
			"document_key($value) of $name is the key of the record");
	}
	is(sql(qq{SELECT mixpeek.preview('$name', '$written') -> 'metadata' ->> 'v'}), 'v',
		"preview() of $name finds the row by a key that is written otherwise");
}
is(sql("SELECT mixpeek.preview('chars', 'abc')"), '', 'preview() of another key is null');
is(sql(q{SELECT count(*) FROM pairs_1 t JOIN mixpeek.documents d ON d.key = mixpeek.document_key(t)}), 1,
	"document_key() of a partition's row is the key of the record");
is(sql(q{SELECT mixpeek.document_key(NULL::int) IS NULL, mixpeek.document_key(NULL::pairs) IS NULL,
	mixpeek.document_key(ROW(1, NULL)) IS NULL, mixpeek.document_key(ROW('a b', 1, false)),
	mixpeek.document_key('x'::text), mixpeek.document_key(2::even), mixpeek.document_key('{2,4}'::even[])}),
	't|t|t|("a b",1,f)|x|2|{2,4}', 'document_key() of other values');
is(sql(q{SELECT mixpeek.document_key(repeat('x', 3000)) ~ '^x{200}\.\.\. \(3000 bytes, hash [0-9a-f]{16}\)$'}), 't',
	'document_key() of a long key is abbreviated');
is(refusal("INSERT INTO keyless VALUES (1); SELECT mixpeek.document_key(k) FROM keyless k"),
	'table "keyless" has no primary key', 'document_key() of a row of a table without a key');
sql('ALTER TABLE renamed RENAME TO other_name; UPDATE classes SET v = 1');
settle();
is(sql(q{SELECT count(*), bool_and(key = 'other_name'::regclass::oid::text) FROM mixpeek.documents WHERE collection = 'classes'}),
	'1|t', 'a key of type regclass: its text does not change with the name');

# What may be a key

follows('a deferrable primary key', 'postponed', q{
	CREATE TABLE postponed (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v text);
	INSERT INTO postponed SELECT i, i FROM generate_series(1, 2500) i;
	SELECT mixpeek.mirror('postponed', 'postponed')});
follows('a deferrable primary key whose values move', 'postponed', q{
	UPDATE postponed SET id = id + 1; DELETE FROM postponed WHERE id = 3;
	BEGIN; INSERT INTO postponed VALUES (2, 'twice'); UPDATE postponed SET id = 9999 WHERE v = '1'; COMMIT});
follows('a deferrable primary key beside a replica identity', 'beside', q{
	CREATE TABLE beside (other int NOT NULL, id int PRIMARY KEY DEFERRABLE, v text);
	CREATE UNIQUE INDEX beside_other ON beside (other);
	ALTER TABLE beside REPLICA IDENTITY USING INDEX beside_other;
	INSERT INTO beside SELECT i, -i, 'v' FROM generate_series(1, 5) i;
	SELECT mixpeek.mirror('beside', 'beside')});
follows('a deferrable primary key of a partitioned table', 'parted', q{
	CREATE TABLE parted (id int PRIMARY KEY DEFERRABLE, v text) PARTITION BY HASH (id);
	CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
	CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
	INSERT INTO parted SELECT i, 'v' FROM generate_series(1, 5) i;
	SELECT mixpeek.mirror('parted', 'parted'); UPDATE parted SET id = id + 1});

# What is a vector: a type of the extension of that name, and no other. (pgvector may not be installed here.)

sql(q{
	CREATE SCHEMA own; CREATE SCHEMA pgvector;
	DO $$ DECLARE s text; BEGIN FOREACH s IN ARRAY '{own,pgvector}'::text[] LOOP
		EXECUTE format('CREATE TYPE %1$s.vector', s);
		EXECUTE format('CREATE FUNCTION %1$s.i(cstring) RETURNS %1$s.vector IMMUTABLE STRICT LANGUAGE internal AS $i$textin$i$', s);
		EXECUTE format('CREATE FUNCTION %1$s.o(%1$s.vector) RETURNS cstring IMMUTABLE STRICT LANGUAGE internal AS $i$textout$i$', s);
		EXECUTE format('CREATE TYPE %1$s.vector (INPUT = %1$s.i, OUTPUT = %1$s.o, LIKE = text)', s);
	END LOOP; END $$;
	SET allow_system_table_mods = on;
	INSERT INTO pg_extension SELECT 99999, 'vector', 10, 'pgvector'::regnamespace, true, '0.8';
	ALTER EXTENSION vector ADD TYPE pgvector.vector;
	CREATE TABLE vectors (id int PRIMARY KEY, mine own.vector, theirs pgvector.vector);
	INSERT INTO vectors VALUES (1, '[1,2]', '[1,2]'), (2, 'no "array', '[]');
	SELECT mixpeek.mirror('vectors', 'vectors')});
is(differences('vectors', 'vectors', row =>
	q{jsonb_build_object('id', t.id, 'mine', t.mine::text, 'theirs', t.theirs::text::jsonb)}), '',
	'a type named vector is an array of numbers only if the extension vector owns it');


# The definition of a key changes: one document a row, whose record has the row's key.

my %by_row = (key => 'mixpeek.document_key(t)');
my $log_offset;

# The table of this name with $n rows, which is mirrored into the collection of its name.
sub changing_table
{
	my ($table, $columns, $values, %option) = @_;
	my $document = $option{document} ? ", '$option{document}'" : '';
	$n = $option{rows} // 30;
	sql(qq{CREATE TABLE $table ($columns); INSERT INTO $table SELECT $values FROM generate_series(1, $n) i;
		SELECT mixpeek.mirror('$table', '$table'$document)});
	settle();
	$log_offset = -s $node->logfile;
	return;
}

# How often the worker has found the key of a table changed since the last changing_table().
sub found
{
	my ($table) = @_;
	my $oid = sql("SELECT '$table'::regclass::oid");
	return log_lines(qr/the key of table $oid has changed/, $log_offset);
}

changing_table('tenants', 'tenant int DEFAULT 7, id int PRIMARY KEY, v text', '7, i, i', rows => 1500);
follows('a primary key with another column', 'tenants', q{
	ALTER TABLE tenants DROP CONSTRAINT tenants_pkey, ADD PRIMARY KEY (tenant, id);
	UPDATE tenants SET v = 'new' WHERE id < 10}, %by_row);
is($api->stats->{creates} - $api->stats->{deletes}, sql('SELECT count(*) FROM mixpeek.documents WHERE document_id IS NOT NULL'),
	'a primary key with another column: no document is left over');
follows('a primary key without a column', 'tenants', q{
	ALTER TABLE tenants DROP CONSTRAINT tenants_pkey; UPDATE tenants SET v = 'newer' WHERE id < 5;
	DELETE FROM tenants WHERE id = 20; INSERT INTO tenants VALUES (8, 3000, 'x');
	ALTER TABLE tenants ADD PRIMARY KEY (id)}, %by_row);
is(found('tenants'), 2, 'each change of a key is found once');

changing_table('slugs', 'tenant int, slug ext.citext PRIMARY KEY, v text', q{1, chr(64 + i % 5) || i, 'v'}, rows => 1200);
follows('a key that an agent reads, with another column', 'slugs', q{
	ALTER TABLE slugs DROP CONSTRAINT slugs_pkey, ADD PRIMARY KEY (tenant, slug);
	UPDATE slugs SET v = 'new' WHERE slug = 'a5'}, %by_row);

changing_table('permuted', 'a int PRIMARY KEY, b int NOT NULL UNIQUE, v text', 'i, 31 - i, i');
is(costs('ALTER TABLE permuted DROP CONSTRAINT permuted_pkey, ADD PRIMARY KEY (b)'), 'updates=30',
	'a key of another column with the same values: the documents become those of other rows');
is(differences('permuted', 'permuted', %by_row), '', 'a key of another column with the same values');

sql(q{CREATE TABLE identities (a int NOT NULL UNIQUE, b text NOT NULL UNIQUE, v text);
	ALTER TABLE identities REPLICA IDENTITY USING INDEX identities_a_key;
	INSERT INTO identities SELECT i, 'b' || i, 'v' FROM generate_series(1, 30) i;
	SELECT mixpeek.mirror('identities', 'identities')});
settle();
follows('another replica identity', 'identities', 'ALTER TABLE identities REPLICA IDENTITY USING INDEX identities_b_key', %by_row);
follows('a primary key beside the replica identity', 'identities',
	"ALTER TABLE identities ADD PRIMARY KEY (b, a); DELETE FROM identities WHERE a = 1", %by_row);

my @texts_stay = (
	[ 'int to bigint', 'id int PRIMARY KEY, v text', 'i, i', 'ALTER id TYPE bigint' ],
	[ 'int to text', 'id int PRIMARY KEY, v text', 'i, i', 'ALTER id TYPE text', 'updates=30' ],
	[ 'text to citext', 'id text PRIMARY KEY, v text', q{'A' || i, i}, 'ALTER id TYPE ext.citext' ],
	[ 'date to timestamptz and back', 'id date PRIMARY KEY, v text', "date '2025-01-01' + i, i",
		"ALTER id TYPE timestamptz USING id::timestamp AT TIME ZONE 'UTC'", 'creates=30 deletes=30 lists=1' ],
	[ 'timestamptz to timestamp', 'id timestamptz PRIMARY KEY, v text', "timestamptz '2025-01-01' + i * interval '1 h', i",
		"ALTER id TYPE timestamp USING id AT TIME ZONE 'UTC'", 'creates=30 deletes=30 lists=1' ],
	[ 'int to numeric(9,2)', 'id int PRIMARY KEY, v text', 'i, i', 'ALTER id TYPE numeric(9,2)', 'creates=30 deletes=30 lists=1' ],
	[ 'char(5) to char(8)', 'id char(5) PRIMARY KEY, v text', 'i, i', 'ALTER id TYPE char(8)', 'creates=30 deletes=30 lists=1' ],
);
foreach (@texts_stay)
{
	my ($what, $columns, $values, $change, $costs) = @$_;
	my $table = 'typed' . ++$node->{tables};
	changing_table($table, $columns, $values);
	is(costs("ALTER TABLE $table $change; UPDATE $table SET v = v || '!' WHERE false"), $costs // '',
		"a key of another type, $what: requests");
	follows("a key of another type, $what", $table, "UPDATE $table SET v = v || '!' WHERE v < '2'", %by_row);
	is(found($table), 1, "a key of another type, $what: found");
}

# What does not change the keys' texts costs nothing, not even a check.

changing_table('same', 'id int PRIMARY KEY, e mood, v text', "i, 'a', i", document => '{"metadata": {"v": "$v", "id": 1}}');
is(costs(q{ALTER TABLE same RENAME id TO number; ALTER TABLE same DROP CONSTRAINT same_pkey, ADD PRIMARY KEY (number);
	ALTER TABLE same ALTER v TYPE varchar(100), SET (fillfactor = 50); ALTER TABLE same RENAME TO still;
	ALTER TABLE still RENAME TO same; ALTER TYPE mood RENAME VALUE 'M' TO 'N'; ALTER TYPE mood RENAME VALUE 'N' TO 'M'}), '',
	'a key whose column is renamed, and which is made again: no request');
is(found('same'), 0, 'a key whose column is renamed, and which is made again: no check of all rows');

# Labels of enums

changing_table('moods', 'e mood, id int, v text, PRIMARY KEY (e, id)', "(ARRAY['a', 'zz'])[1 + i % 2]::mood, i, i");
is(costs("ALTER TYPE mood ADD VALUE 'later'"), '', 'a label that is added: no request');
is(found('moods'), 0, 'a label that is added: no check of all rows');
follows('a label that is renamed', 'moods', "ALTER TYPE mood RENAME VALUE 'a' TO 'b'", %by_row);
is(found('moods'), 1, 'a label that is renamed: found');
follows('labels that are swapped', 'moods', q{BEGIN; ALTER TYPE mood RENAME VALUE 'b' TO 'x';
	ALTER TYPE mood RENAME VALUE 'zz' TO 'b'; ALTER TYPE mood RENAME VALUE 'x' TO 'zz'; COMMIT}, %by_row);
changing_table('mood_arrays', 'id mood[] PRIMARY KEY, v text', "array_fill('b'::mood, ARRAY[i]), i");
follows('a label that is renamed, in an array', 'mood_arrays', "ALTER TYPE mood RENAME VALUE 'b' TO 'c'", %by_row);

# A transaction that has noted a key by the old label ends before the label has its new name.
my $writer = $node->background_psql('postgres', on_error_stop => 1);
$writer->query_safe("BEGIN; INSERT INTO moods VALUES ('c', 1000, 'between')");
my $altering = $node->background_psql('postgres', on_error_stop => 1);
$altering->query_until(qr/begun/, "\\echo begun\nALTER TYPE mood RENAME VALUE 'c' TO 'd';\n");
wait_for('ALTER TYPE to wait', sub { sql(q{SELECT count(*) FROM pg_locks WHERE NOT granted AND relation IN
	('moods'::regclass, 'mood_arrays'::regclass)}) == 1 });
$writer->query_safe('COMMIT');
$writer->quit;
$altering->quit;
is(differences('moods', 'moods', %by_row), '', 'a row with a label that is renamed before its commit');

# Changes that no event trigger sees, and an entry for rows after a key that is none any more

changing_table('unseen', 'tenant int DEFAULT 7, id int PRIMARY KEY, v text', '7, i, i', rows => 100);
follows('a change of a key that no event trigger has seen', 'unseen', q{
	SET session_replication_role = replica;
	ALTER TABLE unseen DROP CONSTRAINT unseen_pkey, ADD PRIMARY KEY (tenant, id);
	SET session_replication_role = origin; UPDATE unseen SET v = 'new' WHERE id = 1}, %by_row);
sub problem { return sql("SELECT problem FROM mixpeek.mirrors WHERE relation = '$_[0]'::regclass"); }
foreach my $case ([ unseen => 'id', 'the worker' ], [ slugs => 'slug', 'an agent' ])
{
	my ($table, $column, $who) = @$case;
	sql("INSERT INTO mixpeek.outbox VALUES ('$table'::regclass, 'B', '$table', 'no key'); UPDATE same SET v = v || '.'");
	wait_for('the problem', sub { problem($table) ne '' });
	like(problem($table), qr/^the rows could not be listed: the stored key does not have 2 columns/,
		"rows that $who cannot list: mixpeek.mirrors says why");
	follows("rows that $who could not list, after the key has changed", $table,
		"ALTER TABLE $table DROP CONSTRAINT ${table}_pkey, ADD PRIMARY KEY ($column)", %by_row);
	is(problem($table), '', "rows that $who can list again: no problem");
}
sql("SELECT mixpeek.unmirror('unseen')");
is(sql("SELECT count(*) FROM mixpeek.keys WHERE relation = 'unseen'::regclass"), 0,
	'a mirror that has ended has no definition of its key');

# Nothing that the worker keeps goes stale

sql(q{CREATE SCHEMA app; CREATE TABLE app.slugs (id ext.citext PRIMARY KEY, v text); CREATE TABLE app.ints (id int PRIMARY KEY, v text);
	INSERT INTO app.slugs VALUES ('a', 1), ('B', 2); INSERT INTO app.ints VALUES (1), (2);
	SELECT mixpeek.mirror('app.slugs', 'app_slugs'), mixpeek.mirror('app.ints', 'app_ints')});
settle();
sub states { return sql(q{SELECT string_agg(format('%s:%s', key, state), ' ' ORDER BY key COLLATE "C") FROM mixpeek.documents
	WHERE collection LIKE 'app%'}); }
foreach my $change ('ALTER SCHEMA app RENAME TO shop', 'ALTER EXTENSION citext SET SCHEMA public',
	'ALTER SCHEMA shop RENAME TO app; ALTER EXTENSION citext SET SCHEMA app', 'ALTER TABLE app.slugs RENAME TO other')
{
	sql($change);
	my ($slugs, $ints) = split(/ /, sql(q{SELECT string_agg(relation::text, ' ' ORDER BY collection DESC) FROM mixpeek.mirrors
		WHERE collection LIKE 'app%'}));
	sql("UPDATE $slugs SET v = v || 'x'; UPDATE $ints SET v = 'y'; SELECT mixpeek.retry('$slugs')");
	settle();
	is(states(), '1:mirrored 2:mirrored B:mirrored a:mirrored', "$change: rows are mirrored");
	is(sql(qq{SELECT string_agg(x -> 'metadata' ->> 'v', ' ' ORDER BY x -> 'metadata' ->> 'v') =
		(SELECT string_agg(v, ' ' ORDER BY v) FROM $slugs) FROM jsonb_array_elements(@{[ stored('app_slugs') ]}) x}), 't',
		"$change: documents follow their rows");
}

# A copy takes a table's place: what the old table had is looked up, once it is dropped.
sql(q{CREATE TABLE shop (id int PRIMARY KEY, v text); INSERT INTO shop VALUES (1, 'a'), (2, 'b'), (3, 'purged');
	SELECT mixpeek.mirror('shop', 'shop')});
settle();
sql(q{CREATE TABLE shop_new (LIKE shop INCLUDING ALL); INSERT INTO shop_new SELECT * FROM shop WHERE id < 3;
	BEGIN; ALTER TABLE shop RENAME TO shop_old; ALTER TABLE shop_new RENAME TO shop; COMMIT;
	SELECT mixpeek.mirror('shop', 'shop', backfill => false)});
sql("INSERT INTO shop VALUES (4, 'd')");
settle();
sql('DROP TABLE shop_old');
follows('a purged row that comes back after a swap of tables', 'shop',
	"INSERT INTO shop VALUES (3, 'back'); UPDATE shop SET v = v || '!'");

done_testing();

# Many mirrors, and changes of tables while their rows are under way.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;

my $node = mixpeek_node('mirrors', q{
shared_preload_libraries = 'mixpeek_docs'
max_locks_per_transaction = 1000
max_worker_processes = 20
autovacuum = off
jit = off
});
my $api = MixpeekTest::Server->new(enrich => 'now');
create_server($node, 'mixpeek', $api);
use_node($node, $api);

# A process' own memory, in MB.
sub memory
{
	my ($pid) = @_;
	my ($kb) = PostgreSQL::Test::Utils::slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m or die 'no RssAnon';
	return $kb / 1024;
}

# The worker keeps no more of 2,000 mirrors in memory than it has room for.
{
	sql('CREATE TABLE first (id int PRIMARY KEY); SELECT mixpeek.mirror(\'first\', \'first\'); INSERT INTO first
		VALUES (1)');
	settle();
	my $pid = worker_pid();
	my $start = memory($pid);

	sql(q{DO $$ BEGIN FOR i IN 1 .. 2000 LOOP
			EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, %s)', i, (SELECT string_agg('c' || n || ' text',
				', ') FROM generate_series(1, 100) n));
			EXECUTE format('CREATE TRIGGER m AFTER INSERT OR UPDATE OR DELETE ON t%s FOR EACH ROW
				EXECUTE FUNCTION mixpeek.mirror_row(%L)', i, 'collection_' || i);
		END LOOP; END $$});
	foreach my $round (1, 2)
	{
		sql(qq{DO \$\$ BEGIN FOR i IN 1 .. 2000 LOOP EXECUTE format('INSERT INTO t%s VALUES ($round)', i); END LOOP;
			END \$\$});
		settle();
		is(sql("SELECT count(*) FROM mixpeek.documents WHERE state = 'mirrored'"), 1 + 2000 * $round,
			"2,000 tables, round $round: all rows are mirrored");
		cmp_ok(memory($pid) - $start, '<', 128, "2,000 tables, round $round: the worker has grown by less than 128 MB");
	}
	is(worker_pid(), $pid, '2,000 tables: the worker is not replaced');
}

# Rows of a table without a document that equals them, and documents without such a row; '' if there are none.
sub wrong
{
	my ($table, $collection) = @_;
	my $json = JSON::PP->new->canonical->allow_nonref;
	my %is = map { my %row = %{ $_->{metadata} }; delete $row{mixpeek_docs};
	$json->encode(\%row) => 1 } @{ $api->documents($collection) };
	my @should = map { $json->encode($json->decode($_)) } split(/\n/, sql("SELECT to_jsonb(t) FROM $table t"));

	return join(' ', grep { !delete $is{$_} } @should) . join(' ', map { "not $_" } sort keys %is);
}

# Changes of a table's definition: each is made before its rows are read, while they are under way, and afterwards. The
# options: the table's name afterwards (now; undef: it is gone), loose (documents of the rows before may stay).
my @changes = (
	[ 'RENAME COLUMN', 'ALTER TABLE s.d RENAME v TO w' ],
	[ 'ADD COLUMN', q{ALTER TABLE s.d ADD x text DEFAULT 'x'} ],
	[ 'DROP COLUMN', 'ALTER TABLE s.d DROP v' ],
	[ 'ALTER TYPE to text', q{ALTER TABLE s.d ALTER n TYPE text USING n || 'n'} ],
	[ 'ALTER TYPE to a number', 'ALTER TABLE s.d ALTER v TYPE bigint USING 4096' ],
	[ 'ALTER TYPE of the key', 'ALTER TABLE s.d ALTER id TYPE text' ],
	[ 'another primary key', 'ALTER TABLE s.d DROP CONSTRAINT d_pkey, ADD PRIMARY KEY (n)', loose => 1 ],
	[ 'a longer primary key', 'ALTER TABLE s.d DROP CONSTRAINT d_pkey, ADD PRIMARY KEY (id, n)', loose => 1 ],
	[ 'RENAME', 'ALTER TABLE s.d RENAME TO e', now => 's.e' ],
	[ 'SET SCHEMA', 'ALTER TABLE s.d SET SCHEMA public', now => 'public.d' ],
	[ 'ALTER SCHEMA', 'ALTER SCHEMA s RENAME TO r', now => 'r.d' ],
	[ 'ALTER SCHEMA, and another in its place', 'ALTER SCHEMA s RENAME TO r;
		CREATE SCHEMA s; CREATE TABLE s.d (id int PRIMARY KEY, v bigint, n int); INSERT INTO s.d SELECT i, 1, 1
			FROM generate_series(1, 100) i', now => 'r.d' ],
	[ 'OWNER', 'ALTER TABLE s.d OWNER TO another' ],
	[ 'REINDEX', 'REINDEX TABLE s.d' ],
	[ 'REINDEX CONCURRENTLY', 'REINDEX TABLE CONCURRENTLY s.d', alone => 1 ],
	[ 'VACUUM FULL', 'VACUUM FULL s.d', alone => 1 ],
	[ 'PERSISTENCE', 'ALTER TABLE s.d SET UNLOGGED' ],
	[ 'TRUNCATE', 'TRUNCATE s.d' ],
	[ 'DROP TABLE', 'DROP TABLE s.d', now => undef, loose => 1 ],
	[ 'DROP TABLE, and another in its place', q{DROP TABLE s.d; CREATE TABLE s.d (id text PRIMARY KEY, v int);
		SELECT mixpeek.mirror('s.d', 'd')}, loose => 1 ],
);

sub change
{
	my ($when, $owner, $name, $statement, %option) = @_;
	my $now = exists $option{now} ? $option{now} : 's.d';
	my $case = "$name $when" . ($owner ? ', read as the owner' : '');

	$api->reset(documents => JSON::PP::true);
	sql(q{SET client_min_messages = error; DROP SCHEMA IF EXISTS s, r CASCADE; DROP TABLE IF EXISTS public.d;
		DELETE FROM mixpeek.documents WHERE collection = 'd';
		CREATE SCHEMA s; GRANT ALL ON SCHEMA s TO another;
		CREATE TABLE s.d (id int PRIMARY KEY, v text, n int)}
		  . ($owner
			? '; CREATE POLICY p ON s.d USING (true);
				ALTER TABLE s.d ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY' : ''));
	sql(q{SELECT mixpeek.mirror('s.d', 'd')});
	my $insert = q{INSERT INTO s.d SELECT i, 'v' || i, i + 1000 FROM generate_series(1, 20) i};
	if ($when eq 'before')
	{
		sql($option{alone} ? $insert : "BEGIN; $insert; COMMIT; BEGIN; $statement; COMMIT");
		sql($statement) if $option{alone};
	}
	else
	{
		$api->config(latency => 200) if $when eq 'meanwhile';
		sql($insert);
		if ($when eq 'meanwhile') { wait_for('requests', sub { $api->stats->{in_flight} > 0 }); }
		else { settle(); }
		sql($statement);
		$api->config(latency => 0);
	}
	if ($now && $name =~ /primary key/) { sql("UPDATE $now SET v = v || '!'; INSERT INTO $now (id, n)
		VALUES (77, 77)"); }
	elsif ($now && $name =~ /^DROP TABLE/) { sql("INSERT INTO $now VALUES ('77', 7)"); }
	elsif ($now) { sql("UPDATE $now SET n = '5'; INSERT INTO $now (id) VALUES ('77')"); }
	settle();
	if (!$now) { pass("$case: settled"); return; }
	my $wrong = wrong($now, 'd');
	$wrong =~ s/ ?not \{[^}]*\}//g if $option{loose};
	is($wrong, '', "$case: the documents equal the rows");
	return;
}

{
	my $pid = worker_pid();

	sql('CREATE ROLE another SUPERUSER; CREATE USER MAPPING FOR another SERVER mixpeek OPTIONS (api_key \'sk_test\')');
	foreach my $owner (0, 1)
	{
		foreach my $when (qw(before meanwhile after)) { change($when, $owner, @$_) foreach @changes; }
		is(worker_pid(), $pid, 'changes of tables: the worker is not replaced');
	}
}

# What decodes a mirror's arguments begins a subtransaction, which no parallel plan allows.
{
	my $plan = q{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
		SET max_parallel_workers_per_gather = 2;};

	cmp_ok(sql("$plan SELECT count(problem IS NULL) FROM mixpeek.mirrors"), '>=', 2000,
		'mixpeek.mirrors can be read where parallel plans are cheap');
	my $joined = sql("$plan SELECT count(*) FROM pg_class UNION ALL SELECT count(*) FROM (
		SELECT m::text FROM mixpeek.mirrors m, pg_class c WHERE c.oid = m.relation AND m.collection = 'first') x");
	is($joined =~ /\n1$/ ? 1 : 0, 1, 'mixpeek.mirrors can be joined where parallel plans are cheap');
}

$node->stop;
done_testing();

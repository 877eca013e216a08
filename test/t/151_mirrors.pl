# Many mirrors, and what happens to their tables while rows are on their way.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;

my $node = mixpeek_node('mirrors', q{
shared_preload_libraries = 'mixpeek_docs'
max_locks_per_transaction = 1000
max_worker_processes = 20
autovacuum = off
jit = off
});
my $api = MixpeekTest::Server->new(enrich => 'now');
create_server($node, 'mixpeek', $api);

sub sql
{
	my ($statement) = @_;
	return $node->safe_psql('postgres', $statement);
}

sub settle
{
	sql("SELECT mixpeek.wait('3 min')") eq 't' or die 'the mirror did not settle';
	return;
}

sub worker { return sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'"); }

# A process' own memory, in MB.
sub memory
{
	my ($pid) = @_;
	my ($kb) = PostgreSQL::Test::Utils::slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m or die 'no RssAnon';
	return $kb / 1024;
}

# Of 2,000 mirrors on as many tables the worker remembers no more than it has room for.
{
	sql('CREATE TABLE first (id int PRIMARY KEY); SELECT mixpeek.mirror(\'first\', \'first\'); INSERT INTO first VALUES (1)');
	settle();
	my $pid = worker();
	my $start = memory($pid);

	sql(q{DO $$ BEGIN FOR i IN 1 .. 2000 LOOP
			EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, %s)', i, (SELECT string_agg('c' || n || ' text', ', ') FROM generate_series(1, 100) n));
			EXECUTE format('CREATE TRIGGER m AFTER INSERT OR UPDATE OR DELETE ON t%s FOR EACH ROW
				EXECUTE FUNCTION mixpeek.mirror_row(%L)', i, 'collection_' || i);
		END LOOP; END $$});
	foreach my $round (1, 2)
	{
		sql(qq{DO \$\$ BEGIN FOR i IN 1 .. 2000 LOOP EXECUTE format('INSERT INTO t%s VALUES ($round)', i); END LOOP; END \$\$});
		settle();
		is(sql("SELECT count(*) FROM mixpeek.documents WHERE state = 'mirrored'"), 1 + 2000 * $round, "rows of 2,000 tables, round $round");
		cmp_ok(memory($pid) - $start, '<', 128, 'and the worker has grown by less than 128 MB');
	}
	is(worker(), $pid, 'it still is the one it was');
}

$node->stop;
done_testing();

# The worker's memory with rows of 15 MB stays below its bound, whoever reads them.
use strict;
use warnings;
use MixpeekTest::Attack;
use PostgreSQL::Test::Utils;
use Test::More;

# In MB, above what the worker has at its start.
use constant BOUND => 128;

attack_cluster(conf => "mixpeek.read_timeout = 10s\n", servers => { request_timeout => 60 },
	apis => { attacker => { bodies => 'off' } });

# The worker's own memory now, in MB, without the shared one.
sub worker_memory
{
	my ($kb) = slurp_file('/proc/' . worker_pid() . '/status') =~ /^RssAnon:\s+(\d+) kB/m;
	return $kb / 1024;
}

sub rows_of_15_mb
{
	my ($policy) = @_;
	my $first = worker_memory();
	my $most = 0;

	sql_as('attacker', qq{
		CREATE TABLE attacker.t (id int PRIMARY KEY, v text);
		$policy
		SELECT mixpeek.mirror('attacker.t', 't', server => 'attacker');
		INSERT INTO attacker.t SELECT g, 'small' FROM generate_series(1, 3000) g});
	wait_for_states('attacker.t', 'mirrored');
	# From the small rows the worker expects small ones.
	sql_as('attacker', q{INSERT INTO attacker.t SELECT g, repeat('x', 15000000) FROM generate_series(10001, 10250) g});
	local $MixpeekTest::Attack::patience = 300;
	wait_for('the large rows', sub {
		my $memory = worker_memory();
		$most = $memory if $memory > $most;
		return sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'attacker.t'::regclass
			AND state IN ('mirrored', 'failed')") == 3250;
	});
	is(sql("SELECT coalesce(max(last_error), '') FROM mixpeek.documents WHERE relation = 'attacker.t'::regclass"), '',
		'all rows are mirrored');
	cmp_ok($most - $first, '<', BOUND, "the worker, which began with " . int($first)
		. " MB, grows by less than @{[BOUND]} MB");
	return;
}

attack '250 rows of 15 MB after 3,000 small ones', fresh => 1, sub { rows_of_15_mb('') };
attack '250 rows of 15 MB that an agent reads', fresh => 1,
  sub {
	rows_of_15_mb('ALTER TABLE attacker.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
		CREATE POLICY p ON attacker.t USING (attacker.inside() IS NOT NULL);');
};

attacks_end();

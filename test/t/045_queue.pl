# Requests that wait in the client behind those that are under way, and polls that wait behind changes.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Failures;
use MixpeekTest::Mirror;

my $node = failures_node();

# Requests wait in the client behind those that are under way, as long as their server can be used

my $queued = api_server('queued', { max_connections => 10 }, latency => 5);
mirrored_table('queued', 'queued');
sql(q{INSERT INTO queued SELECT n::text, 'x' FROM generate_series(1, 500) n});
wait_for_states('queued', 'mirrored');
is($queued->stats->{max_in_flight}, 10, 'max_connections are used, and not exceeded');
$queued->reset;
$queued->faults({ kind => 'status', status => 503 });
my $offset = -s $node->logfile;
sql(q{INSERT INTO queued SELECT n::text, 'x' FROM generate_series(501, 1000) n});
wait_for('the server to count as down', sub { log_lines(qr/server "queued" is not usable/, $offset) });
cmp_ok($queued->stats->{status}{503}, '<=', 5 + 10,
	'requests that wait in the client are not sent when the server is found to be down');
$queued->faults();
wait_for_states('queued', 'mirrored');
is_deeply([ @{ $queued->stats }{qw(documents duplicates)} ], [ 1000, 0 ],
	'requests that wait in the client are sent when the server is back, without duplicates');
$queued->faults({ kind => 'status', status => 401 });
$offset = -s $node->logfile;
sql(q{UPDATE queued SET v = 'y' WHERE id::int <= 100});
wait_for('the server to count as down', sub { log_lines(qr/server "queued" is not usable/, $offset) });
wait_for('all but a probe to wait', sub {
	sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'queued'::regclass AND state = 'sending'") <= 1;
});
is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'queued'::regclass AND state = 'pending'
	AND last_error IS NULL"), 0,
	'rows that wait for a server that is down say why');
$queued->faults();
sql('ALTER SERVER queued OPTIONS (SET request_timeout \'3\')');
wait_for_states('queued', 'mirrored');

# Thousands of documents to poll for enrichments, a hundred a request and one request at a time

sql('ALTER SERVER queued OPTIONS (SET max_connections \'1\'); INSERT INTO queued SELECT n::text, \'x\'
	FROM generate_series(1001, 4000) n');
wait_for_states('queued', 'mirrored');
$queued->config(latency => 50);
$queued->reset;
sql(q{BEGIN; UPDATE mixpeek.documents SET next_attempt_at = now() WHERE relation = 'queued'::regclass;
	UPDATE queued SET v = 'changed' WHERE id = '4000'; COMMIT});
wait_for('the change', sub { $queued->stats->{updates} == 1 });
cmp_ok($queued->stats->{lists}, '<', 20, 'a change does not wait for thousands of polls');
wait_for('the polls', sub { $queued->stats->{lists} >= 40 });
pass('thousands of polls go on beside a change');

done_testing();

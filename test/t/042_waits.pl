# How long a document waits for its next attempt, as the answer says; and that the wait is to be seen.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use MixpeekTest;
use MixpeekTest::Failures;
use MixpeekTest::Mirror;

my $node = failures_node();
my %apis;

# The answer says how long to wait. All cases run at once, each with a server of its own.

sub http_date
{
	my @t = gmtime(shift);
	return sprintf('%s, %02d %s %d %02d:%02d:%02d GMT', (qw(Sun Mon Tue Wed Thu Fri Sat))[ $t[6] ], $t[3],
		(qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec))[ $t[4] ], $t[5] + 1900, @t[ 2, 1, 0 ]);
}

# By name: the answer to the first request, and after how many seconds the second one must come at the earliest. A point
# in time has whole seconds, of which the first may have passed.
my %waits = (
	retry_seconds => [ 429, sub { { 'Retry-After' => 2 } }, 2 ],
	retry_date => [ 429, sub { { 'Retry-After' => http_date(time() + 3) } }, 2 ],
	reset_seconds => [ 429, sub { { 'X-RateLimit-Reset' => 2 } }, 2 ],
	reset_unix => [ 429, sub { { 'X-RateLimit-Reset' => int(time()) + 3 } }, 2 ],
	both => [ 429, sub { { 'Retry-After' => 2, 'X-RateLimit-Reset' => 30 } }, 2 ],
	nothing => [ 429, sub { {} }, 1 ],
	past => [ 429, sub { { 'Retry-After' => http_date(time() - 1000) } }, 0 ],
	unavailable => [ 503, sub { { 'Retry-After' => 2 } }, 2 ],
	broken => [ 500, sub { { 'Retry-After' => 2 } }, 2 ]);
foreach my $name (keys %waits)
{
	$apis{$name} = api_server("wait_$name");
	mirrored_table("wait_$name", "wait_$name");
}
foreach my $name (keys %waits)
{
	my ($status, $headers) = @{ $waits{$name} };
	$apis{$name}->faults({ kind => 'status', status => $status, headers => $headers->(), count => 1 });
}
sql(join('; ', map { "INSERT INTO wait_$_ VALUES ('$_')" } keys %waits));
foreach my $name (sort keys %waits)
{
	my ($status, undef, $seconds) = @{ $waits{$name} };

	wait_for_states("wait_$name", 'mirrored');
	my $stats = $apis{$name}->stats;
	my $waited = $stats->{last_request_at} - $stats->{first_request_at};
	cmp_ok($waited, '>=', $seconds - 0.01, "$name: the next request comes after at least $seconds s");
	cmp_ok($waited, '<', $seconds + 10, "$name: the next request comes less than 10 s later than that");
	is_deeply([ $stats->{creates}, $stats->{lists} ], [ 1, $status == 429 ? 0 : 1 ],
		"$name: the document is looked up unless the status was 429");
	$apis{$name}->stop;
}

# A request that could not be sent is not being worked on, so it can be repeated soon.
sql(foreign_server('nowhere', base_url => 'http://127.0.0.1:' . MixpeekTest::unused_port(), request_timeout => '60'));
mirrored_table('nowhere', 'nowhere');
sql("INSERT INTO nowhere VALUES ('x')");
wait_for_states('nowhere', 'pending');
cmp_ok(records('nowhere')->{x}{wait}, '<', 30, 'a refused connection is tried again soon');
sql('DROP TABLE nowhere');


my $api = api_server('waits');
# mixpeek.documents shows an attempt that failed.
$api->reset(faults => JSON::PP::true);
mirrored_table('waiting', 'waits');
$api->faults({ kind => 'status', status => 500, headers => { 'Retry-After' => 1000 } });
sql("INSERT INTO waiting VALUES ('x')");
wait_for_states('waiting', 'pending');
my $waiting = records('waiting')->{x};
is("$waiting->{attempts} $waiting->{in_doubt}", '1 1', 'a failed attempt: the record is pending and in doubt');
like($waiting->{last_error}, qr/^Mixpeek API failed: 500 /, 'a failed attempt: last_error says why');
cmp_ok($waiting->{wait}, '>', 900, 'a failed attempt: next_attempt_at follows Retry-After');
sql('DROP TABLE waiting');

# mixpeek.documents shows a long wait.
$api->reset(faults => JSON::PP::true);
mirrored_table('limited', 'waits');
$api->faults({ kind => 'status', status => 429, headers => { 'Retry-After' => 1000 } });
sql('INSERT INTO limited SELECT n::text FROM generate_series(1, 100) n');
wait_for('those that were ready to be put off, too', sub {
	my $limited = records('limited');
	return keys %$limited > 1 && !grep { $_->{state} ne 'pending' } values %$limited;
});
my $limited = records('limited');
is_deeply([ grep { $_->{attempts} != 0 || $_->{wait} < 900
	|| $_->{last_error} !~ /^Mixpeek API refused the request: 429 / } values %$limited ],
	[], '429 with a long Retry-After: all rows are pending, without an attempt');
cmp_ok($api->stats->{requests}, '<=', 16, '429 with a long Retry-After: no more requests than were under way');

done_testing();

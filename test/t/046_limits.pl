# Limits of requests a minute, the API's and the user's own: they are used, and kept.
use strict;
use warnings;
use Test::More;
use MixpeekTest;

# By name: the API's rate a minute, its burst, and how many rows keep it busy for some seconds.
my %limits = (minute => [ 600, 20, 170 ], second => [ 6000, 50, 850 ], option => [ 60000, 1000, 120 ]);
my %limited;
my $node = mixpeek_node('main', "shared_preload_libraries = 'mixpeek_docs'");
foreach my $name (keys %limits)
{
	my ($rate, $burst, $rows) = @{ $limits{$name} };

	$limited{$name} = MixpeekTest::Server->new(rate => $rate, burst => $burst, enrich => 'now');
	create_server($node, $name, $limited{$name}, $name eq 'option' ? (requests_per_minute => 600) : ());
	$node->safe_psql('postgres', qq{
		CREATE TABLE $name (id int PRIMARY KEY);
		SELECT mixpeek.mirror('$name', '$name', server => '$name', backfill => false);
		INSERT INTO $name SELECT generate_series(1, $rows)});
}


foreach my $name (sort keys %limits)
{
	my ($rate, $burst, $rows) = @{ $limits{$name} };

	wait_for("$name: all rows", sub {
		$node->safe_psql('postgres', "SELECT count(*) FROM mixpeek.documents WHERE relation = '$name'::regclass
			AND state = 'mirrored'") == $rows;
	});
	my $stats = $limited{$name}->stats;
	my $permitted = $burst + $rate / 60 * ($stats->{last_request_at} - $stats->{first_request_at});
	my $option = 10 + 600 / 60 * ($stats->{last_request_at} - $stats->{first_request_at});
	note(sprintf('%s: %d requests of %.0f that the server permits', $name, $stats->{requests}, $permitted));
	cmp_ok($stats->{requests}, '>=', 0.98 * $permitted, "limit $name: it is used") if $name ne 'option';
	cmp_ok($stats->{requests}, '<=', $option + 1, "limit $name: requests_per_minute is kept") if $name eq 'option';
	cmp_ok($stats->{status}{429} // 0, '<=', 0.01 * $rows, "limit $name: it is not exceeded");
	is_deeply([ @$stats{qw(documents duplicates)} ], [ $rows, 0 ], "limit $name: no document is lost or doubled");
}
$node->stop;

done_testing();

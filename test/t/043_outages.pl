# Servers that are down: found out with few requests, tried one request at a time, without a loss, and without harm to
# other servers.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Failures;
use MixpeekTest::Mirror;

my $node = failures_node();
my $api = api_server('here');
my $key = $MixpeekTest::Failures::key;
my $offset;

# By name: the error of an API that cannot be used, and what ends the outage.
my $certificates = make_certificates(good => 'IP:127.0.0.1');
my $down = api_server('down_refused');
$down->stop;
my $tls = MixpeekTest::Server->new(api_key => $key, tls_cert => $certificates->{good}{cert},
	tls_key => $certificates->{good}{key});
my $locked = api_server('down_unauthorized', {}, api_key => 'sk_another');
my $moved = api_server('down_moved');
$moved->faults({ kind => 'redirect' });
my $failing = api_server('down_failing');
$failing->faults({ kind => 'status', status => 503 });
sql(foreign_server('down_nowhere', base_url => 'https://mixpeek.invalid', connect_timeout => '2'));
sql(foreign_server('down_tls', base_url => $tls->url));
my $here = $api->url;
my %outages = (
	refused => [ qr/^could not connect to the Mixpeek API: Connection refused$/, sub { $down->start } ],
	nowhere => [ qr/^could not connect to the Mixpeek API: (host name could not be resolved|no connection within 2 s)$/,
		sub { sql("ALTER SERVER down_nowhere OPTIONS (SET base_url '$here')") } ],
	tls => [ qr/^could not make a secure connection to the Mixpeek API: /,
		sub { sql("ALTER SERVER down_tls OPTIONS (ADD ca_file '$certificates->{ca}')") } ],
	unauthorized => [ qr/^Mixpeek API refused the request: 401 /,
		sub { sql("SET log_statement = none; ALTER USER MAPPING FOR CURRENT_USER SERVER down_unauthorized
			OPTIONS (SET api_key 'sk_another')") } ],
	moved => [ qr/^Mixpeek API answered with a redirect: 307/, sub { $moved->faults(); try_at_once('down_moved') } ],
	failing => [ qr/^Mixpeek API failed: 503 /, sub { $failing->faults(); try_at_once('down_failing') } ]);
# Any change of a server makes the worker try it again.
sub try_at_once { return sql("ALTER SERVER $_[0] OPTIONS (SET request_timeout '2')"); }
my $rows = 300;

sub wait_for_end
{
	my ($name) = @_;

	wait_for("$name to end", sub {
		sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'down_$name'::regclass
			AND state = 'mirrored'") == $rows;
	});
	is(log_lines(qr/server "down_$name" is not usable/, $offset), 1, "outage $name: one log line when it begins");
	is(log_lines(qr/server "down_$name" answers again/, $offset), 1, "outage $name: one log line when it ends");
	return;
}

$offset = -s $node->logfile;
$api->reset(faults => JSON::PP::true);
mirrored_table("down_$_", "down_$_") for sort keys %outages;
sql(join('; ', map { "INSERT INTO down_$_ SELECT '$_' || n FROM generate_series(1, $rows) n" } sort keys %outages));
foreach my $name (sort keys %outages)
{
	wait_for("$name to be an outage", sub { log_lines(qr/server "down_$name" is not usable/, $offset) });
	# One reading for both: a moment later, a request that tries the server may be under way.
	my @known;
	wait_for('the others to wait', sub {
		@known = values %{ records("down_$name") };
		return !grep { $_->{state} ne 'pending' } @known;
	});
	is_deeply([ grep { $_->{attempts} > 1 || $_->{last_error} !~ $outages{$name}[0] } @known ], [],
		"outage $name: last_error says what is wrong");
	is(sql("SELECT (SELECT count(*) FROM mixpeek.outbox WHERE relation = 'down_$name'::regclass)
		+ (SELECT count(*) FROM mixpeek.documents WHERE relation = 'down_$name'::regclass)"), $rows,
			"outage $name: no row is lost");
}
# The servers that count requests: after those that were under way have ended, one request tries from time to time.
my %tried = (unauthorized => $locked, moved => $moved, failing => $failing);
my $requests = sub { my $n = 0; $n += $_ for values %{ $tried{ $_[0] }->stats->{status} }; return $n };
my %before = map { $_ => $requests->($_) } keys %tried;
# A server that is back by itself is found soon.
(delete $outages{refused})->[1]->();
wait_for_end('refused');
foreach my $name (sort keys %tried)
{
	wait_for("$name: a try", sub { $requests->($name) > $before{$name} });
	cmp_ok($requests->($name), '<=', 16 + 8, "outage $name: one request at a time tries the server");
}
$outages{$_}[1]->() for sort keys %outages;
wait_for_end($_) for sort keys %outages;

# One server does not hold up another

# A server that never answers, with more than fits into memory waiting for it, and one that is not there.
my $hanging = api_server('hanging', { request_timeout => '60' });
my $lively = api_server('lively');
$hanging->faults({ kind => 'hang' });
sql(foreign_server('absent', base_url => 'http://127.0.0.1:' . MixpeekTest::unused_port()));
mirrored_table($_, $_) for qw(hanging absent lively);
sql(q{
	INSERT INTO hanging SELECT n::text, repeat('x', 1000000) FROM generate_series(1, 40) n;
	INSERT INTO absent SELECT n::text, repeat('x', 1000000) FROM generate_series(1, 40) n});
wait_for('requests to hang', sub { $hanging->stats->{in_flight} >= 4 });
sql(q{INSERT INTO lively SELECT n::text, 'x' FROM generate_series(1, 1000) n});
wait_for_states('lively', 'mirrored');
is($lively->stats->{documents}, 1000, 'a server that hangs and one that is absent do not hold up another');
cmp_ok($hanging->stats->{in_flight}, '>=', 4, 'requests of the server that hangs are still under way');
sql('DROP TABLE hanging, absent');
$hanging->stop;

done_testing();

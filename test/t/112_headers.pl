# Rate headers and rates that make no sense, the wait after a request without an answer, and HTTP/1.1.
use strict;
use warnings;
use IO::Socket::INET;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use MixpeekTest;
use MixpeekTest::Answers;
use MixpeekTest::Mirror;

my $node = answers_node();
my $key = $MixpeekTest::Answers::key;
my $worker = wait_for('the worker', \&worker_pid);

# Rate headers that make no sense

my %odd = (
	'D5 other units' => [ 0, { 'X-RateLimit-Limit' => 60, 'X-RateLimit-Window' => 60000 } ],
	'D5 one a minute' => [ 0, { 'X-RateLimit-Limit' => 1, 'X-RateLimit-Window' => 60, 'X-RateLimit-Remaining' => 0 } ],
	'D14 infinite' => [ 0, { 'X-RateLimit-Limit' => '1e308', 'X-RateLimit-Window' => '1e-308',
		'X-RateLimit-Remaining' => '1e308' } ],
	'D14 nearly nothing' => [ 0, { 'X-RateLimit-Limit' => '1e-308', 'X-RateLimit-Window' => '1e308',
		'X-RateLimit-Remaining' => 0 } ],
	'no numbers' => [ 0, { 'X-RateLimit-Limit' => 'nan', 'X-RateLimit-Window' => 'inf',
		'X-RateLimit-Remaining' => '-0', 'Retry-After' => '1e400', 'X-RateLimit-Reset' => '-1' } ]);
my $rate = 0;
foreach my $name (sort keys %odd)
{
	my $table = 'rate' . ++$rate;
	table_on($table);
	api($table)->faults({ kind => 'status', status => 200, after => 4, count => 1, method => 'POST',
		answer => '{"document_id":"odd"}', headers => $odd{$name}[1] });
	my $start = time();
	sql("INSERT INTO $table SELECT n FROM generate_series(1, 200) n");
	wait_for_states($table, 'mirrored');
	cmp_ok(time() - $start, '<', 20, "rate headers, $name: the other rows are not held up");
	finish($table);
}

# requests_per_minute

foreach my $value ('1e-300', '0.009', '1e300', 'NaN', '-1')
{
	like(error_of("CREATE SERVER tiny FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (requests_per_minute '$value')"),
		qr/must be a number from 0.01 to 1000000000/, "requests_per_minute $value is refused");
}
table_on('slow', requests_per_minute => '0.01');
sql("INSERT INTO slow VALUES ('one'), ('two')");
wait_for('the first', sub { api('slow')->stats->{creates} == 1 });
is(worker_pid(), $worker, 'requests_per_minute 0.01: the worker is not replaced');
finish('slow');

# The wait after a request without an answer is counted from its end

sub breaking_server
{
	my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Proto => 'tcp', Listen => 10)
		or die "no port: $!";
	my $times = PostgreSQL::Test::Utils::tempdir() . '/times';
	my $pid = fork() // die "no process: $!";

	return ($socket->sockport, $times, $pid) if $pid;
	while (my $connection = $socket->accept)
	{
		my $request = '';
		$connection->sysread($request, 65536, length($request)) || last until $request =~ /\r\n\r\n/;
		append_to_file($times, join(' ', time(), $request =~ /^(\S+ \S+)/) . "\n");
		select(undef, undef, undef, 2);    # the other side, at work
		append_to_file($times, time() . " end\n");
		$connection->close;
	}
	POSIX::_exit(0);
}
my ($port, $times, $breaking) = breaking_server();
sql("ALTER SYSTEM SET mixpeek.max_attempts = 3; SELECT pg_reload_conf()");
create_server($node, 'breaking', "http://127.0.0.1:$port", request_timeout => '3', api_key => $key);
sql(q{CREATE TABLE breaking (id text PRIMARY KEY); SELECT mixpeek.mirror('breaking', 'c', server => 'breaking',
	backfill => false); INSERT INTO breaking VALUES ('x')});
wait_for('the second request', sub { -e $times && (() = slurp_file($times) =~ m{ POST }g) >= 2 });
my (undef, $ended, $asked) = slurp_file($times) =~ /^([\d.]+)/mg;
cmp_ok($asked - $ended, '>=', 2.9,
	'after a request without an answer the next one comes request_timeout after its end');
sql('DROP TABLE breaking');
kill('KILL', $breaking);
waitpid($breaking, 0);
sql("ALTER SYSTEM RESET mixpeek.max_attempts; SELECT pg_reload_conf()");

# The client asks for HTTP/1.1

my $certificates = make_certificates(server => 'IP:127.0.0.1');
my $tls_port = MixpeekTest::unused_port();
my ($tls_in, $tls_out) = ('', '');
my $tls = IPC::Run::start([ 'openssl', 's_server', '-accept', "127.0.0.1:$tls_port", '-cert',
	$certificates->{server}{cert}, '-key', $certificates->{server}{key},
	'-alpn', 'h2,http/1.1' ], '<', \$tls_in, '>&', \$tls_out);
wait_for('openssl', sub { $tls->pump_nb; $tls_out =~ /ACCEPT/ });
create_server($node, 'tls', "https://127.0.0.1:$tls_port", ca_file => $certificates->{ca}, api_key => $key,
	request_timeout => '2');
like(error_of(q{SELECT mixpeek.get_document('c', 'd', server => 'tls')}), qr/08006/,
	'TLS server without an answer: SQLSTATE 08006');
wait_for('its output', sub { $tls->pump_nb; $tls_out =~ /ALPN protocols advertised/ });
like($tls_out, qr{ALPN protocols advertised by the client: http/1\.1\s}, 'TLS server: the client offers HTTP/1.1 only');
$tls->kill_kill;
undef $tls;

$node->stop;

done_testing();

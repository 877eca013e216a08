# What tests of mixpeek.sync() and mixpeek.wait() share: a node with owners and a mirrored table t, what psql says of a
# statement, and sessions that wait in the background.
#
#   use MixpeekTest::Sync;
#
#   my ($node, $api) = sync_node('main', "shared_preload_libraries = 'mixpeek_docs'");
#   is(messages('SELECT mixpeek.wait()', user => 'owner_a'), "t\n", '...');
#   my $session = background('CALL mixpeek.sync()');
#   is(finish($session), '', '...');
#
package MixpeekTest::Sync;
use strict;
use warnings;
use Exporter qw(import);
use IPC::Run ();
use MixpeekTest;

our @EXPORT = qw(sync_node sql messages background finish no_worker documents pids $workers $waits);

# How many workers there are, and how many sessions wait in sync() or wait().
our $workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'";
our $waits = "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^(CALL mixpeek.sync|SELECT mixpeek.wait)'
	AND wait_event = 'Extension' AND backend_type = 'client backend'";

my ($node, $api);

# A running node and its API server, with the roles nobody, owner_a, owner_b and attacker.
sub sync_node
{
	my ($name, $conf) = @_;

	$api = MixpeekTest::Server->new(enrich => 'never');
	$node = mixpeek_node($name, $conf);
	create_server($node, 'mixpeek', $api, request_timeout => 3);
	sql(q{
		CREATE ROLE nobody LOGIN;
		CREATE ROLE owner_a LOGIN;
		CREATE ROLE owner_b LOGIN;
		CREATE ROLE attacker LOGIN;
		GRANT CREATE, USAGE ON SCHEMA public TO owner_a, owner_b, attacker;
		GRANT USAGE ON FOREIGN SERVER mixpeek TO owner_a, owner_b;
		CREATE USER MAPPING FOR owner_a SERVER mixpeek OPTIONS (api_key 'sk_test');
		CREATE TABLE t (id int PRIMARY KEY, v text);
		SELECT mixpeek.mirror('t', 't');
	});
	return ($node, $api);
}

sub sql { return $node->safe_psql('postgres', $_[0]); }

# messages(STATEMENT, user => ROLE): what psql says of it, its output and all messages, with their codes.
sub messages
{
	my ($statement, %options) = @_;
	my @options = $options{user} ? (extra_params => [ '-U', $options{user} ]) : ();
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$statement", @options);
	return "$out\n$err";
}

# background(STATEMENT, DATABASE): a session that runs a statement; finish() waits for its end, and returns its output.
sub background
{
	my ($statement, $database) = @_;
	my $session = { out => '', err => '' };
	my @psql = ($node->installed_command('psql'), qw(-X -q -A -t -v VERBOSITY=verbose -d));

	$session->{process} = IPC::Run::start(
		[ @psql, $node->connstr($database // 'postgres'), '-c', $statement ],
		'<', \undef, '>', \$session->{out}, '2>', \$session->{err});
	return $session;
}

sub finish
{
	my ($session) = @_;
	eval { $session->{process}->finish };
	return "$session->{out}$session->{err}";
}

sub no_worker { wait_for('the worker to end', sub { sql($workers) eq '0' }); return; }

# The keys of a collection's documents, in their order.
sub documents
{
	my ($collection) = @_;
	return join(' ', sort { $a <=> $b } map { $_->{metadata}{id} } @{ $api->documents($collection) });
}

# The processes of the launcher and the worker: whether they still are what they were.
sub pids
{
	return sql(q{SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity
		WHERE backend_type IN ('mixpeek_docs worker', 'mixpeek_docs launcher')});
}

1;

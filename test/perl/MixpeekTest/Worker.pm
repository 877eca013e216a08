# What tests of the launcher and the workers share: a node whose log has each transaction, databases with a
# mirrored table t, requests that get no answer, and settings that are reloaded.
#
#   use MixpeekTest::Worker;
#
#   my ($node, $api) = worker_node();
#   set_up('postgres');
#   hang('postgres', 1);                         # a row whose request is under way, and stays so
#   set_and_reload('mixpeek.enabled', 'off', 'postgres');
#
package MixpeekTest::Worker;
use strict;
use warnings;
use Exporter qw(import);
use MixpeekTest;
use MixpeekTest::Mirror;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(worker_node worker wait_for_worker wait_for_no_worker is_alive set_up there hang hang_for_the_next
  set_and_reload);

our $key = 'sk_a_key_that_nobody_may_see';

my ($node, $api);
my $reloads = 0;

# A running node, without the extension, and an API server. DEBUG5 has lines of each transaction. CONF, if given, is
# appended to postgresql.conf.
sub worker_node
{
	my ($conf) = @_;

	$api = MixpeekTest::Server->new(api_key => $key, enrich => 'never');
	$node = PostgreSQL::Test::Cluster->new('main');
	$node->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
	$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'mixpeek_docs'
max_prepared_transactions = 5
max_worker_processes = 20
restart_after_crash = on
log_min_messages = debug5
log_statement = none
log_line_prefix = '%n [%p] '
mixpeek.retry_max_delay = 1
});
	$node->append_conf('postgresql.conf', $conf) if defined $conf;
	$node->start;
	use_node($node, $api);
	return ($node, $api);
}

# The process of a database's worker, '' where there is none.
sub worker
{
	my ($database) = @_;
	return sql(qq{
		SELECT pid FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker' AND datname = '$database'});
}

sub wait_for_worker
{
	my ($database) = @_;
	return wait_for("a worker in $database", sub { worker($database) });
}

sub wait_for_no_worker
{
	my ($database) = @_;
	wait_for("no worker in $database", sub { worker($database) eq '' });
	return;
}

sub is_alive { return kill(0, $_[0]); }

# The extension in a database, with a server and a table t that is mirrored into the collection of the database's name.
sub set_up
{
	my ($database, %option) = @_;
	sql('CREATE EXTENSION mixpeek_docs', $database);
	create_server($node, 'mixpeek', $api, database => $database, request_timeout => '60', %option);
	sql("CREATE TABLE t (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('t', '$database')", $database);
	return;
}

# What a collection has, as 'id value' by id.
sub there
{
	my ($collection) = @_;
	my @rows = sort { $a->{id} <=> $b->{id} } map { $_->{metadata} } @{ $api->documents($collection) };
	return join(', ', map { "$_->{id} $_->{v}" } @rows);
}

# Inserts a row whose request meets a fault that leaves it without an answer, and waits until it is under way.
sub hang
{
	my ($database, $id, %fault) = @_;
	$api->reset;
	$api->faults({ kind => 'hang', body => 'hanging', %fault });
	sql("INSERT INTO t VALUES ($id, 'hanging')", $database);
	wait_for('the request to be under way', sub { $api->stats->{faults} == 1 });
	return;
}

# The same in the database postgres, and the next worker may soon look up the document.
sub hang_for_the_next
{
	my ($id, %fault) = @_;
	sql("ALTER SERVER mixpeek OPTIONS (SET request_timeout '60')");
	hang('postgres', $id, %fault);
	sql("ALTER SERVER mixpeek OPTIONS (SET request_timeout '1')");
	return;
}

# Changes a setting, and waits until the worker has taken it: the log's lines begin with another word then.
sub set_and_reload
{
	my ($setting, $value, $database) = @_;
	my $worker = wait_for_worker($database);

	$reloads++;
	sql("ALTER SYSTEM SET $setting = $value");
	sql("ALTER SYSTEM SET log_line_prefix = '%n [%p] reload_$reloads '");
	$node->reload;
	wait_for('the worker to reload', sub { slurp_file($node->logfile) =~ /\[$worker\] reload_$reloads DEBUG: / });
	return;
}

1;

# What tests of failing requests share: a node whose log has everything, and API servers with foreign servers and
# mirrored tables of their names, so that one server's failures are seen apart from another's.
#
#   use MixpeekTest::Failures;
#   use MixpeekTest::Mirror;
#
#   my $node = failures_node();
#   my $api  = api_server('broken', { max_connections => 1 }, latency => 5);
#   mirrored_table('broken', 'broken');
#   $api->faults({ kind => 'status', status => 500 });
#
package MixpeekTest::Failures;
use strict;
use warnings;
use Exporter qw(import);
use MixpeekTest;
use MixpeekTest::Mirror;

our @EXPORT = qw(failures_node api_server foreign_server set_max_attempts);

our $key = 'sk_a_key_that_nobody_may_see';

my $node;

# A running node with the extension; a failed attempt is repeated after a second at most, and twice.
sub failures_node
{
	$node = mixpeek_node('main', q{
shared_preload_libraries = 'mixpeek_docs'
log_min_messages = debug5
log_statement = all
mixpeek.max_attempts = 3
mixpeek.retry_max_delay = 1
});
	return use_node($node);
}

# api_server(NAME, { OPTION => VALUE }, OPTION => VALUE...): an API server, and a foreign server of that name. The
# options are the foreign server's, and MixpeekTest::Server's.
sub api_server
{
	my ($name, $options, %api_options) = @_;
	my $api = MixpeekTest::Server->new(api_key => $key, record => 1, enrich => 'now', %api_options);

	sql(foreign_server($name, base_url => $api->url, request_timeout => '2', %{ $options // {} }));
	return $api;
}

# Statements that make a foreign server; the one that has the key is not logged.
sub foreign_server
{
	my ($name, %options) = @_;
	my $list = join(', ', map { "$_ '$options{$_}'" } sort keys %options);

	return qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER mixpeek_docs OPTIONS ($list);
		SET log_statement = none;
		CREATE USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS (api_key '$key');
		RESET log_statement;
	};
}

# Sets mixpeek.max_attempts, and waits until the worker has taken it.
sub set_max_attempts
{
	my ($n) = @_;
	my $worker = worker_pid();
	my $offset = -s $node->logfile;

	$node->append_conf('postgresql.conf', "mixpeek.max_attempts = $n\n");
	$node->reload;
	# The worker has nothing else to do, so its debug messages show that it has woken up.
	wait_for('the worker to reload', sub { log_lines(qr/\[$worker\] .*CommitTransaction/, $offset) });
	return;
}

1;

# What tests with servers that crash, stop and start share: statements to a server that may not be up, and waiting for
# what comes after it.
#
#   use MixpeekTest::Crash;
#
#   my $node = new_node('weak', install_path => $ENV{MIXPEEK_WEAK});
#   $node->start;
#   signal('KILL', worker());
#   wait_for('the table', sub { mirrored('items') });
#
package MixpeekTest::Crash;
use strict;
use warnings;
use Exporter qw(import);
use IPC::Run ();
use MixpeekTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(new_node ask sql worker wait_for_worker mirrored set signal log_since);

my $node;

# A node that does not run yet; the other functions mean the last one.
sub new_node
{
	my ($name, %options) = @_;

	$node = PostgreSQL::Test::Cluster->new($name, %options);
	$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ], allows_streaming => 1);
	$node->append_conf('postgresql.conf', q{
		shared_preload_libraries = 'mixpeek_docs'
		restart_after_crash = on
		log_line_prefix = '%n [%p] %b '
		mixpeek.retry_max_delay = 1
	});
	return $node;
}

# The output of statements, which are one transaction; undefined where they fail, as while the server recovers.
sub ask
{
	my ($statement) = @_;
	my ($out, $err) = ('', '');
	my @psql = ($node->installed_command('psql'), qw(-X -q -A -t -d), $node->connstr('postgres'));

	IPC::Run::run([ @psql, '-c', $statement ], '<', \undef, '>', \$out, '2>', \$err) or return;
	chomp($out);
	return $out;
}

sub sql { my ($statement) = @_; return $node->safe_psql('postgres', $statement); }

sub worker
{
	return ask(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker' AND datname = 'postgres'});
}

# wait_for_worker(NOT): a worker's pid other than NOT.
sub wait_for_worker
{
	my ($not) = @_;
	return wait_for('a worker', sub { my $pid = worker() // ''; return $pid ne '' && $pid ne ($not // '') && $pid });
}

# Whether all rows of the table are mirrored.
sub mirrored
{
	my ($table) = @_;
	return (ask(qq{
		SELECT (SELECT count(*) FROM $table) = (
				SELECT count(*) FROM mixpeek.documents WHERE relation = '$table'::regclass AND state = 'mirrored')
			AND NOT EXISTS (SELECT FROM mixpeek.outbox WHERE relation = '$table'::regclass)}) // '') eq 't';
}

# Changes a setting, a line of postgresql.conf, and waits until sessions have it.
sub set
{
	my ($setting) = @_;
	my ($name, $value) = $setting =~ /^(\S+) = '?([^']*)/;

	$node->append_conf('postgresql.conf', "$setting\n");
	$node->reload;
	wait_for('the setting', sub { (ask("SELECT current_setting('$name')") // '') eq $value });
	return;
}

# Pid 0 would be this process and all that it has started.
sub signal
{
	my ($signal, $pid) = @_;
	die "no process: '$pid'" unless $pid =~ /^\d+$/ && $pid > 1;
	return kill($signal, $pid);
}

sub log_since { my ($offset) = @_; return slurp_file($node->logfile, $offset); }

1;

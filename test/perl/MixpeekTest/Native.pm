# What tests of the worker's own reading of rows share: who reads a table's rows, and whether the other way gives the
# same documents.
#
#   use MixpeekTest::Native;
#
#   my ($node, $api) = native_node();
#   sql('CREATE TABLE items (id int PRIMARY KEY, v text)');
#   mirror('items');
#   settle();
#   is(reader('items'), 'native', 'items: read by the worker itself');
#   read_the_same('items', 'items');
#
package MixpeekTest::Native;
use strict;
use warnings;
use Exporter qw(import);
use MixpeekTest;
use MixpeekTest::Mirror;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(native_node literal mirrored reader mirror changes read_the_same);

my ($node, $api);

# A running node with the extension, whose log says who reads, and its API server.
sub native_node
{
	$node = mixpeek_node('native', q{
shared_preload_libraries = 'mixpeek_docs'
log_min_messages = debug1
max_worker_processes = 20
jit = off
});
	$api = MixpeekTest::Server->new(enrich => 'now');
	create_server($node, 'mixpeek', $api);
	use_node($node, $api);
	return ($node, $api);
}

sub literal { return MixpeekTest::quote($_[0]); }

# How many of the table's records are mirrored, and their errors: 'N|' where all is well.
sub mirrored
{
	my ($table) = @_;
	return sql("SELECT count(*) FILTER (WHERE state = 'mirrored'), string_agg(DISTINCT last_error, '; ')
		FROM mixpeek.documents WHERE relation = '$table'::regclass");
}

# Who reads the table's rows, as the worker last said: 'native' or 'owner'.
sub reader
{
	my ($table) = @_;
	my @said = slurp_file($node->logfile) =~
	  /rows of "\Q$table\E" are read by (PostgreSQL's own code|statements of their owner)/g;

	return !@said ? 'nobody' : $said[-1] =~ /own code/ ? 'native' : 'owner';
}

# Mirrors the table, into the collection of its name.
sub mirror
{
	my ($table, $document) = @_;
	sql("SELECT mixpeek.mirror('$table', '$table'" . (defined $document ? ', ' . literal($document) : '') . ')');
	return;
}

# How many changes the API has counted.
sub changes
{
	my $stats = $api->stats;
	return join(' ', map { "$_ $stats->{$_}" } qw(creates updates patches deletes));
}

# Three tests: the worker reads the table by itself; under a policy its rows are read as their owner; and that gives
# what has been sent, as the content's hash says.
sub read_the_same
{
	my ($table, $name, $document) = @_;
	my $before = changes();

	is(reader($table), 'native', "$name: read by the worker itself");
	sql("CREATE POLICY all_rows ON \"$table\" USING (true);
		 ALTER TABLE \"$table\" ENABLE ROW LEVEL SECURITY;
		 ALTER TABLE \"$table\" FORCE ROW LEVEL SECURITY");
	mirror($table, $document);
	settle();
	is(reader($table), 'owner', "$name: read as the owner");
	is(changes(), $before, "$name: both give the same documents");
	return;
}

1;

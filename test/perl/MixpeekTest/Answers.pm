# What tests of the API's answers share: mirrored tables with an API server each, whose answers are what the test wants.
#
#   use MixpeekTest::Answers;
#   use MixpeekTest::Mirror;
#
#   my $node = answers_node();
#   table_on('answers', max_connections => 1, api => { enrich => 'now' });
#   is_kept(answered('answers', 'a key', answer => '{"document_id":"x","enrichments":{}}'), 'an empty object');
#
package MixpeekTest::Answers;
use strict;
use warnings;
use Exporter qw(import);
use JSON::PP;
use MixpeekTest;
use MixpeekTest::Mirror;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(answers_node api quoted table_on finish record answered is_kept is_unkept error_of
  forget_peak memory);

our $key = 'sk_live/THE"SECRET_KEY';

my $node;
my %apis;

# A running node with the extension, where the first failed attempt is the last one.
sub answers_node
{
	$node = mixpeek_node('main', q{
shared_preload_libraries = 'mixpeek_docs'
shared_buffers = 16MB
mixpeek.max_attempts = 1
mixpeek.retry_max_delay = 1
log_statement = none
});
	return use_node($node);
}

sub api { return $apis{ $_[0] }; }
sub quoted { return MixpeekTest::quote($_[0]); }

# table_on(NAME, OPTION => VALUE...): an API server, a foreign server, and a table (id, v) that is mirrored into a
# collection, all of one name. The options are the foreign server's; api has MixpeekTest::Server's.
sub table_on
{
	my ($name, %options) = @_;

	$apis{$name} = MixpeekTest::Server->new(api_key => $key, record => 1, %{ delete $options{api} // {} });
	create_server($node, $name, $apis{$name}, request_timeout => '20', %options);
	sql(qq{CREATE TABLE $name (id text PRIMARY KEY, v text);
		SELECT mixpeek.mirror('$name', '$name', '{"metadata": {"id": "\$id"}}', server => '$name', backfill => false)});
	return $apis{$name};
}

# Drops what table_on() has made.
sub finish
{
	my ($name) = @_;
	sql("DROP TABLE $name");
	$apis{$name}->stop;
	return;
}

# A key's record in mixpeek.documents, with the size of its enrichments instead of them.
sub record
{
	my ($table, $id) = @_;
	return decode_json(sql(qq{
		SELECT coalesce((
			SELECT to_jsonb(d) - 'enrichments' || jsonb_build_object('size', octet_length(enrichments::text))
			FROM mixpeek.documents d WHERE relation = '$table'::regclass AND key = @{[ quoted($id) ]}), '{}')}));
}

# answered(TABLE, ID, FAULT...): inserts a row whose create is answered so, and returns its record when that is settled.
sub answered
{
	my ($table, $id, %fault) = @_;
	my $body = '"' . ($id =~ s/"/\\"/gr) . '"';

	$apis{$table}->faults(
		{ kind => 'status_after', status => 200, method => 'POST', body => $body, count => 1, %fault });
	sql("INSERT INTO $table VALUES (" . quoted($id) . ')');
	wait_for("an end of $id", sub { (record($table, $id)->{state} // '') =~ /mirrored|failed/ });
	$apis{$table}->faults();
	return record($table, $id);
}

# Three tests of a record: it is mirrored, without an error, with its enrichments.
sub is_kept
{
	my ($record, $name) = @_;
	is($record->{state}, 'mirrored', "$name: the document is mirrored");
	is($record->{last_error}, undef, "$name: last_error is empty");
	cmp_ok($record->{size} // 0, '>', 0, "$name: its enrichments are kept");
	return;
}

# Three tests of a record: it is mirrored, without its enrichments, and its error says WHY.
sub is_unkept
{
	my ($record, $why, $name) = @_;
	is($record->{state}, 'mirrored', "$name: the document is mirrored");
	like($record->{last_error}, $why, "$name: last_error says why its enrichments were not kept");
	is($record->{size}, undef, "$name: no enrichments are kept");
	return;
}

# The error of a statement of a session: SQLSTATE, message and detail.
sub error_of
{
	my ($statement) = @_;
	my ($rc, undef, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\n$statement");
	return $rc ? $error : 'no error';
}

# memory(PID, WHAT): a field of /proc/PID/status in MB; VmHWM is the most since forget_peak(PID), RssAnon what it has
# now.
sub forget_peak { my ($pid) = @_; append_to_file("/proc/$pid/clear_refs", '5'); return; }

sub memory
{
	my ($pid, $what) = @_;
	my ($kb) = slurp_file("/proc/$pid/status") =~ /^$what:\s+(\d+) kB/m or die "no $what";
	return $kb / 1024;
}

1;

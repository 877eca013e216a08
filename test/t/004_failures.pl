# What the worker makes of each way in which a request can fail: README's table of failures, line by
# line, and that one failure is nobody else's.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use MixpeekTest;

my $key = 'sk_a_key_that_nobody_may_see';
my $node = mixpeek_node('main', q{
shared_preload_libraries = 'mixpeek_docs'
log_min_messages = debug5
log_statement = all
mixpeek.max_attempts = 3
mixpeek.retry_max_delay = 1
});

sub sql
{
	my ($statement, $database) = @_;
	return $node->safe_psql($database // 'postgres', $statement);
}

sub log_lines
{
	my ($pattern) = @_;
	return scalar(grep { $_ =~ $pattern } split(/\n/, slurp_file($node->logfile)));
}

# A server of the tests' own with a foreign server of its name; the statement that has the key is not logged.
sub api_server
{
	my ($name, $options, %api_options) = @_;
	my $api = MixpeekTest::Server->new(api_key => $key, record => 1, enrich => 'now', %api_options);
	my %all = (base_url => $api->url, request_timeout => '1', %{ $options // {} });
	my $list = join(', ', map { "$_ '$all{$_}'" } sort keys %all);

	sql(qq{
		SET log_statement = none;
		CREATE SERVER $name FOREIGN DATA WRAPPER mixpeek_docs OPTIONS ($list);
		CREATE USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS (api_key '$key')});
	return $api;
}

# A mirrored table, which is the collection's name, too.
sub mirrored_table
{
	my ($table, $server) = @_;
	sql("CREATE TABLE $table (id text PRIMARY KEY, v text); SELECT mixpeek.mirror('$table', '$table', server => '$server')");
	return;
}

# What is known of a table's documents, by key.
sub documents
{
	my ($table) = @_;
	return decode_json(sql(qq{
		SELECT coalesce(json_object_agg(key, to_json(d.*)), '{}')
		FROM (SELECT *, extract(epoch FROM next_attempt_at - clock_timestamp()) AS wait FROM mixpeek.documents) d
		WHERE relation = '$table'::regclass}));
}

sub wait_for_states
{
	my ($table, $states) = @_;
	wait_for("$table to become $states", sub {
		return $states eq sql(qq{
			SELECT coalesce(string_agg(DISTINCT state, ',' ORDER BY state), '') FROM mixpeek.documents WHERE relation = '$table'::regclass})
		  && sql("SELECT count(*) FROM mixpeek.outbox WHERE relation = '$table'::regclass") == 0;
	});
	return;
}

sub rows { return join(', ', map { "('$_')" } @_); }

# README's table: what becomes of each status

sub readme_lines
{
	my ($section) = slurp_file('README.md') =~ /^## Failure and recovery\n(.*?)^One row that/ms;
	my @lines = map { [ split(/ \| /, $_) ] } grep { /^\| / } split(/\n/, $section);
	return @lines[ 1 .. $#lines ];
}

# By status, whether README says that it is tried again.
sub readme_statuses
{
	my %again;

	foreach my $line (readme_lines())
	{
		my ($statuses) = $line->[0] =~ /^\| (\d{3}[^;]*)/ or next;
		next if $statuses =~ /^404 /;
		while ($statuses =~ /\b(\d{3})(?:–(\d{3}))?\b/g)
		{
			push @{ $again{$_} }, $line->[1] for $1 .. $2 // $1;
		}
	}
	$again{404} = ['no'];    # "to a create"
	return %again;
}

my %again = readme_statuses();
is_deeply([ grep { @{ $again{$_} // [] } != 1 } 200 .. 599 ], [], 'README says of each status what becomes of it');

my $api = api_server('statuses');
mirrored_table('statuses', 'statuses');
my @statuses = grep { $again{$_}[0] eq 'no' || $again{$_}[0] =~ /^yes, `mixpeek.max_attempts` times/ } 200 .. 599;
cmp_ok(scalar(@statuses), '>', 190, 'those that are about one document');
$api->faults(map { { kind => 'status', status => $_, body => qq{"s$_"} } } @statuses);
sql('INSERT INTO statuses VALUES ' . rows('good', map { "s$_" } @statuses));
wait_for_states('statuses', 'failed,mirrored');
my $documents = documents('statuses');
is($documents->{good}{state}, 'mirrored', 'the row beside them is mirrored');
my %wrong;
foreach my $status (@statuses)
{
	my $document = $documents->{"s$status"};
	my $again = $again{$status}[0] ne 'no';

	$wrong{$status} = $document
	  unless $document->{state} eq 'failed'
	  && $document->{attempts} == ($again ? 3 : 1)
	  && $document->{last_error} =~ /^Mixpeek API (refused the request|failed): $status\b.*: Fault on demand$/
	  && !defined $document->{next_attempt_at};
}
is_deeply(\%wrong, {}, 'each fails at once or after max_attempts, as README says, with the words of the API');
my %creates;
$creates{$_}++ for map { $_->{path} =~ /list/ ? () : $_->{body} =~ /"s(\d+)"/ } @{ $api->requests };
is_deeply([ grep { $creates{$_} != ($again{$_}[0] eq 'no' ? 1 : 3) } @statuses ], [], '... and was asked so often');

$api->faults();
is(sql("SELECT mixpeek.retry('statuses', error => '%: 404%')"), 1, 'retry() by error');
wait_for('the document', sub { documents('statuses')->{s404}{state} eq 'mirrored' });
is(sql("SELECT mixpeek.retry('statuses', 'another collection')"), 0, '... of another collection');
is(sql("SELECT mixpeek.retry()"), @statuses - 1, '... of all');
wait_for_states('statuses', 'mirrored');
is_deeply([ @{ $api->stats }{qw(documents duplicates)} ], [ @statuses + 1, 0 ], '... and each is there once');
is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'statuses'::regclass AND (attempts <> 0 OR last_error IS NOT NULL)"),
	0, '... with nothing to complain about');

done_testing();

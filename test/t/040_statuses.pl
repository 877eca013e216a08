# The documented table of failures, row by row: what becomes of a document at each HTTP status, and what the log says.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Failures;
use MixpeekTest::Mirror;

my $node = failures_node();

sub rows { return join(', ', map { "('$_')" } @_); }

# The log has one line a kind of failure

my $refusing = api_server('refusing');
mirrored_table('refusing', 'refusing');
$refusing->faults({ kind => 'status', status => 422, body => '"refused' },
	{ kind => 'status', status => 418, body => '"twice', count => 40 });
my $offset = -s $node->logfile;
sql("INSERT INTO refusing SELECT 'refused ' || n FROM generate_series(1, 200) n UNION ALL SELECT 'twice ' || n
	FROM generate_series(1, 40) n");
wait_for('the log line', sub { log_lines(qr/documents? failed: Mixpeek API refused the request: 418/, $offset) });
is(log_lines(qr/ 200 documents failed: Mixpeek API refused the request: 422$/, $offset), 1,
	'200 rows refused with 422: one log line with their number');
is(log_lines(qr/ 40 documents failed: Mixpeek API refused the request: 418$/, $offset), 1,
	'40 rows refused with 418: one log line with their number');
is(log_lines(qr/LOG: .*failed/, $offset), 2, '240 rows refused: two log lines');
sql("INSERT INTO refusing VALUES ('refused again')");
wait_for_states('refusing', 'failed');
is(log_lines(qr/LOG: .*failed/, $offset), 2, 'a row refused soon after: no further log line');
sql('DROP TABLE refusing');
$refusing->stop;

# The documented table: what becomes of each status

sub documented_rows
{
	my ($section) = documentation() =~ /^## Failure and recovery\n(.*?)^One row that/ms;
	my @lines = map { [ split(/ \| /, $_) ] } grep { /^\| / } split(/\n/, $section);
	return @lines[ 1 .. $#lines ];
}

# By status, whether the documentation says that it is tried again.
sub documented_statuses
{
	my %again;

	foreach my $row (documented_rows())
	{
		my ($statuses) = $row->[0] =~ /^\| (\d{3}[^;]*)/ or next;
		next if $statuses =~ /^404 /;
		while ($statuses =~ /\b(\d{3})(?:–(\d{3}))?\b/g)
		{
			push @{ $again{$_} }, $row->[1] for $1 .. $2 // $1;
		}
	}
	$again{404} = ['no'];    # "to a create"
	return %again;
}

my %again = documented_statuses();
is_deeply([ grep { @{ $again{$_} // [] } != 1 } 200 .. 599 ], [],
	'the documentation says once of each status what becomes of it');

my $api = api_server('statuses');
mirrored_table('statuses', 'statuses');
my @statuses = grep { $again{$_}[0] eq 'no' || $again{$_}[0] =~ /^yes, `mixpeek.max_attempts` times/ } 200 .. 599;
cmp_ok(scalar(@statuses), '>', 190, 'documentation: more than 190 statuses concern one document');
$api->faults(map { { kind => 'status', status => $_, body => qq{"s$_"} } } @statuses);
sql('INSERT INTO statuses VALUES ' . rows('good', map { "s$_" } @statuses));
wait_for_states('statuses', 'failed,mirrored');
my $documents = records('statuses');
is($documents->{good}{state}, 'mirrored', 'statuses: a row beside those that fail is mirrored');
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
is_deeply(\%wrong, {}, "statuses: each row fails at once or after max_attempts, as documented, in the API's words");
my %creates;
$creates{$_}++ for map { $_->{path} =~ /list/ ? () : $_->{body} =~ /"s(\d+)"/ } @{ $api->requests };
is_deeply([ grep { $creates{$_} != ($again{$_}[0] eq 'no' ? 1 : 3) } @statuses ], [],
	'statuses: each row is sent as often as documented');

$api->faults();
is(sql("SELECT mixpeek.retry('statuses', error => '%: 404%')"), 1, 'retry() by error returns 1');
wait_for('the document', sub { records('statuses')->{s404}{state} eq 'mirrored' });
is(sql("SELECT mixpeek.retry('statuses', 'another collection')"), 0, 'retry() of another collection returns 0');
is(sql("SELECT mixpeek.retry()"), @statuses - 1, 'retry() of all returns their number');
wait_for_states('statuses', 'mirrored');
is_deeply([ @{ $api->stats }{qw(documents duplicates)} ], [ @statuses + 1, 0 ],
	'retry() of all: each row has one document');
is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'statuses'::regclass AND (attempts <> 0
	OR last_error IS NOT NULL)"),
	0, 'retry() of all: no record has attempts or an error');

# 404 for a document that there was

sql("DELETE FROM statuses WHERE id NOT IN ('good', 's400')");
wait_for('the others to go', sub { keys %{ records('statuses') } == 2 });
my %ids = map { $_->{metadata}{id} => $_->{document_id} } @{ $api->documents('statuses') };
sql("SELECT mixpeek.delete_document('statuses', d, 'statuses') FROM unnest('{$ids{good},$ids{s400}}'::text[]) d");
$api->reset;
sql("UPDATE statuses SET v = 'changed' WHERE id = 'good'; DELETE FROM statuses WHERE id = 's400'");
wait_for_states('statuses', 'mirrored');
wait_for('both', sub { keys %{ records('statuses') } == 1 });
isnt(records('statuses')->{good}{document_id}, $ids{good}, '404 to an update: the document is created again');
is_deeply([ @{ $api->stats }{qw(creates documents)}, $api->stats->{status}{404} ], [ 1, 1, 2 ],
	'404 to a delete: no document is created');
cmp_ok($api->stats->{lists}, '>=', 1, '404: the document is looked up');
is(records('statuses')->{good}{attempts}, 0, '404: no attempt is counted');

done_testing();

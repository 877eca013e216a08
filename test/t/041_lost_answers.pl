# Requests without a usable answer: the outcome is not known, so the document is looked up before it is created again;
# and an API that cannot look up.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Failures;
use MixpeekTest::Mirror;

my $node = failures_node();

# Requests without a usable answer. The first attempt is the last one here, so that its record stays as the attempt left
# it.

# By name: the fault, whether the document is created, and the error. Each has a server of its own, since five failures
# without an answer in a row are an outage.
my $unreadable = 'The answer cannot be read: it is no JSON from byte 49 on';
my %unanswered = (
	malformed => [ { kind => 'malformed' }, 1, qr/^Mixpeek API sent an answer that is not valid JSON: $unreadable/ ],
	wrong_type => [ { kind => 'wrong_type' }, 1, qr/^the API's answer holds no document_id$/ ],
	no_id => [ { kind => 'status_after', status => 200, answer => '{"document_id": 7}' }, 1,
		qr/holds no document_id$/ ],
	empty_id => [ { kind => 'status_after', status => 200, answer => '{"document_id": ""}' }, 1,
		qr/holds no document_id$/ ],
	endless_id => [ { kind => 'status_after', status => 200,
		answer => { document_id => join('', map { chr(33 + rand(90)) } 1 .. 9000) =~ tr/"\\//dr } },
		1, qr/holds no document_id$/ ],
	huge => [ { kind => 'huge', bytes => 65 * 1024 * 1024 }, 1,
		qr/^answer of the Mixpeek API is too large: answer has more than 32 MB$/ ],
	late_500 => [ { kind => 'status_after', status => 500 }, 1, qr/^Mixpeek API failed: 500 / ],
	hang => [ { kind => 'hang' }, 0, qr/^Mixpeek API did not answer in time: no answer within 2 s$/ ],
	slow => [ { kind => 'delay', when => 'after', ms => 5000 }, 1, qr/did not answer in time/ ],
	drip => [ { kind => 'drip', ms => 50 }, 1, qr/did not answer in time/ ],
	cut => [ { kind => 'cut' }, 1, qr/^lost the connection to the Mixpeek API/ ],
	reset_before => [ { kind => 'reset_before' }, 0, qr/^lost the connection to the Mixpeek API/ ],
	reset_after => [ { kind => 'reset_after' }, 1, qr/^lost the connection to the Mixpeek API/ ],
	late_503 => [ { kind => 'status_after', status => 503 }, 1, qr/^Mixpeek API failed: 503 / ],
	(map { ("early_$_" => [ { kind => 'status', status => $_ }, 0, qr/^Mixpeek API failed: $_ / ]) } 502 .. 504));
my %apis;

set_max_attempts(1);
foreach my $name (sort keys %unanswered)
{
	$apis{$name} = api_server($name);
	mirrored_table($name, $name);
	$apis{$name}->faults({ %{ $unanswered{$name}[0] }, method => 'POST', count => 1 });
}
sql(join('; ', map { "INSERT INTO $_ VALUES ('$_')" } sort keys %unanswered));
foreach my $name (sort keys %unanswered)
{
	my (undef, $done, $error) = @{ $unanswered{$name} };

	wait_for_states($name, 'failed');
	my $document = records($name)->{$name};
	like($document->{last_error}, $error, "$name: last_error says it");
	is_deeply([ @$document{qw(attempts document_id content_hash)}, $document->{in_doubt} ? 1 : 0 ],
		[ 1, undef, undef, 1 ], "$name: one attempt, whose outcome is not known");
	is($apis{$name}->stats->{documents}, $done, "$name: a document is " . ($done ? '' : 'not ') . 'there');
}
set_max_attempts(3);
is(sql("SELECT count(*) FROM (SELECT mixpeek.retry(oid) AS n FROM pg_class WHERE relname IN (" .
		join(', ', map { "'$_'" } keys %unanswered) . ')) r WHERE n = 1'), keys %unanswered,
			'retry() of each row without an answer returns 1');
foreach my $name (sort keys %unanswered)
{
	wait_for_states($name, 'mirrored');
	my $stats = $apis{$name}->stats;
	my ($document) = @{ $apis{$name}->documents($name) };

	is_deeply([ @$stats{qw(creates lists documents duplicates updates)} ], [ 1, 1, 1, 0, 0 ],
		"$name: looked up, and there once");
	is_deeply([ @{ records($name)->{$name} }{qw(document_id attempts last_error)} ],
		[ $document->{document_id}, 0, undef ],
		"$name: the record has the document's id and no error");
	$apis{$name}->stop;
}

# An API that cannot look up a document by its marker

my $blind = api_server('blind', {}, filter => 'off');
sql(q{
	CREATE TABLE blind (id text PRIMARY KEY, v text);
	INSERT INTO blind SELECT n FROM generate_series(1, 120) n;
	SELECT mixpeek.mirror('blind', 'blind', server => 'blind')});
wait_for_states('blind', 'failed');
is(sql(q{SELECT count(*) FROM mixpeek.documents WHERE relation = 'blind'::regclass
	AND last_error ~ '^could not ask for the document by its marker, so it was not created: .*: 400 .*Filters'}), 120,
		'an API without filters: rows that need a look-up fail, with the reason');
cmp_ok($blind->stats->{lists}, '<', 20, 'an API without filters: few requests find that out');
is($blind->stats->{creates}, 0, 'an API without filters: nothing is created');
sql(q{INSERT INTO blind VALUES ('fresh')});
wait_for('a fresh row', sub { records('blind')->{fresh}{state} eq 'mirrored' });
pass('an API without filters: a row that is certain to be new is mirrored');
sql(q{ALTER SERVER blind OPTIONS (ADD if_unfindable 'create'); SELECT mixpeek.retry('blind',
	error => 'could not ask for%')});
wait_for_states('blind', 'mirrored');
is_deeply([ @{ $blind->stats }{qw(documents duplicates)} ], [ 121, 0 ],
	"if_unfindable 'create': rows that cannot be looked up are created");

done_testing();

# One row stops no other: rows that cannot be rendered, stored or sent, or that the API refuses, and one that breaks
# each connection. And the key is in no view and not in the log.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Failures;
use MixpeekTest::Mirror;

my $node = failures_node();
my $key = $MixpeekTest::Failures::key;

# The whole batch is claimed and sent at once: rows that cannot be rendered, stored or sent, or that
# the API refuses, between others.
my $poisoned = api_server('poisoned');
$poisoned->faults(
	{ kind => 'status', status => 422, body => '"one form"',
		answer => { detail => [ { loc => [ 'body', 'metadata' ], msg => 'no such thing', type => 'x' } ] } },
	{ kind => 'status', status => 422, body => '"other form"', answer => { success => JSON::PP::false, status => 422,
		error => { type => 'ValidationError',
		message => 'wrong', details => { validation_errors => [ { type => 'x', location => [ 'body', 'metadata' ],
			message => 'no such thing' } ] } } } });
sql(q{
	CREATE TYPE divisor AS ENUM ('zero', 'one');
	CREATE FUNCTION inverse(divisor) RETURNS json LANGUAGE sql IMMUTABLE AS $$SELECT to_json(1 / CASE $1 WHEN 'zero'
		THEN 0 ELSE 1 END)$$;
	CREATE CAST (divisor AS json) WITH FUNCTION inverse(divisor);
	CREATE TABLE poisoned (id text PRIMARY KEY, v text, d divisor);
	SELECT mixpeek.mirror('poisoned', 'poisoned', server => 'poisoned', backfill => false)});
my %poison = (
	'one form' => qr/^Mixpeek API refused the request: 422 ValidationError: body\.metadata: no such thing$/,
	'other form' => qr/^Mixpeek API refused the request: 422 ValidationError: wrong.body\.metadata: no such thing$/s,
	'no value' => qr/^division by zero$/,
	'too large' => qr/^the document has 17\d+ bytes, more than the API stores \(16777216\)$/);
my $long_key = join('', map { chr(33 + rand(90)) } 1 .. 2600) =~ tr/'/-/r;
sql(qq{
	BEGIN;
	INSERT INTO poisoned SELECT 'before ' || n FROM generate_series(1, 20) n;
	INSERT INTO poisoned VALUES ('one form'), ('other form'), ('$long_key');
	INSERT INTO poisoned VALUES ('no value', '', 'zero'), ('too large', repeat('x', 17000000), NULL);
	INSERT INTO poisoned SELECT 'after ' || n FROM generate_series(1, 20) n;
	COMMIT});
wait_for_states('poisoned', 'failed,mirrored');
my $known = records('poisoned');
is_deeply([ map { $known->{$_}{state} } grep { /^(before|after) / } keys %$known ], [ ('mirrored') x 40 ],
	'rows beside poisonous ones are mirrored');
foreach my $row (sort keys %poison)
{
	is("$known->{$row}{state} $known->{$row}{attempts}", 'failed 1', "poisonous row $row: failed at the first attempt");
	like($known->{$row}{last_error}, $poison{$row}, "poisonous row $row: last_error says why");
}
my ($long) = grep { /\(2600 bytes, / } keys %$known;
is("$known->{$long}{state} $known->{$long}{last_error}",
	'failed the key has 2600 bytes, more than can be stored (2000)',
	'a key that no index has room for: failed, with the reason');
sql('DELETE FROM poisoned');
wait_for('nothing to be left of them', sub { !%{ records('poisoned') } });
is($poisoned->stats->{documents}, 0, 'poisonous rows that are deleted leave no document');

# Texts that are not UTF-8, in a database without an encoding.
sql("CREATE DATABASE anything ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0");
sql('CREATE EXTENSION mixpeek_docs', 'anything');
sql(foreign_server('mixpeek', base_url => $poisoned->url), 'anything');
sql(q{
	CREATE TABLE poisoned (id text PRIMARY KEY, v text);
	SELECT mixpeek.mirror('poisoned', 'anything', '{"metadata": {"v": "$v"}}', backfill => false);
	INSERT INTO poisoned VALUES ('good', ''), ('bad value', E'\xff'), (E'bad key \xff', '')}, 'anything');
is(sql('SELECT mixpeek.wait()', 'anything'), 't', 'texts that are not UTF-8: wait() returns true');
is(sql('SELECT string_agg(state, \',\' ORDER BY (key !~ \'good\')) FROM mixpeek.documents', 'anything'),
	'mirrored,failed,failed', 'texts that are not UTF-8: their rows fail, another is mirrored');
is(sql('SELECT count(*) FROM mixpeek.documents
	WHERE last_error ~ \'^invalid byte sequence for encoding "UTF8": 0xff\'', 'anything'), 2,
		'texts that are not UTF-8: last_error says so');

# One marker that the API refuses, in a look-up for many rows.
sql(q{INSERT INTO poisoned SELECT 'row ' || n FROM generate_series(1, 90) n});
wait_for_states('poisoned', 'mirrored');
sql(q{SELECT mixpeek.unmirror('poisoned')});
$poisoned->faults({ kind => 'status', status => 400, path => '/list', body => 'row 33' });
sql(q{SELECT mixpeek.mirror('poisoned', 'poisoned', server => 'poisoned')});
wait_for('all to be looked up', sub {
	sql(q{SELECT count(*) FILTER (WHERE state = 'mirrored') || ' ' || count(*) FILTER (WHERE state = 'failed')
		FROM mixpeek.documents WHERE relation = 'poisoned'::regclass}) eq '89 1';
});
$known = records('poisoned');
like($known->{'row 33'}{last_error},
	qr/^could not ask for the document by its marker, so it was not created: .* 400 /,
	'a look-up for many rows of which the API refuses one marker: that row alone fails');
$poisoned->faults();
sql(q{SELECT mixpeek.retry('poisoned')});
wait_for_states('poisoned', 'mirrored');
is_deeply([ @{ $poisoned->stats }{qw(documents duplicates)} ], [ 91, 0 ],
	'retry() after a refused look-up: all documents are found, none is created');

# A row whose request breaks the connection each time, until the server counts as down.
my $fragile = api_server('fragile');
mirrored_table('fragile', 'fragile');
$fragile->faults({ kind => 'reset_before', body => 'poison' });
set_max_attempts(1000);
my $offset = -s $node->logfile;
sql(q{INSERT INTO fragile VALUES ('poison')});
wait_for('the server to count as down', sub { log_lines(qr/server "fragile" is not usable/, $offset) });
sql(q{INSERT INTO fragile SELECT 'good ' || n FROM generate_series(1, 20) n});
wait_for('the others', sub {
	sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'fragile'::regclass AND state = 'mirrored'") == 20;
});
pass('a row that breaks each connection keeps no other from being mirrored');
set_max_attempts(1);
wait_for_states('fragile', 'failed,mirrored');
is(records('fragile')->{poison}{state}, 'failed', 'a row that breaks each connection fails in the end');
set_max_attempts(3);

# The key

is(sql("SELECT count(*) FROM (SELECT to_jsonb(d)::text FROM mixpeek.documents d UNION ALL SELECT to_jsonb(m)::text
	FROM mixpeek.mirrors m
	UNION ALL SELECT to_jsonb(a)::text FROM pg_stat_activity a UNION ALL SELECT to_jsonb(o)::text
	FROM mixpeek.outbox o) x (line) WHERE line ~ 'sk_[a]_key'"),
	0, 'no view has the key');

$node->stop;
my $log = slurp_file($node->logfile);
like($log, qr/LOG: +statement: CREATE TABLE poisoned/, 'the log has all statements');
like($log, qr/DEBUG: /, 'the log has debug messages');
ok(index($log, $key) < 0, 'the log does not have the key');

done_testing();

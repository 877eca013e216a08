# Databases whose encoding is not UTF-8, and values that jsonb cannot hold: of an answer only the odd value is left
# out, every row settles, and every request names the document that it means.
use strict;
use warnings;
use utf8;
use Encode;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;

my $node = use_node(mixpeek_node('main', q{
shared_preload_libraries = 'mixpeek_docs'
mixpeek.max_attempts = 3
mixpeek.retry_max_delay = 1
}));
my %databases = (latin1 => 'LATIN1', ascii => 'SQL_ASCII', utf8 => 'UTF8');
my ($database, $api);

# Statements are UTF-8, and so is what they return; an SQL_ASCII database takes and returns bytes.
sub run
{
	my ($statement) = @_;
	my $encoding = $database eq 'ascii' ? 'SQL_ASCII' : 'UTF8';
	return decode('UTF-8', sql(encode('UTF-8', "SET client_encoding = $encoding; $statement"), $database));
}

sub warnings_of
{
	my ($statement) = @_;
	my (undef, $out, $err) = $node->psql($database, encode('UTF-8', $statement));
	return $err;
}

sub settled { settle($database); return; }
sub of_record { my ($what, $id) = @_; return run("SELECT $what FROM mixpeek.documents WHERE key = '$id'"); }
sub state_of { return of_record("state || coalesce(' ' || last_error, '')", $_[0]); }
sub enrichments { return of_record('enrichments', $_[0]); }

# An answer that lists documents: [ID, KEY, further members as JSON].
sub listed
{
	my (@documents) = @_;
	my $prefix = run("SELECT left(marker, length(marker) - length(key)) FROM mixpeek.documents LIMIT 1");
	my @texts = map {
		my ($id, $key, $more) = @$_;
		qq({"document_id":"$id","metadata":{"mixpeek_docs":"$prefix$key"}$more})
	} @documents;
	return '{"results":[' . join(',', @texts) . ']}';
}

foreach my $name (sort keys %databases)
{
	$database = $name;
	sql("CREATE DATABASE $name ENCODING '$databases{$name}' LOCALE 'C' TEMPLATE template0");
	sql('CREATE EXTENSION mixpeek_docs', $name);
	foreach my $contract ('2025-09', '2026-02')
	{
		$api = MixpeekTest::Server->new(contract => $contract, record => 1, enrich => 'never');
		create_server($node, 'mixpeek', $api, database => $name, request_timeout => '1');
		subtest "a database in $databases{$name}, contract of $contract" => sub { test_database($contract); };
		run('DROP TABLE t; DROP SERVER mixpeek CASCADE');
		run('DELETE FROM mixpeek.forgotten');	# else the next server's rows are looked up before they are created
		$api->stop;
	}
}

sub test_database
{
	my ($contract) = @_;
	my $root = $contract eq '2026-02';
	my $before = $root ? ',' : ',"enrichments":{';
	my $after = $root ? '' : '}';
	my $utf8 = $database ne 'latin1';

	run(q[CREATE TABLE t (id text PRIMARY KEY, v text);
		INSERT INTO t VALUES ('é', 'ü'), ('a b', 'ÿ'), ('plain', 'x');
		SELECT mixpeek.mirror('t', 'cö', '{"metadata": {"v": "$v"}, "née": "$v"}')]);
	settled();
	my $documents = sub { return join(' ', sort(map { $_->{metadata}{v} . '=' . ($_->{'née'} // 'none') }
		@{ $api->documents('c%C3%B6') })); };
	is($documents->(), 'x=x ü=ü ÿ=ÿ', 'texts are sent as UTF-8');
	run(q[SELECT mixpeek.mirror('t', 'cö', '{"metadata": {"v": "$v"}}')]);
	settled();
	is($documents->(), 'x=none ü=none ÿ=none', 'a field whose name is not ASCII is removed');

	# ids that are not ASCII
	$api->faults(
		{ kind => 'status', status => 200, method => 'POST', body => '"v":"raw"', answer => '{"document_id":"dé-1"}' },
		{ kind => 'status', status => 200, method => 'POST', body => '"v":"escaped"',
			answer => '{"document_id":"d\u00e9-2"}' },
		{ kind => 'status', status => 200, method => 'PUT', answer => '{"document_id":"dé-1"}' });
	run("INSERT INTO t VALUES ('raw', 'raw'), ('escaped', 'escaped')");
	settled();
	is(run("SELECT string_agg(document_id, ' ' ORDER BY document_id) FROM mixpeek.documents
		WHERE key IN ('raw', 'escaped')"),
		'dé-1 dé-2', 'ids that are not ASCII are stored');
	$api->reset;
	run("UPDATE t SET v = 'changed' WHERE id = 'raw'");
	settled();
	run("DELETE FROM t WHERE id IN ('raw', 'escaped')");
	settled();
	my @requests = grep { $_->{path} !~ /list/ } @{ $api->requests };
	is_deeply([ sort(map { "$_->{method} " . ($_->{path} =~ m{([^/]*)$})[0] } @requests) ],
		[ 'DELETE d%C3%A9-1', 'DELETE d%C3%A9-2', 'PUT d%C3%A9-1' ],
			'requests have such ids as UTF-8 in their paths');
	$api->faults();
	is(run("SELECT count(*) FROM mixpeek.documents WHERE key IN ('raw', 'escaped')"), '0', 'their records are gone');

	# an id that cannot be stored, which the create returns, and the look-up after it
	$api->faults(
		{ kind => 'status_after', status => 200, method => 'POST', body => '"v":"odd id"',
			answer => '{"document_id":"d\u0000"}' },
		{ kind => 'status', status => 200, path => '/list', body => ':odd id',
			answer => listed([ 'd\u0000', 'odd id', '' ]) });
	$api->reset;
	run("INSERT INTO t VALUES ('odd id', 'odd id')");
	settled();
	like(state_of('odd id'), qr/^failed there is a document with the row's marker, but its document_id/,
		'an id that cannot be stored: the row fails');
	is($api->stats->{creates}, 1, 'an id that cannot be stored: nothing is created again');
	$api->faults();
	run("SELECT mixpeek.retry('t')");
	settled();
	is(state_of('odd id'), 'mirrored', 'an id that can be stored later: the row is mirrored');
	is($api->stats->{creates}, 1, 'an id that can be stored later: nothing is created again');
	run("DELETE FROM t WHERE id = 'odd id'");
	settled();

	# enrichments that are odd in one of many documents, in the answer to a poll
	my %ids = split(/[|\n]/, run('SELECT key, document_id FROM mixpeek.documents'));
	my %odd = (
		'é' => '"a":"\u0000","b":"good","n\u0000":1',
		'a b' => '"a":1e200000,"b":["\ud800","good",[{"c":1e-1,"d":1e200000}]]',
		plain => '"a":"\u20ac","b":"\u00e9","€":{"ok":"ü"}');
	$api->faults({ kind => 'status', status => 200, path => '/list',
		answer => listed(map { [ $ids{$_}, $_, "$before$odd{$_}$after" ] } sort keys %odd) });
	run("SELECT mixpeek.refresh('t')");
	settled();
	is(enrichments('é'), '{"b": "good"}', 'enrichments with U+0000: the others are kept');
	like(state_of('é'), qr/^mirrored 2 values of its enrichments were not kept: unsupported Unicode escape/,
		'enrichments with U+0000: last_error says so');
	is(enrichments('a b'), '{"b": [null, "good", [{"c": 0.1}]]}',
		'enrichments with numbers and halves of pairs: the others are kept');
	like(state_of('a b'), qr/^mirrored 3 values of its enrichments were not kept: /,
		'enrichments with numbers: last_error says so');
	is(enrichments('plain'), $utf8 ? '{"a": "€", "b": "é", "€": {"ok": "ü"}}' : '{"b": "é"}',
		'enrichments with a character that LATIN1 lacks: the others are kept');
	like(state_of('plain'), $utf8 ? qr/^mirrored$/ : qr/^mirrored 2 values of its enrichments were not kept: /,
		'enrichments with such a character: last_error says so');

	# the same in the answer to a look-up: all rows settle, and nothing is created
	run("UPDATE mixpeek.documents SET document_id = NULL, content_hash = NULL, enrichments = NULL, state = 'failed'");
	$api->reset;
	run("SELECT mixpeek.retry('t')");
	settled();
	$api->faults();
	is(run("SELECT string_agg(key || ' ' || state, ',' ORDER BY key COLLATE \"C\") FROM mixpeek.documents"),
		'a b mirrored,plain mirrored,é mirrored', 'a look-up with odd values: all rows are mirrored');
	is_deeply([ @{ $api->stats }{qw(creates updates documents)} ], [ 0, 3, 3 ],
		'a look-up with odd values: all documents are found');

	# sessions
	$api->faults({ kind => 'status', status => 200, path => '/list',
		answer => listed(map { [ $ids{$_}, $_, "$before$odd{$_}$after" ] } sort keys %odd) });
	my $at = $root ? '' : q{ -> 'enrichments'};
	is_deeply({ split(/[|\n]/, run("SELECT d ->> 'document_id', d$at ->> 'b' FROM mixpeek.list_documents('cö') d")) },
		{ $ids{'é'} => 'good', $ids{'a b'} => '[null, "good", [{"c": 0.1}]]', $ids{plain} => 'é' },
		'list_documents(): only the odd values are left out');
	like(warnings_of("SET client_encoding = 'UTF8'; SELECT count(*) FROM mixpeek.list_documents('cö') d"),
		qr/WARNING: +document "$ids{'é'}" is returned without 2 values that jsonb cannot hold/,
		'list_documents(): a warning says so')
		if $database ne 'ascii';
	$api->faults();

	# errors whose text is odd
	$api->faults({ kind => 'status', status => 422, method => 'PUT',
		answer => '{"success":false,"status":422,"error":{"type":"T\u0000","message":"m\u00e9ssage"}}' });
	run("UPDATE t SET v = v || '!'");
	wait_for('the failures', sub { run("SELECT count(*) FROM mixpeek.documents WHERE state = 'failed'") eq '3' });
	like(state_of('plain'), qr/^failed Mixpeek API refused the request: 422.*méssage/,
		"an error with an odd value: the rest of the API's words is shown");
	$api->faults();

	# deletes
	run("DELETE FROM t");
	settled();
	is_deeply([ $api->stats->{documents}, run('SELECT count(*) FROM mixpeek.documents') ], [ 0, 0 ],
		'every DELETE arrives');
	run("INSERT INTO t VALUES ('é', 'é')");
	settled();
	run(q{UPDATE t SET id = 'ï'});
	settled();
	is($api->stats->{documents}, 1, 'a changed key');
	run("SELECT mixpeek.unmirror('t', delete_documents => true)");
	settled();
	is($api->stats->{documents}, 0, 'unmirror() deletes all documents');
	return;
}

$node->stop;

done_testing();

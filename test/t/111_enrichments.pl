# Enrichments, ids and counters that are too much, or none: in answers to creates and look-ups, and in those that
# sessions get.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Answers;
use MixpeekTest::Mirror;

my $node = answers_node();
my $key = $MixpeekTest::Answers::key;
my $mb = 1024 * 1024;
table_on('answers');
my $worker = wait_for('the worker', \&worker_pid);

# Enrichments that are too large, too deep, or that jsonb cannot hold

sub enrichments { return qq({"document_id":"x","enrichments":{"a":$_[0]}}); }
sub nested { my ($n) = @_; return '[' x $n . '1' . ']' x $n; }

is_unkept(answered('answers', '19', answer => enrichments('[' . join(',', ('1e131071') x 20000) . ']')),
	qr/^its enrichments were not kept: they have \d+ bytes with its numbers written out, more than 1048576$/,
	'numbers that are long when they are written out');
is_unkept(answered('answers', '19 small', answer => enrichments('[' . join(',', ('1e-131071') x 20000) . ']')),
	qr/^its enrichments were not kept: they have/, 'numbers with many digits behind the point');
is_unkept(answered('answers', '19 beyond', answer => enrichments('1e99999999999999999999')),
	qr/^its enrichments were not kept: they have/, 'a number that no type can hold');
is_unkept(answered('answers', '19 just beyond', answer => enrichments('1e200000')),
	qr/^its enrichments were not kept: value overflows numeric format/, 'a number that jsonb cannot hold');
is_kept(answered('answers', '19 double', answer => enrichments('[1.7976931348623157e308,-4.9e-324]')),
	'the largest and the smallest double');
is_unkept(answered('answers', '19 root', answer => '{"document_id":"x","a":1,"b":[' . join(',', ('1e131071') x 20)
	. ']}'), qr/^its enrichments were not kept: they have \d+ bytes/,
		'numbers that are long when they are written out, in a field at the root');
is_unkept(answered('answers', '66b', answer => enrichments(nested(14551))),
	qr/^its enrichments were not kept: they have 14552 levels of arrays and objects, more than 64$/,
	'14,552 levels of nesting');
is_unkept(answered('answers', '66b 65', answer => enrichments(nested(64))), qr/: they have 65 levels/,
	'65 levels of nesting');
is_kept(answered('answers', '66b 64', answer => enrichments(nested(63))), '64 levels of nesting');
is_unkept(answered('answers', '66b root', answer => '{"document_id":"x","a":' . nested(64) . '}'),
	qr/: they have 65 levels/, '65 levels of nesting in a field at the root');
is(answered('answers', '66b metadata', answer => '{"document_id":"x","metadata":' . nested(14000) . '}')->{state},
	'mirrored', '14,000 levels of nesting in metadata: the document is mirrored');
like(answered('answers', '66b deep', answer => '{"document_id":"x","metadata":' . nested(100000) . '}')->{last_error},
	qr/not valid JSON: The answer cannot be read: it is no JSON from byte/,
	'100,000 levels of nesting in metadata: the answer is no JSON');
is_unkept(answered('answers', 'null', answer => enrichments('"\u0000"')),
	qr/^its enrichments were not kept: unsupported Unicode escape sequence/, 'enrichments with a NUL character');
is_unkept(answered('answers', 'surrogate', answer => enrichments('"\ud800"')),
	qr/^its enrichments were not kept: invalid input syntax/, 'enrichments with half a surrogate pair');
is_unkept(answered('answers', 'm12', answer => '{"document_id":"x",' . join(',', map { qq("f$_":$_) } 1 .. 200_000)
	. '}'), qr/: they have \d+ (values|bytes)/, '200,000 fields at the root');
is_unkept(answered('answers', 'large', kind => 'huge', bytes => 2 * $mb,
	start => '{"document_id":"x","enrichments":{"a":"', end => '"}}'),
	qr/: they have 2097\d+ bytes .*more than 1048576$/, 'enrichments of 2 MB');
is_kept(answered('answers', 'less large', kind => 'huge', bytes => $mb,
	start => '{"document_id":"x","enrichments":{"a":"', end => '"}}'), 'enrichments of a megabyte');
is_unkept(answered('answers', 'D4', kind => 'huge', bytes => 31 * $mb,
	start => '{"document_id":"x","enrichments":{"a":[', unit => '1,', end => '1]}}'),
	qr/: they have 16\d+ values, more than 100000$/, 'enrichments of sixteen million elements');
is_unkept(answered('answers', 'D4 pairs', kind => 'huge', bytes => 31 * $mb,
	start => '{"document_id":"x","enrichments":{"a":{', unit => '"":1,', end => '"":1}}}'),
	qr/: they have \d+ values/, 'enrichments of millions of pairs');
like(answered('answers', 'D4 over', kind => 'huge', bytes => 34 * $mb,
	start => '{"document_id":"x","enrichments":{"a":[', unit => '1,', end => '1]}}')->{last_error},
	qr/^answer of the Mixpeek API is too large: answer has more than 32 MB$/, 'an answer of 34 MB is not read');
like(answered('answers', 'D4 chunked', kind => 'huge', chunked => JSON::PP::true, bytes => 34 * $mb)->{last_error},
	qr/answer has more than 32 MB$/, 'a chunked answer of 34 MB is not read');

# Stored enrichments can be dumped and restored.
command_ok([ 'pg_dump', '--data-only', '-f', "$node->{_basedir}/dump.sql", $node->connstr('postgres') ],
	'pg_dump of what is stored');
my $copy = "$node->{_basedir}/copy";
is(sql(qq{COPY (SELECT enrichments FROM mixpeek.documents) TO '$copy'; CREATE TABLE copies (e jsonb);
	COPY copies FROM '$copy'; SELECT count(*) > 0 FROM copies}), 't', 'COPY of stored enrichments can be read again');

# The same in answers to a look-up

api('answers')->reset(documents => JSON::PP::true);
sql(q{DELETE FROM answers; SELECT mixpeek.wait('60 s')});
# Whether the key's last attempt has ended, and is not the create that failed.
sub is_over
{
	my $document = record('answers', $_[0]);
	return $document->{state} =~ /mirrored|failed/
		&& ($document->{attempts} != 1 || ($document->{last_error} // '') !~ /500/);
}
sub looked_up
{
	my ($id, %fault) = @_;

	# The create fails with 500, so a look-up follows, which gets the answer that was given.
	api('answers')->faults(
		{ kind => 'status_after', status => 500, method => 'POST', path => '/list', %fault, count => 1 },
		{ kind => 'status_after', status => 500, method => 'POST', body => qq("$id"), count => 1 });
	sql('INSERT INTO answers VALUES (' . quoted($id) . ')');
	wait_for('the create to fail', sub { (record('answers', $id)->{state} // '') eq 'failed' });
	sql("SELECT mixpeek.retry('answers')");
	wait_for("an end of $id", sub { api('answers')->stats->{fault_kinds}{ $fault{kind} // 'status_after' }
		&& sql(q{SELECT count(*) FROM mixpeek.outbox}) eq '0'
		&& is_over($id) });
	api('answers')->faults();
	return record('answers', $id);
}
my $origin = sql('SELECT id FROM mixpeek.origin');
sub listed
{
	my ($id, $rest) = @_;
	return qq({"document_id":"found $id","metadata":{"id":"$id","mixpeek_docs":"$origin:public.answers:$id"}$rest});
}
my $listed = looked_up('plain', status => 200, answer => '{"results":[' . listed('plain', ',"enrichments":{"a":1}')
	. ']}');
is("$listed->{state} $listed->{document_id} " . ($listed->{size} // 0), 'mirrored found plain 8',
	'look-up: a document is found');
$listed = looked_up('D4', kind => 'huge', bytes => 31 * $mb,
	start => '{"results":[' . listed('D4', ',"enrichments":{"a":[') =~ s/\}$//r, unit => '1,', end => '1]}}]}');
is_unkept($listed, qr/: they have 16\d+ values, more than 100000$/, 'look-up: sixteen million elements');
$listed = looked_up('thousands', kind => 'huge', bytes => 31 * $mb, start => '{"results":[',
	unit => listed('thousands', '') . ',', end => listed('thousands', '') . ']}');
like($listed->{last_error}, qr/the API lists documents that were not asked for/,
	'look-up: a list of far more documents than were asked for fails');
$listed = looked_up('dots', status => 200, answer => '{"results":[' . listed('dots', '') =~ s/found dots/../r . ']}');
isnt($listed->{document_id} // '', '..', 'look-up: ".." is no document_id');
is(worker_pid(), $worker, 'look-ups with huge answers: the worker is not replaced');

# Ids that are a part of a path, or no ids

foreach my $id ('.', '..', '', 'x' x 1001, 7, undef)
{
	my $text = JSON::PP->new->allow_nonref->encode($id);
	my $document = answered('answers', '20 ' . substr($text, 0, 10), answer => qq({"document_id":$text}));
	is($document->{document_id}, undef, 'document_id ' . substr($text, 0, 10) . ' is not stored');
	like($document->{last_error}, qr/^the API's answer holds no document_id$/, 'document_id ' . substr($text, 0, 10)
		. ': last_error says so');
}
sql(q{DELETE FROM answers; SELECT mixpeek.wait('60 s')});
is_deeply([ grep { $_->{path} =~ m{/documents/\.{0,2}$} } @{ api('answers')->requests } ], [],
	"no request has \".\" or \"..\" as a document's id in its path");

# Answers to sessions

sub session_error
{
	my ($call, %fault) = @_;
	api('answers')->faults({ kind => 'status', status => 200, %fault });
	my $error = error_of("SELECT count(*) FROM $call");
	api('answers')->faults();
	return $error;
}
my $list = q{mixpeek.list_documents('answers', server => 'answers')};
my $get = q{mixpeek.get_document('answers', 'd', server => 'answers')};
like(session_error($list, answer => '{"results":[{"document_id":"a"}],"pagination":{"page_size":-1e100}}'), qr/08P01/,
	'list_documents(): a negative page_size fails');
like(session_error($list, answer => '{"results":[{"document_id":"a"}],"pagination":{"page_size":1e100}}', count => 1),
	qr/no error/, 'list_documents(): a huge page_size is no error');
like(session_error($list, answer => '{"results":[{"document_id":"a"}],"pagination":{"next_cursor":"' . 'x' x 10000
	. '"}}'), qr/08P01.*cursor of more than 4096 bytes/s, 'list_documents(): a cursor of 10,000 bytes fails');
like(session_error($get, answer => '{"document_id":"a","metadata":' . nested(1000) . '}'),
	qr/54000.*1001 levels of arrays and objects, more than 1000/s, 'get_document(): 1,001 levels of nesting fail');
like(session_error($get, answer => '{"document_id":"a","metadata":' . nested(999) . '}'), qr/no error/,
	'get_document(): 1,000 levels of nesting are no error');
like(session_error($get, answer => '{"document_id":"a","metadata":[' . join(',', ('1e131000') x 600) . ']}'),
	qr/54000.*bytes with its numbers written out/s,
	'get_document(): numbers that are long when they are written out fail');
like(session_error($get, kind => 'huge', bytes => 20 * $mb, start => '{"document_id":"x","metadata":[', unit => '1,',
	end => '1]}'), qr/54000.*values, more than 4000000/s, 'get_document(): ten million values fail');
like(session_error($get, kind => 'huge', bytes => 40 * $mb), qr/54000.*more than 32 MB/s,
	'get_document(): an answer of 40 MB fails');
like(session_error($get, answer => '{"document_id":"a","metadata":"\u0000"}'), qr/08P01.*unsupported Unicode escape/s,
	'get_document(): a NUL character fails');

# Counters at their maximum

api('answers')->config(enrich => 'never');
sql("INSERT INTO answers VALUES ('polled')");
wait_for_states('answers', 'mirrored');
sql("UPDATE mixpeek.documents SET enrichment_polls = 32767, next_attempt_at = NULL WHERE key = 'polled'");
foreach my $time (1, 2)
{
	api('answers')->reset;
	sql("SELECT mixpeek.refresh('answers')");
	wait_for('the poll', sub {
		api('answers')->stats->{lists} == 1 && sql("SELECT count(*) FROM mixpeek.outbox") eq '0';
	});
	wait_for('its end', sub {
		sql("SELECT enrichment_polls || ' ' || (next_attempt_at IS NULL) FROM mixpeek.documents
			WHERE key = 'polled'") eq '32767 true';
	});
}
pass('a poll counter at its maximum stays there, and no poll is planned');
# What a superuser changes by hand is announced to nobody; with the settings the worker reads all records again.
sql("UPDATE mixpeek.documents SET enrichment_polls = -32768, attempts = 2147483647, state = 'pending',
	content_hash = NULL, next_attempt_at = clock_timestamp() WHERE key = 'polled'");
sql('SELECT pg_reload_conf()');
wait_for_states('answers', 'mirrored');
cmp_ok(sql("SELECT enrichment_polls FROM mixpeek.documents WHERE key = 'polled'"), '<', 10,
	'a poll counter below zero and an attempt counter at its maximum do no harm');
finish('answers');

$node->stop;

done_testing();

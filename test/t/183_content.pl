# What was told is tied to the content that it was told with: fields that leave the template, enrichments of earlier
# content, documents that are deleted at the API, and replacements that the API refuses.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Failures;
use MixpeekTest::Mirror;

my $node = use_node(mixpeek_node('main', q{
shared_preload_libraries = 'mixpeek_docs'
mixpeek.max_attempts = 3
mixpeek.retry_max_delay = 1
}));
my %api;

# An API server and a foreign server of this name, with a table of the same name.
sub api
{
	my ($name, %options) = @_;
	$api{$name} = api_server($name, { namespace => 'test', request_timeout => '1' }, %options);
	return $api{$name};
}

sub mirror { my ($table, $more) = @_; return "SELECT mixpeek.mirror('$table', '$table', server => '$table'$more);"; }
sub documents { my ($name) = @_; return @{ $api{$name}->documents($name) // [] }; }
sub record { my ($table, $key) = @_; return records($table)->{$key}; }
sub is_mirrored { my ($table, $name) = @_; return is(differences($table, $table, server => $api{$table}), '', $name); }

# Has a table's documents polled for the last time.
sub last_poll
{
	my ($table) = @_;
	sql("UPDATE mixpeek.documents SET enrichment_polls = 8, next_attempt_at = NULL WHERE relation = '$table'::regclass;
		SELECT mixpeek.refresh('$table')");
	wait_for("the last poll of $table", sub {
		settle();
		sql("SELECT count(*) FROM mixpeek.documents WHERE relation = '$table'::regclass
			AND (enrichment_polls < 9 OR next_attempt_at IS NOT NULL)") eq '0';
	});
	return;
}

# A field at the root that leaves the template

foreach my $contract ('2025-09', '2026-02')
{
	my $table = "fields_" . $contract =~ tr/-/_/r;
	my $api = api($table, contract => $contract);
	my $name = "contract of $contract";

	sql(qq[
		CREATE TABLE $table (id int PRIMARY KEY, v text);
		INSERT INTO $table VALUES (1, 'a'), (2, 'b'), (3, 'c');
		] . mirror($table, q[, document => '{"shop": "$v", "kept": "$id", "weight": 1}']));
	settle();
	is_deeply([ sort(map { "$_->{shop} $_->{kept} $_->{weight}" } documents($table)) ], [ 'a 1 1', 'b 2 1', 'c 3 1' ],
		"$name: fields at the root are sent");
	is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = '$table'::regclass
		AND fields @> '{shop,kept,weight}' AND fields <@ '{shop,kept,weight}'"), '3',
		"$name: the records have their names");
	$api->reset;
	sql(mirror($table, q[, document => '{"kept": "$id", "new": "$v"}']));
	settle();
	is_deeply([ sort(map { join(' ', map { $_ // 'null' } exists $_->{shop}, exists $_->{weight}, @$_{qw(kept new)}) }
		documents($table)) ], [ '  1 a', '  2 b', '  3 c' ],
		"$name: fields that are out of the template are gone after mirror(), others are not");
	is($api->stats->{duplicates}, 0, "$name: no document is doubled");
	is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = '$table'::regclass
		AND (enrichments ?| '{shop,weight,kept}'
		OR fields && '{shop,weight}' OR state <> 'mirrored' OR last_error IS NOT NULL)"), '0',
		"$name: no such field comes back as an enrichment, and nothing is known of it any more");
	$api->reset;
	sql(mirror($table, q[, document => '{"kept": "$id", "new": "$v"}']));
	settle();
	is_deeply([ map { $_->{method} . ' ' . $_->{path} } @{ $api->requests } ], [], "$name: then nothing more is sent");

	# without a backfill the documents keep it for a while
	sql(mirror($table, q[, document => '{"kept": "$id"}', backfill => false]));
	sql("SELECT mixpeek.refresh('$table')");
	settle();
	is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = '$table'::regclass AND enrichments ? 'new'"), '0',
		"$name: a field of an earlier template is no enrichment while the document still has it");
	sql("UPDATE $table SET v = 'x' WHERE id = 1; UPDATE $table SET id = 4 WHERE id = 2; DELETE FROM $table WHERE id = 3");
	settle();
	is_deeply([ grep { exists $_->{new} } documents($table) ], [], "$name: it is gone with the row's next change");
	is_mirrored($table, "$name: the documents equal the rows");

	# documents that were forgotten
	sql("SELECT mixpeek.unmirror('$table');" . mirror($table, q[, document => '{"late": "$v"}']));
	settle();
	is_deeply([ sort(map { join(' ', map { $_ // 'null' } exists $_->{kept}, @$_{qw(late)}) } documents($table)) ],
		[ ' b', ' x' ], "$name: fields of documents that were kept by unmirror() are gone after mirror()");
	is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = '$table'::regclass AND (enrichments ? 'kept'
		OR fields <> '{late}' OR state <> 'mirrored')"), '0', "$name: nor are they enrichments");
	is($api->stats->{duplicates}, 0, "$name: none is doubled");
}

# A template that the API refuses, and that is corrected: nothing was sent, so there is nothing to remove.
my $fixed = api('fixed');
sql(q[CREATE TABLE fixed (id int PRIMARY KEY, v text); INSERT INTO fixed VALUES (1, 'a'), (2, 'b');]
	. mirror('fixed', ''));
settle();
$fixed->faults({ kind => 'status', status => 422, method => 'PUT' });
sql(mirror('fixed', q[, document => '{"wrong": 1}']));
wait_for_states('fixed', 'failed');
$fixed->faults();
$fixed->reset;
sql(mirror('fixed', q[, document => '{}']));
settle();
is_mirrored('fixed', 'a field that the API refused: the documents equal the rows when it is out of the template');
is_deeply([ @{ $fixed->stats }{qw(creates deletes updates)}, grep { exists $_->{wrong} } documents('fixed') ],
	[ 0, 0, 0 ], 'a field that the API refused: no document is replaced for it');
$fixed->stop;

# Where null removes a field, no document is replaced; where the API refuses null, all are.
my $nulls = api('nulls');
sql(q[CREATE TABLE nulls (id int PRIMARY KEY, v text); INSERT INTO nulls VALUES (1, 'a');]
	. mirror('nulls', q[, document => '{"shop": "$v"}']));
settle();
my $id = record('nulls', 1)->{document_id};
$nulls->faults({ kind => 'status', status => 200, method => 'PUT', body => '"shop":null',
	answer => qq({"document_id":"$id","metadata":{}}), count => 1 });
$nulls->reset;
sql(mirror('nulls', q[, document => '{}']));
settle();
is_deeply([ record('nulls', 1)->{document_id}, $nulls->stats->{creates}, record('nulls', 1)->{fields} ],
	[ $id, 0, undef ], 'an API where null removes a field: the document is not replaced');
sql(mirror('nulls', q[, document => '{"shop": "$v"}']));
settle();
$nulls->faults({ kind => 'status', status => 422, method => 'PUT', body => '"shop":null' });
$nulls->reset;
sql(mirror('nulls', q[, document => '{}']));
settle();
is_deeply([ map { exists $_->{shop} } documents('nulls') ], [''], 'an API that refuses null: the field is gone');
is_deeply([ @{ $nulls->stats }{qw(creates deletes duplicates)} ], [ 1, 1, 0 ],
	'an API that refuses null: the document is replaced');
$nulls->stop;

# Enrichments of earlier content

foreach my $contract ('2025-09', '2026-02')
{
	my $table = "enriched_" . $contract =~ tr/-/_/r;
	my $api = api($table, contract => $contract);
	my $name = "enrichments in the contract of $contract";
	my $state = "SELECT t.section, (t.came_back::text ~ 'libs') AS row, (d.enrichments::text ~ 'libs') AS record,
		enrichments_current AS current, (SELECT count(*) FROM mixpeek.taxonomies x WHERE x.relation = d.relation
			AND x.label = 'libs')
		FROM $table t JOIN mixpeek.documents d ON d.relation = '$table'::regclass AND d.key = t.id::text";

	sql(qq[CREATE TABLE $table (id int PRIMARY KEY, section text, came_back jsonb, doc_id text);
		INSERT INTO $table VALUES (1, 'libs');]
		. mirror($table, ", enrichments_column => 'came_back', document_id_column => 'doc_id'"));
	settle();
	is(sql($state), 'libs|t|t|t|1', "$name: they are current");
	$api->config(enrich => 'never');
	sql("UPDATE $table SET section = 'web'");
	settle();
	is(sql($state), 'web|t|t|f|1', "$name: after a change that they do not follow, they are not current");
	sql("SELECT mixpeek.refresh('$table')");
	settle();
	is(sql($state), 'web|t|t|f|1', "$name: a poll that finds none does not remove them yet");
	last_poll($table);
	is(sql($state), 'web||||0', "$name: with the last poll they are gone in the record, the view and the row");
	$api->config(enrich => 'now');
	sql("SELECT mixpeek.refresh('$table')");
	settle();
	is(sql("SELECT came_back::text ~ 'web', enrichments_current, came_back = enrichments FROM $table,
		mixpeek.documents d WHERE d.relation = '$table'::regclass"), 't|t|t', "$name: later ones come back");

	# the last poll fails
	$api->config(enrich => 'never');
	sql("UPDATE $table SET section = 'libs'");
	settle();
	$api->faults({ kind => 'status', status => 500, path => '/list' });
	last_poll($table);
	is(sql("SELECT came_back IS NULL, enrichments IS NULL FROM $table, mixpeek.documents d
		WHERE d.relation = '$table'::regclass"), 't|t', "$name: they are gone, too, if the last poll fails");

	# enrichments that the last answer had stay, whatever the last poll says
	$api->faults();
	$api->config(enrich => 'now');
	sql("SELECT mixpeek.refresh('$table')");
	settle();
	$api->faults({ kind => 'status', status => 500, path => '/list' });
	last_poll($table);
	is(sql($state), 'libs|t|t|t|1', "$name: those that the API has returned last stay if a poll fails");
	$api->faults();

	# those that a look-up finds before an update are of the content before it
	$api->config(enrich => 'never');
	my ($document) = documents($table);
	$document->{stale} = 'libs';
	$api->faults({ kind => 'status', status => 200, path => '/list', count => 1,
		answer => encode_json({ results => [$document] }) });
	sql("UPDATE mixpeek.documents SET document_id = NULL, enrichments = NULL, enrichments_current = NULL,
		content_hash = NULL, state = 'failed' WHERE relation = '$table'::regclass;
		UPDATE $table SET section = 'net', came_back = NULL");
	settle();
	is(sql("SELECT count(came_back), count(enrichments) FROM $table, mixpeek.documents d
		WHERE d.relation = '$table'::regclass"), '0|0', "$name: those of a look-up before an update are not kept");

	# what is there from before
	sql("UPDATE $table SET came_back = '{\"libs\": 1}'");
	$api->config(enrich => 'never');
	sql("SELECT mixpeek.unmirror('$table', delete_documents => true)");
	settle();
	sql(mirror($table, ", enrichments_column => 'came_back'"));
	settle();
	last_poll($table);
	is(sql("SELECT came_back IS NULL FROM $table"), 't', "$name: what the column has from before is removed");
	$api->stop;
}

# Documents that are deleted at the API

foreach my $contract ('2025-09', '2026-02')
{
	my $table = "deleted_" . $contract =~ tr/-/_/r;
	my $api = api($table, contract => $contract);
	my $name = "documents deleted at the API ($contract)";

	sql(qq[CREATE TABLE $table (id int PRIMARY KEY, v text, doc_id text);
		INSERT INTO $table VALUES (1, 'a'), (2, 'b'), (3, 'c');] . mirror($table, ", document_id_column => 'doc_id'"));
	settle();
	sql("SELECT mixpeek.delete_document('$table', document_id, '$table') FROM mixpeek.documents
		WHERE relation = '$table'::regclass AND key <> '2'");
	$api->reset;
	is(sql("SELECT mixpeek.refresh('$table')"), '3', "$name: refresh() returns how many documents are asked for");
	settle();
	is(differences($table, $table, server => $api, row => "to_jsonb(t) - 'doc_id'"), '',
		"$name: after refresh() and wait() the documents equal the rows");
	is_deeply([ @{ $api->stats }{qw(creates duplicates documents)} ], [ 2, 0, 3 ], "$name: two are created");
	is(sql("SELECT count(*) FROM $table t JOIN mixpeek.documents d ON d.relation = '$table'::regclass
		AND d.key = t.id::text AND t.doc_id = d.document_id"), '3', "$name: the rows have the new ids");

	# found by an ordinary poll, too, but not by one of the first seconds
	sql("SELECT mixpeek.delete_document('$table', document_id, '$table') FROM mixpeek.documents
		WHERE relation = '$table'::regclass AND key = '3'");
	$api->reset;
	sql("UPDATE mixpeek.documents SET enrichment_polls = 5, next_attempt_at = clock_timestamp() + '1 s'
		WHERE relation = '$table'::regclass AND key = '3'");
	sql("UPDATE $table SET v = 'y' WHERE id = 2");    # the worker looks for what is due
	wait_for('the poll', sub { $api->stats->{creates} });
	is(differences($table, $table, server => $api, row => "to_jsonb(t) - 'doc_id'"), '',
		"$name: an ordinary poll finds it, too");
}

# A list that is out of date does not double, and a document of another id is taken over.
my $lagging = api('lagging');
sql("CREATE TABLE lagging (id int PRIMARY KEY, v text); INSERT INTO lagging VALUES (1, 'a');" . mirror('lagging', ''));
settle();
$lagging->faults({ kind => 'status', status => 200, path => '/list', answer => '{"results": []}' });
$lagging->reset;
$id = record('lagging', 1)->{document_id};
sql("SELECT mixpeek.refresh('lagging')");
settle();
is_deeply([ @{ $lagging->stats }{qw(creates gets documents)}, record('lagging', 1)->{document_id} ], [ 0, 1, 1, $id ],
	'a list without a document that there is: it is asked for by its id, and kept');
$lagging->faults({ kind => 'status', status => 404, method => 'GET' },
	{ kind => 'status', status => 404, path => '/list' });
sql("SELECT mixpeek.refresh('lagging')");
wait_for_states('lagging', 'failed');
like(record('lagging', 1)->{last_error}, qr/^could not ask for the document by its marker, so it was not created: /,
	'a collection that is gone: nothing is created');
$lagging->faults();
sql("SELECT mixpeek.retry('lagging')");
settle();
is_mirrored('lagging', 'a collection that is back: the documents equal the rows');
is($lagging->stats->{creates}, 0, 'a collection that is back: nothing was created');
my $marker = record('lagging', 1)->{marker};
sql(qq[SELECT mixpeek.create_document('lagging', metadata => '{"mixpeek_docs": "$marker"}', server => 'lagging'),
	mixpeek.delete_document('lagging', '$id', 'lagging'), mixpeek.refresh('lagging')]);
settle();
is_mirrored('lagging', 'a document with the marker and another id: it is taken over, with the content of the row');
isnt(record('lagging', 1)->{document_id}, $id, 'a document with the marker and another id: its id is known');

# Keys that differ only in case, in an API that compares texts without regard to it
my $cased = api('cased');
sql("CREATE TABLE cased (id text PRIMARY KEY, v text); INSERT INTO cased VALUES ('a', 'x'), ('A', 'y');"
	. mirror('cased', ''));
settle();
$cased->reset;
$cased->faults({ kind => 'reset_after', body => '"collection_id"', count => 1 });
sql("DELETE FROM cased WHERE id = 'a'; SELECT mixpeek.wait('60 s'); INSERT INTO cased VALUES ('a', 'z')");
settle();
is_mirrored('cased', 'keys that differ only in case: a look-up finds the one that is meant');
like([ grep { $_->{path} =~ /list/ } @{ $cased->requests } ]->[0]{body}, qr/"case_sensitive":true/,
	'keys that differ only in case: the API is asked to tell them apart');
my $both = encode_json({ results => [ documents('cased') ] });
$cased->faults({ kind => 'status', status => 200, path => '/list', answer => $both });
my $upper = record('cased', 'A')->{document_id};
sql("UPDATE mixpeek.documents SET document_id = NULL, state = 'failed' WHERE relation = 'cased'::regclass AND key = 'A';
	SELECT mixpeek.retry('cased')");
settle();
is(record('cased', 'A')->{document_id}, $upper, 'an API that does not: the document of the other key is left out');
$cased->stop;

# Replacements

my $vectors = api('vectors');
my $template = '{"metadata": {"v": "$v"}, "features": [{"feature_extractor_id": "x", "payload": {},
	"vectors": {"embedding": "$e"}}]}';
sub vectors_are
{
	my ($want, $name) = @_;
	my %rows = map { (split(/\|/, $_))[0, 1] } split(/\n/, sql('SELECT id, array_to_json(e) FROM vectors'));

	my %vectors = map {
		($_->{metadata}{mixpeek_docs} =~ /:(\d+)$/)[0] => encode_json($_->{features}[0]{vectors}{embedding})
	} documents('vectors');
	is_deeply(\%vectors, $want // \%rows, $name);
	is($vectors->stats->{duplicates}, 0, "$name: none is doubled");
	return;
}

sql("CREATE TABLE vectors (id int PRIMARY KEY, v text, e float8[]);
	INSERT INTO vectors VALUES (1, 'a', '{1,2}'), (2, 'b', '{3,4}');" . mirror('vectors', ", document => '$template'"));
settle();
vectors_are(undef, 'vectors are sent');
foreach my $status (422, 402, 403, 413, 404, 400)
{
	my $before = record('vectors', 1);

	$vectors->faults({ kind => 'status', status => $status, method => 'POST', body => '"collection_id"' });
	$vectors->reset;
	sql("UPDATE vectors SET e = e || 5.5 WHERE id = 1");
	wait_for_states('vectors', 'failed,mirrored');
	my $after = record('vectors', 1);
	is_deeply([ @$after{qw(state document_id content_hash features_hash replaced_id in_doubt)} ],
		[ 'failed', @$before{qw(document_id content_hash features_hash)}, undef, JSON::PP::false ],
		"a replacement that the API refuses with $status: the record still has the old document");
	like($after->{last_error}, qr/: $status\b/, "a replacement that the API refuses with $status: last_error says why");
	is_deeply([ @{ $vectors->stats }{qw(documents deletes)} ], [ 2, 0 ],
		"a replacement that the API refuses with $status: the old document is still there");
	$vectors->faults();
	sql("UPDATE vectors SET e = e[1:2] WHERE id = 1");
	settle();
	is($vectors->stats->{creates}, 0,
		"a replacement that the API refuses with $status: nothing more is sent when the row is as before");
}
sql("UPDATE vectors SET e = '{9}' WHERE id = 1");
settle();
vectors_are(undef, 'a replacement that is accepted');

# The requests of a replacement, and answers that are lost
sub methods { return join(' ', map { $_->{path} =~ m{/list} ? 'list' : $_->{method} } @{ $vectors->requests }); }
my $value = 10;
$vectors->reset;
sql("UPDATE vectors SET e = '{$value}' WHERE id = 1");
settle();
is(methods(), 'POST DELETE', 'a replacement: the new document comes first');
my @then = ('', 'UPDATE vectors SET e = ARRAY[-1] WHERE id = $id', 'UPDATE vectors SET e = NULL WHERE id = $id',
	"UPDATE vectors SET v = v || 'x' WHERE id = \$id", 'DELETE FROM vectors WHERE id = $id',
	'UPDATE vectors SET e = ARRAY[0] WHERE id = $id');
foreach my $lost ('reset_before', 'reset_after')
{
	foreach my $method ('POST', 'DELETE')
	{
		my $name = "replacements whose $method ends with $lost";

		sql("DELETE FROM vectors; INSERT INTO vectors SELECT n, 'v', '{0}' FROM generate_series(1, 6) n");
		settle();
		$vectors->reset;
		$vectors->faults({ kind => $lost, method => $method, count => 6,
			$method eq 'POST' ? (body => '"collection_id"') : () });
		sql("UPDATE vectors SET e = '{1}'");
		wait_for('the faults', sub { $vectors->stats->{faults} == 6 });
		sql(join(';', map { $then[ $_ - 1 ] =~ s/\$id/$_/r } 1 .. 6));
		settle();
		my %want = map { (split(/\|/, $_))[0, 1] } split(/\n/, sql("SELECT id, coalesce(array_to_json(e)::text, 'null')
			FROM vectors"));
		is_deeply([ sort(keys(%want)) ], [ 1, 2, 3, 4, 6 ], "$name: what the rows do meanwhile");
		vectors_are(\%want, $name);
		is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'vectors'::regclass
			AND (state <> 'mirrored' OR in_doubt OR replaced_id IS NOT NULL)"), '0', "$name: all is settled");
	}
}
sql('DELETE FROM vectors WHERE id > 2');
settle();

# Two creates in a row whose answers are lost: the second one is under way when the worker ends.
foreach my $first ('INSERT', 'UPDATE')
{
	sql('DELETE FROM vectors');
	settle();
	if ($first eq 'UPDATE')
	{
		sql("INSERT INTO vectors VALUES (1, 'v', '{0}')");
		settle();
	}
	$vectors->reset;
	$vectors->faults({ kind => 'reset_after', method => 'POST', body => '"collection_id"', count => 1 },
		{ kind => 'delay', method => 'POST', body => '[3]', ms => 5000, when => 'after', count => 1 });
	sql($first eq 'INSERT' ? "INSERT INTO vectors VALUES (1, 'v', '{1}')" : "UPDATE vectors SET e = '{1}'");
	wait_for('the first answer to be lost', sub { ($vectors->stats->{faults} // 0) == 1 });
	sql("UPDATE vectors SET e = '{3}'");
	wait_for('the second create', sub { $vectors->stats->{creates} == 2 });
	sql("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'");
	settle();
	$vectors->faults();
	vectors_are(undef, "two creates whose answers are lost, after $first: the document is the row's");
	is(scalar(documents('vectors')), 1, "two creates whose answers are lost, after $first: there is one document");
}
sql("DELETE FROM vectors; INSERT INTO vectors SELECT n, 'v', '{0}' FROM generate_series(1, 2) n");
settle();

# The old document cannot be deleted
$vectors->faults({ kind => 'status', status => 403, method => 'DELETE' });
sql("UPDATE vectors SET e = '{77}' WHERE id = 1");
wait_for_states('vectors', 'failed,mirrored');
my $stuck = record('vectors', 1);
isnt($stuck->{replaced_id}, undef, 'an old document that cannot be deleted: the record has its id');
isnt($stuck->{replaced_id}, $stuck->{document_id},
	'an old document that cannot be deleted: the record has the new one, too');
is(scalar(grep { $_->{document_id} eq $stuck->{document_id} } documents('vectors')), 1,
	'an old document that cannot be deleted: the new one is there');
$vectors->faults();
sql("SELECT mixpeek.retry('vectors')");
settle();
vectors_are(undef, 'an old document that could not be deleted: retry() deletes it');
sql("SELECT mixpeek.unmirror('vectors', delete_documents => true)");
settle();
is($vectors->stats->{documents}, 0, 'unmirror() deletes them all');

# Numbers that JSON does not have

my $numbers = api('numbers');
sql(q[CREATE DOMAIN embedding AS real[];
	CREATE TABLE numbers (id int PRIMARY KEY, e float8[], r real[], n numeric[], x float8, d embedding, j jsonb);
	INSERT INTO numbers VALUES (0, '{1}', '{1}', '{1}', 1, '{1}', '[1]');]
	. mirror('numbers', q[, document => '{"metadata": {"x": "$x"}, "features": [
		{"feature_extractor_id": "x", "payload": {"x": "$x"}, "vectors": {"e": "$e"}},
		{"feature_extractor_id": "x", "payload": {}, "vectors": {"r": "$r", "n": "$n"}},
		{"feature_extractor_id": "x", "payload": {}, "vectors": {"x": ["$x", 1], "d": "$d"}},
		{"feature_extractor_id": "x", "payload": {}, "vectors": {"j": "$j"}}]}']));
settle();
$numbers->reset;
my @wrong = (
	[ e => q('{1,NaN}') ], [ e => q('{Infinity}') ], [ e => q('{1,2,-Infinity}') ], [ e => q('{NULL,1}') ],
	[ e => q('{{1,2},{3,NaN}}') ], [ r => q('{NaN}') ], [ n => q('{NaN}') ], [ x => q('NaN') ], [ x => q('-Infinity') ],
	[ d => q('{NaN}') ], [ j => q('[1, "NaN"]') ], [ j => q('["Infinity"]') ], [ j => q('[null]') ],
	[ j => q('{"indices": [1], "values": ["NaN"]}') ], [ j => q('[[1], ["NaN"]]') ]);
foreach my $wrong (@wrong)
{
	my ($column, $literal) = @$wrong;

	sql("UPDATE numbers SET $column = $literal");
	wait_for_states('numbers', 'failed');
	like(record('numbers', 0)->{last_error}, qr/^features\[\d\]\.vectors\.$column\b.* must .*numbers/,
		"a vector with $literal in column $column: last_error says it");
	sql("UPDATE numbers SET (e, r, n, x, d, j) = ('{1}', '{1}', '{1}', 1, '{1}', '[1]')");
	settle();
}
is_deeply([ @{ $numbers->stats }{qw(requests documents)} ], [ 0, 1 ], 'vectors that are no numbers: nothing was sent');
sql("UPDATE numbers SET (e, j) = ('{1e308,-1e-300}', '[0.5, -1e-3]')");
settle();
is(record('numbers', 0)->{last_error}, undef, 'vectors of numbers: there is no error');
is(record('numbers', 0)->{state}, 'mirrored', 'vectors of numbers: mirrored');

$_->stop foreach values %api;
$node->stop;

done_testing();

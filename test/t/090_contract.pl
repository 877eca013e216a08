# The contract proof: all that the extension sends and all that the local server answers goes through
# prism, which knows the API's published contracts and answers a violation with an error of its own.
# A request that violates the contract does not reach the server, and an answer that does is not passed on.
use strict;
use warnings;
use HTTP::Tiny;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Client;

my $prism = $ENV{MIXPEEK_PRISM} // '';
plan skip_all => 'MIXPEEK_PRISM names no prism; test/run installs it' unless -e $prism;

# The whole request as the API's documentation has it.
my $details = '{"filename": "a.png", "size_bytes": 123, "mime_type": "image/png",
	"hash": "0a1b", "s3_object_key": "k/a.png"}';
my $blob = qq({"blob_id": "b1", "property": "photo", "key_prefix": "k", "type": "image",
	"data": "https://example.com/a.png", "metadata": {"width": 3}, "details": $details});
my $source_details = qq([{"type": "bucket", "source_id": "shop", "object_id": "o1", "feature_extractor_task_id": "t1",
	"object_task_id": "t2", "source_blobs": [$blob], "feature_extractor_id": "f1", "batch_id": "b1",
	"batch_task_id": "t3"}]);
my $features = '[{"feature_extractor_id": "text", "payload": {"a": 1}, "vectors": {"embedding": [0.5, -1.25e-3, 3]}}]';

my $node = mixpeek_node('main');

foreach my $version ('2025-09', '2026-02')
{
	subtest "contract of $version" => sub { prove_contract($version) };
}
subtest 'batches of 2026-02, by a raw client' => \&prove_batches;
subtest 'contract of 2026-10, by a raw client' => \&prove_server;
$node->stop;
done_testing();

sub prove_contract
{
	my ($version) = @_;
	my $api = MixpeekTest::Server->new(contract => $version, record => 1, enrich => 'now');
	my $proxy = start_proxy($version, $api->url);
	my $server = "s_$version";

	create_server($node, $server, $proxy->{url}, api_key => $api->api_key);
	call_functions($proxy, $server);
	mirror_table($proxy, $server);
	is(violations($proxy), '', 'no request and no answer violates the contract');

	my %seen = map { operation($_) => 1 } @{ $api->requests };
	is_deeply([ sort keys %seen ],
		[ 'DELETE document', 'GET document', 'POST documents', 'POST list', 'PUT document' ],
		'every operation has reached the server');
	ok((grep { operation($_) eq 'POST list' && $_->{body} =~ /mixpeek_docs/ } @{ $api->requests }),
		'the look-up by marker is among them');
	show_that_violations_are_noticed($proxy, $api, $server);
	stop_proxy($proxy);
	$api->stop;
}

# The operations of 2026-02 on many documents.
sub prove_batches
{
	my $api = MixpeekTest::Server->new(contract => '2026-02', validation_form => 'detail');
	my $proxy = start_proxy('2026-02', $api->url);
	my $client = MixpeekTest::Client->new($proxy->{url});
	my $documents = '/v1/collections/c/documents';
	my $id = $client->call(POST => $documents, { collection_id => 'c', metadata => { n => 1 } })->{body}{document_id};
	my $filters = { AND => [ { field => 'metadata.n', operator => 'eq', value => 1 } ] };

	foreach my $request (
		[ 200, PATCH => "$documents/$id", { 'metadata.m' => 1 } ],
		[ 200, PATCH => "$documents/bulk", { filters => $filters, update_data => { tag => 1 } } ],
		[ 200, POST => "$documents/batch", { updates => [
			map { { document_id => $_, update_data => { metadata => { k => 1 } } } } $id, 'nope' ] } ],
		[ 200, POST => "$documents/batch", { filters => $filters, update_data => { tag => 2 } } ],
		[ 400, POST => "$documents/batch", { filters => $filters } ],
		[ 200, DELETE => "$documents/batch", { document_ids => [ $id, 'nope' ] } ],
		[ 200, DELETE => "$documents/batch", { filters => $filters } ])
	{
		my ($status, @call) = @$request;
		my $answer = $client->call(@call);

		is($answer->{status}, $status, "$call[0] $call[1]") or diag($answer->{text});
		$proxy->{process}->pump_nb;
	}
	is(violations($proxy), '', 'no request and no answer violates the contract');
	stop_proxy($proxy);
	$api->stop;
}

# What the local server answers to requests of 2026-10, with the traits that form its answers.
sub prove_server
{
	my $api =
		MixpeekTest::Server->new(contract => '2026-10', collection => [ 'c', 'col_default' ], vector_index => 'a:2');
	my $proxy = start_proxy('2026-10', $api->url);
	my $client = MixpeekTest::Client->new($proxy->{url});

	foreach my $traits (
		{}, { metadata_at => 'root', enrichments_at => 'metadata' },
		{ metadata_at => 'internal', enrichments_at => 'enrichments', key_rights => 'read' },
		{ enriched_by => 'taxonomy', tasks_end => 'failed', collection_state => 'archived' },
		{ searchable_after => 3600, upsert_metadata => 'metadata', missing_collection => 'unknown_ids' },
		{ unindexed => 'half', unindexed_warnings => 'on', payload_metadata => 'dropped', idempotency => 'unkept' },
		{ put => 'replaces', patch => 'paths', batch_fields => 'merged', upsert_vectorless => 'refused' },
		(map { { credits => 1, no_credits => $_, retryable => 'no' } } 401, 403, 429),
		(map { { readable_after => 3600, missing_namespace => $_, request_id => 'x-trace-id' } } qw(forbidden invalid)))
	{
		my $name = join(', ', map { "$_ $traits->{$_}" } sort keys %$traits) || 'no trait is set';
		my $before = $api->control(GET => 'config');

		$api->reset(documents => JSON::PP::true);
		$api->config(%$traits);
		call_newest($proxy, $client, $name);
		is(violations($proxy), '', "no request and no answer violates the contract: $name");
		$api->config(map { $_ => $before->{$_} } keys %$traits);
	}
	$api->config(rate => 1, burst => 1, retry_after => 'details', retryable => 'yes');
	is(join(' ', map { $client->call(GET => '/v1/me')->{status} } 1 .. 2), '200 429', 'a limit is met');
	$api->config(rate => 0);
	is(violations($proxy), '', 'a 429 is as the contract has it');

	# Show that a violation would have been noticed.
	$api->faults({ kind => 'wrong_type', path => 'upsert', count => 1 });
	$client->call(POST => '/v1/namespaces/test/documents/upsert', { documents => [] });
	like(violations($proxy), qr/VIOLATIONS/, 'a wrong answer is noticed');
	$api->config(validation_form => 'detail');
	$client->call(POST => '/v1/collections/c/documents/list', { return_url => JSON::PP::true });
	like(violations($proxy), qr/VIOLATIONS/, 'a 422 of another form is noticed');
	stop_proxy($proxy);
	$api->stop;
}

# Each operation of 2026-10 that the server has, as it succeeds and, where there is a way, as it fails. Left out is the
# 409 of an idempotency key: the contract's words have it, and its list of statuses has not.
sub call_newest
{
	my ($proxy, $client, $name) = @_;
	my $documents = '/v1/collections/c/documents';
	my $namespace = '/v1/namespaces/test';
	my $filters =
		{ AND => [ { field => 'metadata.n', operator => 'eq', value => 1 } ], case_sensitive => JSON::PP::true };
	my $document = $client->call(POST => $documents, {
		metadata => { n => 1, mixpeek_docs => 'm' }, brand => 'b', root_object_id => 'o',
		vectors => { a => [ 1, 2.5 ] },
		features => [ { feature_extractor_id => 'f', vectors => { a => [1] } } ] })->{body};
	my $id = $document->{document_id} // 'none';
	my $updates = { updates => [ { document_id => $id, update_data => { 'metadata.n' => 2 } },
		{ document_id => 'nope', update_data => { metadata => {} } } ] };
	my $upsert = { collection_id => 'c', options => { idempotency_key => "k $name", write_token => JSON::PP::true },
		documents => [
			{ document_id => 'own 1', vectors => { a => [ 1, 2 ] }, metadata => { m => 1 },
				payload => { x => 1, source_type => 'y', metadata => { n => 1 } } },
			{ document_id => 'own 2', vectors => {} } ] };
	my @statuses;

	foreach my $request (
		[ GET => "$documents/$id?return_presigned_urls=true&return_vectors=true" ], [ GET => "/v1/documents/$id" ],
		[ GET => "$documents/nope" ],
		[ PUT => "$documents/$id", { metadata => { n => undef, k => 1 }, title => 't' } ],
		[ PATCH => "$documents/$id", { metadata => { n => 1 } } ], [ PUT => "/v1/documents/$id", { a => 1 } ],
		[ PUT => "$documents/$id", { vectors => {} } ],
		[ POST => "$documents/list",
			{ filters => $filters, include_total => JSON::PP::true, return_vectors => JSON::PP::true } ],
		[ POST => "$documents/list?limit=1", { sort => { field => 'metadata.n', direction => 'desc' },
			select => ['brand'], return_presigned_urls => JSON::PP::true, partition => { index => 0, count => 1 } } ],
		[ POST => "$documents/list", { group_by => 'brand', return_vector_names => ['a'] } ],
		[ POST => "$documents/list?offset=0" ], [ POST => "$documents/list", { cursor => 'nonsense' } ],
		[ POST => '/v1/documents/list', { collection_ids => [ 'c', 'nope' ] } ],
		[ POST => '/v1/collections/nope/documents/list', {} ], [ GET => "$documents/count" ],
		[ POST => "$documents/batch", $updates ], [ POST => "$documents/batch", {} ],
		[ POST => '/v1/documents/batch-get', { document_ids => [ $id, 'nope' ] } ],
		[ POST => "$namespace/documents/upsert", $upsert ], [ POST => "$namespace/documents/upsert", $upsert ],
		[ POST => "$namespace/documents/upsert", { documents => [ { document_id => 'q', vectors => { z => [1] } } ] } ],
		[ GET => "$namespace/documents/own%201" ],
		[ DELETE => "$documents/batch", { document_ids => [ 'own 2', 'nope' ], reason => 'test' } ],
		[ DELETE => "$documents/batch", { filters => $filters } ], [ DELETE => "$documents/$id" ],
		[ PATCH => $namespace, { payload_indexes => [ { field_name => 'metadata.n', type => 'keyword' } ] } ],
		[ PATCH => $namespace, { payload_indexes => [ { field_name => 'document_id', type => 'keyword' } ] } ],
		[ POST => '/v1/collections/c/apply-taxonomy', { taxonomy_id => 't', scroll_filters => $filters } ],
		[ GET => '/v1/tasks/task_1' ], [ GET => '/v1/collections/c/lifecycle' ],
		[ GET => $namespace ], [ POST => "$namespace/ensure-indexes" ], [ GET => '/v1/collections/col_default' ],
		[ GET => '/v1/me' ], [ GET => '/v1/organizations/billing/balance' ])
	{
		push @statuses, $client->call(@$request)->{status};
		$proxy->{process}->pump_nb;
	}
	is(scalar(grep { $_ >= 500 } @statuses), 0, "every request has an answer of the server's: $name")
		or diag("@statuses");
}

# The API as SQL functions, every field of the requests.
sub call_functions
{
	my ($proxy, $server) = @_;
	my $collection = 'a collection/ü';

	my $id = sql($proxy, qq{
		SELECT mixpeek.create_document('$collection', \$\$$source_details\$\$,
			'{"name": "Ünï", "deep": {"n": [1, null, true]}}',
			\$\$$features\$\$, '{"lineage_path": "a/b"}', server => '$server') ->> 'document_id'});
	like($id, qr/^\S+$/, 'create_document() with all fields');
	is(sql($proxy, qq{
		SELECT mixpeek.create_document('$collection', '[]', server => '$server') ->> 'document_id' <> '$id'}),
		't', 'create_document() with nothing but what is required');
	foreach my $flags ('false, false', 'true, true')
	{
		is(sql($proxy, qq{
			SELECT mixpeek.get_document('$collection', '$id', $flags, server => '$server') #>> '{metadata,name}'}),
			'Ünï', "get_document() with $flags");
	}
	is(sql($proxy, qq{
		SELECT mixpeek.update_document('$collection', '$id', '{"metadata": {"name": "new"}, "tag": 7}',
			server => '$server')
			#>> '{metadata,name}'}),
		'new', 'update_document()');
	is(sql($proxy, qq{
		SELECT count(*) FROM mixpeek.list_documents('$collection',
			'{"AND": [{"field": "metadata.name", "operator": "eq", "value": "new"}]}',
			'{"field": "metadata.name", "direction": "desc"}', 'new', 10, true, true, server => '$server')}),
		'1', 'list_documents() with all that it takes');
	is(sql($proxy, qq{SELECT count(*) FROM mixpeek.list_documents('$collection', server => '$server')}), '2',
		'list_documents() without filters');
	sql($proxy, qq{SELECT mixpeek.delete_document('$collection', '$id', server => '$server')});
	is($node->psql('postgres', qq{SELECT mixpeek.get_document('$collection', '$id', server => '$server')}),
		3, 'get_document() of a deleted document: an error as the contract has it');
}

# A mirror's life: create, PUT, replacement of vectors, look-up by marker, delete.
sub mirror_table
{
	my ($proxy, $server) = @_;
	my $template = qq({"source_details": $source_details, "metadata": {"name": "\$name", "all": "\$*"},
		"features": [{"feature_extractor_id": "text", "payload": {}, "vectors": {"embedding": "\$embedding"}}]});

	sql($proxy, q{
		CREATE TABLE things (id int PRIMARY KEY, name text, price numeric, embedding real[]);
		INSERT INTO things SELECT i, 'thing ' || i, i / 3.0, ARRAY[i, 0.5] FROM generate_series(1, 5) i});
	sql($proxy, qq{SELECT mixpeek.mirror('things', 'col_things', '$template', '$server')});
	sql($proxy, qq{SELECT mixpeek.mirror('things', 'col_plain', server => '$server')});
	in_sync($proxy, 10, 'mirror: backfill');
	sql($proxy, q{INSERT INTO things VALUES (6, 'thing 6', 1, '{1}')});
	in_sync($proxy, 12, 'mirror: INSERT');
	sql($proxy, q{UPDATE things SET name = 'new' WHERE id = 1});
	in_sync($proxy, 12, 'mirror: UPDATE');
	sql($proxy, q{UPDATE things SET embedding = '{0.25}' WHERE id = 2});
	in_sync($proxy, 12, 'mirror: UPDATE of a vector');
	sql($proxy, q{DELETE FROM things WHERE id = 3});
	in_sync($proxy, 10, 'mirror: DELETE');

	# A document without a record is found by its marker.
	sql($proxy, q{SELECT mixpeek.unmirror('things', 'col_plain')});
	sql($proxy, qq{SELECT mixpeek.mirror('things', 'col_plain', server => '$server')});
	in_sync($proxy, 10, 'mirror: look-up by marker');
	is(sql($proxy, qq{SELECT count(*) FROM mixpeek.list_documents('col_plain', server => '$server')}),
		'5', 'mirror() again creates nothing');
	sql($proxy, q{DROP TABLE things});
}

sub in_sync
{
	my ($proxy, $expected, $name) = @_;

	sql($proxy, 'CALL mixpeek.sync()');
	is(sql($proxy, q{
		SELECT count(*) FILTER (WHERE state = 'mirrored'), string_agg(DISTINCT last_error, '; ')
			FROM mixpeek.documents}),
		"$expected|", $name);
}

# Show that a violation would have been noticed.
sub show_that_violations_are_noticed
{
	my ($proxy, $api, $server) = @_;

	my $requests = @{ $api->requests };
	HTTP::Tiny->new->post("$proxy->{url}/v1/collections/c/documents/list",
		{ headers => { 'Content-Type' => 'application/json' }, content => '{"return_url": {}}' });
	like(violations($proxy), qr/UNPROCESSABLE_ENTITY/, 'a wrong request is noticed');
	is(@{ $api->requests }, $requests, 'a wrong request is not sent on');

	$proxy->{log} = '';
	$api->faults({ kind => 'wrong_type', method => 'POST', count => 1 });
	$node->psql('postgres', qq{SELECT mixpeek.create_document('c', \$\$$source_details\$\$, server => '$server')});
	like(violations($proxy), qr/VIOLATIONS/, 'a wrong answer is noticed');
}

# What a recorded request did: method and kind of resource.
sub operation
{
	my ($request) = @_;
	my ($resource) = $request->{path} =~ m{^/v1/collections/[^/]+/(.*)$};

	return $request->{method} . ' ' . ($resource =~ m{^documents(/list)?$} ? $1 ? 'list' : $resource : 'document');
}

sub start_proxy
{
	my ($version, $upstream) = @_;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my %proxy = (url => "http://127.0.0.1:$port", log => '');

	$proxy{process} = IPC::Run::start(
		[ 'node', $prism, 'proxy', '--errors', '--host', '127.0.0.1', '--port', $port,
			"test/contract/openapi-$version.json", $upstream ],
		'<', \undef, '>', \$proxy{log}, '2>&1');
	pump_until($proxy{process}, IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default),
		\$proxy{log}, qr/Prism is listening/) or die "prism did not start: $proxy{log}";
	return \%proxy;
}

sub stop_proxy
{
	my ($proxy) = @_;

	$proxy->{process}->kill_kill;
}

# Run SQL, and read prism's output meanwhile.
sub sql
{
	my ($proxy, $sql) = @_;
	my $answer = $node->safe_psql('postgres', $sql);

	$proxy->{process}->pump_nb;
	return $answer;
}

sub violations
{
	my ($proxy) = @_;

	# prism logs a request before it answers it, so the log is complete when it has the mark.
	HTTP::Tiny->new->get("$proxy->{url}/mark");
	pump_until($proxy->{process}, IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default),
		\$proxy->{log}, qr{get /mark .*NO_PATH_MATCHED}) or die 'prism has ended';
	my @lines = grep { /errors#|violation/i && !m{get /mark } } split /\n/, $proxy->{log};
	$proxy->{log} = '';
	return join("\n", @lines);
}

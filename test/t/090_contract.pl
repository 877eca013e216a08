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

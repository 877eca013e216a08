# The local API server by itself: the operations of 2026-10, faults, the journal.
use strict;
use warnings;
use IO::Socket::INET;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Api;
use MixpeekTest::Client;

subtest 'documents' => sub {
	with {}, sub {
		my $one =
			create({ n => 1, keep => 'x', deep => { a => 1, b => 2 } }, { brand => 'b', root_object_id => 'o' });
		like($one->{document_id}, qr/^doc_\w{24}$/, 'create: the API assigns an id');
		is($one->{brand}, 'b', 'create: a field that is not declared is stored');
		like($one->{searchable_at}, qr/^20.*Z$/, 'create: searchable_at');
		is($one->{_internal}{lineage}{root_object_id}, 'o', 'create: lineage is under _internal');
		is($one->{root_object_id}, undef, 'create: lineage is not at the root');
		create({ n => 2 }, { root_object_id => 'p', source_object_id => 'q' });
		is(found('root_object_id', 'o') . found('source_object_id', 'q'), '12',
			'list: a filter finds lineage at the root');
		my $id = $one->{document_id};
		is(found('document_id', $id), '1', 'list: a filter by id');
		is_deeply(get($id), $one, 'get: the answer of the create');
		is_deeply(done(GET => "/v1/documents/$id"), $one, 'get without a collection');
		is_deeply(done(GET => "$namespace/documents/$id"), $one, 'get by the namespace of the path');
		is(done(GET => "$documents/count")->{count}, 2, 'count');

		my $put = { metadata => { n => 2, keep => undef, new => 1 }, brand => 'c' };
		is_deeply(done(PUT => "$documents/$id", $put)->{metadata}, { n => 2, new => 1, deep => { a => 1, b => 2 } },
			'PUT sets keys of metadata, and removes those that are null');
		is(get($id)->{brand}, 'c', 'PUT replaces other fields');
		done(PUT => "$documents/$id", { root_object_id => 'new' });
		is(found('root_object_id', 'o') . found('root_object_id', 'new'), '2', 'list: a filter finds what PUT has set');
		is_deeply(done(PATCH => "$documents/$id", { metadata => { new => undef } })->{metadata},
			{ n => 2, deep => { a => 1, b => 2 } }, 'PATCH has the rule of PUT');
		is(call(PUT => "$documents/$id", { vectors => {} })->{status}, 400, 'PUT of vectors is refused');
		is(done(DELETE => "$documents/$id")->{success}, JSON::PP::true, 'delete');
		my $gone = call(GET => "$documents/$id");
		is_deeply([ @{ $gone->{body}{error} }{qw(type code)} ], [ 'NotFoundError', 'document_not_found' ],
			'get of a deleted document: type and code');
	};
};

subtest 'list' => sub {
	with {}, sub {
		create({ n => $_, text => 'Abc' }) foreach 1 .. 5;
		my $page = done(POST => "$documents/list?limit=2", {});
		is(scalar @{ $page->{results} }, 2, 'limit in the query');
		is_deeply([ $page->{pagination}{total}, $page->{total_documents}, $page->{stats}{total_documents} ],
			[ undef, undef, undef ], 'no total without include_total');
		my $rest = done(POST => "$documents/list", { cursor => $page->{pagination}{next_cursor}, limit => 2 });
		is($rest->{results}[0]{metadata}{n}, 3, 'the cursor goes on');
		is(done(POST => "$documents/list", { offset => 4 })->{results}[0]{metadata}{n}, 5, 'offset in the body');
		is(done(POST => "$documents/list?page=3&page_size=2")->{results}[0]{metadata}{n}, 5, 'page and page_size');
		$page = done(POST => "$documents/list", { include_total => JSON::PP::true, limit => 1 });
		is_deeply([ $page->{pagination}{total}, $page->{total_documents} ], [ 5, 5 ], 'include_total');
		is(call(POST => "$documents/list", { offset => 10001 })->{status}, 422, 'an offset above 10,000 is refused');
		is(call(POST => "$documents/list?offset=10001")->{status}, 422, '... in the query, too');
		is(call(POST => "$documents/list", { limit => 1001 })->{status}, 422, 'a limit above 1,000 is refused');
		my @parts =
			map { scalar @{ done(POST => "$documents/list", { partition => { index => $_, count => 3 } })->{results} } }
			0 .. 2;
		is($parts[0] + $parts[1] + $parts[2], 5, 'partitions are disjoint and complete');
		is(found('metadata.text', 'aBC'), '1 2 3 4 5', 'a filter ignores case');
		is(found('metadata.text', 'aBC', case_sensitive => JSON::PP::true), '', '... unless case_sensitive');

		done(POST => '/v1/collections/d/documents', { metadata => { n => 6 } });
		is(scalar @{ done(POST => '/v1/documents/list')->{results} }, 6,
			'the list of the namespace has all collections');
		$page = done(POST => '/v1/documents/list', { collection_ids => [ 'd', 'nope' ] });
		is($page->{results}[0]{metadata}{n}, 6, '... or those that are named');
		is_deeply($page->{unknown_collection_ids}, ['nope'], '... and says which do not exist');
		is(call(POST => '/v1/documents/list', { collection_ids => ['nope'] })->{status}, 404, '... 404 if none does');
		done(DELETE => '/v1/collections/d/documents/batch', { document_ids => [ $page->{results}[0]{document_id} ] });
		$page = done(POST => '/v1/documents/list', { collection_ids => [ 'd', 'nope' ] });
		is_deeply([ @$page{qw(results unknown_collection_ids)} ], [ [], ['nope'] ], '... one that is empty does exist');
		my ($vectors) = @{ done(POST => '/v1/documents/list', { return_vector_names => JSON::PP::true })->{results} };
		is_deeply($vectors->{_vectors}, [], 'return_vector_names');
	};
};

subtest 'batches' => sub {
	with {}, sub {
		my @ids = map { create({ n => $_, x => { a => 1, b => 2 } })->{document_id} } 1 .. 3;
		my $answer = done(POST => "$documents/batch", { updates => [
			{ document_id => $ids[0], update_data => { metadata => { n => 'one' } } },
			{ document_id => $ids[1], update_data => { 'metadata.x.a' => 9 } },
			{ document_id => 'nope', update_data => {} },
			{ document_id => $ids[2], update_data => { features => [] } } ] });
		is_deeply([ map { $_->{success} ? 1 : 0 } @{ $answer->{results} } ], [ 1, 1, 0, 0 ], 'a result a document');
		is_deeply([ @$answer{qw(updated_count failed_count)} ], [ 2, 2 ], 'counts');
		is_deeply(get($ids[0])->{metadata}, { n => 'one' }, 'a key without a dot replaces the field');
		is_deeply(get($ids[1])->{metadata}, { n => 2, x => { a => 9, b => 2 } }, 'a dotted key sets one nested field');

		$answer = done(POST => '/v1/documents/batch-get', { document_ids => [ $ids[1], 'nope', $ids[0] ] });
		is_deeply([ map { $_->{document_id} } @{ $answer->{documents} } ], [ @ids[ 1, 0 ] ], 'batch-get: documents');
		is_deeply($answer->{not_found}, ['nope'], 'batch-get: not_found');
		is(call(POST => '/v1/documents/batch-get', { document_ids => [] })->{status}, 422, 'batch-get of nothing: 422');

		$answer = done(DELETE => "$documents/batch", { document_ids => [ $ids[0], 'nope' ] });
		is_deeply([ @$answer{qw(deleted_count failed_count)} ], [ 1, 1 ], 'batch delete: counts');
		is(found(), '2 3', 'batch delete: documents');
		is(call(DELETE => "$documents/batch", { document_ids => [ (1) x 1001 ] })->{status}, 422,
			'more than 1,000 documents are refused');
	};
};

subtest 'upsert' => sub {
	with {}, sub {
		my $first = upsert([
			{ document_id => 'p/1', payload => { name => 'x', source_type => 'y', metadata => { n => 1 } },
				metadata => { m => 1 }, content_hash => 'h' },
			{ document_id => 'p 2', vectors => {}, payload => { metadata => { n => 2 } } } ], idempotency_key => 'k');
		my $answer = done(POST => $upserts, $first);
		is($answer->{inserted}, 2, 'inserted');
		is_deeply($answer->{document_ids}, [ 'p/1', 'p 2' ], 'document_ids');
		is_deeply($answer->{dropped_payload_fields}, { 'p/1' => ['source_type'] }, 'dropped_payload_fields');
		is_deeply($answer->{unsearchable_document_ids}, ['p 2'], 'unsearchable_document_ids');
		is($answer->{consistency}{retriever_visible}, 'eventual', 'consistency');
		my $document = done(GET => "$namespace/documents/p%2F1?return_vectors=true");
		is_deeply([ $document->{name}, $document->{metadata}{n}, $document->{_internal}{metadata}{m} ], [ 'x', 1, 1 ],
			'the payload is at the root, metadata under _internal');
		is($document->{_internal}{content_hash}, 'h', 'content_hash');
		is_deeply($document->{vectors}, { a => [ 1, 2 ] }, 'vectors');
		is(found(), '1 2', 'the documents are in the list of their collection');
		is($document->{_internal}{lineage}{source_type}, 'direct_upsert', 'source_type');

		is_deeply(done(POST => $upserts, $first), $answer, 'the same idempotency key and body: the first answer');
		is($api->stats->{creates}, 2, '... and nothing is done again');
		my $other = call(POST => $upserts, upsert([ { document_id => 'p 3' } ], idempotency_key => 'k'));
		is_deeply([ $other->{status}, $other->{body}{error}{code} ], [ 409, 'idempotency_key_conflict' ],
			'the same idempotency key, another body: 409');

		done(POST => $upserts, upsert([ { document_id => 'p/1', payload => { a => 1 } } ]));
		$document = done(GET => "$namespace/documents/p%2F1");
		is_deeply([ @$document{qw(a name metadata)} ], [ 1, undef, undef ],
			'a document that exists is replaced as a whole');
		is($api->stats->{documents}, 2, '... under its id');
		done(POST => $upserts, { %{ upsert([ { document_id => 'p/1' } ]) }, collection_id => 'd' });
		is(done(GET => "$documents/count")->{count}, 1, 'the id is the namespace\'s: it leaves its collection');

		foreach my $odd (
			[ 'an unknown index', { vectors => { z => [1] } } ], [ 'wrong dimensions', { vectors => { a => [1] } } ],
			[ 'vectors that are text', { vectors => { a => 'x' } } ], [ 'an unknown key', { nope => 1 } ],
			[ 'no id', { document_id => '' } ])
		{
			my $refused =
				call(POST => $upserts, upsert([ { document_id => 'q' }, { document_id => 'r', %{ $odd->[1] } } ]));
			is($refused->{status}, 422, "one document with $odd->[0]: 422");
			is(call(GET => "$namespace/documents/q")->{status}, 404, "... and the others are not stored");
		}
		is(call(POST => $upserts, upsert([ map { { document_id => "x$_" } } 1 .. 1001 ]))->{status}, 422,
			'more than 1,000 documents are refused');
		is_deeply([ map { $_->{name} } @{ done(GET => '/v1/collections/c')->{vector_indexes} } ], [ 'a', 'b' ],
			'the collection names its vector indexes');
	};
};

subtest 'account and namespace' => sub {
	with {}, sub {
		$api->config(rate => 6000);
		is(done(GET => '/v1/me')->{rate_limits}{data}, 6000, '/v1/me: limits');
		$api->config(rate => 0);
		is(done(GET => '/v1/me')->{principal_scoped}, JSON::PP::false, '/v1/me: principal_scoped');
		my $indexes = [ { field_name => 'metadata.a', type => 'keyword' }, { field_name => 'b', type => 'integer' } ];
		is_deeply(done(PATCH => $namespace, { payload_indexes => $indexes })->{payload_indexes}, $indexes,
			'PATCH sets the list of indexes');
		is_deeply(done(PATCH => $namespace, { payload_indexes => [ $indexes->[1] ] })->{payload_indexes},
			[ $indexes->[1] ], '... the whole list');
		is_deeply(done(GET => $namespace)->{payload_indexes}, [ $indexes->[1] ], '... which GET shows');
		is_deeply(done(POST => "$namespace/ensure-indexes")->{ensured}, ['b'], 'ensure-indexes names them');
		my $own = { payload_indexes => [ { field_name => 'document_id', type => 'keyword' } ] };
		is(call(PATCH => $namespace, $own)->{status}, 400, 'an index of the API\'s own is refused');
		done(PATCH => $namespace, { payload_indexes => [] });
	};
};

subtest 'journal' => sub {
	with {}, sub {
		my $journal = PostgreSQL::Test::Utils::tempdir() . '/journal';
		my $service = MixpeekTest::Server->new(contract => '2026-10', journal => $journal);
		my $other = MixpeekTest::Client->new($service->url);
		$other->call(POST => $upserts, upsert([ { document_id => "an id/\x{fc}\n", payload => { a => 1 } },
			{ document_id => 'gone' } ]));
		$other->call(DELETE => "$documents/gone");
		$service->kill9;
		$service->start;
		my $restored = $other->call(POST => "$documents/list", {})->{body}{results};
		is_deeply([ map { [ @$_{qw(document_id a)} ] } @$restored ], [ [ "an id/\x{fc}\n", 1 ] ],
			'documents under ids of the client\'s own outlive kill -9');
		$service->stop;
	};
};

# Sends a request and does not wait for its answer; the connection is the result.
sub send_only
{
	my ($method, $path, $body) = @_;
	my $text = JSON::PP->new->utf8->encode($body);
	my $before = $api->stats->{in_flight};
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $api->port) or die "connect: $!";

	print $socket "$method $path HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk_test\r\n",
		"X-Namespace: test\r\nContent-Type: application/json\r\n", 'Content-Length: ' . length($text),
		"\r\n\r\n$text";
	$socket->flush;
	wait_for('the request to be under way', sub { $api->stats->{in_flight} > $before });
	return $socket;
}

subtest 'faults and overlaps' => sub {
	with {}, sub {
		$api->faults({ kind => 'reset_late', ms => 200, method => 'POST', count => 1 });
		ok(!eval { create({ n => 1 }); 1 }, 'reset_late: the client has no answer');
		wait_for('the create to be carried out', sub { $api->stats->{documents} == 1 });
		is(found(), '1', 'reset_late: the document is created all the same');

		my $id = create({ n => 2, mixpeek_docs => 'm' })->{document_id};
		my $update = { updates => [ map { { document_id => $_, update_data => {} } } $id, 'other' ] };
		foreach my $case (
			[ 'PUT of one of its documents', 1, PUT => "$documents/$id", {} ],
			[ 'PUT of another document', 0, PUT => "$documents/third", {} ],
			[ 'batch delete', 1, DELETE => "$documents/batch", { document_ids => [ 'third', 'other' ] } ],
			[ 'upsert', 1, POST => $upserts, upsert([ { document_id => 'other' } ]) ],
			[ 'create under its marker', 1, POST => $documents, { metadata => { mixpeek_docs => 'm' } } ])
		{
			my ($name, $overlaps, @request) = @$case;

			$api->reset;
			$api->faults({ kind => 'hang', path => '/batch', method => 'POST', count => 1 });
			my $socket = send_only(POST => "$documents/batch", $update);
			call(@request);
			is($api->stats->{overlaps}, $overlaps, "overlaps: $name, while a batch update is under way");
			close($socket);
			wait_for('the batch update to end', sub { $api->stats->{in_flight} == 0 });
		}
	};
};

$api->stop;
done_testing();

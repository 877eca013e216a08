# The traits of the local API server (test/api/traits.c): each of them with each of its values.
use strict;
use warnings;
use File::Basename qw(dirname);
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Api;
use MixpeekTest::Client;

my $top = dirname(__FILE__) . '/../..';

subtest 'metadata' => sub {
	my %place = (metadata => sub { $_[0]{metadata}{n} }, root => sub { $_[0]{n} },
		internal => sub { $_[0]{_internal}{metadata}{n} });

	foreach my $at (sort keys %place)
	{
		with { metadata_at => $at }, sub {
			my $document = create({ n => 7 });
			is(join(' ', grep { defined $place{$_}->($document) } sort keys %place), $at, "metadata_at $at: an answer");
			is(found({ metadata => 'metadata.n', root => 'n', internal => '_internal.metadata.n' }->{$at}, 7), 7,
				"metadata_at $at: a filter by default");
		};
		with { filter_at => $at }, sub {
			create({ n => 7 });
			is(join(' ', map { found($_, 7) ne '' ? $_ : () } qw(metadata.n n _internal.metadata.n)),
				{ metadata => 'metadata.n', root => 'n', internal => '_internal.metadata.n' }->{$at}, "filter_at $at");
		};
		next if $at eq 'root';
		with { upsert_metadata => $at }, sub {
			done(POST => $upserts, upsert([ { document_id => 'p', metadata => { n => 7 } } ]));
			my $document = get('p');
			is(join(' ', grep { defined $place{$_}->($document) } sort keys %place), $at, "upsert_metadata $at");
		};
	}
	with { metadata_at => 'root', filter_at => 'shown' }, sub {
		create({ n => 7 });
		is(found('n', 7) . found('metadata.n', 7), '7', 'filter_at shown: the place that answers show');
	};
	foreach my $at ('shown', 'metadata')
	{
		with { filter_at => $at }, sub {
			done(POST => $upserts, upsert([ { document_id => 'p', metadata => { n => 7 } } ]));
			is(join(' ', map { found($_, 7) ne '' ? $_ : () } qw(metadata.n n _internal.metadata.n)),
				$at eq 'shown' ? '_internal.metadata.n' : 'metadata.n', "filter_at $at: metadata of an upsert");
		};
	}
	with { payload_metadata => 'kept' }, sub {
		is_deeply(done(POST => $upserts, upsert([ { document_id => 'p', payload => { metadata => { n => 7 } } } ]))
			->{dropped_payload_fields}, {}, 'payload_metadata kept: the answer');
		is_deeply(get('p')->{metadata}, { n => 7 }, 'payload_metadata kept: the document');
	};
	with { payload_metadata => 'dropped' }, sub {
		is_deeply(done(POST => $upserts, upsert([ { document_id => 'p', payload => { metadata => { n => 7 } } } ]))
			->{dropped_payload_fields}, { p => ['metadata'] }, 'payload_metadata dropped: the answer');
		is(get('p')->{metadata}, undef, 'payload_metadata dropped: the document');
	};
};

subtest 'what is stored of metadata' => sub {
	my $sent = { n => undef, deep => { a => undef, b => ["\x{e4}\x{f6}\x{fc}\"", undef] } };
	my %stored = (
		kept => [ metadata_nulls => 'kept', $sent ],
		'no nulls' => [ metadata_nulls => 'dropped', { deep => { b => ["\x{e4}\x{f6}\x{fc}\"", undef] } } ],
		'whole texts' => [ metadata_texts => 'kept', $sent ],
		'cut texts' => [ metadata_texts => 5, { n => undef, deep => { a => undef, b => [ "\x{e4}\x{f6}", undef ] } } ]);

	foreach my $name (sort keys %stored)
	{
		my ($trait, $value, $expected) = @{ $stored{$name} };

		with { $trait => $value, put => 'replaces' }, sub {
			my $document = create($sent);
			is_deeply($document->{metadata}, $expected, "$trait $value: create");
			is_deeply(done(PUT => "$documents/$document->{document_id}", { metadata => $sent })->{metadata}, $expected,
				"$trait $value: PUT");
			done(POST => $upserts, upsert([ { document_id => 'p', payload => { a => 1, metadata => $sent } } ]));
			is_deeply([ @{ get('p') }{qw(a metadata)} ], [ 1, $expected ], "$trait $value: upsert");
		};
	}
};

subtest 'enrichments' => sub {
	my $label = 'taxonomy_topics_label';

	$api->config(enrich => 'now');
	with { enrichments_at => 'root' }, sub {
		my $document = create({ n => 1 });
		ok($document->{$label} && !$document->{enrichments} && !$document->{metadata}{$label}, 'enrichments_at root');
	};
	with { enrichments_at => 'enrichments' }, sub {
		my $document = create({ n => 1 });
		ok($document->{enrichments}{taxonomies}[0]{label} && !$document->{$label} && !$document->{metadata}{$label},
			'enrichments_at enrichments');
	};
	with { enrichments_at => 'metadata' }, sub {
		my $document = create({ n => 1 });
		ok($document->{metadata}{$label} && !$document->{$label} && !$document->{enrichments},
			'enrichments_at metadata');
		my $where = "$documents/$document->{document_id}";
		is(done(PUT => $where, { metadata => { n => 2 } })->{metadata}{$label}, $document->{metadata}{$label},
			'enrichments_at metadata: an update that merges leaves them');
		$api->config(put => 'replaces');
		is(done(PUT => $where, { metadata => { n => 2 } })->{metadata}{$label}, undef,
			'enrichments_at metadata: one that replaces metadata removes them');
		$api->config(put => 'merges');
	};
	with {}, sub {
		my %labels;
		foreach my $part ({ payload => { metadata => { section => 'x' } } }, { metadata => { section => 'x' } },
			{ payload => { section => 'x' } })
		{
			done(POST => $upserts, upsert([ { document_id => 'p', %$part } ]));
			$labels{ get('p')->{taxonomy_debian_label} // '' } = 1;
			done(DELETE => "$documents/p");
		}
		is_deeply([ keys %labels ], ['x'], 'an upsert is enriched from metadata, wherever it is, or from its payload');
	};
	foreach my $what ('kept', 'dropped')
	{
		with { upsert_enrichments => $what }, sub {
			done(POST => $upserts, upsert([ { document_id => 'p' } ]));
			ok(get('p')->{$label}, "upsert_enrichments $what: a new document has them");
			done(POST => $upserts, upsert([ { document_id => 'p', payload => { a => 1 } } ]));
			is(defined get('p')->{$label} ? 'kept' : 'dropped', $what,
				"upsert_enrichments $what: after a second upsert");
			done(PUT => "$documents/p", { a => 2 });
			ok(get('p')->{$label}, "upsert_enrichments $what: after an update");
		};
	}
	foreach my $by ('itself', 'taxonomy')
	{
		with { enriched_by => $by }, sub {
			my $id = create({ n => 1 })->{document_id};
			done(PUT => "$documents/$id", { a => 2 });
			is(get($id)->{$label} ? 'itself' : 'taxonomy', $by, "enriched_by $by");
			my $applied =
				done(POST => '/v1/collections/c/apply-taxonomy', { taxonomy_id => 't', scroll_filters => { a => 3 } });
			is($applied->{estimated_documents}, 0, "enriched_by $by: a taxonomy with filters is for what they find");
			is(get($id)->{$label} ? 'itself' : 'taxonomy', $by, "enriched_by $by: ... only");
			done(POST => '/v1/collections/c/apply-taxonomy', { taxonomy_id => 't' });
			ok(get($id)->{$label}, "enriched_by $by: a taxonomy enriches the documents");
		};
	}
	foreach my $end ('completed', 'completed_with_errors', 'failed')
	{
		with { tasks_end => $end }, sub {
			$api->config(enrich => 'later:3600');
			my $task = done(POST => '/v1/collections/c/apply-taxonomy', { taxonomy_id => 't' })->{task_id};
			is(done(GET => "/v1/tasks/$task")->{status}, 'PROCESSING', "tasks_end $end: before");
			$api->config(enrich => 'now');
			is(done(GET => "/v1/tasks/$task")->{status}, uc $end, "tasks_end $end");
			is(call(GET => '/v1/tasks/nope')->{status}, 404, "tasks_end $end: an unknown task");
		};
	}
	$api->config(enrich => 'never');
};

subtest 'filters' => sub {
	with { filter => 'off' }, sub {
		is(call(POST => "$documents/list", { filters => { n => 1 } })->{status}, 400, 'filter off');
	};
	with { filter => 'on' }, sub { is(found('metadata.n', 1), '', 'filter on'); };
	my $exact = { case_sensitive => JSON::PP::true };
	foreach my $case ([ folded => '1', '' ], [ exact => '', '' ], [ always_folded => '1', '1' ])
	{
		with { filter_case => $case->[0] }, sub {
			create({ n => 1, t => 'aA' });
			is(found('metadata.t', 'Aa'), $case->[1], "filter_case $case->[0]");
			is(found('metadata.t', 'Aa', %$exact), $case->[2], "filter_case $case->[0], case_sensitive");
		};
	}
	foreach my $unindexed ([ complete => 4 ], [ half => 2 ], [ empty => 0 ])
	{
		with { unindexed => $unindexed->[0], unindexed_warnings => 'on' }, sub {
			create({ n => $_, t => 1 }, { root_object_id => 'r' }) foreach 1 .. 4;
			is(scalar split(/ /, found('metadata.t', 1)), $unindexed->[1], "unindexed $unindexed->[0]");
			my $answer = done(POST => "$documents/list", { filters => { 'metadata.t' => 1 } });
			is($answer->{warnings} ? 'warned' : 'silent', $unindexed->[1] == 4 ? 'silent' : 'warned',
				"unindexed $unindexed->[0]: warnings");
			is(found('root_object_id', 'r'), '1 2 3 4',
				"unindexed $unindexed->[0]: a field of the API's own has an index");
			is(found(), '1 2 3 4', "unindexed $unindexed->[0]: a list without filters");
		};
	}
	my $indexes = { payload_indexes => [ { field_name => 'metadata.t', type => 'keyword' } ] };
	foreach my $by ('patch', 'ensure')
	{
		with { unindexed => 'empty', unindexed_warnings => 'off', index_built_by => $by }, sub {
			create({ n => 1, t => 1 });
			is(done(POST => "$documents/list", { filters => { 'metadata.t' => 1 } })->{warnings}, undef,
				'unindexed_warnings off');
			done(PATCH => $namespace, $indexes);
			is(found('metadata.t', 1), $by eq 'patch' ? '1' : '', "index_built_by $by: after PATCH");
			done(POST => "$namespace/ensure-indexes");
			is(found('metadata.t', 1), '1', "index_built_by $by: after ensure-indexes");
			done(PATCH => $namespace, { payload_indexes => [] });
			done(POST => "$namespace/ensure-indexes");
		};
	}
};

subtest 'time' => sub {
	with { searchable_after => 3600 }, sub {
		my $document = create({ n => 1 });
		is($document->{searchable_at}, undef, 'searchable_after: searchable_at is null');
		is(found() . found('metadata.n', 1), '', 'searchable_after: no list has the document');
		is(get($document->{document_id})->{metadata}{n}, 1, 'searchable_after: its id is known');
		$api->config(searchable_after => 0.05);
		wait_for('the document to be listed', sub { found() eq '1' });
		$document = get($document->{document_id});
		cmp_ok($document->{searchable_at} // '', 'gt', $document->{_internal}{updated_at},
			'searchable_after: searchable_at is there then');
		is(done(POST => $upserts, upsert([ { document_id => 'p' } ]))->{consistency}{expected_visible_within_ms}, 50,
			'searchable_after: an upsert says so');
	};
	with { readable_after => 3600 }, sub {
		my $path = "$documents/" . create({ n => 1 })->{document_id};
		is(call(GET => $path)->{status} . call(PUT => $path, {})->{status} . call(DELETE => $path)->{status},
			'404404404', 'readable_after: 404 to read, update and delete');
		is(found(), '1', 'readable_after: the document is listed');
		$api->config(readable_after => 0.05);
		wait_for('the document to be readable', sub { call(GET => $path)->{status} == 200 });
	};
	with { ttl => 3600 }, sub {
		create({ n => 1 });
		is(found(), '1', 'ttl: a document that is not so old');
		$api->config(ttl => 0.01);
		wait_for('the document to vanish', sub { found() eq '' });
		is($api->stats->{deletes}, 0, 'ttl: nobody has deleted it');
	};
	with { ttl => 'never' }, sub { create({ n => 1 }); is(found(), '1', 'ttl never'); };
};

subtest 'operations' => sub {
	foreach my $rule ([ replaces => { b => 2 } ], [ merges => { a => 1, b => 2 } ])
	{
		with { put => $rule->[0] }, sub {
			my $id = create({ a => 1 })->{document_id};
			is_deeply(done(PUT => "$documents/$id", { metadata => { b => 2 } })->{metadata}, $rule->[1],
				"put $rule->[0]");
		};
	}
	foreach my $rule (
		[ paths => { a => { x => 1, y => 2 }, n => undef } ], [ merges => { a => { x => 1 }, 'a.y' => 2 } ])
	{
		with { patch => $rule->[0] }, sub {
			my $path = "$documents/" . create({ a => { x => 1 } })->{document_id};
			my $metadata = $rule->[0] eq 'paths'
				? done(PATCH => $path, { 'metadata.a.y' => 2, metadata => { n => undef } })->{metadata}
				: done(PATCH => $path, { metadata => { 'a.y' => 2, n => undef } })->{metadata};
			is_deeply($metadata, $rule->[1], "patch $rule->[0]");
		};
	}
	with { patch => 'off' }, sub {
		is(call(PATCH => "$documents/" . create()->{document_id}, {})->{status}, 405, 'patch off');
	};
	foreach my $switch ('on', 'off')
	{
		my $there = $switch eq 'on';
		with { batches => $switch, batch_get => $switch, upsert => $switch }, sub {
			my $id = create()->{document_id};
			my @answers = (
				call(POST => "$documents/batch", { updates => [ { document_id => $id, update_data => {} } ] }),
				call(POST => '/v1/documents/batch-get', { document_ids => [$id] }),
				call(POST => $upserts, upsert([])),
				call(DELETE => "$documents/batch", { document_ids => [$id] }));
			is(join(' ', map { $_->{status} } @answers), $there ? '200 200 200 200' : '405 405 405 404',
				"batches, batch_get and upsert $switch");
		};
	}
	foreach my $rule ([ merged => { a => 1, b => 2 } ], [ replaced => { b => 2 } ])
	{
		with { batch_fields => $rule->[0] }, sub {
			my $id = create({ a => 1 })->{document_id};
			done(POST => "$documents/batch",
				{ updates => [ { document_id => $id, update_data => { metadata => { b => 2 } } } ] });
			is_deeply(get($id)->{metadata}, $rule->[1], "batch_fields $rule->[0]");
		};
	}
	foreach my $rule ([ taken => 200 ], [ refused => 422 ])
	{
		with { upsert_vectorless => $rule->[0] }, sub {
			my $body = upsert([ { document_id => 'p' }, { document_id => 'q', vectors => {} } ]);
			is(call(POST => $upserts, $body)->{status}, $rule->[1], "upsert_vectorless $rule->[0]");
			is($api->stats->{documents}, $rule->[1] == 200 ? 2 : 0, "upsert_vectorless $rule->[0]: documents");
		};
	}
	foreach my $rule ([ kept => 1, 0 ], [ unkept => 2, 1 ])
	{
		with { idempotency => $rule->[0] }, sub {
			my $body = upsert([ { document_id => 'p' } ], idempotency_key => "key $rule->[0]");
			my @answers = map { done(POST => $upserts, $body) } 1 .. 2;
			my $stats = $api->stats;
			is($stats->{creates} + $stats->{updates}, $rule->[1], "idempotency $rule->[0]: writes");
			is(scalar @{ $answers[0]{warnings} }, $rule->[2], "idempotency $rule->[0]: warnings");
		};
	}
	with { unknown_keys => 'ignored' }, sub {
		is(call(POST => "$documents/list", { return_url => JSON::PP::true })->{status}, 200, 'unknown_keys ignored');
	};
	with { unknown_keys => 'refused' }, sub {
		my $answer = call(POST => "$documents/list", { return_url => JSON::PP::true });
		my ($error) = @{ $answer->{body}{error}{details}{validation_errors} };
		is($answer->{status}, 422, 'unknown_keys refused');
		is($error->{type}, 'extra_forbidden', 'unknown_keys refused: type');
		like($error->{message}, qr/Accepted keys: .*return_presigned_urls/, 'unknown_keys refused: the accepted keys');
		foreach my $request ([ POST => "$documents/batch", { updates => [], x => 1 } ],
			[ DELETE => "$documents/batch", { document_ids => ['a'], x => 1 } ],
			[ POST => '/v1/documents/batch-get', { document_ids => ['a'], x => 1 } ],
			[ POST => $upserts, { documents => [], x => 1 } ], [ POST => '/v1/documents/list', { x => 1 } ])
		{
			like(call(@$request)->{text}, qr/extra_forbidden/, "unknown_keys refused: $request->[0] $request->[1]");
		}
	};
};

subtest 'what is missing' => sub {
	my $lost = MixpeekTest::Client->new($api->url, namespace => 'lost');
	my %statuses = (forbidden => '403 403 403', empty => '200 404 404', invalid => '400 400 400');

	foreach my $answer (sort keys %statuses)
	{
		with { missing_namespace => $answer }, sub {
			my @requests = ([ POST => "$documents/list", {} ], [ POST => $documents, {} ], [ GET => "$documents/x" ]);
			is(join(' ', map { $lost->call(@$_)->{status} } @requests), $statuses{$answer},
				"missing_namespace $answer");
		};
	}
	foreach my $answer ([ not_found => 404 ], [ empty => 200 ], [ unknown_ids => 200, 'nope' ])
	{
		with { missing_collection => $answer->[0] }, sub {
			my $list = call(POST => '/v1/collections/nope/documents/list', {});
			is($list->{status}, $answer->[1], "missing_collection $answer->[0]");
			is(join(' ', @{ $list->{body}{unknown_collection_ids} // [] }), $answer->[2] // '',
				"missing_collection $answer->[0]: unknown_collection_ids");
			is(call(POST => '/v1/collections/nope/documents', {})->{status}, 404,
				"missing_collection $answer->[0]: create");
			$list = call(POST => '/v1/documents/list', { collection_id => 'nope' });
			is("$list->{status} " . join(' ', @{ $list->{body}{unknown_collection_ids} // [] }),
				"$answer->[1] " . ($answer->[2] // ''), "missing_collection $answer->[0]: the list of the namespace");
		};
	}
	foreach my $state ([ active => 200, 1, 1 ], [ disabled => 403, 0, 1 ], [ archived => 403, 1, 0 ])
	{
		my ($name, $takes, $enabled, $shows) = @$state;

		with { collection_state => 'active' }, sub {
			my $path = "$documents/" . create({ n => 1 })->{document_id};
			$api->config(collection_state => $name);
			$seen{collection_state}{$name} = 1;
			is(call(GET => $path)->{status} . ' ' . found(), $shows ? '200 1' : '404 ',
				"collection_state $name: reads");
			is(call(POST => $documents, {})->{status}, $takes, "collection_state $name: create");
			is(call(POST => $upserts, upsert([]))->{status}, $takes, "collection_state $name: upsert");
			is(done(GET => '/v1/collections/c')->{enabled} ? 1 : 0, $enabled, "collection_state $name: enabled");
			is(done(GET => '/v1/collections/c/lifecycle')->{lifecycle_state}, $shows ? 'active' : 'archived',
				"collection_state $name: lifecycle");
		};
	}
	foreach my $rights ([ all => 200, 'READ WRITE DELETE' ], [ read => 403, 'READ' ])
	{
		with { key_rights => $rights->[0] }, sub {
			is(call(POST => $documents, {})->{status}, $rights->[1], "key_rights $rights->[0]: create");
			is(call(DELETE => "$documents/batch", { document_ids => ['x'] })->{status}, $rights->[1],
				"key_rights $rights->[0]: batch delete");
			is(call(POST => "$documents/list", {})->{status}, 200, "key_rights $rights->[0]: list");
			is(call(POST => '/v1/documents/batch-get', { document_ids => ['x'] })->{status}, 200,
				"key_rights $rights->[0]: batch-get");
			is("@{ done(GET => '/v1/me')->{key}{permissions} }", $rights->[2], "key_rights $rights->[0]: /v1/me");
		};
	}
	foreach my $scope ([ organization => '1 2', 2 ], [ user => '2', 1 ])
	{
		with { key_scope => 'organization' }, sub {
			my $id = create({ n => 1 })->{document_id};
			$seen{key_scope}{ $scope->[0] } = 1;
			$api->config(key_scope => $scope->[0]);
			create({ n => 2 });
			is(found(), $scope->[1], "key_scope $scope->[0]: list");
			is(call(GET => "$documents/$id")->{status}, $scope->[2] == 2 ? 200 : 404, "key_scope $scope->[0]: get");
			is(done(GET => "$documents/count")->{count}, $scope->[2], "key_scope $scope->[0]: count");
			is(done(GET => '/v1/me')->{principal_scoped} ? 'user' : 'organization', $scope->[0],
				"key_scope $scope->[0]: /v1/me");
			done(POST => $upserts, upsert([ { document_id => 'p' } ]));
			is(get('p')->{document_id}, 'p', "key_scope $scope->[0]: upsert");
		};
	}
	is(call(POST => '/v1/collections/nope/documents', {})->{body}{error}{code}, 'collection_not_found',
		'a missing collection: the code');
};

subtest 'limits' => sub {
	my %types = (401 => 'UnauthorizedError', 402 => 'PaymentRequiredError', 403 => 'QuotaExceededError',
		429 => 'TooManyRequestsError');

	foreach my $status (sort keys %types)
	{
		with { credits => 2, no_credits => $status }, sub {
			create();
			is(done(GET => '/v1/organizations/billing/balance')->{credit_balance}, 1, 'credits: the balance');
			done(POST => $upserts, upsert([ { document_id => 'p' } ]));
			done(POST => $upserts, upsert([ { document_id => 'p' } ]));
			my $refused = call(POST => $documents, {});
			is("$refused->{status} $refused->{body}{error}{type}", "$status $types{$status}", "no_credits $status");
			is(call(POST => $upserts, upsert([ { document_id => 'q' } ]))->{status}, $status,
				"no_credits $status: upsert");
			is($api->stats->{documents}, 2, "no_credits $status: nothing is stored");
		};
	}
	foreach my $costs ([ new => 1 ], [ each => 2 ], [ nothing => 0 ])
	{
		with { credits => 5, upsert_costs => $costs->[0] }, sub {
			$client->call(POST => $upserts, upsert([ { document_id => 'p' } ]));
			$api->config(credits => 5);
			done(POST => $upserts, upsert([ { document_id => 'p' }, { document_id => 'q' } ]));
			is(done(GET => '/v1/organizations/billing/balance')->{credit_balance}, 5 - $costs->[1],
				"upsert_costs $costs->[0]");
		};
	}
	with { credits => 'unlimited' }, sub { create(); pass('credits unlimited'); };

	foreach my $form ('seconds', 'date', 'details', 'unsaid')
	{
		with { retry_after => $form }, sub {
			$api->config(rate => 60, burst => 1);
			call(GET => "$documents/x");
			my $refused = call(GET => "$documents/x");
			my $header = $refused->{headers}{'retry-after'} // '';
			is($refused->{status}, 429, "retry_after $form: 429");
			like($header, { seconds => qr/^1$/, date => qr/^\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT$/ }->{$form} // qr/^$/,
				"retry_after $form: the header");
			is_deeply([ @{ $refused->{body}{error}{details} }{qw(retry_after retry_after_seconds)} ],
				[ $form eq 'seconds' ? 1 : undef, $form eq 'details' ? 1 : undef ], "retry_after $form: details");
			$api->config(rate => 0, burst => 0);
		};
	}
	foreach my $retryable ([ unsaid => '' ], [ yes => JSON::PP::true ], [ no => JSON::PP::false ])
	{
		with { retryable => $retryable->[0], credits => 0 }, sub {
			is(call(POST => $documents, {})->{body}{error}{details}{retryable} // '', $retryable->[1],
				"retryable $retryable->[0]");
		};
	}
	foreach my $by ([ key => 429 ], [ category => 200 ])
	{
		with { rate_by => $by->[0] }, sub {
			$api->config(rate => 1, burst => 1);
			call(POST => "$documents/list", {});
			is(call(POST => "$documents/list", {})->{status}, 429, "rate_by $by->[0]: a second request for data");
			is(call(GET => '/v1/me')->{status}, $by->[1], "rate_by $by->[0]: one for metadata");
			$api->config(rate => 0, burst => 0);
		};
	}
};

subtest 'forms of answers' => sub {
	with { validation_form => 'detail' }, sub {
		is_deeply(call(POST => $upserts, {})->{body},
			{ detail => [ { type => 'missing', loc => [ 'body', 'documents' ], msg => 'Field required' } ] },
			'validation_form detail');
	};
	with { validation_form => 'error' }, sub {
		my $error = call(POST => $upserts, {})->{body}{error};
		is($error->{type}, 'ValidationError', 'validation_form error');
		is_deeply($error->{details}{validation_errors},
			[ { type => 'missing', location => [ 'body', 'documents' ], message => 'Field required' } ],
			'validation_form error: details');
	};
	foreach my $name ('none', 'x-request-id', 'x-trace-id', 'request-id')
	{
		with { request_id => $name }, sub {
			my $headers = call(GET => "$documents/x")->{headers};
			is(join(' ', grep { /^(x-request-id|x-trace-id|request-id)$/ } keys %$headers),
				$name eq 'none' ? '' : $name, "request_id $name");
		};
	}
};

subtest 'a service that is upgraded' => sub {
	with {}, sub {
		my $service = MixpeekTest::Server->new(contract => '2025-09', enrich => 'never', batches => 'on');
		my $old = MixpeekTest::Client->new($service->url);
		my $path = "$documents/"
			. $old->call(POST => $documents, { collection_id => 'c', source_details => [], metadata => { a => 1 } })
				->{body}{document_id};
		my $put = sub { return $old->call(PUT => $path, { metadata => { $_[0] => 1 } })->{body}{metadata}; };
		is_deeply($put->('b'), { b => 1 }, '2025-09: PUT replaces');
		$service->config(contract => '2026-10');
		is_deeply($put->('c'), { b => 1, c => 1 }, 'then 2026-10: PUT merges');
		is($service->control(GET => 'config')->{upsert}, 'on', '... and there is upsert');
		$service->config(contract => '2026-02', put => 'merges');
		is_deeply($put->('d'), { b => 1, c => 1, d => 1 }, 'then 2026-02 with a trait of its own');
		is($service->control(GET => 'config')->{batches}, 'on', 'a trait that was set on the command line stays');
		is($service->control(GET => 'config')->{upsert}, 'off', 'those that were not set are the contract\'s');
		ok(!eval { $service->config(upsert => 'perhaps'); 1 }, 'an unknown value is refused');
		ok(!eval { $service->config(nonsense => 1); 1 }, 'an unknown name is refused');
		$service->stop;
	};
};

# The table

my $table = `"$top/test/api/mixpeek_server" --traits`;
my ($readme) = slurp_file("$top/test/api/README.md") =~ /^(\| Trait .*?)^(?!\|)/ms;
is($table, $readme // '', 'README.md has the table of traits that mixpeek_server --traits prints');
my @untested;
foreach my $row (split /\n/, $table)
{
	my ($name, $values) = $row =~ /^\| `(\w+)` \| (.*?) \|/ or next;
	push @untested, grep { /^[A-Z]+$/ ? !grep { /^[\d.]+$/ } keys %{ $seen{$name} } : !$seen{$name}{ s/^\S+=//r } }
		split(/, /, $values);
}
is("@untested", '', 'each value of each trait was set');

$api->stop;
done_testing();

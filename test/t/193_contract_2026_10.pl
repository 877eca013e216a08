# The contract of 2026-10, on a server that is strict about it: SQL functions and mirrors work, and documents equal rows
# where PUT merges.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;

my ($node, $api) = mirror_node(undef, contract => '2026-10', record => 1);

# The five functions

my $created = decode_json(sql(q{SELECT mixpeek.create_document('c', metadata => '{"a": 1, "b": 2}')}));
like($created->{document_id}, qr/^doc_/, 'create_document()');
my $id = $created->{document_id};
is(sql("SELECT mixpeek.get_document('c', '$id', return_url => true) ->> 'document_id'"), $id, 'get_document()');
is(sql("SELECT mixpeek.update_document('c', '$id', '{\"metadata\": {\"a\": 3}}') ->> 'document_id'"), $id,
	'update_document()');
is(sql("SELECT d ->> 'document_id' FROM mixpeek.list_documents('c') d"), $id, 'list_documents()');
is(sql("SELECT d ->> 'document_id' FROM mixpeek.list_documents('c', return_url => true) d"), $id,
	'list_documents(return_url => true), where the contract is found out');
sql("ALTER SERVER mixpeek OPTIONS (ADD contract '2026-10')");
$api->reset;
is(sql("SELECT d ->> 'document_id' FROM mixpeek.list_documents('c', return_url => true) d"), $id,
	'list_documents(return_url => true), where the contract is told');
is($api->stats->{requests}, 1, 'list_documents(return_url => true), where the contract is told: one request');
sql("ALTER SERVER mixpeek OPTIONS (DROP contract)");
sql("SELECT mixpeek.delete_document('c', '$id')");
is(scalar @{ $api->documents('c') // [] }, 0, 'delete_document()');

# A mirror of columns

sql(q{CREATE TABLE t (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('t', 't')});
sql("INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 20) g");
is(differences('t', 't'), '', 'INSERT');
sql("UPDATE t SET v = 'w' WHERE id < 5; UPDATE t SET v = NULL WHERE id = 6; DELETE FROM t WHERE id > 15");
is(differences('t', 't', row => 'jsonb_strip_nulls(to_jsonb(t))'), '', 'UPDATE and DELETE');

# A mirror of a jsonb column, whose keys come and go

sql(q{CREATE TABLE j (id int PRIMARY KEY, m jsonb); SELECT mixpeek.mirror('j', 'j', '{"metadata": "$m"}')});
sql(q{INSERT INTO j SELECT g, '{"a": 1, "b": {"c": 1, "d": 2}}' FROM generate_series(1, 20) g});
is(differences('j', 'j', row => 'jsonb_strip_nulls(t.m)'), '', 'a jsonb column');
sql(q{UPDATE j SET m = m - 'a' WHERE id < 10; UPDATE j SET m = '{"b": {"c": 3}, "new": null}' WHERE id = 11});
is(differences('j', 'j', row => 'jsonb_strip_nulls(t.m)'), '', 'keys that leave a jsonb column leave the documents');
sql(q{UPDATE j SET m = m || '{"a": 4}' WHERE id < 5});
is(differences('j', 'j', row => 'jsonb_strip_nulls(t.m)'), '', 'keys that come back');

# A template that loses a name of its metadata

sql(q{CREATE TABLE f (id int PRIMARY KEY, v text, w text);
	SELECT mixpeek.mirror('f', 'f', '{"metadata": {"v": "$v", "w": "$w"}}'); INSERT INTO f VALUES (1, 'v', 'w'), (2, 'x', 'y')});
settle();
sql(q{SELECT mixpeek.mirror('f', 'f', '{"metadata": {"v": "$v"}}')});
is(differences('f', 'f', row => q{to_jsonb(t) - 'id' - 'w'}), '', 'a name that leaves the template leaves the documents');

# Enrichments that the API puts into metadata

$api->config(enrichments_at => 'metadata');
sql(q{CREATE TABLE e (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('e', 'e'); INSERT INTO e VALUES (1, 'a'), (2, 'b')});
settle();
sub enriched
{
	sql("SELECT mixpeek.refresh('e')");
	settle();
	return sql(q{SELECT string_agg((d -> 'metadata' ->> 'v') || ':' || (SELECT string_agg(k, ',' ORDER BY k)
		FROM jsonb_object_keys(d -> 'metadata') k WHERE k ~ '^(taxonomy|cluster)_'), ' ' ORDER BY d -> 'metadata' ->> 'id')
		FROM mixpeek.list_documents('e') d});
}
my $before = enriched();
like($before, qr/^a:(\S+) b:\1$/, 'enrichments in metadata: documents have some');
is(sql(q{SELECT count(*) FROM mixpeek.documents WHERE collection = 'e' AND enrichments -> 'metadata' ->> 'cluster_id' <> ''}), 2,
	'enrichments in metadata: they are seen');
is(sql(q{SELECT count(*) FROM mixpeek.documents WHERE collection = 'e' AND enrichments -> 'metadata' ?| '{id,v,mixpeek_docs}'}), 0,
	'enrichments in metadata: what was sent is none');
$api->reset;
sql("UPDATE e SET v = 'c' WHERE id = 1");
settle();
is(enriched(), $before =~ s/^a/c/r, 'enrichments in metadata: they are there after an update of the row');
my @puts = grep { $_->{method} eq 'PUT' } @{ $api->requests };
is(scalar @puts, 1, 'enrichments in metadata: one request updates the document');
unlike($puts[0]{body}, qr/taxonomy|cluster/, 'enrichments in metadata: nothing is said of them');

done_testing();

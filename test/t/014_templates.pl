# Templates: what a document has, when it is replaced, and what becomes of a template whose column is dropped.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;

my (undef, $api) = mirror_node();

plain_table();

sql(q{
	CREATE TABLE shaped (id int PRIMARY KEY, name text, price numeric, photo text, nothing text, vec float8[]);
	INSERT INTO shaped VALUES (1, 'phone $x', 9.50, 'https://x/1.jpg', NULL, '{1,2.5}'), (2, '"', 'NaN', NULL, NULL,
		NULL);
	SELECT mixpeek.mirror('shaped', 'shaped', '{
		"source_details": [{"type": "bucket", "source_id": "shop", "object_id": "$id",
			"feature_extractor_task_id": "none", "object_task_id": "none",
			"feature_extractor_id": "shop",
			"source_blobs": [{"property": "photo", "type": "image", "data": "$photo"}]}],
		"metadata": {"name": "$name", "price": "$price", "money": "$$price", "all": ["$*", {"nested": "$id"}],
			"null": "$nothing", "text": "a $name"},
		"features": [{"feature_extractor_id": "text", "payload": {"id": "$id"}, "vectors": {"embedding": "$vec"}}],
		"shop_id": "$id"}');
});
is(differences('shaped', 'shaped', row =>
	q{jsonb_build_object('name', t.name, 'price', t.price, 'money', '$price',
		'all', jsonb_build_array(to_jsonb(t), jsonb_build_object('nested', t.id)),
		'null', t.nothing, 'text', 'a $name')}),
	'', 'a template: metadata');
is(sql(qq{SELECT x -> 'source_details' -> 0 ->> 'object_id', jsonb_typeof(x -> 'source_details' -> 0 -> 'object_id'),
	x #> '{source_details,0,source_blobs,0,data}',
	x -> 'features' -> 0 -> 'vectors', x -> 'features' -> 0 -> 'payload', x -> 'shop_id'
	FROM jsonb_array_elements(@{[ stored('shaped') ]}) x ORDER BY x -> 'shop_id'}),
	qq{1|string|"https://x/1.jpg"|{"embedding": [1, 2.5]}|{"id": 1}|1\n2|string|null|||2},
		'a template: source_details, features, and a field at the root');
my $ids = q{SELECT string_agg(document_id, ' ' ORDER BY key) FROM mixpeek.documents
	WHERE relation = 'shaped'::regclass};
my @before = split(/ /, sql($ids));
is(costs("UPDATE shaped SET name = 'tablet' WHERE id = 1"), 'updates=1',
	'a change outside the features updates the document');
is(sql($ids), "@before", "a change outside the features keeps the document's id");
is(costs("UPDATE shaped SET vec = '{1,2.5,3}' WHERE id = 1"), 'creates=1 deletes=1',
	'a change of the features replaces the document');
my @after = split(/ /, sql($ids));
isnt($after[0], $before[0], 'a replaced document: its record has the new id');
is($after[1], $before[1], 'a replaced document: other records keep their ids');
is(sql(qq{SELECT x ->> 'document_id', x #> '{features,0,vectors,embedding}', x -> 'metadata' ->> 'name'
	FROM jsonb_array_elements(@{[ stored('shaped') ]}) x WHERE x -> 'shop_id' = '1'}),
	"$after[0]|[1, 2.5, 3]|tablet", 'a replaced document has the new vector');
is(costs("UPDATE shaped SET vec = '{7}' WHERE id = 2"), 'creates=1 deletes=1',
	'a vector where there was none replaces the document');

# A template whose column is dropped later

sql(q{
	CREATE TABLE broken (id int PRIMARY KEY, a text, b text);
	INSERT INTO broken VALUES (1, 'a', 'b'), (2, 'c', 'd');
	SELECT mixpeek.mirror('broken', 'broken', '{"metadata": {"a": "$a", "b": "$b"}}');
});
settle();
$api->reset;
sql(q{
	ALTER TABLE broken DROP b;
	INSERT INTO broken VALUES (3, 'x');
	UPDATE broken SET a = 'y' WHERE id = 1;
	INSERT INTO plain VALUES (901, 'beside it');
});
is(differences('plain', 'plain'), '', 'a template with a dropped column: other tables are not affected');
wait_for('all of its rows to fail', sub { sql("SELECT count(*) FROM mixpeek.documents
	WHERE relation = 'broken'::regclass AND state = 'failed'") == 3 });
my @failed = split(/\n/, sql("SELECT key, state, last_error FROM mixpeek.documents WHERE relation = 'broken'::regclass
	ORDER BY key"));
like($failed[0], qr/^1\|failed\|.*column "b"/,
	'a template with a dropped column: a changed row fails, with the reason');
like($failed[1], qr/^2\|failed\|.*column "b"/,
	'a template with a dropped column: an unchanged row, whose document has the column, fails, too');
like($failed[2], qr/^3\|failed\|.*column "b"/, 'a template with a dropped column: a new row fails, with the reason');
like(sql("SELECT problem FROM mixpeek.mirrors WHERE relation = 'broken'::regclass"), qr/column "b"/,
	'a template with a dropped column: mixpeek.mirrors says it');
is($api->stats->{creates}, 1, 'a template with a dropped column: nothing is sent for its rows');
my $wanted = q{jsonb_build_object('a', t.a)};
follows('mirror() with a new template after failures', 'broken',
	q{SELECT mixpeek.mirror('broken', 'broken', '{"metadata": {"a": "$a"}}')}, row => $wanted);
sql('DROP TABLE broken');
is(sql(q{SELECT (SELECT count(*) FROM mixpeek.documents WHERE collection = 'broken') + (SELECT count(*)
	FROM mixpeek.outbox) + (SELECT count(*) FROM mixpeek.mirrors WHERE collection = 'broken')}),
	'0', 'DROP TABLE leaves no record, no entry and no mirror');

done_testing();

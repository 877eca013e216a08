# The document's id and its enrichments, written back into columns of the row and shown by views, in both contracts.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;

my ($node, $api) = mirror_node();


sql(q{
	CREATE TABLE returned (id int PRIMARY KEY, section text, doc_id text, came_back jsonb);
	CREATE TABLE audit (what text);
	CREATE FUNCTION note() RETURNS trigger
		LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.audit VALUES (tg_op); RETURN NULL; END';
	CREATE TRIGGER note AFTER UPDATE ON returned FOR EACH ROW EXECUTE FUNCTION note();
	INSERT INTO returned VALUES (1, 'libs'), (2, 'web');
	SELECT mixpeek.mirror('returned', 'returned', document_id_column => 'doc_id', enrichments_column => 'came_back');
});
my $wanted = q{jsonb_build_object('id', t.id, 'section', t.section)};
is(differences('returned', 'returned', row => $wanted), '', 'write-back columns are not mirrored');
my $back = q{SELECT count(*) FROM returned t JOIN mixpeek.documents d ON d.relation = 'returned'::regclass
	AND d.key = t.id::text
	WHERE t.doc_id = d.document_id AND t.came_back = d.enrichments
	AND d.enrichments #>> '{taxonomies,0,label}' = t.section};
is(sql($back), '2', "write-back columns have the documents' ids and enrichments");
is(sql('SELECT count(*) FROM audit'), '2', 'a write-back is one UPDATE a row');
is(costs("INSERT INTO returned VALUES (3, 'misc')"), 'creates=1', 'an INSERT that is written back is not sent again');
is(costs("UPDATE returned SET section = 'games' WHERE id = 1"), 'updates=1',
	'an UPDATE that is written back is not sent again');
is(sql($back), '3', 'write-back columns are up to date in all rows');
is(costs("UPDATE returned SET doc_id = 'mine', came_back = NULL WHERE id = 2"), '',
	"a user's UPDATE of write-back columns is not sent");

# Enrichments, in both contracts

foreach my $contract ('2025-09', '2026-02')
{
	foreach my $enrich ('now', 'later:1')
	{
		subtest "enrichments in the contract of $contract, which come $enrich" => sub {
			comes_back($contract, $enrich);
		};
	}
}

sub comes_back
{
	my ($contract, $enrich) = @_;
	my $other = MixpeekTest::Server->new(contract => $contract, enrich => $enrich, record => 1);
	my $table = "back_${contract}_$enrich" =~ tr/-:/_/r;
	my $flat = $contract eq '2026-02';

	create_server($node, "server_$table", $other);
	sql(qq{
		CREATE TABLE $table (id int PRIMARY KEY, section text, doc_id text, came_back jsonb);
		INSERT INTO $table VALUES (1, 'libs'), (2, 'web');
		SELECT mixpeek.mirror('$table', '$table', server => 'server_$table', document_id_column => 'doc_id',
			enrichments_column => 'came_back');
	});
	my %option = (server => $other, row => q{jsonb_build_object('id', t.id, 'section', t.section)});
	is(differences($table, $table, %option), '', 'INSERT: the documents equal the rows');
	my $labels = qq{SELECT string_agg(key || ' ' || taxonomy_id || ' ' || label || ' ' || (score BETWEEN 0.5
		AND 1), ',' ORDER BY key) FROM mixpeek.taxonomies WHERE relation = '$table'::regclass};
	my $taxonomy = $flat ? 'debian' : 'tax_debian';
	wait_for('the enrichments', sub { sql($labels) eq "1 $taxonomy libs true,2 $taxonomy web true" });
	pass('INSERT: labels are in mixpeek.taxonomies');

	# Compare each field with the document's.
	is(sql(qq{
		SELECT count(*) FROM mixpeek.taxonomies t JOIN mixpeek.documents d USING (relation, collection, key,
			document_id),
		       LATERAL mixpeek.get_document(d.collection, d.document_id, server => 'server_$table') a
		 WHERE relation = '$table'::regclass AND (} . ($flat ?
			q{a ->> 'taxonomy_debian_label' = t.label AND (a -> 'taxonomy_debian_score')::float8 = t.score
				AND node_id IS NULL AND path IS NULL} :
			q{a #> '{enrichments,taxonomies,0}' = to_jsonb(t) - '{relation,collection,key,document_id}'::text[]})
				. ')'),
		'2', 'mixpeek.taxonomies has every field');
	is(sql(qq{
		SELECT count(*) FROM mixpeek.clusters c JOIN mixpeek.documents d USING (relation, collection, key, document_id),
		       LATERAL mixpeek.get_document(d.collection, d.document_id, server => 'server_$table') a
		 WHERE relation = '$table'::regclass AND (} . ($flat ?
			q{a ->> 'cluster_id' = c.cluster_id AND (a -> 'cluster_distance')::float8 = c.distance_to_centroid
				AND coordinates IS NULL} :
			q{a #> '{enrichments,clusters,0}' = jsonb_build_object('cluster_id', c.cluster_id,
				'document_id', c.member_document_id,
				'coordinates', to_jsonb(c.coordinates),
				'distance_to_centroid', c.distance_to_centroid, 'features', c.features,
				'source_details', jsonb_build_object('type', source_type, 'source_id', source_id))}) . ')'),
		'2', 'mixpeek.clusters has every field');
	wait_for('the columns', sub {
		sql(qq{SELECT count(*) FROM $table t JOIN mixpeek.documents d ON d.relation = '$table'::regclass
			AND d.key = t.id::text
			WHERE t.doc_id = d.document_id AND t.came_back = d.enrichments}) == 2 });
	pass('ids and enrichments are written back');

	sql("UPDATE $table SET section = 'games' WHERE id = 1; DELETE FROM $table WHERE id = 2; INSERT INTO $table
		VALUES (3, 'net')");
	is(differences($table, $table, %option), '', 'changes: the documents equal the rows');
	wait_for('the new labels', sub { sql($labels) eq "1 $taxonomy games true,3 $taxonomy net true" });
	pass('changes: mixpeek.taxonomies has the new labels and no others');
	my $stats = $other->stats;
	is_deeply([ @$stats{qw(creates updates deletes documents duplicates)} ], [ 3, 1, 1, 2, 0 ],
		'no request was sent twice');
	is(sql(qq{SELECT key FROM mixpeek.documents WHERE relation = '$table'::regclass AND enrichments @> '} .
		($flat ? '{"taxonomy_debian_label": "net"}' : '{"taxonomies": [{"label": "net"}]}') . q{'}), '3',
			'a record is found by what its enrichments contain');
	is(sql("SELECT mixpeek.refresh('$table')"), '2', 'refresh() returns the number of documents');
	settle();
	sql("SELECT mixpeek.unmirror('$table', delete_documents => true)");
	settle();
	is($other->stats->{documents}, 0, 'unmirror() with delete_documents deletes all documents');
	$other->stop;
	return;
}

done_testing();

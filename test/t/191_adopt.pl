# adopt() while something is under way: a create in doubt that a dump brings back, and a worker that claims and settles
# at the time.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;
use MixpeekTest::Session;

my $dir = PostgreSQL::Test::Utils::tempdir();
my ($node, $api) = mirror_node();

#
# A dump is taken while a create is under way, and the document is changed later
#

my $template = '{"metadata": {"v": "$v"}, "features": [{"feature_extractor_id": "x", "payload": {}, "vectors": {"e": "$e"}}]}';
sql("ALTER SERVER mixpeek OPTIONS (ADD request_timeout '10s');
	CREATE TABLE t (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('t', 't'); INSERT INTO t VALUES (1, 'x');
	CREATE TABLE vectors (id int PRIMARY KEY, v text, e real[]);
	SELECT mixpeek.mirror('vectors', 'vectors', document => '$template')");
settle();
$api->faults(map { { kind => 'delay', method => 'POST', body => $_, ms => 4000, when => 'after', count => 1 } } 'first', 'vector');
sql("INSERT INTO t VALUES (2, 'first'); INSERT INTO vectors VALUES (1, 'vector', '{1}')");
my $in_doubt = 'SELECT count(*) FROM mixpeek.documents WHERE in_doubt AND intent_hash IS NOT NULL';
wait_for('two creates to be under way', sub { sql($in_doubt) == 2 });
command_ok([ 'pg_dump', '-Fc', '-f', "$dir/doubt.dump", $node->connstr('postgres') ], 'pg_dump while creates are under way');
settle();
$api->faults();
sql("UPDATE t SET v = 'second' WHERE id = 2; UPDATE vectors SET e = '{2}'");
settle();
command_ok([ 'pg_restore', '--clean', '--if-exists', '-d', $node->connstr('postgres'), "$dir/doubt.dump" ],
	'pg_restore over the database');
is(sql($in_doubt), 2, 'the records of the dump say what the creates were to contain');
is(sql("BEGIN; SELECT mixpeek.adopt(); SELECT count(*) FROM mixpeek.documents
	WHERE num_nonnulls(content_hash, features_hash, intent_hash) > 0 OR enrichments_current; ROLLBACK"), "\n0",
	'adopt(): no record says any more what its document contains');
sql('SELECT mixpeek.adopt()');
is(differences('t', 't'), '', 'a create in doubt in a dump, then adopt(): the documents equal the rows');
is(join(' ', map { $_->{features}[0]{vectors}{e}[0] } @{ $api->documents('vectors') }), 1,
	'a create in doubt in a dump, then adopt(): the document has the vector of the row');

done_testing();

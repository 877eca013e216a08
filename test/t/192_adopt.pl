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

my $template = '{"metadata": {"v": "$v"}, "features": [
	{"feature_extractor_id": "x", "payload": {}, "vectors": {"e": "$e"}}]}';
sql("ALTER SERVER mixpeek OPTIONS (ADD request_timeout '10s');
	CREATE TABLE t (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('t', 't'); INSERT INTO t VALUES (1, 'x');
	CREATE TABLE vectors (id int PRIMARY KEY, v text, e real[]);
	SELECT mixpeek.mirror('vectors', 'vectors', document => '$template')");
settle();
$api->faults(map { { kind => 'delay', method => 'POST', body => $_, ms => 4000, when => 'after', count => 1 } }
	'first', 'vector');
sql("INSERT INTO t VALUES (2, 'first'); INSERT INTO vectors VALUES (1, 'vector', '{1}')");
my $in_doubt = 'SELECT count(*) FROM mixpeek.documents WHERE in_doubt AND intent_hash IS NOT NULL';
wait_for('two creates to be under way', sub { sql($in_doubt) == 2 });
command_ok([ 'pg_dump', '-Fc', '-f', "$dir/doubt.dump", $node->connstr('postgres') ],
	'pg_dump while creates are under way');
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

#
# A session in whose open transaction adopt() was called: the worker leaves the records alone, and waits for no lock
#

my $session = MixpeekTest::Session->new($node);
my $other_origin = 'SELECT mixpeek.adopt(origin => gen_random_uuid())';

# A test: the worker has something to do, does not do it, and can do all else.
sub stands_aside
{
	my ($name) = @_;
	is(sql("SELECT mixpeek.wait('0.3 s')"), 'f', "$name: what is to be done waits");
	is(sql("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = " . worker_pid()), 0,
		"$name: the worker waits for no lock");
	return;
}

sql("CREATE TABLE d (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('d', 'd');
	INSERT INTO d VALUES (1, 'x'), (2, 'x')");
settle();
$session->do('BEGIN; SELECT mixpeek.adopt()');
sql("UPDATE d SET v = 'y'; INSERT INTO d VALUES (3, 'x')");
stands_aside('adopt() in an open transaction, then changes');
is(@{ $api->documents('d') }, 2, 'adopt() in an open transaction, then changes: nothing is sent');
my ($rc, $out, $err) = $node->psql('postgres', 'CALL mixpeek.sync()');
like($err, qr/NOTICE:  some changes were left/, 'adopt() in an open transaction: sync() says that changes are left');
my $pid = worker_pid();
sql("SELECT pg_terminate_backend($pid)");
wait_for('another worker', sub { my $new = worker_pid(); $new ne '' && $new != $pid });
stands_aside('adopt() in an open transaction, then a new worker');
$session->do('ROLLBACK');
is(differences('d', 'd'), '', 'adopt(), then ROLLBACK: the documents equal the rows');

foreach my $statement ('SELECT mixpeek.adopt()', $other_origin)
{
	$api->config(latency => 500);
	sql("UPDATE d SET v = v || 'z' WHERE id = 1; INSERT INTO d SELECT max(id) + 1, 'new' FROM d");
	wait_for('two requests under way', sub { sql("SELECT count(*) FROM mixpeek.documents WHERE state = 'sending'") == 2 });
	$session->do("BEGIN; $statement");
	stands_aside("$statement while requests are under way");
	$session->do('COMMIT');
	$api->config(latency => 0);
	is(differences('d', 'd'), '', "$statement while requests are under way: the documents equal the rows");
	is(sql('SELECT count(*) FROM mixpeek.documents WHERE relation = 0::oid'), 0, "$statement: nothing is owed in the end");
}

# The worker also has something to store about the instance
$session->do('BEGIN; LOCK TABLE mixpeek.documents IN SHARE ROW EXCLUSIVE MODE');
sql(q{UPDATE mixpeek.origin SET instance = regexp_replace(instance, ' \w+=[^ ]*$', ''), written_by = txid_current()});
$session->do('SELECT mixpeek.adopt()');
sql("INSERT INTO d SELECT max(id) + 1, 'locked' FROM d");
stands_aside('records that are locked, and news of the instance');
$session->do('ROLLBACK');
is(differences('d', 'd'), '',
	'records that are locked, and news of the instance: after that the documents equal the rows');

#
# Another origin while the worker claims and settles
#

sql("CREATE TABLE many (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('many', 'many');
	INSERT INTO many SELECT g, 'v' || g FROM generate_series(1, 2000) g");
wait_for('some of the documents', sub {
	sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'many'::regclass") > 300;
});
sql($other_origin);
is(substr(differences('many', 'many'), 0, 500), '', 'another origin during a backfill: the documents equal the rows');

# A transaction whose snapshot is older than the records
sql('CREATE DATABASE fresh');
sql('CREATE EXTENSION mixpeek_docs', 'fresh');
create_server($node, 'mixpeek', $api, database => 'fresh');
sql("CREATE TABLE f (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('f', 'f')", 'fresh');
settle('fresh');
my $older = MixpeekTest::Session->new($node, undef, database => 'fresh');
$older->do('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT');
sql("INSERT INTO f VALUES (1, 'x'), (2, 'y')", 'fresh');
settle('fresh');
$older->do("$other_origin; COMMIT");
is(differences('f', 'f', database => 'fresh'), '',
	'another origin in a transaction with an old snapshot: the documents equal the rows');

# Records of a former origin, however they come here
sql("BEGIN; CREATE TABLE kept AS SELECT * FROM mixpeek.documents WHERE relation = 'd'::regclass; $other_origin;
	DELETE FROM mixpeek.documents WHERE relation = 0::oid; INSERT INTO mixpeek.documents SELECT * FROM kept; COMMIT");
is(differences('d', 'd'), '', 'records of a former origin: the documents equal the rows');

done_testing();

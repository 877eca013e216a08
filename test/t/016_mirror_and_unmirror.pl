# mirror() of a table that is or was mirrored, unmirror(), hand-written triggers, wait() and retry().
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;

my ($node, $api) = mirror_node();

plain_table();

# mirror() of a table that is or was mirrored

is(costs("SELECT mixpeek.mirror('plain', 'plain')"), '', 'mirror() of a mirrored table sends nothing');
is(costs("SELECT mixpeek.unmirror('plain')"), '', 'unmirror() sends nothing');
is(sql("SELECT count(*) FROM mixpeek.documents WHERE collection = 'plain'"), '0', 'unmirror() removes the records');
my $count = @{ $api->documents('plain') };
sql("INSERT INTO plain VALUES (951, 'while it was not mirrored'); UPDATE plain SET v = 'so was this' WHERE id = 2");
unlike(costs("SELECT mixpeek.mirror('plain', 'plain')"), qr/deletes|creates=(?!1\b)/,
	'mirror() after unmirror() looks up the documents');
is(differences('plain', 'plain'), '', 'mirror() after unmirror(): the documents equal the rows');
is(@{ $api->documents('plain') }, $count + 1, 'mirror() after unmirror() creates the document of the new row only');
sql("INSERT INTO plain SELECT g, 'two collections' FROM generate_series(2001, 2005) g; SELECT mixpeek.mirror('plain',
	'second', backfill => true)");
is(differences('plain', 'plain'), '', "two mirrors of a table: the first one's documents equal the rows");
is(differences('plain', 'second'), '', "two mirrors of a table: the second one's documents equal the rows");
sql("UPDATE plain SET v = 'both' WHERE id > 2003; DELETE FROM plain WHERE id = 2001");
is(differences('plain', 'plain') . differences('plain', 'second'), '',
	'two mirrors of a table: the documents of both follow changes');
sql("SELECT mixpeek.unmirror('plain', 'second', delete_documents => true)");
settle();
is(@{ $api->documents('second') }, 0, 'unmirror() with delete_documents deletes the documents of its collection');
is(differences('plain', 'plain'), '', "unmirror() with delete_documents keeps those of the table's other collection");
sql('SET session_replication_role = replica; UPDATE plain SET v = $$unseen$$ WHERE id = 3; DELETE FROM plain
	WHERE id = 4');
isnt(differences('plain', 'plain'), '', 'changes under session_replication_role = replica are not mirrored');
follows('mirror() after changes under session_replication_role = replica', 'plain',
	"SELECT mixpeek.mirror('plain', 'plain')");

# A hand-written trigger

sql(q{
	CREATE TABLE hand (id int PRIMARY KEY, v text);
	CREATE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON hand FOR EACH ROW
		EXECUTE FUNCTION mixpeek.mirror_row('hand', 'server=mixpeek');
	INSERT INTO hand VALUES (1, 'x'), (2, 'y');
});
follows('UPDATE of a table with a hand-written mirror trigger', 'hand', "UPDATE hand SET v = 'z' WHERE id = 1");
follows('UPDATE of a key of a table with a hand-written mirror trigger', 'hand', "UPDATE hand SET id = 7 WHERE id = 1");

# A server that is gone

create_server($node, 'first', $api);
sql(q{
	CREATE TABLE served (id int PRIMARY KEY, v text); CREATE TABLE served_too (id int PRIMARY KEY, v text);
	SELECT mixpeek.mirror('served', 'served', server => 'first'), mixpeek.mirror('served_too', 'served_too', server => 'first');
	INSERT INTO served VALUES (1, 'x'), (2, 'y');
});
settle();

# What a statement warns of.
sub warnings_of
{
	my ($statement) = @_;
	my (undef, undef, $err) = $node->psql('postgres', $statement, on_error_die => 1);
	return $err;
}
sub problem_of { return sql("SELECT problem FROM mixpeek.mirrors WHERE relation = '$_[0]'::regclass"); }
my $none = qr/WARNING:  2 mirrors have no server any more: "first" does not exist\n.*HINT:  .*mixpeek\.mirror\(/s;

is(problem_of('served'), '', 'a mirror with a server has no problem');
like(warnings_of('ALTER SERVER first RENAME TO second'), $none, 'ALTER SERVER ... RENAME warns of mirrors of the old name');
is(problem_of('served'), 'server "first" does not exist', 'ALTER SERVER ... RENAME: the mirrors have a problem');
is(warnings_of('ALTER SERVER second RENAME TO first'), '', 'ALTER SERVER ... RENAME back warns of nothing');
is(problem_of('served'), '', 'ALTER SERVER ... RENAME back: the mirrors have no problem');
sql('CREATE ROLE reader; CREATE SERVER unused FOREIGN DATA WRAPPER mixpeek_docs');
is(warnings_of('DROP SERVER unused'), '', 'DROP SERVER without mirrors warns of nothing');
is(sql("DROP USER MAPPING FOR CURRENT_USER SERVER first; SELECT problem LIKE 'role % has no API key for server \"first\"'
	FROM mixpeek.mirrors WHERE collection = 'served'"), 't', 'DROP USER MAPPING: the mirrors have a problem');
is(sql("SET ROLE reader; SELECT problem IS NULL FROM mixpeek.mirrors WHERE collection = 'served'"), 't',
	'DROP USER MAPPING: other roles do not see the problem');
like(warnings_of('DROP SERVER first CASCADE'), $none, 'DROP SERVER warns of its mirrors');
is(problem_of('served_too'), 'server "first" does not exist', 'DROP SERVER: the mirrors have a problem');
sql("UPDATE served SET v = 'meanwhile' WHERE id = 1");
create_server($node, 'first', $api);
is(problem_of('served'), '', 'CREATE SERVER of that name: the mirrors have no problem');
is(differences('served', 'served'), '', 'CREATE SERVER of that name: the documents equal the rows');

# What is owed at a server that is dropped
$api->faults({ kind => 'status', status => 403, method => 'DELETE' });
sql("ALTER SERVER first OPTIONS (SET namespace 'only')");
settle();
sql("SELECT mixpeek.unmirror('served', delete_documents => true), mixpeek.unmirror('served_too')");
settle();
my $warned = warnings_of('DROP SERVER first CASCADE');
like($warned, qr/WARNING:  2 documents that are to be deleted stay at ".*" \(namespace "only"\), where server "first" has led/,
	'DROP SERVER warns of the documents whose deletes are owed there');
unlike($warned, qr/mirrors? ha/, 'DROP SERVER after unmirror() does not warn of mirrors');
$api->faults();

# mixpeek.wait()

$api->faults({ kind => 'delay', body => 'slow', ms => 2000, when => 'before' });
sql("INSERT INTO hand VALUES (9, 'slow')");
is(sql("SELECT mixpeek.wait('0')"), 'f', "wait('0') returns false when there is something to do");
is(sql("SELECT mixpeek.wait(NULL)"), 't', 'wait(NULL) returns true');
is(sql("SELECT state FROM mixpeek.documents WHERE relation = 'hand'::regclass AND key = '9'"), 'mirrored',
	'wait(NULL) returns when the row is mirrored');
$api->faults({ kind => 'status', status => 422, body => 'refused' });
sql("INSERT INTO hand VALUES (10, 'refused')");
is(sql("SELECT mixpeek.wait('3 min')"), 't', 'wait() returns true when the row has failed');
is(sql("SELECT state FROM mixpeek.documents WHERE relation = 'hand'::regclass AND key = '10'"), 'failed',
	'a row that the API refuses has failed');
$api->faults();
follows('retry() of a failed row', 'hand', "SELECT mixpeek.retry('hand')");

done_testing();

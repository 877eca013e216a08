# Owed deletes: unmirror(delete_documents => true) is kept, whatever becomes of the table, the mirror, the schema and
# the role; and nothing is deleted that is wanted again.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;
use MixpeekTest::Session;

my ($node, $api) = mirror_node();
my $delete = 'delete_documents => true';

# A new mirrored table (id, v) with three rows, mirrored.
sub three_rows
{
	my ($table, $collection) = @_;
	$collection //= $table;
	sql(qq{
		CREATE TABLE $table (id int PRIMARY KEY, v text);
		SELECT mixpeek.mirror('$table', '$collection');
		INSERT INTO $table SELECT g, 'v' || g FROM generate_series(1, 3) g});
	settle();
	return;
}

# How many documents the API has in a collection, when all is settled.
sub documents
{
	settle();
	return scalar(@{ $api->documents($_[0]) });
}

sub owed
{
	return sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 0::oid");
}

# Stops the worker's claims, so that what is owed stays owed.
sub pause
{
	my ($paused) = @_;
	$node->append_conf('postgresql.conf', 'mixpeek.enabled = ' . ($paused ? 'off' : 'on'));
	$node->restart;
	return;
}

sub warnings_of
{
	my ($statement) = @_;
	my ($out, $err);
	$node->psql('postgres', $statement, stdout => \$out, stderr => \$err, on_error_die => 1);
	return $err;
}

# What asked for the delete goes away

three_rows('t1');
sql("BEGIN; SELECT mixpeek.unmirror('t1', $delete); DROP TABLE t1; COMMIT");
is(documents('t1'), 0, 'unmirror() and DROP TABLE in one transaction: the documents are deleted');
is(owed(), 0, 'unmirror() and DROP TABLE in one transaction: nothing is owed in the end');

three_rows('t2');
pause(1);
sql("SELECT mixpeek.unmirror('t2', $delete)");
sql('DROP TABLE t2');
is(owed(), 3, 'DROP TABLE keeps what is owed');
pause(0);
is(documents('t2'), 0, 'unmirror(), then DROP TABLE: the documents are deleted');

sql('CREATE SCHEMA app');
three_rows('app.t3', 't3');
sql("BEGIN; SELECT mixpeek.unmirror('app.t3', $delete); DROP SCHEMA app CASCADE; COMMIT");
is(documents('t3'), 0, 'unmirror() and DROP SCHEMA: the documents are deleted');

three_rows('t4', 't4a');
sql("SELECT mixpeek.mirror('t4', 't4b')");
settle();
pause(1);
sql("SELECT mixpeek.unmirror('t4', 't4a', $delete)");
sql("SELECT mixpeek.unmirror('t4', 't4b')");
pause(0);
is(documents('t4a'), 0, 'unmirror() of another collection: the documents of the first one are deleted');
is(documents('t4b'), 3, 'unmirror() without delete_documents keeps the documents');

three_rows('t5');
sql('CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
	CREATE TRIGGER other AFTER INSERT ON t5 FOR EACH ROW EXECUTE FUNCTION noop()');
pause(1);
sql("SELECT mixpeek.unmirror('t5', $delete)");
sql('DROP TRIGGER other ON t5');
pause(0);
is(documents('t5'), 0, 'DROP of any other trigger: the documents are deleted');

three_rows('t6');
sql("BEGIN; SELECT mixpeek.unmirror('t6', $delete); ROLLBACK");
is(documents('t6') . owed(), '30', 'unmirror() that is rolled back owes nothing');
sql("BEGIN; SELECT mixpeek.unmirror('t6', $delete); TRUNCATE t6; ALTER TABLE t6 RENAME TO t6b; COMMIT");
is(documents('t6'), 0, 'unmirror() and TRUNCATE: the documents are deleted');

# DROP without unmirror()

three_rows('w1');
like(warnings_of('DROP TABLE w1'),
	qr/WARNING:  3 documents in collection "w1" stay at the API.*begins with "[-0-9a-f]{36}:public.w1:".*HINT:/s,
	'DROP TABLE says how many documents stay, and how to find them');
three_rows('w2');
like(warnings_of('DROP TRIGGER mixpeek ON w2'), qr/WARNING:  3 documents/, 'DROP TRIGGER says how many documents stay');
three_rows('w3');
is(warnings_of("SELECT mixpeek.unmirror('w3'); DROP TABLE w3"), '', 'unmirror() without delete_documents warns of nothing');
is(documents('w3'), 3, 'unmirror() without delete_documents keeps the documents of a table that is dropped');

# Wanted again

three_rows('again');
pause(1);
sql("SELECT mixpeek.unmirror('again', $delete)");
sql("SELECT mixpeek.mirror('again', 'again'); DELETE FROM again WHERE id = 2; UPDATE again SET v = 'new' WHERE id = 3");
pause(0);
is(differences('again', 'again'), '', 'mirror() while deletes are owed: the documents equal the rows');
is(owed(), 0, 'mirror() while deletes are owed: nothing is owed in the end');

three_rows('kept');
$api->faults({ kind => 'status', status => 403, method => 'DELETE' });
sql("SELECT mixpeek.unmirror('kept', $delete)");
settle();
$api->faults();
sql('DELETE FROM kept WHERE id = 2');
is(costs("SELECT mixpeek.mirror('kept', 'kept')"), 'updates=2',
	'mirror() after deletes have failed: the rows have their documents again');
sql('SELECT mixpeek.retry()');
is(differences('kept', 'kept'), '', 'retry() then deletes the document of the row that is gone only');

# A row that has a record, but none of the document
sub row_and_owed_delete
{
	my ($table) = @_;
	sql("CREATE TABLE $table (id int PRIMARY KEY, v text, w text); SELECT mixpeek.mirror('$table', '$table');
		INSERT INTO $table VALUES (1, 'x', 'y')");
	settle();
	$api->faults({ kind => 'status', status => 403, method => 'DELETE' });
	sql("SELECT mixpeek.unmirror('$table', $delete)");
	settle();
	$api->faults();
	sql(qq(SELECT mixpeek.mirror('$table', '$table', document => '{"metadata": {"id": "\$id", "v": "\$v", "w": "\$w"}}',
		backfill => false); ALTER TABLE $table DROP COLUMN w; UPDATE $table SET v = 'z'));
	wait_for_states($table, 'failed');
	return "BEGIN; ALTER TABLE $table ADD COLUMN w text; UPDATE $table SET v = 'zz'; COMMIT";
}
my $mend = row_and_owed_delete('failing');
is(costs($mend), 'updates=1', 'a row that had failed without a document: it has the document of the failed delete again');
is(owed(), 0, 'a row that had failed without a document: nothing is owed any more');
$mend = row_and_owed_delete('meeting');
pause(1);
sql("$mend; SELECT mixpeek.retry('-')");
$api->faults({ kind => 'delay', method => 'DELETE', ms => 1500, when => 'before' });
pause(0);
is(differences('meeting', 'meeting'), '', 'a row and the delete of its document in one claim: the documents equal the rows');
$api->faults();

pause(1);
sql("BEGIN; SELECT mixpeek.unmirror('again', $delete); DROP TABLE again; COMMIT");
sql(q{CREATE TABLE again (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('again', 'again');
	INSERT INTO again VALUES (1, 'v1'), (5, 'five')});
pause(0);
is(differences('again', 'again'), '', 'a table of the same name while deletes are owed: the documents equal the rows');
is(owed(), 0, 'a table of the same name while deletes are owed: nothing is owed in the end');

# Under way

three_rows('busy');
$api->faults({ kind => 'delay', body => 'slow', ms => 1500, when => 'before' });
sql("INSERT INTO busy VALUES (10, 'slow')");
wait_for('the create to be under way', sub { sql("SELECT count(*) FROM mixpeek.documents WHERE state = 'sending'") });
sql("ALTER SERVER mixpeek OPTIONS (ADD request_timeout '3s')");
sql("BEGIN; SELECT mixpeek.unmirror('busy', $delete); DROP TABLE busy; COMMIT");
is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 0::oid AND in_doubt"), 1,
	'a create under way is in doubt');
is(documents('busy'), 0, 'unmirror() while a create is under way: its document is deleted, too');
$api->faults();
is(owed(), 0, 'unmirror() while a create is under way: nothing is owed in the end');

sql("ALTER SERVER mixpeek OPTIONS (SET request_timeout '20s')");
create_server($node, 'other', $api, request_timeout => '3s');
sql("CREATE TABLE elsewhere (id int PRIMARY KEY); SELECT mixpeek.mirror('elsewhere', 'elsewhere', server => 'other')");
$api->faults({ kind => 'delay', body => 'elsewhere', ms => 1500, when => 'before' });
sql("INSERT INTO elsewhere VALUES (1)");
wait_for('the create to be under way', sub { sql("SELECT count(*) FROM mixpeek.documents WHERE state = 'sending'") });
sql("SELECT mixpeek.unmirror('elsewhere', $delete)");
is(sql("SELECT next_attempt_at BETWEEN now() AND now() + '3.1 s' FROM mixpeek.documents WHERE relation = 0::oid"), 't',
	"a create under way at another server: its request_timeout counts");
settle();
sql("DROP TABLE elsewhere; DROP SERVER other CASCADE; ALTER SERVER mixpeek OPTIONS (SET request_timeout '3s')");

three_rows('anew');
$api->faults({ kind => 'delay', body => 'slow', ms => 1500, when => 'before' });
sql("INSERT INTO anew VALUES (10, 'slow')");
wait_for('the create to be under way', sub { sql("SELECT count(*) FROM mixpeek.documents WHERE state = 'sending'") });
sql("BEGIN; SELECT mixpeek.unmirror('anew', $delete); DROP TABLE anew; COMMIT");
sql(q{CREATE TABLE anew (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('anew', 'anew');
	INSERT INTO anew VALUES (10, 'slow'), (2, 'v2')});
is(differences('anew', 'anew'), '',
	'a table of the same name while a create of the old one is under way: the documents equal the rows');
$api->faults();

# After a crash of everything
three_rows('crash');
$api->faults({ kind => 'delay', body => 'slow', ms => 1500, when => 'after' });
sql("INSERT INTO crash VALUES (10, 'slow')");
wait_for('the create to be under way', sub { sql("SELECT count(*) FROM mixpeek.documents WHERE state = 'sending'") });
sql("BEGIN; SELECT mixpeek.unmirror('crash', $delete); DROP TABLE crash; COMMIT");
$node->stop('immediate');
$node->start;
is(documents('crash'), 0, 'unmirror() while a create is under way, then a crash: its document is deleted, too');
$api->faults();

# Failures

three_rows('bad');
$api->faults({ kind => 'status', status => 403, method => 'DELETE' });
sql("BEGIN; SELECT mixpeek.unmirror('bad', $delete); DROP TABLE bad; COMMIT");
settle();
is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 0::oid AND state = 'failed' AND last_error <> ''"), 3,
	'a delete that is refused stands as failed, with the reason');
$api->faults();
is(sql('SELECT mixpeek.retry()'), 3, 'retry() has failed deletes tried again');
is(documents('bad'), 0, 'retry() of failed deletes: the documents are deleted');

# retry() in an open transaction, while the worker has the same deletes tried again: another server leads to their place
three_rows('twice');
$api->faults({ kind => 'status', status => 403, method => 'DELETE' });
sql("SELECT mixpeek.unmirror('twice', $delete)");
settle();
$api->faults();
my $session = MixpeekTest::Session->new($node);
is($session->do('BEGIN; SELECT mixpeek.retry()'), 3, 'retry() in an open transaction returns 3');
create_server($node, 'same', $api);
is(sql("SELECT mixpeek.wait('30 s')"), 't', 'retry() in an open transaction: the worker does not wait for its end');
is(documents('twice'), 0, 'retry() in an open transaction, and another server: the documents are deleted');
$session->do('COMMIT');
is(owed(), 0, 'COMMIT of a retry() of what is deleted already: nothing is owed');
sql('DROP SERVER same CASCADE');
settle();

# Roles

sql(q{
	CREATE ROLE ann; CREATE ROLE bob; GRANT CREATE ON SCHEMA public TO ann, bob;
	GRANT USAGE ON FOREIGN SERVER mixpeek TO ann, bob;
	CREATE USER MAPPING FOR ann SERVER mixpeek OPTIONS (api_key 'sk_test');
	CREATE USER MAPPING FOR bob SERVER mixpeek OPTIONS (api_key 'sk_test');
	SET ROLE ann;
	CREATE TABLE anns (id int PRIMARY KEY, v text);
	SELECT mixpeek.mirror('anns', 'anns'); INSERT INTO anns VALUES (1, 'x'), (2, 'y');
});
settle();
$api->faults({ kind => 'status', status => 403, method => 'DELETE' });
sql("SET ROLE ann; SELECT mixpeek.unmirror('anns', $delete); DROP TABLE anns");
settle();
my $seen = "SELECT count(*) FROM mixpeek.documents WHERE relation = 0::oid";
is(sql("SET ROLE ann; $seen"), 2, 'the owner sees what is owed with its key');
is(sql("SET ROLE bob; $seen"), 0, 'another role does not');
is(sql("SET ROLE bob; SELECT mixpeek.may_read(0::regclass)"), 'f', 'may_read(0) is false');
is(sql("SET ROLE bob; SELECT mixpeek.retry()"), 0, 'another role cannot have it tried again');
my ($rc, $out, $err) = $node->psql('postgres', 'DROP OWNED BY ann; REVOKE ALL ON SCHEMA public FROM ann; DROP ROLE ann');
is($rc, 0, "what is owed does not keep its owner's role from being dropped");
$api->faults();
sql('SELECT mixpeek.retry()');
settle();
like(sql("SELECT max(last_error) FROM mixpeek.documents WHERE relation = 0::oid AND state = 'failed'"),
	qr/^the role \d+ was dropped/, 'without its role it has failed, with the reason');
sql("UPDATE mixpeek.documents SET owner = 'bob' WHERE relation = 0::oid");
is(sql("SET ROLE bob; SELECT mixpeek.retry('-')"), 2, 'the new owner has it tried again');
is(documents('anns'), 0, "the documents are deleted with the new owner's key");

# Another role's owed delete of the same marker
sql(q{SET ROLE bob; CREATE TABLE shared (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('shared', 'shared');
	INSERT INTO shared VALUES (1, 'x')});
settle();
pause(1);
sql("SET ROLE bob; SELECT mixpeek.unmirror('shared', $delete); DROP TABLE shared");
sql(q{CREATE TABLE shared (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('shared', 'shared');
	INSERT INTO shared VALUES (1, 'mine')});
pause(0);
is(differences('shared', 'shared'), '', "another owner's row waits for the delete of the document with its marker");

# A failed delete does not keep another owner's row from taking the document, and is not made good then
sub failed_delete_and_new_row
{
	my ($table, $value) = @_;
	sql(qq{SET ROLE bob; CREATE TABLE $table (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('$table', '$table');
		INSERT INTO $table VALUES (1, 'x')});
	settle();
	$api->faults({ kind => 'status', status => 403, method => 'DELETE' });
	sql("SET ROLE bob; SELECT mixpeek.unmirror('$table', $delete); DROP TABLE $table");
	settle();
	$api->faults({ kind => 'delay', body => 'slow', ms => 1500, when => 'before' });
	$api->reset;
	sql(qq{CREATE TABLE $table (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('$table', '$table');
		INSERT INTO $table VALUES (1, '$value')});
	return;
}
failed_delete_and_new_row('taken', 'mine');
settle();
sql('SET ROLE bob; SELECT mixpeek.retry()');
is(differences('taken', 'taken'), '', "a failed delete tried again after another row has taken the document: it stays");
failed_delete_and_new_row('taking', 'slow');
wait_for('the update to be under way', sub { ($api->stats->{faults} // 0) == 1 });
is(sql('SET ROLE bob; SELECT mixpeek.retry()'), 1, 'a failed delete is tried again while another row takes the document');
is(differences('taking', 'taking'), '', '... the documents equal the rows');
is($api->stats->{deletes} // 0, 0, '... and nothing was deleted meanwhile');
is(owed(), 0, '... nor is anything owed in the end');
$api->faults();

# A delete that cannot be sent does not keep another owner's row from taking the document
sql(q{SET ROLE bob; CREATE TABLE unsent (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('unsent', 'unsent');
	INSERT INTO unsent VALUES (1, 'x'), (2, 'y')});
settle();
sql("DROP USER MAPPING FOR bob SERVER mixpeek; SET ROLE bob; SELECT mixpeek.unmirror('unsent', $delete); DROP TABLE unsent");
sql(q{CREATE TABLE unsent (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('unsent', 'unsent');
	INSERT INTO unsent VALUES (1, 'mine')});
settle();
like(sql("SET ROLE bob; SELECT DISTINCT state || ': ' || last_error FROM mixpeek.documents"),
	qr/^failed: server "mixpeek" cannot be used: .*user mapping/, 'a delete for which its owner has no API key has failed, and says why');
is(sql("SELECT state FROM mixpeek.documents WHERE relation = 'unsent'::regclass"), 'mirrored',
	"... and another owner's row has the document");
sql("CREATE USER MAPPING FOR bob SERVER mixpeek OPTIONS (api_key 'sk_test')");
wait_for('nothing to be owed', sub { owed() == 0 });
is(differences('unsent', 'unsent'), '', '... when there is a key, the other documents are deleted');

# Two owed deletes of one document
failed_delete_and_new_row('doubly', 'mine');
settle();
sql("SELECT mixpeek.unmirror('doubly', $delete)");
is(documents('doubly'), 0, "unmirror() of a row whose document another role's failed delete names, too: it is deleted");
is(sql('SET ROLE bob; SELECT mixpeek.retry()'), 1, 'the failed delete is tried again');
settle();
is(owed(), 0, 'the failed delete of a document that is gone: nothing is owed in the end');
$api->faults();

# A collection under two names: whatever the order of the row's look-up and the delete, the row keeps a document

three_rows('named');
pause(1);
sql("SELECT mixpeek.unmirror('named', $delete); SELECT mixpeek.mirror('named', 'id_of_named')");
pause(0);
is(differences('named', 'id_of_named'), '', "mirror() by the collection's id while deletes are owed by its name: the documents equal the rows");
is(owed(), 0, "mirror() by the collection's id while deletes are owed by its name: nothing is owed in the end");

three_rows('finding');
$api->faults({ kind => 'status', status => 403, method => 'DELETE' });
sql("SELECT mixpeek.unmirror('finding', $delete)");
settle();
$api->faults({ kind => 'delay', path => '/list', ms => 1500, when => 'after' });
$api->reset;
sql("SELECT mixpeek.mirror('finding', 'id_of_finding')");
wait_for('the look-up to be under way', sub { ($api->stats->{lists} // 0) > 0 });
is(sql('SELECT mixpeek.retry()'), 3, "failed deletes are tried again while a row's look-up finds the documents");
is(differences('finding', 'id_of_finding'), '', '... the documents equal the rows');
is($api->stats->{deletes} // 0, 0, '... and nothing was deleted');
is(owed(), 0, '... nor is anything owed in the end');

$api->faults({ kind => 'delay', method => 'DELETE', ms => 1500, when => 'before' });
three_rows('found');
$api->reset;
sql("SELECT mixpeek.unmirror('found', $delete)");
wait_for('the deletes to be under way', sub { ($api->stats->{faults} // 0) == 3 });
sql("SELECT mixpeek.mirror('found', 'id_of_found')");
is(differences('found', 'id_of_found'), '', 'mirror() while deletes are under way: the documents equal the rows');
is($api->stats->{deletes}, 3, '... and are new ones');
$api->faults();

# A dump

three_rows('dumped');
pause(1);
sql("SELECT mixpeek.unmirror('dumped', $delete); DROP TABLE dumped");
my $dump = $node->backup_dir . '/owed.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'pg_dump with owed deletes');
sql('CREATE DATABASE restored');
$node->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ],
	'its restore');
is(sql(q{SELECT relation || ' ' || count(*) FROM mixpeek.documents WHERE owner::text = current_user AND relation = 0::oid
	GROUP BY relation}, 'restored'), '- 3', 'a dump holds what is owed');
pause(0);
is(documents('dumped'), 0, 'the original deletes them');

# Another origin, while a create is under way

for my $crash (0, 1)
{
	my $name = 'adopt() with another origin ' . ($crash ? 'after a crash, ' : '') . 'while a create is under way';
	$api->reset;
	$api->faults({ kind => 'delay', method => 'POST', body => 'slow', ms => 2500, when => 'before', count => 1 });
	sql("INSERT INTO kept VALUES (10 + $crash, 'slow')");
	wait_for('the create to be under way', sub { ($api->stats->{faults} // 0) > 0 });
	$node->stop('immediate'), $node->start if $crash;
	sql('SELECT mixpeek.adopt(origin => gen_random_uuid())');
	settle();
	my $creates = 1 + sql("SELECT count(*) FROM mixpeek.documents WHERE state = 'mirrored'");
	wait_for('the create of the former origin', sub { $api->stats->{creates} == $creates });
	is(differences('kept', 'kept'), '', "$name: the documents equal the rows");
	is(owed(), 0, "$name: nothing is owed in the end");
}

# DROP EXTENSION

three_rows('lost');
three_rows('lone');
sql("CREATE TABLE halves (id int PRIMARY KEY, v text, e float8[]); SELECT mixpeek.mirror('halves', 'halves', document =>
	'{\"features\": [{\"feature_extractor_id\": \"x\", \"payload\": {}, \"vectors\": {\"e\": \"\$e\"}}]}');
	DELETE FROM lone WHERE id > 1; INSERT INTO halves VALUES (1, 'v', '{1}')");
settle();
$api->faults({ kind => 'status', status => 403, method => 'DELETE' });
sql("UPDATE halves SET e = '{2}'");
settle();
is(@{ $api->documents('halves') }, 2, 'a replacement of which one half is done: two documents');
sql("SELECT mixpeek.unmirror(t, $delete) FROM unnest('{lost,lone,halves}'::regclass[]) t; DROP TABLE lost");
settle();
my $dropped = 'DROP EXTENSION mixpeek_docs CASCADE';
my $lost = warnings_of("BEGIN; $dropped; ROLLBACK");
like($lost, qr/WARNING:  3 documents in collection "lost" were to be deleted, and stay at the API\nHINT:  .*retry/,
	'DROP EXTENSION says how many deletes are lost, and what to do');
like($lost, qr/WARNING:  1 document in collection "lone" was to be deleted/, '... for each collection');
like($lost, qr/WARNING:  2 documents in collection "halves"/, '... with both documents of a replacement');
$api->faults();
sql("SELECT mixpeek.retry('-')");
is(join(' ', map { documents($_) } 'lost', 'lone', 'halves'), '0 0 0', 'what the hint says has the documents deleted');
unlike(warnings_of($dropped), qr/WARNING/, 'DROP EXTENSION when no delete is owed warns of nothing');

done_testing();

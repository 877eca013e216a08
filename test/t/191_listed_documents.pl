# Documents that no record knows, under former names of tables, too, and several documents of one key: which are the row's, and
# which are deleted.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;
use MixpeekTest::Session;

my $dir = PostgreSQL::Test::Utils::tempdir();
my ($node, $api) = mirror_node("mixpeek.max_attempts = 2\nmixpeek.retry_max_delay = 1");
sql("ALTER SERVER mixpeek OPTIONS (ADD request_timeout '2s')");

sub three
{
	my ($table) = @_;
	sql("CREATE TABLE $table (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('$table', '$table');
		INSERT INTO $table SELECT g, 'v' || g FROM generate_series(1, 3) g");
	settle();
	return;
}

# A table with a vector, e, which can only be changed by another document.
sub replaceable
{
	my ($table) = @_;
	my $template = '{"metadata": {"id": "$id", "v": "$v"}, "features": [{"feature_extractor_id": "x", "payload": {},
		"vectors": {"embedding": "$e"}}]}';
	sql("CREATE TABLE $table (id int PRIMARY KEY, v text, e real[]);
		SELECT mixpeek.mirror('$table', '$table', document => '$template');
		INSERT INTO $table VALUES (1, 'mine', '{1,2}'), (2, 'other', '{5,6}')");
	settle();
	return;
}

my $refused_delete = { kind => 'status', status => 403, method => 'DELETE' };
sub vector_of { my ($document) = @_; return join(',', @{ $document->{features}[0]{vectors}{embedding} }); }
sub equals { my ($table, $name) = @_; return is(differences($table, $table, row => q{to_jsonb(t) - 'e'}), '', $name); }
sub count_documents { my ($table) = @_; settle(); return scalar @{ $api->documents($table) }; }
sub owed { settle(); return sql('SELECT count(*) FROM mixpeek.documents WHERE relation = 0::oid'); }

sub dump_database
{
	command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", $node->connstr('postgres') ], 'pg_dump');
	return;
}

sub restore_database
{
	command_ok([ 'pg_restore', '--clean', '--if-exists', '-d', $node->connstr('postgres'), "$dir/dump" ], 'pg_restore');
	return;
}

# A list that the API refuses

three('t');
dump_database();
sql("INSERT INTO t VALUES (98, 'later'), (99, 'later')");
settle();
restore_database();
$api->faults({ kind => 'status', status => 403, path => 'list?limit=100&' });
sql('SELECT mixpeek.adopt()');
wait_for('a problem', sub { sql('SELECT problem FROM mixpeek.mirrors') =~ /^the documents could not be listed: .*403/ });
is(sql("SELECT mixpeek.wait('0.5 s')"), 'f', 'a list that is refused after adopt(): wait() is not true');
is(scalar @{ $api->documents('t') }, 5, 'a list that is refused after adopt(): documents without a row are still there');
sql("UPDATE t SET v = 'live' WHERE id = 1");
wait_for('the row', sub { grep { $_->{metadata}{v} eq 'live' } @{ $api->documents('t') } });
pass('a list that is refused after adopt(): changes of rows are mirrored meanwhile');
$api->faults();
sql("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'");
equals('t', 'a list that is answered later: the documents equal the rows');
is(sql('SELECT count(*) FROM mixpeek.mirrors WHERE problem IS NOT NULL'), 0,
	'a list that is answered later: there is no problem any more');

# Many documents without a row, where look-ups are refused

sql("INSERT INTO t SELECT g, 'many' FROM generate_series(101, 250) g");
settle();
dump_database();
sql("INSERT INTO t VALUES (98, 'later'), (99, 'later')");
settle();
restore_database();
sql("ALTER SERVER mixpeek OPTIONS (ADD if_unfindable 'create')");
$api->config(filter => 'off');
$api->reset;
sql('SELECT mixpeek.adopt()');
equals('t', 'documents without a row, where look-ups are refused: they are deleted');
cmp_ok($api->stats->{lists}, '<=', 8, 'documents without a row, where look-ups are refused: few lists are requested');
$api->config(filter => 'on');
sql('ALTER SERVER mixpeek OPTIONS (DROP if_unfindable)');

# A replacement that is half done when something is forgotten

replaceable('kept');
$api->faults($refused_delete);
sql("UPDATE kept SET e = '{3,4}' WHERE id = 1");
is(count_documents('kept'), 3, 'the old document cannot be deleted');
sql("SELECT mixpeek.unmirror('kept')");
$api->faults();
sql('SELECT mixpeek.retry()');
is(count_documents('kept'), 2, 'half done, unmirror(): the old document is deleted, and the others stay');

replaceable('dropped');
$api->faults($refused_delete);
sql("UPDATE dropped SET e = '{3,4}' WHERE id = 1");
is(count_documents('dropped'), 3, 'the old document cannot be deleted');
$api->faults();
like(($node->psql('postgres', 'DROP TABLE dropped'))[2], qr/3 documents in collection "dropped" stay/,
	'half done, DROP TABLE: the WARNING counts the old document, too');

replaceable('restored');
dump_database();
$api->faults($refused_delete);
sql("UPDATE restored SET e = '{3,4}' WHERE id = 1");
is(count_documents('restored'), 3, 'the old document cannot be deleted');
$api->faults();
restore_database();
sql('SELECT mixpeek.adopt()');
settle();
is(count_documents('restored'), 2, 'half done, restored to the time before: one document a row');
equals('restored', 'half done, restored to the time before: the documents equal the rows');
is(owed(), 0, 'half done, restored to the time before: nothing is owed');

# Two tables, one of which has documents under the other's name: they are nobody else's.
three('first');
sql("ALTER TABLE first RENAME TO second; CREATE TABLE first (id int PRIMARY KEY, v text)");
sql("SELECT mixpeek.mirror('first', 'first')");
settle();
sql('SELECT mixpeek.adopt()');
settle();
is(count_documents('first'), 3, "documents of a renamed table are not deleted for its namesake's sake");

# A table that was renamed has documents under its former name.

three('old_name');
sql('ALTER TABLE old_name RENAME TO new_name');
sql("INSERT INTO new_name VALUES (4, 'v4')");
settle();
sql("SELECT mixpeek.unmirror('new_name')");
is(sql('SELECT count(*) FROM mixpeek.forgotten WHERE renamed_prefix IS NOT NULL'), 1, 'the former name is kept');
$api->reset;
sql("SELECT mixpeek.mirror('new_name', 'old_name')");
is(differences('new_name', 'old_name'), '', 'renamed, unmirror() and mirror(): the documents equal the rows');
is($api->stats->{creates}, 0, 'renamed, unmirror() and mirror(): no document is created again');

sql('CREATE SCHEMA app; ALTER TABLE new_name SET SCHEMA app');
sql("UPDATE app.new_name SET v = 'w' WHERE id = 1");
settle();
sql(q{DO $$ DECLARE n name; BEGIN FOR n IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'app.new_name'::regclass LOOP
	EXECUTE format('DROP TRIGGER %I ON app.new_name', n); END LOOP; END $$});
$api->reset;
sql("SELECT mixpeek.mirror('app.new_name', 'old_name')");
settle();
is($api->stats->{creates}, 0, 'SET SCHEMA, DROP TRIGGER and mirror(): no document is created again');
is(join(' ', sort map { $_->{metadata}{v} } @{ $api->documents('old_name') }), 'v2 v3 v4 w',
	'SET SCHEMA, DROP TRIGGER and mirror(): one document a row');

# A copy of a document, made by another client, while a create is in doubt

replaceable('copied');
sql(q{SELECT mixpeek.create_document('copied', metadata => jsonb_build_object('mixpeek_docs', marker, 'v', 'foreign'))
	FROM mixpeek.documents WHERE collection = 'copied' AND key = '1'});
$api->faults({ kind => 'reset_before', method => 'POST', body => 'embedding', count => 1 });
sql("UPDATE copied SET e = '{3,4}' WHERE id = 1");
equals('copied', 'a copy that is taken for a successor: it has the content of the row, or is deleted');

# A document that cannot be deleted does not keep its row's changes from being sent.

replaceable('stuck');
$api->faults($refused_delete);
sql("UPDATE stuck SET e = '{3,4}' WHERE id = 1");
settle();
sql("UPDATE stuck SET v = 'changed' WHERE id = 1");
settle();
is(join(' ', sort map { $_->{metadata}{v} . '=' . vector_of($_) } @{ $api->documents('stuck') }),
	'changed=3,4 mine=1,2 other=5,6', 'an old document that cannot be deleted: changes of the row are sent');
$api->faults();
sql('SELECT mixpeek.retry()');
equals('stuck', 'an old document that can be deleted later: the documents equal the rows');

# A server that leads to a place where nothing has failed

$api->config(latency => 20);
three('steady');
my $session = MixpeekTest::Session->new($node, undef, settings => '-c statement_timeout=0');
$session->send(q{DO $$ BEGIN FOR i IN 10 .. 6000 LOOP INSERT INTO steady VALUES (i, 'x'); COMMIT;
	PERFORM pg_sleep(0.001); END LOOP; END $$});
wait_for('load', sub { $api->stats->{creates} > 100 });
create_server($node, 'another', 'http://127.0.0.1:1');
is(sql("SELECT mixpeek.wait('15 s')"), 't', 'CREATE SERVER under steady load: wait() returns true');
$session->close;

done_testing();

# Records of mixpeek.documents are inserted and changed without statements (src/state/document_table.c). What a
# statement would give besides must be there all the same: correct indexes, and changes of other sessions that are
# waited for.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;

my $node = mixpeek_node('main', q{
shared_preload_libraries = 'mixpeek_docs'
mixpeek.retry_max_delay = 1
});
my $api = MixpeekTest::Server->new(enrich => 'now');
create_server($node, 'mixpeek', $api, request_timeout => 20);

use_node($node, $api);

sql(q{
	CREATE EXTENSION amcheck;
	CREATE TABLE items (id int PRIMARY KEY, v text, section text DEFAULT 'libs');
	SELECT mixpeek.mirror('items', 'items');
});

# A record's state, whether it has an id, whether it has enrichments.
sub record
{
	return sql("SELECT concat_ws(' ', state, document_id IS NOT NULL, enrichments IS NOT NULL) FROM mixpeek.documents
		WHERE key = '$_[0]'");
}

sub wait_until_mirrored
{
	my ($id) = @_;
	wait_for("$id to be mirrored", sub { record($id) eq 'mirrored t t' });
	return;
}

sub indexes_are_right
{
	my ($name) = @_;

	is(sql(q{
		SELECT count(bt_index_check(i.indexrelid, true)) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		 WHERE i.indrelid = 'mixpeek.documents'::regclass AND c.relam = (SELECT oid FROM pg_am
			WHERE amname = 'btree')}),
		sql(q{SELECT count(*) FROM pg_indexes WHERE schemaname = 'mixpeek' AND tablename = 'documents'
			AND indexdef ~ 'btree'}),
		"$name: every record is in every index");
	my $found = q{SELECT count(*) FROM mixpeek.documents WHERE enrichments @> '{"taxonomies": [{"label": "libs"}]}'};
	is(sql("SET enable_seqscan = off; $found"), sql("SET enable_bitmapscan = off; $found"),
		"$name: the index on enrichments finds what a scan finds");
	return;
}

sub is_settled
{
	my ($name, $ids) = @_;

	is(sql("SELECT mixpeek.wait('60 s')"), 't', "$name: wait() returns true");
	is(record($_), 'mirrored t t', "$name: record $_ is mirrored, with id and enrichments") foreach @$ids;
	indexes_are_right($name);
	return;
}

#
# Batches: new records, changed records, records that are polled again
#

sql("INSERT INTO items SELECT i, 'a' FROM generate_series(1, 2000) i");
is_settled('INSERT of 2,000 rows', [ 1, 2000 ]);
sql("UPDATE items SET v = 'b'");
is_settled('UPDATE of 2,000 rows', [ 1, 2000 ]);
sql("UPDATE items SET section = 'net' WHERE id % 2 = 0; DELETE FROM items WHERE id > 1000");
is_settled('other enrichments, and deleted rows', [ 1, 2 ]);
is(sql('SELECT count(*) FROM mixpeek.documents'), 1000, 'other enrichments, and deleted rows: as many records as rows');

#
# New rows whose keys still have records, since their deletion was not noticed
#

sub come_again
{
	my ($name, $first, $last) = @_;
	my $creates = $api->stats->{creates} - sql('SELECT count(*) FROM items');

	sql("SET session_replication_role = replica; DELETE FROM items WHERE id BETWEEN $first AND $last");
	sql("INSERT INTO items SELECT i, 'again' FROM generate_series($first - 10, $last + 10) i ON CONFLICT DO NOTHING");
	is_settled($name, [ $first, $last ]);
	is($api->stats->{creates} - sql('SELECT count(*) FROM items'), $creates, "$name: only what is new is created");
	is($api->stats->{duplicates}, 0, "$name: no duplicates");
	is(scalar(grep { $_->{metadata}{v} eq 'again' } @{ $api->documents('items') }),
		sql("SELECT count(*) FROM items WHERE v = 'again'"), "$name: the documents have the new values");
	return;
}

come_again('rows inserted whose deletion was not noticed', 991, 1000);

#
# Another session changes the table, or the record, before the answer comes
#

# Creates a document, and does something while the server works on it.
sub meanwhile
{
	my ($id, $between) = @_;

	$api->faults({ kind => 'delay', when => 'after', ms => 1500, method => 'POST', body => '"collection_id"',
		count => 1 });
	sql("INSERT INTO items VALUES ($id, 'a')");
	wait_for('the request to be under way', sub { record($id) =~ /^sending/ });
	$between->();
	return;
}

meanwhile(3001, sub { sql('VACUUM FULL mixpeek.documents') });
is_settled('VACUUM FULL while a request is under way', [3001]);

meanwhile(3002, sub { sql(q{
	CREATE INDEX upper_key ON mixpeek.documents (upper(key));
	CREATE INDEX sums ON mixpeek.documents USING brin (mirrored_at);
	CREATE INDEX failures ON mixpeek.documents (relation) WHERE state = 'failed';
	}) });
is_settled('indexes created while a request is under way', [3002]);
is(sql("SET enable_seqscan = off; SELECT count(*) FROM mixpeek.documents WHERE upper(key) = '3002'"), 1,
	'indexes created while a request is under way are filled');

my $worker = worker_pid();
my $other = $node->background_psql('postgres', on_error_stop => 1);
meanwhile(3003, sub {
	$other->query_safe("BEGIN; UPDATE mixpeek.documents SET created_at = '2001-01-01' WHERE key = '3003'");
	wait_for('the worker to wait for the record', sub {
		sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'
			AND wait_event_type = 'Lock'") });
	$other->query_safe('COMMIT');
});
is_settled('a record that another session changes meanwhile', [3003]);
is(sql("SELECT created_at::date FROM mixpeek.documents WHERE key = '3003'"), '2001-01-01',
	'a record that another session changes meanwhile keeps the change');

meanwhile(3004, sub {
	$other->query_safe("BEGIN; UPDATE mixpeek.documents SET created_at = '2001-01-01' WHERE key = '3004'");
	wait_for('the worker to wait for the record', sub {
		sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'
			AND wait_event_type = 'Lock'") });
	$other->query_safe('ROLLBACK');
});
is_settled('a record that another session changes meanwhile, with a rollback', [3004]);

meanwhile(3005, sub { sql("DELETE FROM mixpeek.documents WHERE key = '3005'") });
wait_for('the answer', sub { $api->stats->{in_flight} == 0 });
is(sql("SELECT mixpeek.wait('60 s')"), 't', 'a record that another session deletes meanwhile: wait() returns true');
sql("INSERT INTO items VALUES (3006, 'a')");
is(sql("SELECT mixpeek.wait('60 s')"), 't',
	'a record that another session deleted: wait() for the next row returns true');
is(record(3005), '', 'a record that another session deleted stays deleted');
$other->quit;

meanwhile(3007, sub { sql('TRUNCATE mixpeek.documents') });
wait_for('the answer', sub { $api->stats->{in_flight} == 0 });
sql("INSERT INTO items VALUES (3008, 'a')");
is_settled('TRUNCATE of mixpeek.documents while a request is under way', [3008]);
is(record(3007), '', 'TRUNCATE of mixpeek.documents while a request is under way: the record stays deleted');
is(worker_pid(), $worker, 'changes of mixpeek.documents by others: the worker is not replaced');

#
# Triggers on mixpeek.documents: none can be created, and one that is there all the same is not run
#

sql(q{
	CREATE TABLE noted (key text, state text);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.noted VALUES (NEW.key, NEW.state);
		RETURN CASE WHEN TG_WHEN = 'AFTER' THEN NEW END;
	END $$;
	CREATE TABLE elsewhere (LIKE mixpeek.documents);
	CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON elsewhere FOR EACH ROW EXECUTE FUNCTION note();
	CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON elsewhere FOR EACH ROW EXECUTE FUNCTION note();
	UPDATE pg_trigger SET tgrelid = 'mixpeek.documents'::regclass WHERE tgrelid = 'elsewhere'::regclass;
	UPDATE pg_class SET relhastriggers = true WHERE oid = 'mixpeek.documents'::regclass;
});
sql("INSERT INTO items VALUES (4001, 'a')");
is_settled('triggers on mixpeek.documents: INSERT of one row', [4001]);
sql("UPDATE items SET v = 'b' WHERE id = 4001");
is_settled('triggers on mixpeek.documents: UPDATE', [4001]);
sql("INSERT INTO items SELECT i, 'a' FROM generate_series(4101, 4110) i");
is_settled('triggers on mixpeek.documents: INSERT of ten rows', [ 4101, 4110 ]);
come_again('triggers on mixpeek.documents: rows inserted whose deletion was not noticed', 4101, 4110);
is(sql("SELECT mixpeek.retry()"), 0, 'triggers on mixpeek.documents: retry() returns 0');
sql("DELETE FROM items WHERE id = 4001");
is(sql("SELECT mixpeek.wait('60 s')"), 't', 'triggers on mixpeek.documents: wait() after DELETE returns true');
is(record(4001), '', 'triggers on mixpeek.documents: DELETE removes the record');
is(sql('SELECT count(*) FROM noted'), 0, 'triggers on mixpeek.documents: none was run');
sql('DROP TRIGGER refuse ON mixpeek.documents; DROP TRIGGER note ON mixpeek.documents');

done_testing();

# The last state of a row always wins: what is sent, and in which order, when a row changes while a request
# for it is under way. Answers are delayed on demand, and the server counts changes that overlap.
use strict;
use warnings;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;

my $late = 600;    # milliseconds
my $node = mixpeek_node('main', q{
shared_preload_libraries = 'mixpeek_docs'
mixpeek.retry_max_delay = 1
restart_after_crash = on
});
my $api = MixpeekTest::Server->new(record => 1, enrich => 'now');
create_server($node, 'mixpeek', $api, request_timeout => 20);

my $template = '{"metadata": {"v": "$v"},
	"features": [{"feature_extractor_id": "text", "payload": {}, "vectors": {"embedding": "$e"}}]}';

sub sql { return $node->safe_psql('postgres', $_[0]); }

sql(qq{
	CREATE TABLE items (id int PRIMARY KEY, v text);
	CREATE TABLE vectors (id int PRIMARY KEY, v text, e real[]);
	CREATE TABLE twice (id int PRIMARY KEY, v text);
	SELECT mixpeek.mirror('items', 'items');
	SELECT mixpeek.mirror('vectors', 'vectors', '$template');
	SELECT mixpeek.mirror('twice', 'first');
	SELECT mixpeek.mirror('twice', 'second');
});

# The requests since the last start(), look-ups included, as "METHOD value", with the value that a create or an update
# sends.
sub sent
{
	return map {
		my $v = $_->{body} ? decode_json($_->{body})->{metadata}{v} : undef;
		my ($collection, $operation) = $_->{path} =~ m{/collections/(\w+)/documents(?:/(list))?};
		join(' ', $operation // $_->{method}, defined $v ? $v : ());
	} @{ $api->requests };
}

# Begin a case: all tables are empty, there is no document and no request, and these faults are set.
sub start
{
	my (@faults) = @_;

	$api->faults();
	sql('DELETE FROM items; DELETE FROM vectors; DELETE FROM twice;');
	is(sql("SELECT mixpeek.wait('60 s')"), 't', 'empty tables: wait() returns true') or die;
	$api->reset;
	$api->faults(@faults);
	return;
}

sub wait_until_under_way
{
	my ($n) = @_;
	wait_for('the request to be under way', sub { $api->stats->{in_flight} == ($n // 1) });
	return;
}

sub rows { my ($table) = @_; return join(',', split(/\n/, sql("SELECT id || ' ' || v FROM $table ORDER BY id"))); }

sub documents
{
	my ($collection) = @_;
	return join(',', sort { $a <=> $b }
		map { ($_->{metadata}{mixpeek_docs} =~ /:(\d+)$/)[0] . ' '
			. $_->{metadata}{v} } @{ $api->documents($collection) // [] });
}

# Tests of the requests that were sent, and that the documents equal the rows.
sub ends
{
	my ($name, $sent, $table, @collections) = @_;

	is(sql("SELECT mixpeek.wait('60 s')"), 't', "$name: wait() returns true");
	is_deeply([ sent() ], $sent, "$name: the requests are as expected") if $sent;
	is(documents($_), rows($table), "$name: the documents of collection $_ equal the rows")
		foreach @collections ? @collections : $table;
	is(sql("SELECT count(*) FROM mixpeek.documents WHERE state <> 'mirrored'") + sql('SELECT count(*)
		FROM mixpeek.outbox'), 0,
		"$name: no entry and no unfinished record is left");
	is($api->stats->{overlaps}, 0, "$name: no two requests for a document were under way at once");
	return;
}

# A create that is under way

my $create = '"collection_id"';
foreach my $when ('before', 'after')
{
	my @fault = ({ kind => 'delay', when => $when, ms => $late, method => 'POST', body => $create, count => 1 });

	start(@fault);
	sql("INSERT INTO items VALUES (1, 'a')");
	wait_until_under_way();
	sql("UPDATE items SET v = 'b'");
	sql("UPDATE items SET v = 'c'");
	ends("updates while a create is under way, delayed $when its work", [ 'POST a', 'PUT c' ], 'items');

	start(@fault);
	sql("INSERT INTO items VALUES (1, 'a')");
	wait_until_under_way();
	sql("UPDATE items SET v = 'b'");
	sql("UPDATE items SET v = 'a'");
	ends("a row that changes back while a create is under way, delayed $when its work", ['POST a'], 'items');

	start(@fault);
	sql("INSERT INTO items VALUES (1, 'a')");
	wait_until_under_way();
	sql('DELETE FROM items');
	ends("DELETE while a create is under way, delayed $when its work", [ 'POST a', 'DELETE' ], 'items');
	is($api->stats->{documents}, 0, "DELETE while a create is under way,
		delayed $when its work: the document is deleted");

	start(@fault);
	sql("INSERT INTO items VALUES (1, 'a')");
	wait_until_under_way();
	sql('TRUNCATE items');
	ends("TRUNCATE while a create is under way, delayed $when its work", [ 'POST a', 'DELETE' ], 'items');

	start(@fault);
	sql("INSERT INTO items VALUES (1, 'a')");
	wait_until_under_way();
	sql("DELETE FROM items; INSERT INTO items VALUES (1, 'b')");
	ends("DELETE and INSERT while a create is under way, delayed $when its work", [ 'POST a', 'PUT b' ], 'items');
}

# Rows that come and go before the worker has read the outbox

start();
sql("BEGIN; INSERT INTO items VALUES (1, 'a'); UPDATE items SET v = 'b'; DELETE FROM items; COMMIT");
sql("BEGIN; SAVEPOINT s; INSERT INTO items VALUES (2, 'a'); ROLLBACK TO s; INSERT INTO items VALUES (3, 'a');
	ROLLBACK");
ends('INSERT and DELETE in one transaction', [], 'items');

$node->append_conf('postgresql.conf', "mixpeek.enabled = off\n");
$node->reload;
wait_for('the worker to pause', sub { sql("SELECT current_setting('mixpeek.enabled')") eq 'off' });
sql("INSERT INTO items VALUES (1, 'a')");
sql('DELETE FROM items');
sql("INSERT INTO items VALUES (2, 'a')");
sql("UPDATE items SET id = 3, v = 'b'");
sql('DELETE FROM items');
sql("INSERT INTO items VALUES (3, 'c')");
is_deeply([ sent() ], [], 'a paused worker sends nothing');
$node->append_conf('postgresql.conf', "mixpeek.enabled = on\n");
$node->reload;
ends('rows that came and went while the worker was paused', ['POST c'], 'items');

# Changes of keys

start();
sql("INSERT INTO items VALUES (1, 'a')");
sql("SELECT mixpeek.wait()");
sql('UPDATE items SET id = 2');
ends('UPDATE of a key', undef, 'items');
is_deeply([ sort(sent()) ], [ 'DELETE', 'POST a', 'POST a', grep { $_ eq 'list' } sent() ],
	'UPDATE of a key is a delete and a create');

start({ kind => 'delay', when => 'before', ms => $late, body => $create, count => 1 });
sql("INSERT INTO items VALUES (1, 'a')");
wait_until_under_way();
sql("UPDATE items SET id = 2, v = 'b'");
sql("INSERT INTO items VALUES (1, 'c')");
ends('keys that move on while a create is under way', undef, 'items');
is_deeply([ sort grep { $_ ne 'list' } sent() ], [ 'POST a', 'POST b', 'PUT c' ],
	'keys that move on while a create is under way need one request each');

# A delete that is under way

foreach my $when ('before', 'after')
{
	start();
	sql("INSERT INTO items VALUES (1, 'a')");
	sql('SELECT mixpeek.wait()');
	$api->reset;
	$api->faults({ kind => 'delay', when => $when, ms => $late, method => 'DELETE', count => 1 });
	sql('DELETE FROM items');
	wait_until_under_way();
	sql("INSERT INTO items VALUES (1, 'b')");
	ends("INSERT while a delete is under way, delayed $when its work", [ 'DELETE', 'POST b' ], 'items');
}

# An update that is under way

start();
sql("INSERT INTO items VALUES (1, 'a')");
sql('SELECT mixpeek.wait()');
$api->reset;
$api->faults({ kind => 'delay', when => 'before', ms => $late, method => 'PUT', count => 1 });
sql("UPDATE items SET v = 'b'");
wait_until_under_way();
sql("UPDATE items SET v = 'c'");
sql("UPDATE items SET v = 'a'");
ends('a row that changes back while an update is under way', [ 'PUT b', 'PUT a' ], 'items');

# A document that is replaced

foreach my $step ('POST', 'DELETE')
{
	start();
	sql("INSERT INTO vectors VALUES (1, 'a', '{1,2}')");
	sql('SELECT mixpeek.wait()');
	$api->reset;
	$api->faults({ kind => 'delay', when => 'before', ms => $late, method => $step, count => 1 });
	sql("UPDATE vectors SET e = '{3,4}'");
	wait_for("the $step to be under way", sub { (sent())[-1] // '' =~ /^$step/ && $api->stats->{in_flight} == 1 });
	sql("UPDATE vectors SET v = 'b'");
	ends("UPDATE while a replacement's $step is under way", [ 'POST a', 'DELETE', 'PUT b' ], 'vectors');
	is_deeply($api->documents('vectors')->[0]{features}[0]{vectors}{embedding}, [ 3, 4 ],
		"UPDATE while a replacement's $step is under way: the document has the new vector");

	$api->reset;
	$api->faults({ kind => 'delay', when => 'before', ms => $late, method => $step, count => 1 });
	sql("UPDATE vectors SET e = '{5,6}'");
	wait_for("the $step to be under way", sub { (sent())[-1] // '' =~ /^$step/ && $api->stats->{in_flight} == 1 });
	sql("UPDATE vectors SET e = '{7,8}'");
	ends("another vector while a replacement's $step is under way", [ 'POST b', 'DELETE', 'POST b', 'DELETE' ],
		'vectors');
	is_deeply($api->documents('vectors')->[0]{features}[0]{vectors}{embedding}, [ 7, 8 ],
		"another vector while a replacement's $step is under way: the document has the last vector");
}

# Lost answers: what the API has is not known, though the row is again as it was before

sql("ALTER SERVER mixpeek OPTIONS (SET request_timeout '1')");
foreach my $lost ('reset_before', 'reset_after')
{
	start();
	sql("INSERT INTO items VALUES (1, 'a')");
	sql('SELECT mixpeek.wait()');
	$api->reset;
	$api->faults({ kind => $lost, method => 'DELETE', count => 1 });
	sql('DELETE FROM items');
	wait_for('the delete', sub { $api->stats->{faults} == 1 });
	sql("INSERT INTO items VALUES (1, 'a')");
	ends("a row that is back after its delete ended with $lost", undef, 'items');

	start();
	sql("INSERT INTO items VALUES (1, 'a')");
	sql('SELECT mixpeek.wait()');
	$api->reset;
	$api->faults({ kind => $lost, method => 'PUT', count => 1 });
	sql("UPDATE items SET v = 'b'");
	wait_for('the update', sub { $api->stats->{faults} == 1 });
	sql("UPDATE items SET v = 'a'");
	ends("a row that changed back after its update ended with $lost", undef, 'items');

	start();
	sql("INSERT INTO vectors VALUES (1, 'a', '{1,2}')");
	sql('SELECT mixpeek.wait()');
	$api->reset;
	$api->faults({ kind => $lost, method => 'DELETE', count => 1 });
	sql("UPDATE vectors SET e = '{3,4}'");
	wait_for('the delete', sub { $api->stats->{faults} == 1 });
	sql("UPDATE vectors SET e = '{1,2}'");
	ends("a vector that changed back after its replacement ended with $lost", undef, 'vectors');
	is_deeply($api->documents('vectors')->[0]{features}[0]{vectors}{embedding}, [ 1, 2 ],
		"a vector that changed back after its replacement ended with $lost: the document has it");
}
sql("ALTER SERVER mixpeek OPTIONS (SET request_timeout '20')");

# Two mirrors of one table

start({ kind => 'delay', when => 'before', ms => 2 * $late, path => '/first/', body => $create, count => 1 });
sql("INSERT INTO twice VALUES (1, 'a')");
wait_for('the other create', sub { documents('second') eq '1 a' });
sql("UPDATE twice SET v = 'b'");
wait_for('the other update', sub { documents('second') eq '1 b' });
is($api->stats->{in_flight}, 1, 'a mirror does not wait for another one of the same table');
ends('updates in two mirrors', undef, 'twice', 'first', 'second');
is_deeply([ sort(sent()) ], [ 'POST a', 'POST a', 'PUT b', 'PUT b' ],
	'updates in two mirrors: two creates and two updates');

# Random delays

start(
	{ kind => 'delay', when => 'before', ms => 150, probability => 0.2 },
	{ kind => 'delay', when => 'after', ms => 200, probability => 0.2 },
	{ kind => 'delay', when => 'before', ms => 30, probability => 0.5 });
$node->pgbench('--no-vacuum --client=4 --transactions=100', 0, [qr{processed: 400/400}], [qr/^$/],
	'rows change at random',
	{
		'021_change' => q{
			\set id random(1, 8)
			\set what random(1, 10)
			\if :what <= 2
				DELETE FROM items WHERE id = :id;
			\elif :what <= 5
				INSERT INTO items VALUES (:id, :client_id) ON CONFLICT (id) DO UPDATE SET v = items.v || :client_id;
			\elif :what = 6
				BEGIN;
				UPDATE items SET v = 'never' WHERE id = :id;
				ROLLBACK;
			\else
				UPDATE items SET v = md5(v || :client_id) WHERE id = :id;
			\endif
			\sleep 2 ms
		}
	});
ends('random changes with random delays', undef, 'items');
cmp_ok($api->stats->{max_in_flight}, '>', 1,
	'random changes with random delays: several requests are under way at once');

# mixpeek.sync() beside the worker, and beside another one

sub start_sync
{
	my ($on) = @_;
	my $sync = { out => '', err => '' };

	$sync->{process} = IPC::Run::start(
		[ $on->installed_command('psql'), qw(-X -q -A -t -d), $on->connstr('postgres'), '-c', 'CALL mixpeek.sync()' ],
		'<', \undef, '>', \$sync->{out}, '2>', \$sync->{err});
	return $sync;
}

sub finish_sync
{
	my ($sync, $name) = @_;

	$sync->{process}->finish;
	is($sync->{err} =~ /ERROR|WARNING/ ? $sync->{err} : '', '', $name);
	return;
}

start({ kind => 'delay', when => 'before', ms => $late, body => $create, count => 1 });
sql("INSERT INTO items VALUES (1, 'a')");
wait_until_under_way();
my $sync = start_sync($node);
sql("UPDATE items SET v = 'b'");
finish_sync($sync, 'sync() beside the worker: no error');
ends('sync() beside the worker, and an update', [ 'POST a', 'PUT b' ], 'items');

# An update finds no document, and the server crashes before the answer to the create that follows. Then the row is
# deleted, or its document must be replaced.

# Delete a document at the API, as another client would.
sub delete_at_api
{
	my ($collection) = @_;
	sql("SELECT mixpeek.delete_document('$collection', document_id) FROM mixpeek.documents
		WHERE collection = '$collection'");
	return;
}

sub kill_worker
{
	my $pid = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'");

	kill('KILL', $pid) or die "kill: $!";
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker' AND pid <> $pid")
		or die 'no worker';
	return;
}

sql("ALTER SERVER mixpeek OPTIONS (SET request_timeout '1')");
foreach my $change ([ 'items', 'DELETE FROM items' ], [ 'vectors', "UPDATE vectors SET e = '{3,4}'" ])
{
	my ($table, $statement) = @$change;

	start();
	sql($table eq 'items' ? "INSERT INTO items VALUES (1, 'a')" : "INSERT INTO vectors VALUES (1, 'a', '{1,2}')");
	sql('SELECT mixpeek.wait()');
	delete_at_api($table);
	$api->reset;
	$api->faults({ kind => 'delay', when => 'after', ms => 900, body => $create, count => 1 });
	sql("UPDATE $table SET v = 'b'");
	wait_for('the create', sub { $api->stats->{creates} == 1 });
	kill_worker();
	$api->faults();
	sql($statement);
	ends("a document gone at the API, a crash while it is created again, and $statement", undef, $table);
}
$node->stop;

$node = mixpeek_node('bare');
create_server($node, 'mixpeek', $api, request_timeout => 20);
sql(q{
	CREATE TABLE items (id int PRIMARY KEY, v text);
	SELECT mixpeek.mirror('items', 'bare');
	CALL mixpeek.sync();
});
$api->reset;
$api->faults({ kind => 'delay', when => 'before', ms => $late, body => $create, count => 1 });
sql("INSERT INTO items VALUES (1, 'a')");
my @syncs = map { start_sync($node) } 1 .. 3;
wait_until_under_way();
sql("UPDATE items SET v = 'b'");
finish_sync($_, 'several sync() at once: no error') foreach @syncs;
sql('CALL mixpeek.sync()');
ends('several sync() at once, and an update', [ 'POST a', 'PUT b' ], 'items', 'bare');

done_testing();

# What is stored of documents holds for one place (base_url and namespace) and one incarnation of the database: another
# server, an altered one, a restored dump, a recovery to an earlier time, a snapshot that is put back, and an extension
# that is dropped and created again. Each ends with documents that equal the rows, and none twice.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;

my ($rc, $out, $err);
my $dir = PostgreSQL::Test::Utils::tempdir();
mkdir("$dir/archive");
my ($node, $api) = mirror_node("max_worker_processes = 20\nwal_level = replica\nmax_wal_senders = 4\narchive_mode = on\n" .
	"archive_command = 'cp %p $dir/archive/%f'");

# A table (id, v) with three rows and their documents.
sub three
{
	my ($table, $database) = @_;
	sql("CREATE TABLE $table (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('$table', '$table');
		INSERT INTO $table SELECT g, 'v' || g FROM generate_series(1, 3) g", $database);
	settle($database);
	return;
}

# What the API has done since its last reset, as 'creates=1 deletes=2'.
sub sent
{
	my ($from) = @_;
	my $stats = ($from // $api)->stats;
	return join(' ', map { "$_=$stats->{$_}" } grep { $stats->{$_} } qw(creates updates deletes));
}

# A test: nothing is mirrored, for this reason, and the log, wait() and mixpeek.mirrors say so.
sub asks
{
	my ($name, $reason, $offset, $on) = @_;
	$on //= $node;
	wait_for("$name: the worker to say so", sub { slurp_file($on->logfile, $offset) =~ /nothing is mirrored: .*$reason/ });
	my ($rc, $out, $err) = $on->psql('postgres', "SELECT mixpeek.wait('1 s')");
	like($err, qr/nothing is mirrored: .*$reason.*adopt/s, "$name: wait() says why, and names adopt()");
	like($on->safe_psql('postgres', 'SELECT DISTINCT problem FROM mixpeek.mirrors'), qr/nothing is mirrored: .*$reason/,
		"$name: mixpeek.mirrors.problem says why");
	is(sent(), '', "$name: nothing is sent before adopt()");
	return;
}

# The changes that a restore takes back, and the row that comes again after it.
my $later = "UPDATE t SET v = 'later' WHERE id = 2; INSERT INTO t VALUES (4, 'later'), (5, 'later'); DELETE FROM t WHERE id = 3";
my $again = "INSERT INTO t VALUES (4, 'again')";

sub adopted
{
	my ($name, $on) = @_;
	sql('SELECT mixpeek.adopt()', 'postgres', $on);
	is(differences('t', 't', node => $on), '', "$name, after adopt(): the documents equal the rows");
	is($api->stats->{duplicates}, 0, "$name, after adopt(): no duplicates");
	is(sql("SELECT count(*) FROM mixpeek.mirrors WHERE problem IS NOT NULL", 'postgres', $on), 0,
		"$name, after adopt(): no mirror has a problem");
	return;
}

# Puts the files of a directory in place of the server's, which keeps its directory.
sub put_back
{
	my ($from) = @_;
	$node->stop;
	my $to = $node->data_dir;
	system_or_bail('sh', '-c', "find '$to' -mindepth 1 -delete && cp -a '$from/.' '$to'");
	return;
}

#
# A dump that is restored over its own database
#

three('t');
command_ok([ 'pg_dump', '-Fc', '-f', "$dir/clean.dump", $node->connstr('postgres') ], 'pg_dump');
sql($later);
settle();
$api->reset;
my $offset = -s $node->logfile;
my $pid = worker_pid();
command_ok([ 'pg_restore', '--clean', '--if-exists', '-d', $node->connstr('postgres'), "$dir/clean.dump" ],
	'pg_restore --clean --if-exists over the database');
sql($again);
asks('restored over its own database', 'were restored', $offset);
adopted('restored over its own database');

# The data alone, while the worker runs
command_ok([ 'pg_dump', '-a', '-f', "$dir/data.sql", $node->connstr('postgres') ], 'pg_dump -a');
sql("UPDATE t SET v = 'much later' WHERE id = 1; INSERT INTO t VALUES (6, 'later'), (7, 'later'); DELETE FROM t WHERE id = 2");
settle();
$api->reset;
$offset = -s $node->logfile;
($rc, $out, $err) = $node->psql('postgres', 'TRUNCATE mixpeek.origin');
like($err, qr/ERROR:  table "origin" of extension "mixpeek_docs" cannot be truncated/, 'TRUNCATE of the origin is refused');
sql('SET session_replication_role = replica; TRUNCATE t, mixpeek.documents, mixpeek.outbox, mixpeek.forgotten, mixpeek.places');
sql("INSERT INTO t VALUES (7, 'too early')");
settle();
is(sent(), 'updates=1', 'records that were truncated: an inserted row is looked up');
sql('SET session_replication_role = replica; TRUNCATE t, mixpeek.outbox');
settle();
$api->reset;
{
	local $ENV{PGOPTIONS} = '-c session_replication_role=replica';
	command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/data.sql", $node->connstr('postgres') ],
		'a dump of the data is restored');
}
sql("INSERT INTO t VALUES (7, 'again')");
asks('restored data alone', 'were restored', $offset);
adopted('restored data alone');

# A database of the same name
sql("CREATE DATABASE other");
command_ok([ 'pg_dump', '-f', "$dir/plain.sql", $node->connstr('postgres') ], 'pg_dump');
sql("UPDATE t SET v = 'later still' WHERE id = 1; INSERT INTO t VALUES (8, 'later'); DELETE FROM t WHERE id = 2");
settle();
$api->reset;
$offset = -s $node->logfile;
sql('DROP DATABASE postgres', 'other');
sql('CREATE DATABASE postgres TEMPLATE template0', 'other');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain.sql", $node->connstr('postgres') ],
	'a dump is restored into a new database of the same name');
sql("INSERT INTO t VALUES (8, 'again')");
asks('a new database of the same name', 'a copy of the one', $offset);
adopted('a new database of the same name');

# Restored in parallel
command_ok([ 'pg_dump', '-Fd', '-j', 2, '-f', "$dir/parallel", $node->connstr('postgres') ], 'pg_dump -j');
sql("UPDATE t SET v = 'latest' WHERE id = 1; INSERT INTO t VALUES (9, 'later')");
settle();
$api->reset;
$offset = -s $node->logfile;
command_ok([ 'pg_restore', '--clean', '--if-exists', '-j', 3, '-d', $node->connstr('postgres'), "$dir/parallel" ],
	'pg_restore --clean --if-exists -j');
sql("INSERT INTO t VALUES (9, 'again')");
asks('restored in parallel', 'were restored', $offset);
adopted('restored in parallel');

#
# Snapshots and recovery to an earlier time, in the same place
#

$node->stop;
system_or_bail('cp', '-a', $node->data_dir, "$dir/snapshot");
$node->start;
sql("UPDATE t SET v = 'later again' WHERE id = 1; INSERT INTO t VALUES (10, 'later'), (11, 'later'); DELETE FROM t WHERE id = 4");
settle();
put_back("$dir/snapshot");
$api->reset;
$offset = -s $node->logfile;
$node->start;
sql("INSERT INTO t VALUES (10, 'again')");
asks('a snapshot that is put back', 'files are those of an earlier time', $offset);
adopted('a snapshot that is put back');
put_back("$dir/snapshot");
$api->reset;
$offset = -s $node->logfile;
$node->start;
sql("INSERT INTO t VALUES (10, 'once more')");
asks('a snapshot that is put back again, after adopt()', 'files are those of an earlier time', $offset);
adopted('a snapshot that is put back again');
$node->restart;
follows('after a restart', 't', "INSERT INTO t VALUES (20, 'x')");

$node->stop('immediate');
$node->start;
follows('after a crash', 't', "INSERT INTO t VALUES (21, 'x')");

# adopt() twice: the second one reads the file outside of the data directory, then the worker writes it for the first one,
# and the second one is committed.
my ($witness) = glob($node->host . '/.mixpeek_docs.*.' . sql("SELECT oid FROM pg_database WHERE datname = 'postgres'") . '.*');
sub rewrite
{
	my ($content) = @_;
	open(my $file, '+<', $witness) or die "$witness: $!";
	print $file $content;
	close($file);
	return;
}
my $before = slurp_file($witness);
adopted('adopt() once more');
my $between = slurp_file($witness);
isnt($between, $before, 'adopt() once more: the file outside of the data directory has changed');
$node->append_conf('postgresql.conf', 'mixpeek.enabled = off');
$node->restart;
rewrite($before);
sql('SELECT mixpeek.adopt()');
rewrite($between);
is(sql('SELECT DISTINCT problem FROM mixpeek.mirrors'), '', 'adopt() twice: it is not taken for a return to an earlier time');
$node->append_conf('postgresql.conf', 'mixpeek.enabled = on');
$node->restart;
is(differences('t', 't'), '', 'adopt() twice: the documents equal the rows');

$node->backup('base');
sql("UPDATE t SET v = 'in the archive' WHERE id = 1");
settle();
sql("SELECT pg_create_restore_point('before')");
sql("UPDATE t SET v = 'later than that' WHERE id = 1; INSERT INTO t VALUES (12, 'later'), (14, 'later'); DELETE FROM t WHERE id = 8;
	SELECT pg_switch_wal()");
settle();
put_back($node->backup_dir . '/base');
$node->append_conf('postgresql.conf', "restore_command = 'cp $dir/archive/%f %p'\nrecovery_target_name = 'before'\n" .
	"recovery_target_action = 'promote'\nport = " . $node->port . "\n");
append_to_file($node->data_dir . '/recovery.signal', '');
$api->reset;
$offset = -s $node->logfile;
$node->start;
$node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
is(sql('SELECT v FROM t WHERE id = 1'), 'in the archive', 'recovered to an earlier time: the rows are those of then');
sql("INSERT INTO t VALUES (12, 'again')");
asks('recovered to an earlier time', 'recovered to an earlier time', $offset);
adopted('recovered to an earlier time');

#
# Another server, and a server that leads elsewhere
#

my ($first, $second, $third, $fourth) = map { MixpeekTest::Server->new(enrich => 'now') } 1 .. 4;
create_server($node, 'one', $first);
create_server($node, 'two', $second);
sql("CREATE TABLE u (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('u', 'u', server => 'one');
	INSERT INTO u SELECT g, 'v' || g FROM generate_series(1, 3) g");
settle();

# A test: the documents of table u equal its rows at one server, and the others have so many.
sub moved
{
	my ($name, $to, %others) = @_;
	my %servers = (first => $first, second => $second, third => $third, fourth => $fourth);
	is(differences('u', 'u', server => $servers{$to}), '', "$name: the documents equal the rows");
	wait_for("$name: the deletes at the other servers", sub {
		!grep { @{ $servers{$_}->documents('u') } != $others{$_} } keys %others;
	});
	pass("$name: the documents of other servers are deleted, as far as they can be reached");
	is(join(' ', map { $_->stats->{duplicates} } $first, $second, $third, $fourth), '0 0 0 0', "$name: no duplicates");
	return;
}

sql("SELECT mixpeek.mirror('u', 'u', server => 'two')");
moved("mirror(server => 'two')", 'second', first => 0);
is(sql("SELECT mixpeek.mirror('u', 'u', server => 'one', backfill => false)"), '');
moved("mirror(server => 'one', backfill => false)", 'first', second => 0);
sql("CREATE OR REPLACE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON u FOR EACH ROW
	EXECUTE FUNCTION mixpeek.mirror_row('u', 'server=two')");
moved('CREATE OR REPLACE TRIGGER with another server', 'second', first => 0);
follows('DELETE after that', 'u', 'DELETE FROM u WHERE id = 3', server => $second);

is(costs("ALTER SERVER two OPTIONS (SET namespace 'test', ADD request_timeout '20', ADD max_connections '3')"), '',
	'ALTER SERVER of other options sends nothing');

($rc, $out, $err) = $node->psql('postgres', "ALTER SERVER two OPTIONS (SET base_url '@{[ $third->url ]}')");
like($err, qr/WARNING:  2 documents of 1 tables stay at "@{[ $second->url ]}" \(namespace "test"\)/,
	'ALTER SERVER warns of the documents that stay');
moved('ALTER SERVER of base_url', 'third', second => 2);
settle();
like(sql("SELECT DISTINCT state || ' ' || last_error FROM mixpeek.documents WHERE relation = 0::oid"),
	qr/^failed the document is at "@{[ $second->url ]}" \(namespace "test"\), where no server leads: /,
	'the deletes that are owed at the old place say where the documents are');
sql("CREATE SERVER keyless FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (base_url '@{[ $second->url ]}', namespace 'test')");
wait_for('the deletes that are owed at the old place', sub {
	sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 0::oid AND last_error ~ '\"keyless\" cannot be used: .*mapping'") == 2;
});
create_server($node, 'old', $second);
moved('a server that leads to the old place, beside one without a user mapping', 'third', second => 0);
sql('DROP SERVER keyless');
is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 0::oid"), 0, 'nothing is owed any more');

# There and back, before anything was deleted
sub altered { my ($to) = @_; sql("ALTER SERVER two OPTIONS (SET base_url '@{[ $to->url ]}')"); settle(); return; }

sql("DROP SERVER old CASCADE; INSERT INTO u VALUES (4, 'x')");
settle();
$third->reset;
altered($fourth);
is(@{ $fourth->documents('u') } . @{ $third->documents('u') }, '33', 'ALTER SERVER: three documents stay, and three are new');
sql('DELETE FROM u WHERE id = 1');
altered($third);
moved('ALTER SERVER there and back', 'third', third => 2, fourth => 2);
is(sent($third), 'updates=2 deletes=1', 'ALTER SERVER there and back: the documents are taken back, and no other is made');
create_server($node, 'elsewhere', $fourth);
moved('a server that leads to where documents stayed', 'third', third => 2, fourth => 0);

sub in_namespace
{
	my ($namespace) = @_;
	return scalar(@{ $third->control(GET => "documents?collection=u&namespace=$namespace") });
}
sql("ALTER SERVER two OPTIONS (SET namespace 'another')");
settle();
is(join(' ', map { in_namespace($_) } 'test', 'another'), '2 2', 'ALTER SERVER of namespace: the rows are mirrored there');
create_server($node, 'old', $third);
wait_for('the deletes in the old namespace', sub { in_namespace('test') == 0 });
sql("ALTER SERVER two OPTIONS (SET namespace 'test')");
wait_for('the documents in the old namespace', sub { in_namespace('test') == 2 });
is(join(' ', map { in_namespace($_) } 'test', 'another'), '2 2', 'ALTER SERVER back: the rows are mirrored there');

# DROP and CREATE SERVER, with the mirror as it was
sql("DROP SERVER two CASCADE");
create_server($node, 'two', $second);
moved('another server of the same name', 'second', fourth => 0);
wait_for('the deletes at the dropped server', sub { in_namespace('test') == 0 });

# While requests wait and are under way
$second->config(latency => 200);
$second->reset;
sql("ALTER SERVER two OPTIONS (ADD max_connections '1'); INSERT INTO u SELECT g, 'many' FROM generate_series(100, 119) g");
wait_for('the first create', sub { $second->stats->{creates} > 0 });
altered($first);
$second->config(latency => 0);
moved('ALTER SERVER while requests wait', 'first');
is(sql("SELECT count(*) FROM mixpeek.documents d JOIN mixpeek.places p USING (place)
	WHERE d.relation = 0::oid AND p.base_url = '@{[ $second->url ]}'"), @{ $second->documents('u') },
	'ALTER SERVER while requests wait: what is owed at the old place are the documents that are there');
altered($second);
moved('ALTER SERVER back', 'second', first => 0);
sql('DELETE FROM u WHERE id >= 100');
settle();

# A create whose answer is lost at the old place
$second->faults({ kind => 'reset_after', method => 'POST', body => '"v":"lost"' });
sql("INSERT INTO u VALUES (5, 'lost')");
wait_for('the create', sub { @{ $second->documents('u') } == 3 });
sql("SELECT mixpeek.mirror('u', 'u', server => 'one')");
$second->faults();
moved('a create in doubt at the old place', 'first', second => 0);

# Spellings of one base_url are one place
foreach my $url (map { ($first->url =~ s/^http/$_/r) . '/v1/' } 'HTTP', 'Http')
{
	($rc, $out, $err) = $node->psql('postgres', "ALTER SERVER one OPTIONS (SET base_url '$url')");
	is($err, '', "ALTER SERVER to the same base_url, written $url, warns of nothing");
}
my @spelt = ('https://api.example.com', 'HTTPS://API.Example.COM', 'https://api.example.com:443/',
	'https://api.example.com:00443/v1', 'https://api.example.com:8443', 'https://API.example.com:08443/',
	'https://api.example.com:80', 'https://api.example.com:4430', 'https://api.example.com/Path:443',
	'https://API.EXAMPLE.COM:443/Path:443/v1/', 'https://api.example.com:443/a]:443', 'http://127.0.0.1:80/V1',
	'http://127.0.0.1/V1', 'http://127.0.0.1:443', 'http://[::1]', 'http://[::1]:80', 'HTTP://[::1]:0080/',
	'https://[::A]:81', 'https://[::a]:81/');
sql(join(';', map {
	"CREATE SERVER spelt$_ FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (base_url '$spelt[$_]')" } 0 .. $#spelt));
my $places = qq{SELECT string_agg(DISTINCT base_url COLLATE "C", ' ' ORDER BY base_url COLLATE "C")
	FROM mixpeek.server_places s JOIN mixpeek.places p USING (place) WHERE s.server LIKE 'spelt%'};
wait_for('the places', sub { sql("SELECT count(*) FROM mixpeek.server_places WHERE server LIKE 'spelt%'") == @spelt });
my @places = ('https://api.example.com', 'https://api.example.com:8443', 'https://api.example.com:80',
	'https://api.example.com:4430', 'https://api.example.com/Path:443', 'https://api.example.com/a]:443',
	'http://127.0.0.1/V1', 'http://127.0.0.1:443', 'http://[::1]', 'https://[::a]:81');
is(sql($places), join(' ', sort @places), 'spellings of scheme, host and default port are one place');

# Documents that stay are counted: both of a replacement, and those whose deletes are owed
create_server($node, 'counted', $fourth, namespace => 'n1');
foreach my $table ('half', 'owing')
{
	sql(qq{CREATE TABLE $table (id int PRIMARY KEY, e float8[]);
		SELECT mixpeek.mirror('$table', '$table', server => 'counted', document =>
			'{"features": [{"feature_extractor_id": "x", "payload": {}, "vectors": {"e": "\$e"}}]}');
		INSERT INTO $table VALUES (1, '{1}'), (2, '{2}')});
}
settle();
$fourth->faults({ kind => 'status', status => 403, method => 'DELETE' });
sql("UPDATE half SET e = '{3}' WHERE id = 1; UPDATE owing SET e = '{3}' WHERE id = 1");
settle();
sql("SELECT mixpeek.unmirror('owing', delete_documents => true)");
settle();
my $left = qr/at "@{[ $fourth->url ]}" \(namespace "n1"\), where server "counted" has led/;
($rc, $out, $err) = $node->psql('postgres', "ALTER SERVER counted OPTIONS (SET namespace 'n2')");
like($err, qr/WARNING:  3 documents of 1 tables stay $left/, 'ALTER SERVER counts both documents of a replacement');
like($err, qr/WARNING:  3 documents that are to be deleted stay $left/, 'ALTER SERVER counts the documents whose deletes are owed');
settle();
($rc, $out, $err) = $node->psql('postgres', "ALTER SERVER counted OPTIONS (ADD max_connections '3')");
is($err, '', 'ALTER SERVER of another option after that warns of nothing');
$fourth->faults();
create_server($node, 'n1', $fourth, namespace => 'n1');
wait_for('the deletes at the old place', sub {
	!grep { @{ $fourth->control(GET => "documents?collection=$_&namespace=n1") } } 'half', 'owing';
});
settle();
is(sql("SELECT count(*) FROM mixpeek.documents WHERE server = 'counted' AND relation = 0::oid"), 0,
	'a server that leads to the old place has all of them deleted');

# A record without a mirror, whose place no server leads to
create_server($node, 'three', $third, namespace => 'w');
sql("CREATE TABLE w (id int PRIMARY KEY, v text); CREATE TABLE unmirrored (); SELECT mixpeek.mirror('w', 'w', server => 'three');
	INSERT INTO w SELECT g, 'v' || g FROM generate_series(1, 3) g");
settle();
sql("BEGIN; ALTER SERVER three OPTIONS (SET base_url '@{[ $fourth->url ]}');
	UPDATE mixpeek.documents SET relation = 'unmirrored'::regclass WHERE collection = 'w';
	INSERT INTO mixpeek.outbox (relation, operation, collection) VALUES ('unmirrored'::regclass, 'T', 'w');
	COMMIT; SELECT pg_reload_conf()");
wait_for('the deletes of documents without a mirror to fail', sub {
	sql("SELECT count(*) FROM mixpeek.documents
		WHERE collection = 'w' AND state = 'failed' AND last_error ~ 'where no server leads'") == 3;
});
create_server($node, 'back', $third, namespace => 'w');
wait_for('the deletes of the former documents', sub { @{ $third->documents('w') } == 0 });
sql('DROP TABLE w, unmirrored; DROP SERVER back CASCADE; DROP SERVER three CASCADE');

# One place under two names: the default namespace, named, and another name of the host
sub keeps_documents
{
	my ($name, $statement) = @_;
	$api->reset;
	my ($rc, $out, $err) = $node->psql('postgres', $statement, on_error_die => 1);
	is(differences('v', 'v'), '', "$name: the documents equal the rows");
	is(sent(), 'updates=3', "$name: no document is deleted");
	return $err;
}
create_server($node, 'plain', $api);
sql('ALTER SERVER plain OPTIONS (DROP namespace)');
sql("CREATE TABLE v (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('v', 'v', server => 'plain');
	INSERT INTO v SELECT g, 'v' || g FROM generate_series(1, 3) g");
settle();
like(keeps_documents('ALTER SERVER that names the default namespace', "ALTER SERVER plain OPTIONS (ADD namespace 'default')"),
	qr/WARNING:  3 documents of 1 tables stay at "@{[ $api->url ]}"(?! \(namespace)/, 'a place without a namespace is described without one');
$api->reset;
create_server($node, 'unnamed', $api);
sql('ALTER SERVER unnamed OPTIONS (DROP namespace)');
wait_for('the deletes that are owed at the old name', sub {
	sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 0::oid AND server = 'plain'") == 0;
});
is(differences('v', 'v'), '', 'a server that leads to the same place under its old name: the documents equal the rows');
is(sent(), '', 'a server that leads to the same place under its old name: nothing is sent');
create_server($node, 'alias', 'http://localhost:' . $api->port, namespace => 'default');
keeps_documents("mirror(server => '$_') of the same API", "SELECT mixpeek.mirror('v', 'v', server => '$_')")
	for qw(alias plain alias plain);

#
# DROP and CREATE EXTENSION
#

my $origin = sql('SELECT id FROM mixpeek.origin');
($rc, $out, $err) = $node->psql('postgres', 'DROP EXTENSION mixpeek_docs CASCADE');
like($err, qr/NOTICE: .*their origin is forgotten.*adopt\(origin => '$origin'\)/s, 'DROP EXTENSION names the way back');
sql("UPDATE t SET v = 'without extension' WHERE id = 1; DELETE FROM t WHERE id = 12; INSERT INTO t VALUES (13, 'without');
	CREATE EXTENSION mixpeek_docs");
create_server($node, 'mixpeek', $api);
$api->reset;
sql("SELECT mixpeek.adopt(origin => '$origin'); SELECT mixpeek.mirror('t', 't')");
is(differences('t', 't'), '', 'adopt(origin), then mirror(): the documents equal the rows');
is($api->stats->{duplicates}, 0, 'adopt(origin), then mirror(): no duplicates');
is(sent(), 'creates=1 updates=' . sql('SELECT count(*) - 1 FROM t') . ' deletes=1',
	'adopt(origin), then mirror(): the documents are taken over');
is(sql('SELECT id FROM mixpeek.origin'), $origin, 'adopt(origin): it is the origin');
($rc, $out, $err) = $node->psql('postgres', "SELECT mixpeek.adopt(true, '$origin')");
like($err, qr/ERROR:  a copy cannot take over/, 'adopt(as_copy, origin) is refused');

# What was mirrored before adopt() is deleted again
sql("DROP EXTENSION mixpeek_docs CASCADE; DELETE FROM t WHERE id = 13; CREATE EXTENSION mixpeek_docs");
create_server($node, 'mixpeek', $api);
sql("SELECT mixpeek.mirror('t', 't')");
settle();
is(@{ $api->documents('t') }, sql('SELECT 2 * count(*) + 1 FROM t'), 'mirror() in another extension: all rows are mirrored anew');
sql("SELECT mixpeek.adopt(origin => '$origin')");
settle();
wait_for('the deletes', sub { @{ $api->documents('t') } == sql('SELECT count(*) FROM t') });
is(differences('t', 't'), '', 'mirror(), then adopt(origin): the documents equal the rows');
is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 0::oid"), 0, 'mirror(), then adopt(origin): nothing is owed any more');

done_testing();

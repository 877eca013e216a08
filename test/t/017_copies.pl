# Copies of a database: dumps that are restored, CREATE DATABASE ... TEMPLATE, and what mixpeek.adopt() makes of them.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;

my ($node, $api) = mirror_node("max_worker_processes = 20");

sql(q{
	CREATE TABLE plain (id int PRIMARY KEY, v text);
	CREATE TABLE hand (id int PRIMARY KEY, v text);
	CREATE TABLE composite (a int, b text, c date, v text, PRIMARY KEY (b, a, c));
	CREATE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON hand
		FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('hand', 'server=mixpeek');
	SELECT mixpeek.mirror('plain', 'plain'), mixpeek.mirror('composite', 'composite');
	INSERT INTO plain SELECT g, 'v' || g FROM generate_series(1, 20) g;
	INSERT INTO hand VALUES (2, 'y'), (7, 'z'), (9, 'w'), (10, 'v');
	INSERT INTO composite SELECT g, 'a,"b"', '2025-01-01', 'v' FROM generate_series(1, 5) g;
});
my %composite = (key => 'ROW(t.b, t.a, t.c)::text');

# A restored dump takes the original's place when mixpeek.adopt() is called.

my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
settle();
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'pg_dump of a database with mirrors');
sql('CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ],
	'the dump is restored');
$api->reset;
my $log_offset = -s $node->logfile;
sql("INSERT INTO hand VALUES (20, 'only in the copy'); UPDATE hand SET v = 'changed in the copy' WHERE id = 7",
	'restored');
wait_for('the worker to see the copy', sub {
	slurp_file($node->logfile) =~ /nothing is mirrored: this database is a copy/;
});
my ($rc, $out, $err) = $node->psql('restored', "\\set VERBOSITY verbose\nSELECT mixpeek.wait('1 s')");
like($err, qr/55000: nothing is mirrored: this database is a copy.*adopt/s,
	'wait() in a restored dump fails, and names adopt()');
is($api->stats->{requests}, 0, 'a restored dump sends nothing before adopt()');
sql('SELECT mixpeek.adopt()', 'restored');
is(differences('hand', 'hand', database => 'restored'), '',
	'adopt() in a restored dump: the documents of table hand equal its rows');
is(differences('plain', 'plain', database => 'restored'), '',
	'adopt() in a restored dump: the documents of table plain equal its rows');
is(differences('composite', 'composite', database => 'restored', %composite), '',
	'adopt() in a restored dump: the documents of table composite equal its rows');
is(join(' ', @{ $api->stats }{qw(creates updates deletes duplicates)}), '1 29 0 0',
	'adopt() in a restored dump: one create, one update of each other row, no duplicates');
is(sql('SELECT id FROM mixpeek.origin', 'restored'), sql('SELECT id FROM mixpeek.origin'),
	'adopt() in a restored dump keeps the origin');
($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT mixpeek.adopt(as_copy => true)");
like($err, qr/55000: this database is not a copy/, 'adopt(as_copy) in the original fails');
follows('DELETE in a restored dump after adopt()', 'hand', 'DELETE FROM hand WHERE id = 20', database => 'restored');
is(sql("SELECT mixpeek.wait('3 min'), (SELECT count(*) FROM mixpeek.documents WHERE state <> 'mirrored')",
	'restored'), 't|0', 'a restored dump after adopt(): all records are mirrored');

# An older dump knows less than the server does: its tables are mirrored anew, and what they have there is
# found by its marker.

sql('DROP DATABASE restored');
sql("UPDATE hand SET v = v || ' by the original'; INSERT INTO hand VALUES (30, 'after the dump'); DELETE FROM hand
	WHERE id = 2");
settle();
sql('CREATE DATABASE older TEMPLATE template0');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('older') ],
	'an older dump is restored');
sql("SELECT mixpeek.adopt(); INSERT INTO hand VALUES (30, 'of the older one')", 'older');
settle('older');
is($api->stats->{duplicates}, 0, 'an older dump after adopt(): no duplicates, though the original went on');
sql("SELECT mixpeek.unmirror('hand'); SELECT mixpeek.mirror('hand', 'hand')", 'older');
is(differences('hand', 'hand', database => 'older'), '', 'an older dump, mirrored anew: the documents equal the rows');
is($api->stats->{duplicates}, 0, 'an older dump, mirrored anew: no duplicates');
follows('DELETE in an older dump', 'hand', 'DELETE FROM hand WHERE id = 2', database => 'older');
sql('DROP DATABASE older');
sql("SELECT mixpeek.unmirror('hand')");
follows('mirror() anew in the original', 'hand', "SELECT mixpeek.mirror('hand', 'hand')");

# CREATE DATABASE ... TEMPLATE is a copy with documents of its own.

my $own = MixpeekTest::Server->new(enrich => 'now');
$api->reset;
sql('CREATE DATABASE staging TEMPLATE postgres');
sql("UPDATE hand SET v = 'staging'; DELETE FROM hand WHERE id = 9; TRUNCATE plain; INSERT INTO plain
	VALUES (1, 'staging')", 'staging');
wait_for('the worker to see the copy', sub {
	slurp_file($node->logfile, $log_offset) =~ /nothing is mirrored: this database is a copy/;
});
($rc, $out, $err) = $node->psql('staging', 'CALL mixpeek.sync()');
like($err, qr/a worker mirrors this database|nothing is mirrored: this database is a copy/,
	'sync() in a copy by CREATE DATABASE ... TEMPLATE fails');
is($api->stats->{requests}, 0, 'a copy by CREATE DATABASE ... TEMPLATE sends nothing');
sql("ALTER SERVER mixpeek OPTIONS (SET base_url '@{[ $own->url ]}'); SELECT mixpeek.adopt(as_copy => true)", 'staging');
is(differences('hand', 'hand', database => 'staging', server => $own), '',
	'adopt(as_copy): the copy has documents of its own for table hand');
is(differences('plain', 'plain', database => 'staging', server => $own), '',
	'adopt(as_copy): the copy has documents of its own for table plain');
is($api->stats->{requests}, 0, "adopt(as_copy) sends nothing to the original's API");
isnt(sql('SELECT id FROM mixpeek.origin', 'staging'), sql('SELECT id FROM mixpeek.origin'),
	'adopt(as_copy) makes a new origin');
sql('DROP DATABASE staging');
is(differences('hand', 'hand'), '', 'the original after its copy was adopted: the documents equal the rows');
is($api->stats->{duplicates}, 0, 'the original after its copies were adopted: no duplicates');

done_testing();

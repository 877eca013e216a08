# Dumps and pg_upgrade keep records and mirrors. (185_dumps_of_others.pl has dumps by other roles than superusers.)
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Roles;

my $node = roles_node();
sql('CREATE EXTENSION mixpeek_docs');
my $api = make_mirror();
others_go_on('before the dump');
sql("CREATE TABLE a.late (id int PRIMARY KEY); SELECT mixpeek.mirror('a.late', 'late')", 'owner_a');
sql("INSERT INTO a.t SELECT g, 'x' FROM generate_series(100, 110) g", 'owner_a');
is(sql("SELECT mixpeek.wait('60 s')"), 't', 'before the dump: wait() returns true');
my $pid = wait_for('the worker', \&worker_pid);

#
# Dumps
#

my $dir = PostgreSQL::Test::Utils::tempdir();
my $count = sql('SELECT count(*) FROM mixpeek.documents');
sql('CREATE ROLE dumper LOGIN; GRANT pg_read_all_data TO dumper');
command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-U', 'dumper', '--enable-row-security', '-f',
	"$dir/dumper.sql" ], 'pg_dump with pg_read_all_data and --enable-row-security');
command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-U', 'dumper', '--exclude-table-data=mixpeek.*', '-f',
	"$dir/without.sql" ], "pg_dump with pg_read_all_data, without the extension's tables");
my $lines = () = slurp_file("$dir/dumper.sql") =~ /"state": "mirrored"/g;
is($lines, $count, 'pg_dump with pg_read_all_data and --enable-row-security has all records');
command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-Fc', '-f', "$dir/all.dump" ], 'pg_dump by a superuser');
sql('CREATE DATABASE restored');
command_ok([ 'pg_restore', '-d', $node->connstr('restored'), '-j', 3, '--exit-on-error', "$dir/all.dump" ],
	'pg_restore with three jobs');
is(sql('SELECT count(*) FROM mixpeek.documents', undef, 'restored'), $count, 'restored: all records');
is(sql("SELECT string_agg(relation::text || ' ' || coalesce(problem, 'fine'), ', ' ORDER BY relation::text)
	FROM mixpeek.mirrors", undef, 'restored'), 'a.late fine, a.t fine', 'restored: all mirrors');
is(sql("SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'mixpeek_docs'", undef, 'restored'),
	'pg_catalog', 'restored: the extension is in pg_catalog');
sql('DROP EXTENSION mixpeek_docs CASCADE', undef, 'restored');
is(sql("SELECT to_regnamespace('mixpeek') IS NULL", undef, 'restored'), 't', 'DROP EXTENSION drops the schema');
is(worker_pid(), $pid, 'dumps: the worker is not replaced');

#
# pg_upgrade
#

sql('REVOKE pg_read_all_data FROM dumper; DROP DATABASE restored; ALTER DATABASE postgres RESET search_path');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'mixpeek_docs'");
$node->stop;
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$new->append_conf('postgresql.conf', "shared_preload_libraries = 'mixpeek_docs'");
chdir($dir) or die "chdir: $!";
my $bindir = $node->config_data('--bindir');
command_ok([ 'pg_upgrade', '-b', $bindir, '-B', $bindir, '-d', $node->data_dir, '-D', $new->data_dir, '-p',
	$node->port, '-P', $new->port,
	'-s', $node->host ], 'pg_upgrade');
$new->start;
$node = use_roles_node($new);
is(sql('SELECT count(*) FROM mixpeek.documents'), $count, 'pg_upgrade keeps all records');
is(sql("SELECT string_agg(relation::text || ' ' || coalesce(problem, 'fine'), ', ' ORDER BY relation::text)
	FROM mixpeek.mirrors"), 'a.late fine, a.t fine', 'pg_upgrade keeps all mirrors');
is(sql(q{SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
	AND classid = 'pg_namespace'::regclass
	AND objid = 'mixpeek'::regnamespace}), 1, 'pg_upgrade: the schema is a member of the extension');
is(refusal('SELECT mixpeek.adopt()'), '', 'pg_upgrade: adopt() works');
$node->stop;

done_testing();

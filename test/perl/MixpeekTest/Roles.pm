# What tests of the installation and of definitions share: a node with the roles owner_a, attacker and reader, and a
# mirrored table of owner_a's whose rows must be mirrored whatever attacker does.
#
#   use MixpeekTest::Roles;
#
#   my $node = roles_node();
#   sql('CREATE EXTENSION mixpeek_docs');
#   my $api = make_mirror();
#   sql('CREATE TABLE m.x ()', 'attacker');
#   like(refusal('DROP TABLE a.t', 'attacker'), qr/must be owner/, '...');
#   others_go_on('after that');
#
package MixpeekTest::Roles;
use strict;
use warnings;
use Exporter qw(import);
use MixpeekTest;
use PostgreSQL::Test::Cluster;
use Test::More;

our @EXPORT = qw(roles_node use_roles_node make_mirror sql refusal worker_pid others_go_on);

my $node;
my $last = 0;

# A running node without the extension. attacker may create schemas, and tables in the schema public.
sub roles_node
{
	$node = PostgreSQL::Test::Cluster->new('main');
	$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
	$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'mixpeek_docs'
mixpeek.max_attempts = 3
mixpeek.retry_max_delay = 1
log_statement = none
});
	$node->start;
	sql(q{
		CREATE ROLE attacker LOGIN; CREATE ROLE owner_a LOGIN; CREATE ROLE reader LOGIN;
		GRANT CREATE ON DATABASE postgres TO attacker;
		GRANT CREATE ON SCHEMA public TO attacker;
	});
	return $node;
}

# From now on the functions mean this node.
sub use_roles_node
{
	($node) = @_;
	return $node;
}

# An API server, a server for it with keys of the owners, the schemas a of owner_a and m of attacker, and the mirrored
# table a.t (id, v).
sub make_mirror
{
	my $api = MixpeekTest::Server->new(api_key => [ 'sk_root', 'sk_owner_a', 'sk_attacker' ], enrich => 'now');

	sql(q{CREATE SCHEMA a AUTHORIZATION owner_a; CREATE SCHEMA m AUTHORIZATION attacker});
	create_server($node, 'mixpeek', $api, api_key => 'sk_root', request_timeout => 5);
	sql(q{
		CREATE USER MAPPING FOR owner_a SERVER mixpeek OPTIONS (api_key 'sk_owner_a');
		CREATE USER MAPPING FOR attacker SERVER mixpeek OPTIONS (api_key 'sk_attacker');
		GRANT USAGE ON FOREIGN SERVER mixpeek TO owner_a, attacker;
	});
	sql("CREATE TABLE a.t (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('a.t', 'a')", 'owner_a');
	return $api;
}

sub as_role
{
	my ($statement, $role) = @_;
	return (defined $role ? "SET SESSION AUTHORIZATION $role; " : '') . $statement;
}

# sql(STATEMENTS, ROLE, DATABASE): their output.
sub sql
{
	my ($statement, $role, $database) = @_;
	return $node->safe_psql($database // 'postgres', as_role($statement, $role));
}

# What a statement is refused with; '' if it is not.
sub refusal
{
	my ($statement, $role, $database) = @_;
	my (undef, undef, $stderr) = $node->psql($database // 'postgres', as_role($statement, $role));
	return $stderr =~ /ERROR:\s+(.*)/ ? $1 : '';
}

# The worker of the database postgres, '' where there is none.
sub worker_pid
{
	return sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker' AND datname = 'postgres'});
}

# A test: a new row of a.t is mirrored.
sub others_go_on
{
	my ($name) = @_;

	$last++;
	sql("INSERT INTO a.t VALUES ($last, 'x')", 'owner_a');
	wait_for("owner_a's row $last", sub {
		sql("SELECT count(*) FROM mixpeek.documents
			WHERE relation = 'a.t'::regclass AND key = '$last' AND state = 'mirrored'");
	});
	pass("$name: owner_a's rows are mirrored");
	return;
}

1;

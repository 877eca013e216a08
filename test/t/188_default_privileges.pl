# CREATE EXTENSION where ALTER DEFAULT PRIVILEGES has taken everything from PUBLIC, or given everything to it: the
# rights to the extension's objects are the same, and what README says that everybody may do works.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Roles;

my $node = roles_node();
my $api = MixpeekTest::Server->new(api_key => 'sk_app', enrich => 'now');
sql('CREATE ROLE app LOGIN; CREATE ROLE other LOGIN');

my @kinds = qw(TABLES SEQUENCES FUNCTIONS TYPES SCHEMAS);
my %preparations = (
	plain => [],
	taken => [ map { my $kind = $_; map { "REVOKE ALL ON $kind FROM $_" } qw(PUBLIC postgres) } @kinds ],
	given => [ map { my $kind = $_; map { "GRANT ALL ON $kind TO $_" } 'PUBLIC', 'other WITH GRANT OPTION' } @kinds ]);

# Who has which right to which of the extension's objects in a database; the owner's rights do not matter.
sub rights
{
	my ($database) = @_;
	return sql(q{
		SELECT string_agg(concat_ws(' ', object, grantee, privilege_type, is_grantable), E'\n'
				ORDER BY object, grantee, privilege_type)
		  FROM (SELECT c.oid::regclass::text AS object, relowner AS owner,
				(aclexplode(coalesce(relacl, acldefault('r', relowner)))).*
				FROM pg_class c WHERE relnamespace = 'mixpeek'::regnamespace AND relkind IN ('r', 'v')
			UNION ALL SELECT attrelid::regclass || '.' || attname, 0, (aclexplode(attacl)).*
				FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'mixpeek'::regnamespace
			UNION ALL SELECT p.oid::regprocedure::text, proowner, (aclexplode(coalesce(proacl, acldefault('f', proowner)))).*
				FROM pg_proc p WHERE pronamespace = 'mixpeek'::regnamespace
			UNION ALL SELECT t.oid::regtype::text, typowner, (aclexplode(coalesce(typacl, acldefault('T', typowner)))).*
				FROM pg_type t WHERE typnamespace = 'mixpeek'::regnamespace AND typcategory <> 'A'
			UNION ALL SELECT nspname, nspowner, (aclexplode(coalesce(nspacl, acldefault('n', nspowner)))).*
				FROM pg_namespace WHERE nspname = 'mixpeek'
			UNION ALL SELECT fdwname, fdwowner, (aclexplode(coalesce(fdwacl, acldefault('F', fdwowner)))).*
				FROM pg_foreign_data_wrapper WHERE fdwname = 'mixpeek_docs') acl
		 WHERE grantee <> owner}, undef, $database);
}

foreach my $database (sort keys %preparations)
{
	sql("CREATE DATABASE $database");
	sql(join('; ', map { "ALTER DEFAULT PRIVILEGES $_" } @{ $preparations{$database} }), undef, $database)
	  if @{ $preparations{$database} };
	sql('CREATE EXTENSION mixpeek_docs', undef, $database);
}
my $rights = rights('plain');
like($rights, qr/^mixpeek\.documents 0 SELECT/m, 'plain: PUBLIC may read mixpeek.documents');
is(rights($_), $rights, "$_: the rights are the same") foreach qw(taken given);

# What everybody may do, where everything was taken from PUBLIC
create_server($node, 'mixpeek', $api, database => 'taken', api_key => 'sk_app', request_timeout => 5);
sql(q{
	GRANT USAGE ON FOREIGN SERVER mixpeek TO app;
	CREATE USER MAPPING FOR app SERVER mixpeek OPTIONS (api_key 'sk_app');
	CREATE SCHEMA app AUTHORIZATION app}, undef, 'taken');

sub works
{
	my ($statement, $expected) = @_;
	my $name = "taken: $statement" =~ s/\s+/ /gr;
	my ($status, $out, $err) = $node->psql('taken', "SET SESSION AUTHORIZATION app; $statement");

	is($err =~ /ERROR:\s+(.*)/ ? $1 : '', '', $name);
	like($out, $expected, "$name: its result") if defined $expected;
	return $out;
}

works('CREATE TABLE app.t (id int PRIMARY KEY, v text, doc_id text, e jsonb)');
works(q{SELECT mixpeek.mirror('app.t', 'c', document_id_column => 'doc_id', enrichments_column => 'e')});
works(q{INSERT INTO app.t VALUES (1, 'x')});
works(q{SELECT mixpeek.wait('1 min')}, qr/^t$/);
works('CALL mixpeek.sync()');
works('SELECT state FROM mixpeek.documents', qr/^mirrored$/);
works('SELECT count(*) FROM mixpeek.outbox', qr/^0$/);
works('SELECT count(*) FROM mixpeek.origin', qr/^1$/);
works('SELECT relation, problem FROM mixpeek.mirrors', qr/^t\|$/);
works('SELECT label, score FROM mixpeek.taxonomies', qr/\|/);
works('SELECT cluster_id, distance_to_centroid FROM mixpeek.clusters', qr/\|/);
works(q{SELECT mixpeek.preview('app.t', '1')}, qr/"v": "x"/);
works(q{SELECT mixpeek.retry('app.t'), mixpeek.retry()}, qr/^0\|0$/);
works(q{SELECT mixpeek.refresh('app.t')}, qr/^1$/);
works(q{SELECT doc_id IS NOT NULL FROM app.t}, qr/^t$/);
works(q{SELECT mixpeek.unmirror('app.t', delete_documents => true)});
works(q{CREATE TRIGGER by_hand AFTER INSERT OR UPDATE OR DELETE ON app.t FOR EACH ROW
	EXECUTE FUNCTION mixpeek.mirror_row('c')});
works(q{UPDATE app.t SET v = 'y'});
works(q{SELECT mixpeek.wait('1 min')}, qr/^t$/);
my $created = works(q{SELECT mixpeek.create_document('notes', metadata => '{"title": "by hand"}') ->> 'document_id'});
my ($id) = $created =~ /(\S+)/;
works(qq{SELECT mixpeek.get_document('notes', '$id') -> 'metadata'}, qr/by hand/);
works(qq{SELECT mixpeek.update_document('notes', '$id', '{"metadata": {"title": "changed"}}') IS NOT NULL}, qr/^t$/);
works(q{SELECT d -> 'metadata' ->> 'title' FROM mixpeek.list_documents('notes', max_documents => 10) d}, qr/^changed$/);
works(qq{SELECT mixpeek.delete_document('notes', '$id')});

# Nothing more, where everything was given to PUBLIC
foreach my $statement ('SELECT mixpeek.adopt()', 'DELETE FROM mixpeek.forgotten', 'SELECT * FROM mixpeek.set_aside',
	'UPDATE mixpeek.origin SET id = id', 'DELETE FROM mixpeek.outbox', q{INSERT INTO mixpeek.dump VALUES ('origin', '{}')},
	'TRUNCATE mixpeek.documents', 'CREATE TABLE mixpeek.mine ()',
	'CREATE SERVER mine FOREIGN DATA WRAPPER mixpeek_docs')
{
	foreach my $database (qw(taken given))
	{
		like(refusal($statement, 'other', $database), qr/permission denied/, "$database, refused: $statement");
	}
}

done_testing();

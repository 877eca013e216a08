# What others have prepared before CREATE EXTENSION, and what they may do to its objects afterwards.
use strict;
use warnings;
use MixpeekTest::Attack;
use Test::More;

attack_cluster();

# Schemas, operators and default privileges that exist before the extension
sub new_database
{
	my ($name) = @_;

	sql("CREATE DATABASE $name");
	sql("GRANT CREATE ON DATABASE $name TO attacker");
	return;
}

sub extension_is_clean
{
	my ($database, $what) = @_;
	my $refusal = refusal('superuser', 'CREATE EXTENSION mixpeek_docs', $database);

	return pass("$what: CREATE EXTENSION is refused") if $refusal ne '';
	is(sql_as('superuser', q{
		SELECT string_agg(what, E'\n') FROM (
			SELECT 'schema: ' || nspname AS what FROM pg_namespace WHERE nspname = 'mixpeek' AND nspowner <> 10
			UNION ALL SELECT 'privileges of ' || c.oid::regclass::text FROM pg_class c, aclexplode(relacl) a
				WHERE relnamespace = 'mixpeek'::regnamespace
				AND grantee NOT IN (0, 10)
			UNION ALL SELECT 'privileges of everybody on ' || c.oid::regclass::text FROM pg_class c,
				aclexplode(relacl) a WHERE relnamespace = 'mixpeek'::regnamespace
				AND grantee = 0 AND privilege_type <> 'SELECT'
			UNION ALL SELECT 'privileges of ' || p.oid::regprocedure::text FROM pg_proc p, aclexplode(proacl) a
				WHERE pronamespace = 'mixpeek'::regnamespace
				AND grantee NOT IN (0, 10)
			UNION ALL SELECT 'privileges on the schema of ' || grantee FROM pg_namespace n, aclexplode(nspacl) a
				WHERE nspname = 'mixpeek'
				AND (grantee NOT IN (0, 10) OR (grantee = 0 AND privilege_type <> 'USAGE'))
			UNION ALL SELECT 'not the superuser''s: ' || c.oid::regclass::text FROM pg_class c
				WHERE relnamespace = 'mixpeek'::regnamespace AND relowner <> 10
			UNION ALL SELECT 'not the superuser''s: ' || p.oid::regprocedure::text FROM pg_proc p
				WHERE pronamespace = 'mixpeek'::regnamespace AND proowner <> 10
			UNION ALL SELECT 'not pg_catalog''s: ' || o.oid::regoperator::text || ' in ' || (SELECT ev_class::regclass
				FROM pg_rewrite WHERE oid = objid)
				FROM pg_depend d JOIN pg_operator o ON o.oid = refobjid WHERE d.refclassid = 'pg_operator'::regclass
				AND oprowner <> 10
			UNION ALL SELECT 'no row-level security: ' || c.oid::regclass::text FROM pg_class c
				WHERE relnamespace = 'mixpeek'::regnamespace AND relkind = 'r' AND NOT relrowsecurity
				AND relname <> 'dump' -- which is always empty
		) x}, $database), '', $what);
	return;
}

attack 'a schema mixpeek that was there before the extension' => sub {
	new_database('before');
	sql_as('attacker', 'CREATE SCHEMA mixpeek; GRANT ALL ON SCHEMA mixpeek TO PUBLIC', 'before');
	extension_is_clean('before', 'CREATE EXTENSION with an empty schema mixpeek');
	sql_as('superuser', 'DROP EXTENSION IF EXISTS mixpeek_docs', 'before');
	refusal('attacker', q{
		CREATE SCHEMA IF NOT EXISTS mixpeek;
		CREATE FUNCTION mixpeek.evil(int2, int4) RETURNS int LANGUAGE sql AS 'SELECT 1';
		CREATE OPERATOR mixpeek.& (LEFTARG = int2, RIGHTARG = int4, FUNCTION = mixpeek.evil);
		CREATE FUNCTION mixpeek.json_evil(jsonb, text) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
		CREATE OPERATOR mixpeek.-> (LEFTARG = jsonb, RIGHTARG = text, FUNCTION = mixpeek.json_evil)}, 'before');
	extension_is_clean('before', 'CREATE EXTENSION with a schema mixpeek that has operators');
	sql('DROP DATABASE before WITH (FORCE)');
};

attack 'default privileges that were there before the extension' => sub {
	new_database('defaults');
	sql_as('superuser', q{
		ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO db_owner, PUBLIC; ALTER DEFAULT PRIVILEGES
			GRANT ALL ON FUNCTIONS TO attacker;
		ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO attacker, PUBLIC}, 'defaults');
	extension_is_clean('defaults', 'CREATE EXTENSION with default privileges');
	isnt(refusal('db_owner', $_, 'defaults'), '', "refused: " . s{\s+}{ }gr) foreach 'TRUNCATE mixpeek.documents',
		'TRUNCATE mixpeek.origin', 'TRUNCATE mixpeek.forgotten',
	  'UPDATE mixpeek.origin SET id = id', 'CREATE TRIGGER x BEFORE INSERT ON mixpeek.documents FOR EACH ROW
		EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger()';
	isnt(refusal('attacker', 'SELECT mixpeek.adopt()', 'defaults'), '', 'refused: SELECT mixpeek.adopt()');
	sql('DROP DATABASE defaults WITH (FORCE)');
};

# Triggers of other roles on the extension's tables
attack 'a trigger of others on the tables of the extension', gains => qr/relations: \(mixpeek\./, sub {
	loot();
	sql('GRANT TRIGGER ON mixpeek.documents, mixpeek.outbox, mixpeek.origin, mixpeek.forgotten TO db_owner; GRANT
		INSERT ON attacker.noted TO PUBLIC');
	sql('GRANT USAGE ON SEQUENCE attacker.noted_number_seq TO PUBLIC; GRANT
		EXECUTE ON FUNCTION attacker.loot(text) TO PUBLIC; GRANT USAGE ON SCHEMA attacker TO db_owner');
	sql_as('db_owner', q{
		CREATE FUNCTION public.evil() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN PERFORM attacker.loot('ALTER ROLE db_owner SUPERUSER'); RETURN new; END $$});
	foreach my $table (qw(documents outbox origin forgotten))
	{
		foreach my $trigger ('BEFORE INSERT OR UPDATE', 'AFTER INSERT OR UPDATE')
		{
			refusal('db_owner', "CREATE TRIGGER \"evil $trigger\" $trigger ON mixpeek.$table FOR EACH ROW
				EXECUTE FUNCTION public.evil()");
		}
	}
	sql_as('attacker', q{
		CREATE TABLE attacker.t (id int PRIMARY KEY);
		SELECT mixpeek.mirror('attacker.t', 't', server => 'attacker');
		INSERT INTO attacker.t VALUES (1)});
	wait_for_states('attacker.t', 'mirrored');
	is(sql("SELECT string_agg(who || ': ' || outcome, '; ') FROM attacker.noted WHERE outcome = 'done'"), '',
		"no statement of the trigger's function was done");
	sql('DROP FUNCTION public.evil() CASCADE; REVOKE ALL ON mixpeek.documents, mixpeek.outbox, mixpeek.origin,
		mixpeek.forgotten FROM db_owner CASCADE');
};

attacks_end();

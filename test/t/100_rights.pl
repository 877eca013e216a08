# Who must not get a right, a row or a key that is not theirs.
use strict;
use warnings;
use MixpeekTest::Attack;
use Test::More;

attack_cluster();

# 63 and 90 of the list: an owner's function drops the table that is read after its own.
attack 'a policy of one table drops another one of the same claim' => sub {
	sql_as('attacker', q{
		CREATE FUNCTION attacker.dropper(int) RETURNS boolean LANGUAGE plpgsql AS $$
		BEGIN
			IF session_user <> 'attacker' OR pg_catalog.current_setting('application_name') !~ 'psql' THEN
				EXECUTE 'DROP TABLE IF EXISTS attacker.second';
			END IF;
			RETURN true;
		END $$;
		CREATE TABLE attacker.first (id int PRIMARY KEY);
		ALTER TABLE attacker.first ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
		CREATE POLICY p ON attacker.first USING (attacker.dropper(id)) WITH CHECK (true);
		CREATE TABLE attacker.second (id int PRIMARY KEY);
		CREATE TRIGGER m AFTER INSERT ON attacker.first FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('first', 'server=attacker');
		CREATE TRIGGER m AFTER INSERT ON attacker.second FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('second', 'server=attacker');
		BEGIN; INSERT INTO attacker.first VALUES (1); INSERT INTO attacker.second VALUES (1); COMMIT});
	wait_for_lines('attacker.first', 'mirrored');
	pass('its row is mirrored all the same');
};

attacks_end();

# Traps: a mirrored table of attacker's whose rows meet code of hers when they are read or written back. See Attack.pm
# for the rest.
package MixpeekTest::Trap;
use strict;
use warnings;
use Exporter qw(import);
use MixpeekTest::Attack;
use Test::More;

our @EXPORT = qw(trap trap_statements);

# trap(NAME, PLACE, BODY, OPTION...): a table whose rows meet BODY, statements of PL/pgSQL, when one of our processes
# reads them (policy, cast) or writes them back (before, after, deferred). Options: expect, a pattern of the states that
# the rows end in (they may take what time they like where there is none); declare; setup, SQL of attacker's afterwards;
# then, a function at the end; attack's own options in attack.
sub trap
{
	my ($name, $place, $body, %option) = @_;

	attack "$name, in $place", @{ $option{attack} // [] }, sub {
		sql_as('attacker', trap_statements($place, $body, $option{declare} // '', $option{setup} // '',
			$option{mirror} // ''));
		sql_as('attacker', 'INSERT INTO attacker.t (id, v) SELECT g, g::text FROM generate_series(1, 3) g');
		# A key is found by its base type, so a domain's checks are not even run.
		return is(join(' ', sort keys %{ wait_for_states('attacker.t', 'mirrored') }), '1 2 3',
			'the rows are mirrored') if $place eq "the key's domain";
		wait_for('the function to be run', sub { sql('SELECT is_called FROM attacker.ran') eq 't' });
		pass('the function is run');
		$option{then}->() if $option{then};
		return unless $option{expect};
		wait_for_states('attacker.t', $option{expect});
		pass("the rows are $option{expect}");
	};
	return;
}

sub trap_statements
{
	my ($place, $body, $declare, $setup, $mirror) = @_;
	my %tied = (
		policy => 'ALTER TABLE attacker.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
			CREATE POLICY p ON attacker.t USING (attacker.trap())',
		cast => q{CREATE TYPE attacker.mood AS ENUM ('bad');
			CREATE FUNCTION attacker.mood_json(attacker.mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN
				PERFORM attacker.trap(); RETURN '"bad"'; END $$;
			CREATE CAST (attacker.mood AS json) WITH FUNCTION attacker.mood_json(attacker.mood);
				ALTER TABLE attacker.t ADD mood attacker.mood DEFAULT 'bad'},
		'a check' => q{ALTER TABLE attacker.t ADD CHECK (doc_id IS NULL OR attacker.trap())},
		"an index' expression" => q{CREATE FUNCTION attacker.steady(text) RETURNS boolean IMMUTABLE
			LANGUAGE plpgsql AS $$ BEGIN RETURN $1 IS NULL OR attacker.trap(); END $$;
			CREATE INDEX ON attacker.t (attacker.steady(doc_id))},
		"an index' condition" => q{CREATE FUNCTION attacker.steady(text) RETURNS boolean IMMUTABLE
			LANGUAGE plpgsql AS $$ BEGIN RETURN $1 IS NULL OR attacker.trap(); END $$;
			CREATE INDEX ON attacker.t (v) WHERE attacker.steady(doc_id)},
		'an exclusion constraint' => q{CREATE FUNCTION attacker.steady(text) RETURNS text IMMUTABLE
			LANGUAGE plpgsql AS $$ BEGIN PERFORM attacker.trap() WHERE $1 IS NOT NULL; RETURN $1; END $$;
			ALTER TABLE attacker.t ADD EXCLUDE USING btree (attacker.steady(doc_id) WITH =)},
		'a generated column' => q{CREATE FUNCTION attacker.steady(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
			BEGIN PERFORM attacker.trap() WHERE $1 IS NOT NULL; RETURN $1; END $$;
			ALTER TABLE attacker.t ADD g text GENERATED ALWAYS AS (attacker.steady(doc_id)) STORED},
		"the write-back column's domain" => q{CREATE DOMAIN attacker.checked AS text CHECK (value IS NULL
			OR attacker.trap()); ALTER TABLE attacker.t ALTER doc_id TYPE attacker.checked},
		"the key's domain" => q{CREATE DOMAIN attacker.checked AS int CHECK (attacker.trap()); ALTER TABLE attacker.t
			ALTER id TYPE attacker.checked},
		before => 'CREATE TRIGGER x BEFORE UPDATE ON attacker.t FOR EACH ROW EXECUTE FUNCTION attacker.trap_row()',
		after => 'CREATE TRIGGER x AFTER UPDATE ON attacker.t FOR EACH ROW EXECUTE FUNCTION attacker.trap_row()',
		'a statement trigger' => 'CREATE TRIGGER x AFTER UPDATE ON attacker.t REFERENCING NEW TABLE AS new_rows
			EXECUTE FUNCTION attacker.trap_row()',
		deferred => 'CREATE CONSTRAINT TRIGGER x AFTER UPDATE ON attacker.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
			EXECUTE FUNCTION attacker.trap_row()');
	# A body that changes the new row is for triggers only.
	my $trap_body = $body =~ /\bnew\./ ? '' : $body;
	my $back = $place =~ /policy|cast|the key's domain/ ? ''
		: q{, document_id_column => 'doc_id', enrichments_column => 'enrichments'};

	return qq{
		CREATE SEQUENCE attacker.ran;
		CREATE TABLE attacker.t (id int PRIMARY KEY, v text, doc_id text, enrichments jsonb);
		CREATE TABLE attacker.aside (id int, v text);
		CREATE FUNCTION attacker.trap() RETURNS boolean LANGUAGE plpgsql AS \$trap\$
		$declare
		BEGIN
			IF NOT attacker.inside() THEN RETURN true; END IF;
			PERFORM pg_catalog.nextval('attacker.ran');
			$trap_body
			RETURN true;
		END \$trap\$;
		CREATE FUNCTION attacker.trap_row() RETURNS trigger LANGUAGE plpgsql AS \$trap\$
		$declare
		BEGIN
			IF NOT attacker.inside() THEN RETURN new; END IF;
			PERFORM pg_catalog.nextval('attacker.ran');
			$body
			RETURN new;
		END \$trap\$;
		$tied{$place};
		$setup;
		SELECT mixpeek.mirror('attacker.t', 't', server => 'attacker', backfill => false$mirror$back)};
}

1;

# What a mirrored table costs the one who writes to it: INSERT ... SELECT of many rows, and
# transactions of one row.
#
# Every way has a table of its own, all of the same shape. A round measures each way once, starting
# with another one each time, and what is compared is the difference to "no trigger" of the same round.
# The worker is paused, so what is measured is the writer; where it is at work, the label says so.
package Question::Writer;
use strict;
use warnings;
use utf8;

my $url;

my $plpgsql_outbox = q{
	CREATE TABLE outbox_row (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, operation text NOT NULL,
		item bigint NOT NULL, at timestamptz NOT NULL DEFAULT now());
	CREATE FUNCTION note_row() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF TG_OP = 'DELETE' THEN
			INSERT INTO outbox_row (operation, item) VALUES (TG_OP, OLD.id);
		ELSE
			INSERT INTO outbox_row (operation, item) VALUES (TG_OP, NEW.id);
		END IF;
		RETURN NULL;
	END $$;
	CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON w_plpgsql
		FOR EACH ROW EXECUTE FUNCTION note_row()};
my $statement_trigger = q{
	CREATE TABLE outbox_statement (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, operation text NOT NULL,
		item bigint NOT NULL, at timestamptz NOT NULL DEFAULT now());
	CREATE FUNCTION note_statement() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO outbox_statement (operation, item) SELECT TG_OP, id FROM written;
		RETURN NULL;
	END $$;
	CREATE TRIGGER note AFTER INSERT ON w_statement REFERENCING NEW TABLE AS written
		FOR EACH STATEMENT EXECUTE FUNCTION note_statement()};
my $nothing = q{
	CREATE FUNCTION bench_nothing() RETURNS trigger AS '$libdir/mixpeek_bench' LANGUAGE C;
	CREATE TRIGGER nothing AFTER INSERT OR UPDATE OR DELETE ON w_nothing
		FOR EACH ROW EXECUTE FUNCTION bench_nothing()};
my $row = q{
	CREATE TABLE bench_rows (key text) WITH (autovacuum_enabled = off);
	CREATE FUNCTION bench_row() RETURNS trigger AS '$libdir/mixpeek_bench' LANGUAGE C;
	CREATE TRIGGER row AFTER INSERT OR UPDATE OR DELETE ON w_row
		FOR EACH ROW EXECUTE FUNCTION bench_row()};
my $foreign_key = q{
	CREATE TABLE sections (id integer PRIMARY KEY);
	INSERT INTO sections SELECT generate_series(1, 1000);
	ALTER TABLE w_key ADD FOREIGN KEY (section_id) REFERENCES sections};

# As in its README: the function asks for a request, the worker sends it later.
sub pg_net
{
	return qq{
		CREATE EXTENSION pg_net;
		CREATE FUNCTION post_later() RETURNS trigger LANGUAGE plpgsql AS \$\$
		BEGIN
			PERFORM net.http_post(url := '$url/v1/collections/net/documents', body := to_jsonb(NEW),
				headers := '{"Content-Type": "application/json", "Authorization": "Bearer sk_test"}'::jsonb);
			RETURN NEW;
		END \$\$;
		CREATE TRIGGER post AFTER INSERT ON w_net FOR EACH ROW EXECUTE FUNCTION post_later()};
}

# With its connections kept, which is not its default.
sub pgsql_http
{
	return qq{
		CREATE EXTENSION http;
		ALTER DATABASE bench SET http.curlopt_tcp_keepalive = '1';
		CREATE FUNCTION post_now() RETURNS trigger LANGUAGE plpgsql AS \$\$
		BEGIN
			PERFORM http(('POST', '$url/v1/collections/http/documents',
				ARRAY[http_header('Authorization', 'Bearer sk_test')], 'application/json',
				jsonb_build_object('collection_id', 'http', 'source_details', '[]'::jsonb,
					'metadata', to_jsonb(NEW))::text)::http_request);
			RETURN NEW;
		END \$\$;
		CREATE TRIGGER post AFTER INSERT ON w_http FOR EACH ROW EXECUTE FUNCTION post_now()};
}

# Name, label, what makes it, tables to empty after each run, the part of the rows it is given.
sub ways
{
	my ($bench) = @_;
	my $trigger = "CREATE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON w_mirror
		FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('bench')";

	return (
		{ name => 'none', label => 'no trigger', sql => '' },
		{ name => 'nothing', label => 'row trigger in C that does nothing', sql => $nothing },
		{ name => 'row', label => 'the same with one heap_insert', sql => $row, empty => 'bench_rows' },
		{ name => 'mirror', label => 'mixpeek_docs', sql => $trigger, empty => 'mixpeek.outbox', class => 'ours' },
		{ name => 'key', label => 'foreign key', sql => $foreign_key },
		{ name => 'statement', label => 'statement trigger, transition table', sql => $statement_trigger,
			empty => 'outbox_statement' },
		{ name => 'plpgsql', label => 'plpgsql outbox', sql => $plpgsql_outbox, empty => 'outbox_row' },
		$bench->has('pg_net') ? { name => 'net', label => 'pg_net', sql => pg_net(),
			empty => 'net.http_request_queue', part => 0.2 } : (),
		$bench->has('http') ? { name => 'http', label => 'pgsql-http', sql => pgsql_http(), part => 0.02 } : (),
	);
}

sub prepare
{
	my ($bench, $rows, @ways) = @_;
	my $session = $bench->session;

	$session->do("CREATE TABLE source AS SELECT * FROM (@{[ Bench::rows(1, $rows) ]}) "
		. "AS rows (id, section_id, name, section, price, stock, active, description, updated_at)");
	$session->do('VACUUM (ANALYZE, FREEZE) source');
	foreach my $way (@ways)
	{
		$session->do("CREATE TABLE w_$way->{name} ($Bench::columns) WITH (autovacuum_enabled = off);
			CREATE SEQUENCE s_$way->{name} CACHE 100; ALTER TABLE w_$way->{name} ALTER id
				SET DEFAULT nextval('s_$way->{name}')");
		$session->do($way->{sql}) if $way->{sql};
	}
	return;
}

sub empty
{
	my ($bench, $way) = @_;

	$bench->session->do("TRUNCATE w_$way->{name}" . ($way->{empty} ? ", $way->{empty}" : ''));
	return;
}

# Microseconds a row: of the wall's clock and of CPU.
sub insert
{
	my ($bench, $session, $way, $rows) = @_;
	my $number = int($rows * ($way->{part} // 1)) || 1;
	my ($seconds, $cpu) = $session->cost("INSERT INTO w_$way->{name} SELECT * FROM source WHERE id <= $number");

	empty($bench, $way);
	return ($seconds * 1e6 / $number, $cpu * 1e6 / $number);
}

sub bulk
{
	my ($bench, $report, $rows, @ways) = @_;
	my $runs = $bench->runs(9);
	my %seconds;
	my %cpu;
	my @sessions = map { $bench->new_session } @ways;

	foreach my $run (0 .. $runs)
	{
		my %once;
		my %once_cpu;

		foreach my $i (map { ($_ + $run) % @ways } 0 .. $#ways)
		{
			my $name = $ways[$i]{name};
			($once{$name}, $once_cpu{$name}) = insert($bench, $sessions[$i], $ways[$i], $rows);
		}
		next if $run == 0;		# caches and plans are made
		push @{ $seconds{$_} }, $once{$_} - ($_ eq 'none' ? 0 : $once{none}) foreach keys %once;
		push @{ $cpu{$_} }, $once_cpu{$_} - ($_ eq 'none' ? 0 : $once_cpu{none}) foreach keys %once;
	}
	return ({ map { $_ => Bench::median(@{ $seconds{$_} }) } keys %seconds },
		{ map { $_ => Bench::median(@{ $cpu{$_} }) } keys %cpu });
}

sub report_bulk
{
	my ($report, $seconds, $cpu, @ways) = @_;
	my $limit = $seconds->{key} / 3 < 1.2 ? $seconds->{key} / 3 : 1.2;

	foreach my $way (@ways)
	{
		my $value = $seconds->{ $way->{name} };
		my $text = sprintf('%s%.2f µs a row (CPU %.2f)', $way->{name} eq 'none' ? '' : '+', $value,
			$cpu->{ $way->{name} });
		my @target = $way->{name} eq 'mirror' ?
			(target => sprintf('at most +1.2, and a third of the foreign key: +%.2f', $limit),
				met => $value <= $limit) : ();
		$report->row("INSERT … SELECT, $way->{label}", $value, $text, @target);
	}
	$report->bars(unit => 'µs a row over no trigger, INSERT … SELECT', log => 1, target => [ $limit, 'to reach' ],
		bars => [ map { [ $_->{label}, $seconds->{ $_->{name} }, $_->{class} ] } grep { $_->{name} ne 'none' } @ways ]);
	return;
}

# Transactions a second, and microseconds of the server's CPU a transaction.
sub pgbench
{
	my ($bench, $way, $seconds) = @_;
	my $file = $bench->work . "/$way->{name}.sql";
	my $before = Bench::children_cpu($bench->postmaster_pid);

	open(my $out, '>', $file) or die $!;
	print $out "INSERT INTO w_$way->{name} (section_id, name, section, price, stock, active, description, updated_at) "
		. "VALUES (1 + (random() * 999)::int, 'Product', 'libs', 12.5, 42, true, 'A product of the benchmark', "
			. "now());\n";
	close $out;
	my $said = `pgbench --no-vacuum --client=8 --jobs=2 --time=$seconds --protocol=prepared --file=$file 2>&1`;
	my ($tps) = $said =~ /^tps = ([\d.]+)/m or die $said;
	my ($number) = $said =~ /actually processed: (\d+)/;
	$bench->wait_for_clients;
	my $cpu = Bench::children_cpu($bench->postmaster_pid) - $before;
	empty($bench, $way);
	return ($tps, $cpu * 1e6 / $number);
}

sub single
{
	my ($bench, $report, $what, $runs, @ways) = @_;
	my %ratio;
	my %cpu;
	my @base;

	foreach my $run (1 .. $bench->runs($runs))
	{
		my %once;
		my %once_cpu;
		foreach my $i (map { ($_ + $run) % @ways } 0 .. $#ways)
		{
			my $name = $ways[$i]{name};
			($once{$name}, $once_cpu{$name}) = pgbench($bench, $ways[$i], 2);
		}
		push @base, $once{none};
		push @{ $ratio{$_} }, $once{$_} / $once{none} foreach keys %once;
		push @{ $cpu{$_} }, $once_cpu{$_} - ($_ eq 'none' ? 0 : $once_cpu{none}) foreach keys %once;
	}
	foreach my $way (@ways)
	{
		my $percent = 100 * (Bench::median(@{ $ratio{ $way->{name} } }) - 1);
		my $cpu = Bench::median(@{ $cpu{ $way->{name} } });

		if ($way->{name} eq 'none')
		{
			$report->row("$what, no trigger", Bench::median(@base), sprintf('%.0f a second (CPU %.0f µs each)',
				Bench::median(@base), $cpu));
			next;
		}
		$report->row("$what, " . ($way->{single} // $way->{label}), $percent,
			sprintf('%+.1f %% (CPU %+.0f µs each)', $percent, $cpu),
			$way->{name} eq 'mirror' && !$way->{single} ? (target => 'within 3 %', met => $percent >= -3) : ());
	}
	return;
}

return {
	title => 'What a mirrored table costs its writer',
	run => sub {
		my ($bench, $report) = @_;
		my $rows = $bench->size(100_000);

		$bench->start(pg_net => $bench->has('pg_net'));
		$url = $bench->api->url;
		$bench->enable(0);
		my @ways = ways($bench);
		prepare($bench, $rows, @ways);
		report_bulk($report, bulk($bench, $report, $rows, @ways), @ways);
		foreach my $peer ([ 'pg_net', 'pg_net' ], [ 'http', 'pgsql-http' ])
		{
			$report->row("INSERT … SELECT, $peer->[1]", undef, 'missing: not installed')
			  unless $bench->has($peer->[0]);
		}

		my @few = grep { $_->{name} =~ /^(none|nothing|row|mirror|key|plpgsql)$/ } @ways;
		single($bench, $report, '1-row transactions, 8 clients', 15, @few);
		$bench->session->do('ALTER SYSTEM SET synchronous_commit = off');
		$bench->session->do('SELECT pg_reload_conf()');
		single($bench, $report, 'the same, synchronous_commit = off', 7, @few);
	},
};

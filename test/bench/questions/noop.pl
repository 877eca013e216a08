# What an UPDATE costs that touches no mirrored column, and one that sets a mirrored column to the value that it
# has. Nothing may be noted of either. The template names some of the columns.
package Question::Noop;
use strict;
use warnings;
use utf8;

return {
	title => 'An UPDATE that touches no mirrored column',
	run => sub {
		my ($bench, $report) = @_;
		my $rows = $bench->size(100_000);
		my $runs = $bench->runs(9);
		my %cost;
		my $entries = 0;

		$bench->start;
		$bench->enable(0);
		my $session = $bench->session;
		my @tables = qw(plain empty mirrored same);
		foreach my $table (@tables)
		{
			$session->do("CREATE TABLE $table ($Bench::columns) WITH (autovacuum_enabled = off, fillfactor = 50)");
		}
		foreach my $table (qw(mirrored same))
		{
			$session->do("CREATE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON $table FOR EACH ROW
				EXECUTE FUNCTION "
				. q{mixpeek.mirror_row('bench',
					'document={"metadata": {"name": "$name", "price": "$price", "description": "$description"}}')});
		}
		$session->do("CREATE FUNCTION bench_nothing() RETURNS trigger AS '\$libdir/mixpeek_bench' LANGUAGE C;
			CREATE TRIGGER nothing AFTER INSERT OR UPDATE OR DELETE ON empty FOR EACH ROW
				EXECUTE FUNCTION bench_nothing()");
		foreach my $run (0 .. $runs)
		{
			my (%once, %cpu);
			foreach my $table ($run % 2 ? @tables : reverse @tables)
			{
				$session->do("TRUNCATE $table; INSERT INTO $table @{[ Bench::rows(1, $rows) ]}");
				$session->do('TRUNCATE mixpeek.outbox');
				$session->do("VACUUM $table");
				my ($seconds, $cpu) = $session->cost("UPDATE $table SET stock = stock + 1"
					. ($table eq 'same' ? ', price = price' : ''));
				($once{$table}, $cpu{$table}) = ($seconds * 1e6 / $rows, $cpu * 1e6 / $rows);
				$entries += $session->value('SELECT count(*) FROM mixpeek.outbox');
			}
			next if $run == 0;
			push @{ $cost{plain} }, $once{plain};
			foreach my $table (@tables[1 .. $#tables])
			{
				push @{ $cost{$table} }, $once{$table} - $once{plain};
				push @{ $cost{"$table, CPU"} }, $cpu{$table} - $cpu{plain};
			}
		}
		my %median = map { $_ => Bench::median(@{ $cost{$_} }) } keys %cost;
		my $over = sub {
			my ($table) = @_;
			return sprintf('%+.2f µs a row (CPU %+.2f)', @median{ $table, "$table, CPU" });
		};
		$report->row('no trigger', $median{plain}, sprintf('%.2f µs a row', $median{plain}));
		$report->row('a row trigger in C that does nothing', $median{empty}, $over->('empty'));
		$report->row('mixpeek_docs', $median{mirrored}, $over->('mirrored'), target => 'at most +0.3',
			met => $median{mirrored} <= 0.3);
		$report->row('mixpeek_docs, a mirrored column set to its own value', $median{same}, $over->('same'));
		$report->row('entries in the outbox', $entries, $entries, target => 'none', met => $entries == 0);
		my $bar = sub { my ($label, $table, @class) = @_; return [ $label, $median{plain} + $median{$table}, @class ] };
		$report->bars(unit => 'µs a row', target => [ $median{plain} + 0.3, 'to reach' ],
			bars => [ [ 'no trigger', $median{plain} ], $bar->('row trigger that does nothing', 'empty'),
				$bar->('mixpeek_docs', 'mirrored', 'ours'), $bar->('mixpeek_docs, a column set to its own value',
					'same') ]);
	},
};

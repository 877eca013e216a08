# What an UPDATE costs that touches no mirrored column: the trigger has to find out, and to note nothing.
# The template names some of the columns; another one is updated. A trigger that lists its columns (UPDATE OF)
# is not even called; it misses what a BEFORE trigger changes, so mirror() does not make such a one.
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

		$bench->start;
		$bench->enable(0);
		my $session = $bench->session;
		my @tables = qw(plain empty mirrored listed);
		foreach my $table (@tables)
		{
			$session->do("CREATE TABLE $table ($Bench::columns) WITH (autovacuum_enabled = off, fillfactor = 50)");
		}
		foreach my $mirror ([ 'mirrored', 'UPDATE' ], [ 'listed', 'UPDATE OF id, name, price, description' ])
		{
			$session->do("CREATE TRIGGER mixpeek AFTER INSERT OR $mirror->[1] OR DELETE ON $mirror->[0] FOR EACH ROW EXECUTE FUNCTION "
				. q{mixpeek.mirror_row('bench', 'document={"metadata": {"name": "$name", "price": "$price", "description": "$description"}}')});
		}
		$session->do("CREATE FUNCTION bench_nothing() RETURNS trigger AS '\$libdir/mixpeek_bench' LANGUAGE C;
			CREATE TRIGGER nothing AFTER INSERT OR UPDATE OR DELETE ON empty FOR EACH ROW EXECUTE FUNCTION bench_nothing()");
		foreach my $run (0 .. $runs)
		{
			my (%once, %cpu);
			foreach my $table ($run % 2 ? @tables : reverse @tables)
			{
				$session->do("TRUNCATE $table; INSERT INTO $table @{[ Bench::rows(1, $rows) ]}");
				$session->do('TRUNCATE mixpeek.outbox');
				$session->do("VACUUM $table");
				my ($seconds, $cpu) = $session->cost("UPDATE $table SET stock = stock + 1");
				($once{$table}, $cpu{$table}) = ($seconds * 1e6 / $rows, $cpu * 1e6 / $rows);
			}
			next if $run == 0;
			push @{ $cost{plain} }, $once{plain};
			foreach my $table (@tables[1 .. $#tables])
			{
				push @{ $cost{$table} }, $once{$table} - $once{plain};
				push @{ $cost{"$table, CPU"} }, $cpu{$table} - $cpu{plain};
			}
		}
		my $entries = $session->value('SELECT count(*) FROM mixpeek.outbox');
		my %median = map { $_ => Bench::median(@{ $cost{$_} }) } keys %cost;
		my $over = sub { my ($table) = @_; return sprintf('%+.2f µs a row (CPU %+.2f)', @median{ $table, "$table, CPU" }) };
		$report->row('no trigger', $median{plain}, sprintf('%.2f µs a row', $median{plain}));
		$report->row('a row trigger in C that does nothing', $median{empty}, $over->('empty'));
		$report->row('mixpeek_docs', $median{mirrored}, $over->('mirrored'), target => 'at most +0.3', met => $median{mirrored} <= 0.3);
		$report->row('mixpeek_docs, its trigger AFTER UPDATE OF the columns', $median{listed}, $over->('listed'));
		$report->row('entries in the outbox', $entries, $entries, target => 'none', met => $entries == 0);
		my $bar = sub { my ($label, $table, @class) = @_; return [ $label, $median{plain} + $median{$table}, @class ] };
		$report->bars(unit => 'µs a row', target => [ $median{plain} + 0.3, 'to reach' ],
			bars => [ [ 'no trigger', $median{plain} ], $bar->('row trigger that does nothing', 'empty'),
				$bar->('mixpeek_docs', 'mirrored', 'ours'), $bar->('mixpeek_docs, UPDATE OF', 'listed') ]);
	},
};

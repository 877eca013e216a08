# What an UPDATE costs that touches no mirrored column: the trigger has to find out, and to note nothing.
# The template names some of the columns; another one is updated.
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
		foreach my $table (qw(plain empty mirrored))
		{
			$session->do("CREATE TABLE $table ($Bench::columns) WITH (autovacuum_enabled = off, fillfactor = 50)");
		}
		$session->do(q{CREATE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON mirrored FOR EACH ROW EXECUTE FUNCTION
			mixpeek.mirror_row('bench', 'document={"metadata": {"name": "$name", "price": "$price", "description": "$description"}}')});
		$session->do("CREATE FUNCTION bench_nothing() RETURNS trigger AS '\$libdir/mixpeek_bench' LANGUAGE C;
			CREATE TRIGGER nothing AFTER INSERT OR UPDATE OR DELETE ON empty FOR EACH ROW EXECUTE FUNCTION bench_nothing()");
		foreach my $run (0 .. $runs)
		{
			my (%once, %cpu);
			foreach my $table ($run % 2 ? qw(plain empty mirrored) : qw(mirrored empty plain))
			{
				$session->do("TRUNCATE $table; INSERT INTO $table @{[ Bench::rows(1, $rows) ]}");
				$session->do('TRUNCATE mixpeek.outbox');
				$session->do("VACUUM $table");
				my ($seconds, $cpu) = $session->cost("UPDATE $table SET stock = stock + 1");
				($once{$table}, $cpu{$table}) = ($seconds * 1e6 / $rows, $cpu * 1e6 / $rows);
			}
			next if $run == 0;
			push @{ $cost{plain} }, $once{plain};
			push @{ $cost{over} }, $once{mirrored} - $once{plain};
			push @{ $cost{cpu} }, $cpu{mirrored} - $cpu{plain};
			push @{ $cost{empty} }, $once{empty} - $once{plain};
			push @{ $cost{empty_cpu} }, $cpu{empty} - $cpu{plain};
		}
		my $entries = $session->value('SELECT count(*) FROM mixpeek.outbox');
		my ($plain, $over, $cpu, $empty, $empty_cpu) = map { Bench::median(@{ $cost{$_} }) } qw(plain over cpu empty empty_cpu);
		$report->row('no trigger', $plain, sprintf('%.2f µs a row', $plain));
		$report->row('a row trigger in C that does nothing', $empty, sprintf('%+.2f µs a row (CPU %+.2f)', $empty, $empty_cpu));
		$report->row('mixpeek_docs', $over, sprintf('%+.2f µs a row (CPU %+.2f)', $over, $cpu), target => 'at most +0.3', met => $over <= 0.3);
		$report->row('entries in the outbox', $entries, $entries, target => 'none', met => $entries == 0);
		$report->bars(unit => 'µs a row', target => [ $plain + 0.3, 'to reach' ],
			bars => [ [ 'no trigger', $plain ], [ 'row trigger that does nothing', $plain + $empty ], [ 'mixpeek_docs', $plain + $over, 'ours' ] ]);
	},
};

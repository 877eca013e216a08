# What it costs that owners' functions run in a process of their own: documents a second, from committed row to stored
# id, of the same rows in a table whose rows the worker reads, in one whose rows a policy makes an agent's, and in one
# into which the ids are written back. In turns.
package Question::Agents;
use strict;
use warnings;
use utf8;
use Time::HiRes qw(time);

my %tables = (
	native => '',
	policy => 'ALTER TABLE policy ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON policy
		USING (stock IS NOT NULL)',
	write_back => 'ALTER TABLE write_back ADD doc_id text');

sub create
{
	my ($session, $table) = @_;
	my $option = $table eq 'write_back' ? ", document_id_column => 'doc_id'" : '';

	$session->do("SET ROLE shop; CREATE TABLE $table ($Bench::columns); $tables{$table}; RESET ROLE");
	$session->do("SET ROLE shop; SELECT mixpeek.mirror('$table', '$table', backfill => false$option); RESET ROLE");
	return;
}

sub rate
{
	my ($bench, $table, $rows) = @_;

	$bench->clear($table);
	$bench->session->do("INSERT INTO $table @{[ Bench::rows(1, $rows) ]}");
	my $begin = time;
	$bench->wait_for_documents($rows);
	return $rows / (time - $begin);
}

return {
	title => "Documents a second where an owner's process has to be asked",
	run => sub {
		my ($bench, $report) = @_;
		my $rows = $bench->size(20_000);
		my (%rate, %ratio);

		$bench->start;
		my $session = $bench->session;
		$session->do("CREATE ROLE shop; GRANT CREATE ON SCHEMA public TO shop;
			GRANT USAGE ON FOREIGN SERVER mixpeek TO shop;
			CREATE USER MAPPING FOR shop SERVER mixpeek OPTIONS (api_key 'sk_test')");
		create($session, $_) foreach sort keys %tables;
		foreach my $run (0 .. $bench->runs(5))
		{
			my %once = map { ($_ => rate($bench, $_, $rows)) } $run % 2 ? sort keys %tables : reverse sort keys %tables;
			next if $run == 0;
			foreach my $table (keys %tables)
			{
				push @{ $rate{$table} }, $once{$table};
				push @{ $ratio{$table} }, $once{$table} / $once{native};
			}
		}
		$report->row('read by the worker', Bench::median(@{ $rate{native} }),
			sprintf('%.0f a second', Bench::median(@{ $rate{native} })));
		foreach my $table ([ policy => 'read by an agent (a policy)' ],
			[ write_back => 'ids written back by an agent' ])
		{
			$report->row($table->[1], Bench::median(@{ $ratio{ $table->[0] } }),
				sprintf('%.0f a second, %.0f %% of that',
				Bench::median(@{ $rate{ $table->[0] } }), 100 * Bench::median(@{ $ratio{ $table->[0] } })));
		}
	}
};

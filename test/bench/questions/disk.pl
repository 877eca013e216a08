# WAL and disk a mirrored row, and whether outbox and documents stop growing: a table's rows are all
# changed again and again, with autovacuum at its defaults. The local server's enrichments follow the
# content, as long as there is no column "section"; where they do not follow, the worker asks for them
# again some times, and what that costs is measured by itself.
package Question::Disk;
use strict;
use warnings;
use utf8;

# Bytes of WAL that something causes. A checkpoint first: each page is written whole once after it.
sub wal
{
	my ($bench, $do) = @_;
	my $session = $bench->session;

	$session->do('CHECKPOINT');
	my $before = $session->value('SELECT pg_current_wal_insert_lsn()');
	$do->();
	return $session->value("SELECT pg_current_wal_insert_lsn() - '$before'::pg_lsn");
}

sub megabytes
{
	my ($bench, $relation) = @_;
	return $bench->session->value("SELECT pg_total_relation_size('$relation') / 1048576.0");
}

# A round of changes of all rows; how often a line of mixpeek.documents was updated for one of them.
sub lines_a_change
{
	my ($bench, $table, $rows, $seconds) = @_;
	my $query = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relid = 'mixpeek.documents'::regclass";

	$bench->api->control('POST', 'reset', {});
	my $before = $bench->session->value($query);
	$bench->session->do("UPDATE $table SET stock = stock + 1");
	$bench->wait_for_documents($rows, 'updates');
	sleep($seconds);
	return ($bench->session->value($query) - $before) / $rows;
}

return {
	title => 'WAL and disk a mirrored row, and bloat after 1,000,000 changes and more',
	run => sub {
		my ($bench, $report) = @_;
		my $rows = $bench->size(100_000);
		my $rounds = 10;			# make a million; three of them
		my (@documents, @outbox);

		$bench->start(max_wal_size => '4GB', min_wal_size => '80MB');
		my $session = $bench->session;
		$bench->create_mirrored('items');
		$session->do("CREATE TABLE plain ($Bench::columns)");
		$session->do('ALTER TABLE items RENAME section TO category');
		my $query = Bench::rows(1, $rows);
		my $plain = wal($bench, sub { $session->do("INSERT INTO plain $query") });
		$bench->enable(0);
		my $writer = wal($bench, sub { $session->do("INSERT INTO items $query") });
		my $outbox = $session->value("SELECT pg_total_relation_size('mixpeek.outbox')");
		my $worker = wal($bench, sub { $bench->enable(1); $bench->wait_for_documents($rows) });
		my $documents = $session->value("SELECT pg_total_relation_size('mixpeek.documents')");
		my $indexes = $session->value("SELECT pg_indexes_size('mixpeek.documents')");

		my $updates = wal($bench, sub {
			foreach my $round (1 .. 3 * $rounds)
			{
				$session->do("UPDATE items SET stock = stock + 1");
				$bench->wait_for_documents($rows * $round, 'updates');
				push @documents, [ $rows * $round, megabytes($bench, 'mixpeek.documents') ];
				push @outbox, [ $rows * $round, megabytes($bench, 'mixpeek.outbox') ];
			}
		});
		my $lines = lines_a_change($bench, 'items', $rows, 10);
		$session->do('ALTER TABLE items RENAME category TO section');
		lines_a_change($bench, 'items', $rows, 10);
		my $lines_same = lines_a_change($bench, 'items', $rows, 10);
		my @largest = map {
			my $million = $_;
			(sort { $b <=>
				$a } map { $documents[$_][1] + $outbox[$_][1] } $million * $rounds .. ($million + 1) * $rounds - 1)[0]
		} 0 .. 2;
		my $growth = $largest[2] / $largest[1];

		$report->row("WAL of the row itself", $plain / $rows, sprintf('%.0f bytes', $plain / $rows));
		$report->row("WAL of the writer's outbox entry", ($writer - $plain) / $rows,
			sprintf('%.0f bytes a row', ($writer - $plain) / $rows), target => 'stated');
		$report->row("WAL of the worker, a create", $worker / $rows,
			sprintf('%.0f bytes a document', $worker / $rows), target => 'stated');
		$report->row("WAL of all, an update", $updates / $rows / $rounds / 3,
			sprintf('%.0f bytes, the row\'s own included', $updates / $rows / $rounds / 3), target => 'stated');
		$report->row('disk of an outbox entry', $outbox / $rows, sprintf('%.0f bytes, until it is taken up',
			$outbox / $rows), target => 'stated');
		$report->row('disk of a document', $documents / $rows, sprintf('%.0f bytes, of which indexes %.0f',
			$documents / $rows, $indexes / $rows), target => 'stated');
		$report->row("outbox and documents, largest in @{[ $rows * $rounds ]} changes", $largest[0],
			sprintf('%.0f MB', $largest[0]));
		$report->row('in the second as many', $largest[1], sprintf('%.0f MB', $largest[1]));
		$report->row('in the third as many', $largest[2], sprintf('%.0f MB: %+.0f %%', $largest[2],
			100 * ($growth - 1)),
			target => 'no growth over the second', met => $growth <= 1.05);
		$report->row('updates of records, a change', $lines, sprintf('%.1f', $lines));
		$report->row('the same, enrichments as before, 10 s later', $lines_same, sprintf('%.1f', $lines_same));
		$report->lines(x => 'changes', y => 'MB, indexes included', lines => [ [ 'documents', \@documents, 'ours' ],
			[ 'outbox', \@outbox, 'other' ] ]);
	},
};
